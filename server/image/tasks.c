#include "server/image/tasks.h"
#include "sdk/base/log.h"
#include "sdk/base/units.h"
#include "server/event/event.h"
#include "server/image/refresh.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include <string.h>

#define HOUR_US ((gint64)G_TIME_SPAN_HOUR)
#define DAY_US ((gint64)G_TIME_SPAN_DAY)

/* Images of all projects; none when the database does not answer. */
static size_t all_images(Daemon *d, Arena *arena, Pb__Image ***ret)
{
	ImageQuery query = {0};
	g_autoptr(Error) error = NULL;
	size_t n = 0;
	if (image_list(d, &query, arena, &n, ret, &error) < 0)
		log_warn("Cannot list images", "err", error->message);
	return error ? 0 : n;
}

/* A number of the project's settings, asked for once a project. */
static int64_t number_of(Daemon *d, GHashTable *known, const char *project, const char *key)
{
	int64_t *value = g_hash_table_lookup(known, project);
	if (!value) {
		g_autofree char *text = project_setting(d, project, key);
		value = g_new0(int64_t, 1);
		if (text)
			units_parse_int(text, 0, G_MAXINT32, value, NULL);
		g_hash_table_insert(known, g_strdup(project), value);
	}
	return *value;
}

static GHashTable *numbers_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

/* ---- newer versions ---- */

static GMutex updated_lock;
static GHashTable *updated; /* project -> when its images were last looked at; not yet: at start */

static gint64 last_update(const char *project)
{
	g_mutex_lock(&updated_lock);
	const gint64 *at = updated ? g_hash_table_lookup(updated, project) : NULL;
	gint64 last = at ? *at : 0;
	g_mutex_unlock(&updated_lock);
	return last;
}

static void set_last_update(const char *project, gint64 at)
{
	g_mutex_lock(&updated_lock);
	if (!updated)
		updated = numbers_new();
	g_hash_table_insert(updated, g_strdup(project), g_memdup2(&at, sizeof(at)));
	g_mutex_unlock(&updated_lock);
}

static gint64 image_update_due(Daemon *d, GHashTable *hours, const Pb__Image *image)
{
	if (!image->auto_update || !image->update_source)
		return G_MAXINT64;
	int64_t every = number_of(d, hours, image->project, "images.auto_update_interval");
	return every ? last_update(image->project) + every * HOUR_US : G_MAXINT64;
}

static gint64 update_due(Daemon *d, gint64 now)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GHashTable) hours = numbers_new();
	Pb__Image **images;
	gint64 due = now + HOUR_US; /* images come without a word to the schedule */
	size_t n = all_images(d, arena, &images);
	for (size_t i = 0; i < n; i++)
		due = MIN(due, image_update_due(d, hours, images[i]));
	return due;
}

static int run_update(Operation *op, void *data, Error **err)
{
	Daemon *d = operation_daemon(op);
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GHashTable) hours = numbers_new();
	g_autoptr(GHashTable) looked_at =
	    g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	Pb__Image **images;
	gint64 now = g_get_real_time();
	size_t n = all_images(d, arena, &images);
	for (size_t i = 0; i < n && !g_atomic_int_get(&d->shutting_down); i++) {
		g_autoptr(Error) error = NULL;
		gboolean refreshed;
		if (image_update_due(d, hours, images[i]) > now)
			continue;
		g_hash_table_add(looked_at, g_strdup(images[i]->project));
		/* One server that is away does not keep the others from being asked. */
		if (image_refresh(d, images[i]->project, images[i], op, &refreshed, &error) < 0)
			log_warn("Image not updated", "fingerprint", images[i]->fingerprint,
			    "project", images[i]->project, "err", error->message);
	}
	GHashTableIter iter;
	void *project;
	g_hash_table_iter_init(&iter, looked_at);
	while (g_hash_table_iter_next(&iter, &project, NULL))
		set_last_update(project, now);
	return 0;
}

/* ---- cached images ---- */

static gint64 expiry_of(Daemon *d, GHashTable *days, const Pb__Image *image)
{
	if (!image->cached)
		return G_MAXINT64;
	int64_t keep = number_of(d, days, image->project, "images.remote_cache_expiry");
	const Google__Protobuf__Timestamp *used =
	    image->last_used_at ? image->last_used_at : image->uploaded_at;
	return keep && used ? used->seconds * G_USEC_PER_SEC + keep * DAY_US : G_MAXINT64;
}

static gint64 expiry_due(Daemon *d, gint64 now)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GHashTable) days = numbers_new();
	Pb__Image **images;
	gint64 due = now + DAY_US; /* images come without a word to the schedule */
	size_t n = all_images(d, arena, &images);
	for (size_t i = 0; i < n; i++)
		due = MIN(due, expiry_of(d, days, images[i]));
	return due;
}

static int run_expiry(Operation *op, void *data, Error **err)
{
	Daemon *d = operation_daemon(op);
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(GHashTable) days = numbers_new();
	Pb__Image **images;
	gint64 now = g_get_real_time();
	size_t n = all_images(d, arena, &images);
	for (size_t i = 0; i < n; i++) {
		const Pb__Image *image = images[i];
		if (expiry_of(d, days, image) > now)
			continue;
		if (image_delete(d, image->project, image->fingerprint, err) < 0)
			return error_prefix(
			    err, "Cannot remove the cached image \"%.12s\"", image->fingerprint);
		g_autofree char *url = g_strdup_printf("/1.0/images/%s", image->fingerprint);
		event_lifecycle(
		    d->events, image->project, "image-deleted", url, NULL, operation_caller(op));
	}
	return 0;
}

int image_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob update = {"Updating images", update_due, run_update};
	static const ScheduleJob expiry = {"Cleaning up expired images", expiry_due, run_expiry};
	schedule_add(d, &update);
	schedule_add(d, &expiry);
	return 0;
}
