#include "migrate/mounts.h"
#include "migrate/tool.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* The deepest mount below `path` in a mountinfo, which writes a space as \040. NULL: none. */
static char *deepest_mount(const char *mountinfo, const char *path)
{
	GString *deepest = g_string_new(NULL);
	g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
		g_autofree char *point = g_strv_length(fields) > 4 ? g_strcompress(fields[4]) :
								     NULL;
		/* Of two at one place the later one is on top. */
		if (point && strcmp(point, path) != 0 && tool_within(point, path) &&
		    strlen(point) >= deepest->len)
			g_string_assign(deepest, point);
	}
	return g_string_free(deepest, deepest->len == 0);
}

/* ---- here ---- */

static int release_here(Journal *journal, const char *path, Error **err)
{
	for (;;) {
		g_autofree char *text = NULL, *point = NULL;
		if (g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
			point = deepest_mount(text, path);
		if (!point)
			return 0;
		json_t *details = json_pack("{s:s}", "path", point);
		if (!journal)
			json_decref(details);
		else if (journal_note(journal, "unmount", details, err) < 0)
			return -1;
		if (umount2(point, UMOUNT_NOFOLLOW) < 0)
			return error_errno(
			    err, ERROR_BUSY, errno, "\"%s\" cannot be unmounted", point);
	}
}

/* ---- in another namespace: a process with threads cannot enter it itself ---- */

static int release_there(Journal *journal, const char *path, const char *space, Error **err)
{
	g_autofree char *enter = g_strconcat("--mount=", space, NULL);
	const char *const list[] = { "nsenter", enter, "cat", "/proc/self/mountinfo", NULL };
	for (;;) {
		g_autofree char *text = NULL, *point = NULL;
		Spawn spawn = { .argv = list, .timeout_ms = 30 * 1000 };
		if (spawn_run(&spawn, &text, NULL, err) < 0)
			return error_prefix(err, "Mounts of LXD's snap");
		point = deepest_mount(text, path);
		if (!point)
			return 0;
		json_t *details = json_pack("{s:s, s:s}", "path", point, "space", space);
		if (journal_note(journal, "unmount", details, err) < 0 ||
		    spawn_simple(
			err, "nsenter", enter, "umount", "--no-canonicalize", point, NULL) < 0)
			return error_prefix(
			    err, "\"%s\" cannot be unmounted from LXD's snap", point);
	}
}

int mounts_release(Journal *journal, const char *path, const char *space, Error **err)
{
	if (release_here(journal, path, err) < 0)
		return -1;
	return space && access(space, F_OK) == 0 ? release_there(journal, path, space, err) : 0;
}
