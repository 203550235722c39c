#include "server/instance/snapshot.h"
#include "incus/v1/snapshot.pb-c.h"
#include "sdk/base/moment_message.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/image/metadata.h"
#include "server/instance/backup_index.h"
#include "server/instance/checkpoint.h"
#include "server/instance/flow.h"
#include "server/instance/live_private.h"
#include "server/instance/private.h"
#include "server/storage/snapshot_name.h"
#include "server/instance/snapshot_row.h"
#include "server/project/project.h"
#include "server/storage/snapshot.h"
#include <string.h>
#include <time.h>

static int root_volume(Instance *i, Pool **ret_pool, Volume **ret_volume, Error **err)
{
	if (instance_pool(i, ret_pool, err) < 0)
		return -1;
	*ret_volume = volume_new(*ret_pool,
	    i->type == INSTANCE_MACHINE ? VOLUME_MACHINE : VOLUME_CONTAINER, i->project, i->name);
	return 0;
}

static void tell(
    Instance *i, const char *action, const char *name, const char *old_name, const Caller *caller)
{
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s/snapshots/%s", i->name, name);
	g_autofree char *context = old_name ? g_strdup_printf("{\"old_name\":\"%s\"}", old_name) :
					      NULL;
	event_lifecycle(i->daemon->events, i->project, action, url, context, caller);
}

/* ---- create ---- */

static int choose_expiry(
    Instance *i, const InstanceSnapshotSpec *spec, int64_t now, Moment *ret_expires, Error **err)
{
	g_autofree char *age = instance_expanded_get(i, "snapshots.expiry");
	*ret_expires = spec->expires;
	if (spec->expires_given || !age)
		return 0;
	return units_parse_expiry(age, now, &ret_expires->seconds, err);
}

static int describe(
    Instance *i, const InstanceSnapshotSpec *spec, InstanceSnapshot **ret_snapshot, Error **err)
{
	g_autoptr(InstanceSnapshot) s = g_new0(InstanceSnapshot, 1);
	s->instance_id = i->id;
	s->created = time(NULL);
	s->config = instance_config(i);
	s->devices = instance_devices(i);
	s->description = g_strdup(spec->description ? spec->description : "");
	s->stateful = spec->stateful;
	if (choose_expiry(i, spec, s->created, &s->expires, err) < 0)
		return -1;
	if (spec->name && *spec->name) {
		s->name = g_strdup(spec->name);
	} else if (instance_snapshot_next_name(i, &s->name, err) < 0) {
		return -1;
	}
	if (name_check_snapshot(s->name, err) < 0)
		return error_prefix(err, "Invalid snapshot name");
	*ret_snapshot = g_steal_pointer(&s);
	return 0;
}

/* Where trees are copied, nothing may change them meanwhile. */
static int take(
    Instance *i, Pool *pool, const Volume *volume, const InstanceSnapshot *s, Error **err)
{
	CheckpointHold *hold = NULL;
	if (s->stateful && checkpoint_hold(i, DUMP_STAY, &hold, err) < 0)
		return -1;
	gboolean freeze = !hold && instance_status(i) == INSTANCE_RUNNING && !pool_snapshots_at_once(pool);
	if (freeze && power_freeze_locked(i, TRUE, err) < 0)
		return -1;
	int result = snapshot_create(pool, volume, s->name, s->description, &s->expires, err);
	if (freeze && power_freeze_locked(i, FALSE, result == 0 ? err : NULL) < 0)
		return -1;
	if (hold && checkpoint_release(hold, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

int snapshot_create_locked(
    Instance *i, const InstanceSnapshotSpec *spec, char **ret_name, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	g_autoptr(InstanceSnapshot) s = NULL;
	if (project_allow_snapshot(i->daemon, i->project, err) < 0 ||
	    root_volume(i, &pool, &volume, err) < 0 || describe(i, spec, &s, err) < 0 ||
	    snapshot_insert(i->daemon, s, err) < 0)
		return -1;
	if (take(i, pool, volume, s, err) < 0) {
		snapshot_forget(i->daemon, s->id, NULL);
		return -1;
	}
	*ret_name = g_strdup(s->name);
	backup_file_update(i);
	return 0;
}

void snapshot_tell_created(Instance *i, const char *name, const Caller *caller)
{
	tell(i, "instance-snapshot-created", name, NULL, caller);
}

int instance_snapshot_create(
    Instance *i, const InstanceSnapshotSpec *spec, const Caller *caller, Error **err)
{
	g_autofree char *name = NULL;
	if (instance_lock(i, err) < 0)
		return -1;
	int result = snapshot_create_locked(i, spec, &name, err);
	instance_unlock(i);
	if (result == 0)
		snapshot_tell_created(i, name, caller);
	return result;
}

/* ---- change ---- */

static int delete_locked(Instance *i, const char *name, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	g_autoptr(InstanceSnapshot) s = NULL;
	Error *inner = NULL;
	if (instance_snapshot_find(i, name, &s, err) < 0 || root_volume(i, &pool, &volume, err) < 0)
		return -1;
	if (snapshot_delete(pool, volume, name, &inner) < 0 && inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return snapshot_forget(i->daemon, s->id, err);
}

int instance_snapshot_delete(Instance *i, const char *name, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = delete_locked(i, name, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		tell(i, "instance-snapshot-deleted", name, NULL, caller);
	return result;
}

typedef struct NameCall {
	int64_t id;
	const char *name;
} NameCall;

static int name_tx(Tx *tx, void *data, Error **err)
{
	const NameCall *call = data;
	return snapshot_set_name_in(tx, call->id, call->name, err);
}

static int rename_locked(Instance *i, const char *name, const char *new_name, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	g_autoptr(InstanceSnapshot) s = NULL;
	if (name_check_snapshot(new_name, err) < 0)
		return error_prefix(err, "Invalid snapshot name");
	if (instance_snapshot_find(i, name, &s, err) < 0 ||
	    root_volume(i, &pool, &volume, err) < 0)
		return -1;
	NameCall call = { s->id, new_name };
	return snapshot_rename(pool, volume, name, new_name, name_tx, &call, err);
}

int instance_snapshot_rename(
    Instance *i, const char *name, const char *new_name, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = rename_locked(i, name, new_name, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		tell(i, "instance-snapshot-renamed", new_name, name, caller);
	return result;
}

static int set_expiry_locked(Instance *i, const char *name, const Moment *expires, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	g_autoptr(InstanceSnapshot) s = NULL;
	if (instance_snapshot_find(i, name, &s, err) < 0 ||
	    root_volume(i, &pool, &volume, err) < 0 ||
	    snapshot_row_update(pool, volume, name, s->description, expires, err) < 0)
		return -1;
	return snapshot_set_expiry(i->daemon, s->id, expires, err);
}

int instance_snapshot_set_expiry(
    Instance *i, const char *name, const Moment *expires, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = set_expiry_locked(i, name, expires, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		tell(i, "instance-snapshot-updated", name, NULL, caller);
	return result;
}

/* ---- restore ---- */

/* Keys of the snapshot, but who the instance is and whether it ran stay. */
static Config *restored_config(Instance *i, const InstanceSnapshot *s)
{
	static const char *const kept[] = { "volatile.uuid", "volatile.last_state.power",
		"volatile.last_state.ready" };
	g_autoptr(Config) now = instance_config(i);
	g_autofree char *generation = g_uuid_string_random();
	Config *config = config_copy(s->config);
	for (size_t n = 0; n < G_N_ELEMENTS(kept); n++)
		config_set(config, kept[n], config_get(now, kept[n]));
	if (!config_get(config, "volatile.last_state.idmap"))
		config_set(config, "volatile.last_state.idmap", "[]");
	config_set(config, "volatile.uuid.generation", generation);
	return config;
}

/* Going back may have cost snapshots that were newer (zfs.remove_snapshots). */
static int forget_lost(Instance *i, Pool *pool, const Volume *volume, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (instance_snapshot_list(i, &list, err) < 0)
		return -1;
	for (guint n = 0; n < list->len; n++) {
		const InstanceSnapshot *s = list->pdata[n];
		g_autoptr(Error) error = NULL;
		if (snapshot_row_find(pool, volume, s->name, NULL, &error) == 0 ||
		    error->kind != ERROR_NOT_FOUND)
			continue;
		if (snapshot_forget(i->daemon, s->id, err) < 0)
			return -1;
		tell(i, "instance-snapshot-deleted", s->name, NULL, NULL);
	}
	return 0;
}

static int restore_data(
    Instance *i, Pool *pool, const Volume *volume, const InstanceSnapshot *s, Error **err)
{
	g_autoptr(Config) config = restored_config(i, s);
	InstanceChange change = {
		.config = config, .devices = s->devices, .ephemeral = -1, .restored = TRUE
	};
	g_autoptr(Config) old_config = instance_config(i);
	g_autoptr(GHashTable) old_devices = instance_devices(i);
	InstanceChange back = {
		.config = old_config, .devices = old_devices, .ephemeral = -1, .restored = TRUE
	};
	/* The configuration first: it is what can be refused. */
	if (instance_update_locked(i, &change, err) < 0)
		return -1;
	if (snapshot_restore(pool, volume, s->name, err) == 0)
		return forget_lost(i, pool, volume, err);
	instance_update_locked(i, &back, NULL);
	return -1;
}

static int become_owners(Instance *i, Pool *pool, const InstanceSnapshot *s, Error **err)
{
	g_autoptr(GArray) owners = NULL;
	return owners_of(s->config, &owners, err) < 0 ? -1 : owners_become(i, pool, owners, err);
}

static int restore_locked(Instance *i, const char *name, gboolean stateful, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	g_autoptr(InstanceSnapshot) s = NULL;
	if (instance_snapshot_find(i, name, &s, err) < 0 || root_volume(i, &pool, &volume, err) < 0)
		return -1;
	if (stateful && !s->stateful)
		return error_set(
		    err, ERROR_INVALID, "The snapshot holds no state of running processes");
	gboolean running = instance_running(i);
	if (!running && live_check_start(i, err) < 0)
		return -1;
	if (running && power_stop_locked(i, 0, TRUE, err) < 0)
		return -1;
	int result = become_owners(i, pool, s, err) < 0 ? -1 :
						       restore_data(i, pool, volume, s, err);
	/* With zfs.remove_snapshots newer ones went. */
	if (result == 0 && pool_snapshots_at_once(pool))
		result = instance_snapshot_repair(i->daemon, i->id, err);
	if (result == 0)
		result = checkpoint_restored(i, stateful, err);
	if ((running || (stateful && result == 0)) &&
	    power_start_locked(i, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

int instance_snapshot_restore(
    Instance *i, const char *name, gboolean stateful, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = restore_locked(i, name, stateful, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result < 0)
		return -1;
	g_autofree char *context = g_strdup_printf("{\"snapshot\":\"%s\"}", name);
	instance_event(i, "instance-restored", context, caller);
	return 0;
}

/* ---- names, and as the API shows them ---- */

int instance_snapshot_next_name(Instance *i, char **ret_name, Error **err)
{
	g_autofree char *pattern = instance_expanded_get(i, "snapshots.pattern");
	g_autoptr(GPtrArray) list = NULL;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	if (instance_snapshot_list(i, &list, err) < 0)
		return -1;
	for (guint n = 0; n < list->len; n++)
		g_ptr_array_add(names, ((InstanceSnapshot *)list->pdata[n])->name);
	return snapshot_name_next(pattern, names, ret_name, err);
}

int64_t instance_snapshot_size(Instance *i, const char *name)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Volume) volume = NULL;
	int64_t used = -1;
	if (root_volume(i, &pool, &volume, NULL) < 0 ||
	    snapshot_usage(pool, volume, name, &used, NULL) < 0)
		return -1;
	return used;
}

void instance_snapshot_render(Instance *i, const ProfileSet *set, const InstanceSnapshot *s,
    Arena *arena, Pb__InstanceSnapshot *out)
{
	g_autoptr(Config) config = NULL;
	g_autoptr(GHashTable) devices = NULL;
	g_auto(GStrv) profiles = instance_profiles(i);
	if (row_expand_from(
		set, i->project, profiles, s->config, s->devices, &config, &devices, NULL) < 0) {
		config = config_copy(s->config);
		devices = devices_copy(s->devices);
	}
	out->name = arena_strdup(arena, s->name);
	out->architecture = (char *)image_architecture_name((int)i->architecture);
	config_to_map(s->config, arena, &pb__instance_snapshot__config_entry__descriptor,
	    &out->n_config, &out->config);
	devices_to_map(s->devices, arena, &pb__instance_snapshot__devices_entry__descriptor,
	    &out->n_devices, &out->devices);
	config_to_map(config, arena, &pb__instance_snapshot__expanded_config_entry__descriptor,
	    &out->n_expanded_config, &out->expanded_config);
	devices_to_map(devices, arena, &pb__instance_snapshot__expanded_devices_entry__descriptor,
	    &out->n_expanded_devices, &out->expanded_devices);
	out->n_profiles = g_strv_length(profiles);
	out->profiles = arena_alloc(arena, (out->n_profiles + 1) * sizeof(char *));
	for (size_t n = 0; n < out->n_profiles; n++)
		out->profiles[n] = arena_strdup(arena, profiles[n]);
	out->ephemeral = i->ephemeral;
	out->stateful = s->stateful;
	out->created_at = seconds_to_message(s->created, arena);
	out->expires_at = moment_to_message(&s->expires, arena);
	out->last_used_at = seconds_to_message(i->last_used, arena);
	out->size = -1;
}
