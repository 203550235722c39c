#include "server/instance/snapshot_tasks.h"
#include "sdk/base/cron.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/operation/schedule.h"
#include "server/storage/custom_snapshot.h"
#include "server/storage/custom_volume.h"
#include <string.h>
#include <time.h>

/* A clock that went back further than this was wrong before. */
enum { CLOCK_SLACK = 3600 };

/* Every moment up to this one has had its snapshots. A daemon that starts takes none for the time
 * before: so no restart takes one twice. Only the schedule's job reads and writes it. */
static int64_t taken_until;

/* ---- what has a schedule ---- */

typedef struct Owner {
	Instance *instance; /* else a custom volume */
	Pool *pool;
	char *project, *name;
	Cron *cron;
} Owner;

static void owner_free(void *data)
{
	Owner *owner = data;
	g_clear_pointer(&owner->instance, instance_unref);
	g_clear_pointer(&owner->pool, pool_unref);
	g_free(owner->project);
	g_free(owner->name);
	cron_free(owner->cron);
	g_free(owner);
}

/* NULL without a schedule. */
static Owner *owner_new(const char *schedule)
{
	Cron *cron;
	if (!schedule || !*schedule || cron_parse(schedule, &cron, NULL) < 0)
		return NULL;
	Owner *owner = g_new0(Owner, 1);
	owner->cron = cron;
	return owner;
}

static void add_instances(Daemon *d, GPtrArray *owners)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		g_autofree char *schedule = instance_expanded_get(
		    all->pdata[n], "snapshots.schedule");
		Owner *owner = owner_new(schedule);
		if (!owner)
			continue;
		owner->instance = instance_ref(all->pdata[n]);
		g_ptr_array_add(owners, owner);
	}
}

static void add_volumes(Pool *pool, GPtrArray *owners)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) error = NULL;
	VolumeQuery query = { .type = "custom" };
	Pb__StorageVolume **volumes;
	size_t count = 0;
	if (volume_describe(pool, &query, arena, &count, &volumes, &error) < 0)
		log_warn("Cannot list volumes", "pool", pool_name(pool), "err", error->message);
	for (size_t n = 0; !error && n < count; n++) {
		g_autoptr(Config) config = config_from_map(
		    volumes[n]->n_config, volumes[n]->config);
		Owner *owner = owner_new(config_get(config, "snapshots.schedule"));
		if (!owner)
			continue;
		owner->pool = pool_ref(pool);
		owner->project = g_strdup(volumes[n]->project);
		owner->name = g_strdup(volumes[n]->name);
		g_ptr_array_add(owners, owner);
	}
}

static GPtrArray *owners_list(Daemon *d)
{
	GPtrArray *owners = g_ptr_array_new_with_free_func(owner_free);
	g_autoptr(GPtrArray) pools = pool_list(d);
	add_instances(d, owners);
	for (guint n = 0; n < pools->len; n++)
		if (strcmp(pool_status(pools->pdata[n]), "Created") == 0)
			add_volumes(pools->pdata[n], owners);
	return owners;
}

/* ---- taking ---- */

static gint64 microseconds(int64_t seconds)
{
	return seconds >= G_MAXINT64 / G_USEC_PER_SEC ? G_MAXINT64 : seconds * G_USEC_PER_SEC;
}

static gint64 schedule_due(Daemon *d, gint64 now_us)
{
	g_autoptr(GPtrArray) owners = owners_list(d);
	int64_t next = CRON_NEVER, now = now_us / G_USEC_PER_SEC;
	if (taken_until > now + CLOCK_SLACK)
		taken_until = now;
	for (guint n = 0; n < owners->len; n++) {
		int64_t due = cron_next(((Owner *)owners->pdata[n])->cron, taken_until);
		next = MIN(next, due);
	}
	return microseconds(next);
}

static int take_volume(Owner *owner, Error **err)
{
	CustomSnapshotSpec spec = { 0 };
	g_autofree char *name = NULL;
	if (custom_snapshot_create(owner->pool, owner->project, owner->name, &spec, &name, err) < 0)
		return -1;
	g_autofree char *volume = g_uri_escape_string(owner->name, NULL, FALSE);
	g_autofree char *url = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom/%s/snapshots/%s", pool_name(owner->pool), volume,
	    name);
	event_lifecycle(pool_daemon(owner->pool)->events, owner->project,
	    "storage-volume-snapshot-created", url, NULL, NULL);
	return 0;
}

static int take_instance(Owner *owner, Error **err)
{
	InstanceSnapshotSpec spec = { 0 };
	g_autofree char *stopped = instance_expanded_get(
	    owner->instance, "snapshots.schedule.stopped");
	if (!instance_running(owner->instance) && g_strcmp0(stopped, "true") != 0)
		return 0;
	return instance_snapshot_create(owner->instance, &spec, NULL, err);
}

static int run_schedule(Operation *op, void *data, Error **err)
{
	Daemon *d = operation_daemon(op);
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;
	g_autoptr(GPtrArray) owners = owners_list(d);
	for (guint n = 0; n < owners->len && !g_atomic_int_get(&d->shutting_down); n++) {
		Owner *owner = owners->pdata[n];
		g_autoptr(Error) error = NULL;
		if (cron_next(owner->cron, taken_until) > now)
			continue;
		/* One that fails does not keep the others from theirs. */
		if ((owner->instance ? take_instance(owner, &error) : take_volume(owner, &error)) <
		    0)
			log_warn("Scheduled snapshot not taken", "of",
			    owner->instance ? instance_name(owner->instance) : owner->name, "err",
			    error->message);
	}
	taken_until = now;
	return 0;
}

void snapshot_schedule_changed(Instance *i)
{
	g_autofree char *schedule = instance_expanded_get(i, "snapshots.schedule");
	if (schedule)
		schedule_changed(i->daemon);
}

void snapshot_at_startup(Instance *i)
{
	g_autofree char *schedule = instance_expanded_get(i, "snapshots.schedule");
	g_autofree char *name = NULL;
	g_autoptr(Cron) cron = NULL;
	g_autoptr(Error) error = NULL;
	InstanceSnapshotSpec spec = { 0 };
	if (!schedule || cron_parse(schedule, &cron, NULL) < 0 || !cron_at_startup(cron))
		return;
	if (snapshot_create_locked(i, &spec, &name, &error) < 0)
		log_warn(
		    "Snapshot at startup not taken", "instance", i->name, "err", error->message);
	else
		snapshot_tell_created(i, name, NULL);
}

/* ---- expiry ---- */

typedef struct Expiring {
	GPtrArray *instances, *volumes;
} Expiring;

static void expiring_clear(Expiring *expiring)
{
	g_clear_pointer(&expiring->instances, g_ptr_array_unref);
	g_clear_pointer(&expiring->volumes, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Expiring, expiring_clear)

static int expiring_load(Daemon *d, Expiring *ret, Error **err)
{
	return instance_snapshot_expiring(d, &ret->instances, err) < 0 ?
	    -1 :
	    snapshot_row_expiring(d, &ret->volumes, err);
}

/* What is over when it is told so has a minute left, for who mistook the date. `promised` is what
 * was answered last: 0 at start, so that what ran out meanwhile goes at once. */
static gint64 no_sooner(gint64 next, gint64 now_us, gint64 *promised)
{
	if (next > now_us)
		*promised = next;
	else if (*promised > now_us)
		*promised = MIN(*promised, now_us + G_TIME_SPAN_MINUTE);
	return *promised;
}

static gint64 expiry_due(Daemon *d, gint64 now_us)
{
	static gint64 promised; /* asked on one thread only */
	g_auto(Expiring) expiring = { 0 };
	g_autoptr(Error) error = NULL;
	int64_t next = CRON_NEVER;
	if (expiring_load(d, &expiring, &error) < 0) {
		log_warn("Cannot list expiring snapshots", "err", error->message);
		return now_us + G_TIME_SPAN_MINUTE;
	}
	for (guint n = 0; n < expiring.instances->len; n++)
		next = MIN(
		    next, ((InstanceSnapshot *)expiring.instances->pdata[n])->expires.seconds);
	for (guint n = 0; n < expiring.volumes->len; n++)
		next = MIN(next, ((ExpiringSnapshot *)expiring.volumes->pdata[n])->expires);
	return no_sooner(microseconds(next), now_us, &promised);
}

static int expire_instance(const GPtrArray *all, const InstanceSnapshot *s, Error **err)
{
	for (guint n = 0; n < all->len; n++)
		if (instance_id(all->pdata[n]) == s->instance_id)
			return instance_snapshot_delete(all->pdata[n], s->name, NULL, err);
	return 0; /* it went meanwhile */
}

static int expire_volume(Daemon *d, const ExpiringSnapshot *s, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (pool_get(d, s->pool, &pool, err) < 0 ||
	    custom_snapshot_delete(pool, s->project, s->volume, s->name, err) < 0)
		return -1;
	g_autofree char *volume = g_uri_escape_string(s->volume, NULL, FALSE);
	g_autofree char *url = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom/%s/snapshots/%s", s->pool, volume, s->name);
	event_lifecycle(d->events, s->project, "storage-volume-snapshot-deleted", url, NULL, NULL);
	return 0;
}

/* Gone already is as good; the first other failure is kept, and makes the job rest before it tries
 * again. */
static void note(Error *error, const char *of, const char *name, Error **first)
{
	if (!error || error->kind == ERROR_NOT_FOUND || *first) {
		error_free(error);
		return;
	}
	*first = error;
	error_prefix(first, "Cannot delete the expired snapshot \"%s\" of \"%s\"", name, of);
}

static int run_expiry(Operation *op, void *data, Error **err)
{
	Daemon *d = operation_daemon(op);
	g_auto(Expiring) expiring = { 0 };
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;
	Error *first = NULL;
	if (expiring_load(d, &expiring, err) < 0)
		return -1;
	for (guint n = 0; n < expiring.instances->len && !g_atomic_int_get(&d->shutting_down);
	     n++) {
		const InstanceSnapshot *s = expiring.instances->pdata[n];
		Error *error = NULL;
		if (s->expires.seconds <= now && expire_instance(all, s, &error) < 0)
			note(error, "an instance", s->name, &first);
	}
	for (guint n = 0; n < expiring.volumes->len && !g_atomic_int_get(&d->shutting_down); n++) {
		const ExpiringSnapshot *s = expiring.volumes->pdata[n];
		Error *error = NULL;
		if (s->expires <= now && expire_volume(d, s, &error) < 0)
			note(error, s->volume, s->name, &first);
	}
	return first ? error_propagate(err, first) : 0;
}

int snapshot_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob schedule = { "Creating scheduled snapshots", schedule_due,
		run_schedule };
	static const ScheduleJob expiry = { "Cleaning up expired snapshots", expiry_due,
		run_expiry };
	taken_until = time(NULL);
	schedule_add(d, &schedule);
	schedule_add(d, &expiry);
	return 0;
}
