#include "migrate/progress.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 30, STEP_US = G_USEC_PER_SEC / 10, TRUSTED_AFTER_S = 3 };

struct Progress {
	GMutex lock;
	char *what;
	uint64_t done, total;
	gint64 since, shown; /* shown 0: never */
	gboolean wanted;
};

Progress *progress_new(const char *what, uint64_t total)
{
	Progress *progress = g_new0(Progress, 1);
	g_mutex_init(&progress->lock);
	progress->what = g_strdup(what);
	progress->total = total;
	progress->since = g_get_monotonic_time();
	progress->wanted = total > 0 && isatty(STDERR_FILENO);
	return progress;
}

void progress_free(Progress *progress)
{
	if (!progress)
		return;
	if (progress->shown)
		fprintf(stderr, "\r\x1b[K");
	g_mutex_clear(&progress->lock);
	g_free(progress->what);
	g_free(progress);
}

static char *rest_text(double seconds)
{
	if (seconds < 60)
		return g_strdup_printf("%d s left", (int)seconds + 1);
	if (seconds < 3600)
		return g_strdup_printf("%d min left", (int)(seconds / 60) + 1);
	return g_strdup_printf("%d h %d min left", (int)(seconds / 3600), (int)seconds % 3600 / 60);
}

char *progress_text(const char *what, uint64_t done, uint64_t total, double seconds)
{
	char bar[WIDTH + 1] = { 0 };
	done = MIN(done, total); /* what grows while it is copied */
	double part = total ? (double)done / (double)total : 1;
	for (int i = 0; i < WIDTH; i++)
		bar[i] = i < (int)(part * WIDTH) ? '#' : ' ';
	g_autofree char *has = units_format_bytes((int64_t)done, 1);
	g_autofree char *all = units_format_bytes((int64_t)total, 1);
	/* The first seconds say little about the rest. */
	g_autofree char *rest = part > 0 && seconds >= TRUSTED_AFTER_S ?
	    rest_text(seconds / part - seconds) :
	    NULL;
	return g_strdup_printf("%s: %3d%% [%s] %s of %s%s%s", what, (int)(part * 100), bar, has,
	    all, rest ? ", " : "", rest ? rest : "");
}

void progress_add(uint64_t bytes, void *data)
{
	Progress *progress = data;
	g_mutex_lock(&progress->lock);
	gint64 now = g_get_monotonic_time();
	progress->done += bytes;
	if (progress->wanted && now - progress->shown > STEP_US) {
		g_autofree char *line = progress_text(progress->what, progress->done,
		    progress->total, (double)(now - progress->since) / G_USEC_PER_SEC);
		fprintf(stderr, "\r%s\x1b[K", line);
		progress->shown = now;
	}
	g_mutex_unlock(&progress->lock);
}
