/* Moving a stopped instance to another pool or project of this server. */
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/instance/copy.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/instance/snapshot_row.h"
#include "server/project/project.h"
#include "server/storage/volume_build.h"
#include "server/storage/volume_copy.h"
#include <stdio.h>
#include <string.h>

/* VOLUME_MOVING is set on the old and on the new root volume while one takes the other's place. At
 * start, of a marked volume and its instance: the one that is the instance's root stays, the other
 * goes. */
typedef struct Plan {
	const char *name, *project; /* where to */
	Pool *from_pool, *pool;
	Volume *from, *to;
	Devices *devices;           /* the instance's own, as they will be */
	char **profiles;
	gboolean instance_only;
} Plan;

static void plan_clear(Plan *plan)
{
	pool_unref(plan->from_pool);
	pool_unref(plan->pool);
	volume_free(plan->from);
	volume_free(plan->to);
	g_clear_pointer(&plan->devices, g_hash_table_unref);
	g_strfreev(plan->profiles);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

static VolumeType kind(const Instance *i)
{
	return i->type == INSTANCE_MACHINE ? VOLUME_MACHINE : VOLUME_CONTAINER;
}

/* What the instance will be, checked in the project where it will be. */
static int make_plan(Instance *i, const InstanceMove *move, Plan *plan, Error **err)
{
	g_autoptr(Config) config = instance_config(i);
	g_autoptr(GHashTable) old = instance_expanded_devices(i);
	g_autoptr(Config) expanded = NULL;
	g_autoptr(GHashTable) devices = NULL;
	plan->name = move->name && *move->name ? move->name : i->name;
	plan->project = move->project && *move->project ? g_intern_string(move->project) :
							  i->project;
	plan->instance_only = move->instance_only;
	plan->devices = instance_devices(i);
	plan->profiles = move->profiles ? g_strdupv((char **)move->profiles) : instance_profiles(i);
	if (name_check_instance(plan->name, err) < 0)
		return -1;
	if (instance_pool(i, &plan->from_pool, err) < 0 ||
	    pool_get(i->daemon, move->pool && *move->pool ? move->pool : pool_name(plan->from_pool),
		&plan->pool, err) < 0)
		return -1;
	copy_set_root_pool(plan->devices, old, pool_name(plan->pool));
	plan->from = volume_new(plan->from_pool, kind(i), i->project, i->name);
	plan->to = volume_new(plan->pool, kind(i), plan->project, plan->name);
	if (row_expand(i->daemon, plan->project, plan->profiles, config, plan->devices, NULL,
		&expanded, &devices, err) < 0)
		return -1;
	/* In its own project it is still the one that is there. */
	const char *name = plan->project == i->project ? i->name : plan->name;
	return instance_check(
	    i->daemon, plan->project, name, i->type, expanded, devices, i->expanded_devices, err);
}

static int move_data(Instance *i, const Plan *plan, struct Operation *op, Error **err)
{
	g_autoptr(GPtrArray) snapshots = NULL;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	if (plan->from_pool == plan->pool) {
		g_auto(VolumePairLock) locks = volume_lock_pair(plan->pool, plan->from, plan->to);
		return volume_rename(plan->pool, plan->from, plan->to, err);
	}
	if (instance_snapshot_list(i, &snapshots, err) < 0)
		return -1;
	for (guint n = 0; n < snapshots->len && !plan->instance_only; n++)
		g_ptr_array_add(names, ((InstanceSnapshot *)snapshots->pdata[n])->name);
	g_autoptr(Config) marked = NULL;
	uint64_t size;
	if (device_root_size(i->expanded_devices, &size, err) < 0)
		return -1;
	VolumeCopy copy = { .from_pool = plan->from_pool,
		.from = plan->from,
		.to_pool = plan->pool,
		.to = plan->to,
		.snapshots = names,
		.description = "",
		.size = size,
		.op = op };
	if (volume_copy_config(&copy, &marked, err) < 0)
		return -1;
	config_set(marked, VOLUME_MOVING, "true");
	copy.config = marked;
	if (volume_copy(&copy, err) < 0)
		return -1;
	if (volume_row_set(plan->from_pool, plan->from, VOLUME_MOVING, "true", err) == 0)
		return 0;
	pool_instance_delete(
	    plan->pool, plan->project, plan->name, instance_type_name(i->type), NULL);
	return -1;
}

/* The move failed after its data was there. */
static void undo_data(Instance *i, const Plan *plan)
{
	if (plan->from_pool == plan->pool) {
		g_auto(VolumePairLock) locks = volume_lock_pair(plan->pool, plan->from, plan->to);
		volume_rename(plan->pool, plan->to, plan->from, NULL);
		return;
	}
	pool_instance_delete(
	    plan->pool, plan->project, plan->name, instance_type_name(i->type), NULL);
	volume_row_set(plan->from_pool, plan->from, VOLUME_MOVING, NULL, NULL);
}

/* Their data stays behind; rows that a crash leaves go at the next start. */
static void forget_snapshots(Instance *i)
{
	g_autoptr(GPtrArray) snapshots = NULL;
	g_autoptr(Error) error = NULL;
	int result = instance_snapshot_list(i, &snapshots, &error);
	for (guint n = 0; result == 0 && n < snapshots->len; n++)
		result = snapshot_forget(
		    i->daemon, ((InstanceSnapshot *)snapshots->pdata[n])->id, &error);
	if (result < 0)
		log_warn("Snapshots that were left behind stay until the next start", "instance",
		    i->name, "err", error->message);
}

static void finish_data(
    Instance *i, const Plan *plan, const char *old_project, const char *old_name)
{
	Error *error = NULL;
	if (plan->from_pool == plan->pool)
		return;
	if (plan->instance_only)
		forget_snapshots(i);
	if (pool_instance_delete(
		plan->from_pool, old_project, old_name, instance_type_name(i->type), &error) < 0)
		log_warn("The old root volume stays until the next start", "instance", i->name,
		    "err", error->message);
	else
		volume_row_set(plan->pool, plan->to, VOLUME_MOVING, NULL, NULL);
	/* Deleting took the link in containers/ away, which was the new one's too when the name is
	 * the same. */
	volume_link(plan->pool, plan->to, NULL);
	error_free(error);
}

static void swap_fields(Instance *i, Plan *plan)
{
	g_mutex_lock(&i->lock);
	Devices *devices = i->devices;
	char **profiles = i->profiles;
	i->devices = plan->devices;
	i->profiles = plan->profiles;
	g_mutex_unlock(&i->lock);
	plan->devices = devices;
	plan->profiles = profiles;
}

static int move_row(
    Instance *i, Plan *plan, const char *old_project, const char *old_name, Error **err)
{
	if (table_move(i, plan->project, plan->name, err) < 0)
		return -1;
	swap_fields(i, plan);
	if (row_move(i, pool_name(plan->pool), err) == 0)
		return 0;
	swap_fields(i, plan);
	table_move(i, old_project, old_name, NULL);
	return -1;
}

static int move_rows(
    Instance *i, Plan *plan, const char *old_project, const char *old_name, Error **err)
{
	g_autofree char *from = instance_file_name(i);
	g_autofree char *to = instance_file_name_as(plan->project, plan->name);
	int result = backup_place_begin(i->daemon, &instance_backups, from, to, err);
	if (result == 0)
		result = move_row(i, plan, old_project, old_name, err);
	backup_place_end(i->daemon, &instance_backups, from, to, result == 0);
	return result;
}

static int move_locked(Instance *i, const InstanceMove *move, struct Operation *op, Error **err)
{
	g_auto(Plan) plan = { 0 };
	const char *old_project = i->project, *old_name = i->name;
	g_autofree char *logs = instance_log_path(i);
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Instance must be stopped to be moved");
	if (make_plan(i, move, &plan, err) < 0)
		return -1;
	if (plan.from_pool == plan.pool && plan.project == old_project &&
	    strcmp(plan.name, old_name) == 0)
		return error_set(err, ERROR_INVALID, "The instance is already there");
	if (move_data(i, &plan, op, err) < 0)
		return -1;
	if (move_rows(i, &plan, old_project, old_name, err) < 0) {
		undo_data(i, &plan);
		return -1;
	}
	finish_data(i, &plan, old_project, old_name);
	g_autofree char *new_logs = instance_log_path(i);
	if (strcmp(logs, new_logs) != 0)
		rename(logs, new_logs);
	return instance_reexpand(i, err);
}

int instance_move(
    Instance *i, const InstanceMove *move, struct Operation *op, const Caller *caller, Error **err)
{
	const char *old = i->name;
	if (instance_lock(i, err) < 0)
		return -1;
	int result = move_locked(i, move, op, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result < 0)
		return -1;
	g_autofree char *context = g_strdup_printf("{\"old_name\":\"%s\"}", old);
	instance_event(i, strcmp(old, i->name) != 0 ? "instance-renamed" : "instance-updated",
	    context, caller);
	return 0;
}

/* ---- what a crash left ---- */

typedef struct Marked {
	char *pool, *project, *name;
	VolumeType type;
} Marked;

static void marked_free(void *data)
{
	Marked *m = data;
	g_free(m->pool);
	g_free(m->project);
	g_free(m->name);
	g_free(m);
}

static int marked_tx(Tx *tx, void *data, Error **err)
{
	GPtrArray *list = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(list, 0);
	if (tx_query(tx, &rows, err,
		"SELECT o.name, p.name, v.name, v.type FROM storage_volumes_config AS c"
		" JOIN storage_volumes AS v ON v.id = c.storage_volume_id JOIN projects AS p ON p.id = v.project_id"
		" JOIN storage_pools AS o ON o.id = v.storage_pool_id WHERE c.key = '" VOLUME_MOVING
		"' AND v.type IN (0, 3)",
		"") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Marked *m = g_new0(Marked, 1);
		m->pool = g_strdup(rows_text(rows, 0));
		m->project = g_strdup(rows_text(rows, 1));
		m->name = g_strdup(rows_text(rows, 2));
		m->type = (VolumeType)rows_int(rows, 3);
		g_ptr_array_add(list, m);
	}
	return more;
}

static int settle(Daemon *d, const Marked *m, Error **err)
{
	g_autoptr(Instance) i = NULL;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Pool) root = NULL;
	if (pool_get(d, m->pool, &pool, err) < 0)
		return -1;
	gboolean known = instance_get(d, m->project, m->name, &i, NULL) == 0;
	if (known && instance_pool(i, &root, NULL) == 0 && root == pool) {
		g_autoptr(Volume) volume = volume_new(pool, m->type, m->project, m->name);
		return volume_row_set(pool, volume, VOLUME_MOVING, NULL, err);
	}
	log_info("Removing what an interrupted move left", "pool", m->pool, "volume", m->name);
	if (pool_instance_delete(pool, m->project, m->name, volume_type_name(m->type), err) < 0)
		return -1;
	g_autoptr(Volume) stays = root ? volume_new(root, m->type, m->project, m->name) : NULL;
	return stays ? volume_link(root, stays, err) : 0;
}

int instance_move_repair(Daemon *d, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(marked_free);
	if (db_read(d->db, marked_tx, list, err) < 0)
		return -1;
	for (guint n = 0; n < list->len; n++) {
		g_autoptr(Error) error = NULL;
		if (settle(d, list->pdata[n], &error) < 0)
			log_error("An interrupted move is not cleaned up", "volume",
			    ((Marked *)list->pdata[n])->name, "err", error->message);
	}
	return 0;
}
