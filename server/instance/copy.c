#include "server/instance/copy.h"
#include "sdk/base/fault.h"
#include "server/instance/backup_index.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/instance/snapshot_row.h"
#include "server/operation/operation.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_copy.h"
#include "server/operation/schedule.h"
#include "server/db/db.h"
#include <string.h>

Volume *copy_root_volume(const Instance *i, const Pool *pool)
{
	return volume_new(pool, i->type == INSTANCE_MACHINE ? VOLUME_MACHINE : VOLUME_CONTAINER,
	    i->project, i->name);
}

/* ---- what a copy starts from ---- */

static gboolean is_own(const char *key)
{
	return g_str_has_prefix(key, "volatile.") && strcmp(key, "volatile.base_image") != 0;
}

static Config *copied_config(const Config *config)
{
	Config *copy = config_copy(config);
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, copy);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (is_own(key))
			g_hash_table_iter_remove(&iter);
	return copy;
}

int instance_copy_base(
    const InstanceOrigin *origin, Config **ret_config, Devices **ret_devices, Error **err)
{
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	if (origin->snapshot &&
	    instance_snapshot_find(origin->source, origin->snapshot, &snapshot, err) < 0)
		return -1;
	g_autoptr(Config) config = snapshot ? config_copy(snapshot->config) :
					      instance_config(origin->source);
	*ret_config = copied_config(config);
	*ret_devices = snapshot ? devices_copy(snapshot->devices) :
				  instance_devices(origin->source);
	return 0;
}

int copy_owners(const InstanceOrigin *origin, Config *config, Error **err)
{
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	g_autofree char *now = instance_volatile_get(origin->source, "last_state.idmap");
	if (origin->snapshot &&
	    instance_snapshot_find(origin->source, origin->snapshot, &snapshot, err) < 0)
		return -1;
	config_set(config, "volatile.last_state.idmap",
	    snapshot ? config_get(snapshot->config, "volatile.last_state.idmap") : now);
	return 0;
}

/* ---- snapshots of the source ---- */

int copy_snapshots_of(const InstanceOrigin *origin, GPtrArray **ret_list, Error **err)
{
	if (!origin->instance_only && !origin->snapshot)
		return instance_snapshot_list(origin->source, ret_list, err);
	*ret_list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	return 0;
}

static GPtrArray *names_of(const GPtrArray *snapshots)
{
	GPtrArray *names = g_ptr_array_new();
	for (guint n = 0; n < snapshots->len; n++)
		g_ptr_array_add(names, ((InstanceSnapshot *)snapshots->pdata[n])->name);
	return names;
}

void copy_set_root_pool(Devices *devices, const Devices *expanded, const char *pool)
{
	const char *name;
	Config *root;
	if (device_root_disk(devices, NULL, &root, NULL) == 0)
		config_set(root, "pool", pool);
	else if (device_root_disk(expanded, &name, &root, NULL) == 0 &&
	    g_strcmp0(config_get(root, "pool"), pool) != 0) {
		g_autoptr(Config) own = config_copy(root);
		config_set(own, "pool", pool);
		devices_set(devices, name, own);
	}
}

int copy_insert_snapshots(Tx *tx, void *data, Error **err)
{
	const CopiedSnapshots *c = data;
	g_autoptr(GHashTable) expanded = instance_expanded_devices(c->instance);
	for (guint n = 0; n < c->snapshots->len; n++) {
		InstanceSnapshot row = *(InstanceSnapshot *)c->snapshots->pdata[n];
		g_autoptr(GHashTable) devices = devices_copy(row.devices);
		copy_set_root_pool(devices, expanded, pool_name(c->pool));
		row.instance_id = c->instance->id;
		row.devices = devices;
		if (snapshot_insert_in(tx, &row, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- copy ---- */

int copy_root(Instance *i, Pool *pool, const InstanceOrigin *origin, Operation *op, Error **err)
{
	g_autoptr(Pool) from_pool = NULL;
	g_autoptr(GPtrArray) snapshots = NULL;
	if (instance_pool(origin->source, &from_pool, err) < 0 ||
	    copy_snapshots_of(origin, &snapshots, err) < 0)
		return -1;
	g_autoptr(Volume) whole = copy_root_volume(origin->source, from_pool);
	g_autoptr(Volume) from = origin->snapshot ?
	    volume_snapshot(from_pool, whole, origin->snapshot) :
	    copy_root_volume(origin->source, from_pool);
	g_autoptr(Volume) to = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) names = names_of(snapshots);
	uint64_t size;
	if (device_root_size(i->expanded_devices, &size, err) < 0)
		return -1;
	CopiedSnapshots copied = { i, pool, snapshots };
	VolumeCopy copy = { .from_pool = from_pool,
		.from = from,
		.to_pool = pool,
		.to = to,
		.snapshots = names,
		.description = "",
		.size = size,
		.op = op,
		.also = copy_insert_snapshots,
		.data = &copied };
	if (volume_copy(&copy, err) < 0)
		return -1;
	schedule_changed(i->daemon); /* snapshots may expire */
	return 0;
}

/* Trees are copied while nothing changes them; drivers that clone need no standstill. */
static gboolean must_freeze(const InstanceOrigin *origin)
{
	g_autoptr(Pool) pool = NULL;
	return !origin->snapshot && !origin->allow_inconsistent &&
	    instance_status(origin->source) == INSTANCE_RUNNING &&
	    instance_pool(origin->source, &pool, NULL) == 0 && !pool_snapshots_at_once(pool);
}

int copy_hold(const InstanceOrigin *origin, gboolean *ret_frozen, Error **err)
{
	if (instance_lock(origin->source, err) < 0)
		return -1;
	*ret_frozen = must_freeze(origin);
	if (!*ret_frozen || power_freeze_locked(origin->source, TRUE, err) == 0)
		return 0;
	instance_unlock(origin->source);
	return -1;
}

void copy_release(const InstanceOrigin *origin, gboolean frozen)
{
	if (frozen)
		power_freeze_locked(origin->source, FALSE, NULL);
	instance_unlock(origin->source);
}

int instance_copy(
    Daemon *d, const InstanceSpec *spec, Operation *op, Instance **ret_instance, Error **err)
{
	gboolean frozen;
	if (copy_hold(spec->origin, &frozen, err) < 0)
		return -1;
	int result = instance_create(d, spec, op, ret_instance, err);
	copy_release(spec->origin, frozen);
	return result;
}

/* ---- refresh ---- */

InstanceSnapshot *copy_find_named(const GPtrArray *list, const char *name)
{
	for (guint n = 0; n < list->len; n++)
		if (strcmp(((InstanceSnapshot *)list->pdata[n])->name, name) == 0)
			return list->pdata[n];
	return NULL;
}

GPtrArray *copy_stale(const GPtrArray *there, const GPtrArray *wanted)
{
	GPtrArray *names = g_ptr_array_new();
	for (guint n = 0; n < there->len; n++) {
		InstanceSnapshot *own = there->pdata[n],
				 *other = copy_find_named(wanted, own->name);
		if (!other || other->created != own->created)
			g_ptr_array_add(names, own->name);
	}
	return names;
}

GPtrArray *copy_missing(const GPtrArray *there, const GPtrArray *wanted)
{
	GPtrArray *list = g_ptr_array_new();
	for (guint n = 0; n < wanted->len; n++) {
		InstanceSnapshot *own = wanted->pdata[n],
				 *other = copy_find_named(there, own->name);
		if (!other || other->created != own->created)
			g_ptr_array_add(list, own);
	}
	return list;
}

/* Rows of the instance come first and go last, so that a start knows what a crash left. */
static int change_snapshots(Instance *i, const VolumeCopy *copy, const GPtrArray *gone,
    const GPtrArray *there, const GPtrArray *fresh, Error **err)
{
	if (!volume_wait_unmounted(copy->to_pool, copy->to))
		return error_set(err, ERROR_BUSY, "Instance \"%s\" is in use", i->name);
	for (guint n = 0; n < gone->len; n++)
		if (snapshot_delete(copy->to_pool, copy->to, gone->pdata[n], err) < 0 ||
		    snapshot_forget(i->daemon, copy_find_named(there, gone->pdata[n])->id, err) < 0)
			return -1;
	CopiedSnapshots copied = { i, copy->to_pool, fresh };
	if (db_tx(i->daemon->db, copy_insert_snapshots, &copied, err) < 0)
		return -1;
	schedule_changed(i->daemon);
	return fault_point("refresh volume", err) < 0 ? -1 : volume_refresh(copy, NULL, err);
}

static int refresh_locked(Instance *i, const InstanceOrigin *origin, Operation *op, Error **err)
{
	g_autoptr(Pool) from_pool = NULL;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) wanted = NULL;
	g_autoptr(GPtrArray) there = NULL;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Cannot refresh a running instance");
	if (instance_pool(origin->source, &from_pool, err) < 0 ||
	    instance_pool(i, &pool, err) < 0 || copy_snapshots_of(origin, &wanted, err) < 0 ||
	    instance_snapshot_list(i, &there, err) < 0)
		return -1;
	g_autoptr(Volume) whole = copy_root_volume(origin->source, from_pool);
	g_autoptr(Volume) from = origin->snapshot ?
	    volume_snapshot(from_pool, whole, origin->snapshot) :
	    copy_root_volume(origin->source, from_pool);
	g_autoptr(Volume) to = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) gone = origin->instance_only ? g_ptr_array_new() :
							    copy_stale(there, wanted);
	g_autoptr(GPtrArray) fresh = copy_missing(there, wanted);
	g_autoptr(GPtrArray) names = names_of(fresh);
	VolumeCopy copy = { .from_pool = from_pool,
		.from = from,
		.to_pool = pool,
		.to = to,
		.snapshots = names,
		.op = op };
	g_autoptr(Config) owners = config_new();
	g_autoptr(GArray) map = NULL;
	if (copy_owners(origin, owners, err) < 0 || owners_of(owners, &map, err) < 0 ||
	    owners_become(i, pool, map, err) < 0)
		return -1;
	int result = change_snapshots(i, &copy, gone, there, fresh, err);
	if (result < 0) /* rows of what did not arrive */
		instance_snapshot_repair(i->daemon, i->id, NULL);
	return result;
}

int instance_refresh(Instance *target, const InstanceOrigin *origin, Operation *op,
    const Caller *caller, Error **err)
{
	gboolean frozen;
	if (target == origin->source)
		return error_set(err, ERROR_INVALID, "An instance cannot be refreshed from itself");
	if (copy_hold(origin, &frozen, err) < 0)
		return -1;
	/* Two refreshes in opposite directions must not wait for each other. */
	int result = instance_trylock(target, err);
	if (result == 0) {
		result = refresh_locked(target, origin, op, err);
		if (result == 0)
			backup_file_update(target);
		instance_unlock(target);
	}
	copy_release(origin, frozen);
	if (result == 0)
		instance_event(target, "instance-updated", NULL, caller);
	return result;
}
