#include "server/storage/custom_copy.h"
#include "sdk/base/fault.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "server/project/project.h"
#include "server/storage/custom_backup.h"
#include "server/storage/pool_config.h"
#include "server/storage/pool_private.h"
#include "server/storage/snapshot.h"
#include "server/storage/store.h"
#include "server/storage/volume_build.h"
#include "server/storage/volume_copy.h"
#include <string.h>

typedef struct Plan {
	Volume *whole;         /* the source */
	Volume *from, *to;     /* from: the source or a snapshot of it */
	GPtrArray *snapshots;  /* SnapshotRow *, of the source */
	GPtrArray *names;      /* of those to copy */
	char *description;
	VolumeCopy copy;
} Plan;

static void plan_clear(Plan *plan)
{
	volume_free(plan->whole);
	volume_free(plan->from);
	volume_free(plan->to);
	g_clear_pointer(&plan->snapshots, g_ptr_array_unref);
	g_clear_pointer(&plan->names, g_ptr_array_unref);
	g_free(plan->description);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

static int check_pool(const Pool *pool, Error **err)
{
	if (!pool->driver || strcmp(pool->status, "Created") != 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "Storage pool \"%s\" is not available", pool->name);
	return 0;
}

static int find_source(const CustomCopy *c, Plan *plan, Error **err)
{
	const char *slash = strchr(c->from_name, '/');
	g_autofree char *name = slash ? g_strndup(c->from_name, (gsize)(slash - c->from_name)) :
					g_strdup(c->from_name);
	plan->whole = volume_new(c->from_pool, VOLUME_CUSTOM, c->from_project, name);
	if (volume_load(c->from_pool, plan->whole, NULL, NULL, err) < 0)
		return -1;
	g_autoptr(SnapshotRow) row = NULL;
	if (slash) {
		plan->from = volume_snapshot(c->from_pool, plan->whole, slash + 1);
		return snapshot_row_find(c->from_pool, plan->whole, slash + 1, &row, err);
	}
	plan->from = volume_new(c->from_pool, VOLUME_CUSTOM, c->from_project, name);
	plan->from->content = plan->whole->content;
	return snapshot_row_list(c->from_pool, plan->whole, &plan->snapshots, err);
}

static int make_plan(const CustomCopy *c, Plan *plan, Error **err)
{
	if (check_pool(c->from_pool, err) < 0 || check_pool(c->to_pool, err) < 0)
		return -1;
	if (name_check_volume(c->name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if ((c->config && volume_config_check(c->to_pool->driver_name, c->config, err) < 0) ||
	    find_source(c, plan, err) < 0)
		return -1;
	plan->to = volume_new(c->to_pool, VOLUME_CUSTOM, c->project, c->name);
	plan->to->content = plan->from->content;
	plan->names = g_ptr_array_new();
	for (guint n = 0; plan->snapshots && n < plan->snapshots->len && !c->volume_only; n++)
		g_ptr_array_add(plan->names, ((SnapshotRow *)plan->snapshots->pdata[n])->name);
	if (c->description && *c->description)
		plan->description = g_strdup(c->description);
	else if (volume_row_description(c->from_pool, plan->whole, &plan->description, err) < 0)
		return -1;
	plan->copy = (VolumeCopy){ .from_pool = c->from_pool,
		.from = plan->from,
		.to_pool = c->to_pool,
		.to = plan->to,
		.snapshots = plan->names,
		.description = plan->description,
		.config = c->config,
		.op = c->op };
	return 0;
}

/* The name is free, and the project may have one more volume of that size. */
static int check_new(const CustomCopy *c, const Plan *plan, Error **err)
{
	g_autoptr(Config) own = NULL;
	if (volume_row_find(c->to_pool, plan->to, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	if (!c->config && volume_copy_config(&plan->copy, &own, err) < 0)
		return -1;
	g_autoptr(Config) config = volume_effective_config(c->to_pool, c->config ? c->config : own);
	return project_allow_volume(c->to_pool->daemon, c->project, c->to_pool->name, c->name,
	    config_get(config, "size"), err);
}

/* In its own project a volume that moves is counted already. */
static int check_moved(const CustomCopy *c, const Plan *plan, Error **err)
{
	if (strcmp(c->project, c->from_project) != 0)
		return check_new(c, plan, err);
	if (volume_row_find(c->to_pool, plan->to, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	return 0;
}

int custom_copy(const CustomCopy *c, Error **err)
{
	g_auto(Plan) plan = { 0 };
	if (make_plan(c, &plan, err) < 0 || check_new(c, &plan, err) < 0)
		return -1;
	return volume_copy(&plan.copy, err);
}

/* ---- refresh ---- */

static gboolean has_name(const GPtrArray *rows, const char *name)
{
	for (guint n = 0; rows && n < rows->len; n++)
		if (strcmp(((SnapshotRow *)rows->pdata[n])->name, name) == 0)
			return TRUE;
	return FALSE;
}

/* Names of `rows` that `others` has not. */
static GPtrArray *lacking(const GPtrArray *rows, const GPtrArray *others)
{
	GPtrArray *names = g_ptr_array_new();
	for (guint n = 0; rows && n < rows->len; n++) {
		SnapshotRow *row = rows->pdata[n];
		if (!has_name(others, row->name))
			g_ptr_array_add(names, row->name);
	}
	return names;
}

static int refresh(const CustomCopy *c, Plan *plan, Error **err)
{
	g_autoptr(GPtrArray) there = NULL;
	VolumeContent content = plan->to->content;
	if (strcmp(plan->whole->path, plan->to->path) == 0)
		return error_set(err, ERROR_INVALID, "A volume cannot be refreshed from itself");
	if (store_check_volume(
		c->to_pool->daemon, c->to_pool->name, plan->to->project, c->name, err) < 0 ||
	    volume_load(c->to_pool, plan->to, NULL, NULL, err) < 0 ||
	    snapshot_row_list(c->to_pool, plan->to, &there, err) < 0)
		return -1;
	if (plan->to->content != content)
		return error_set(err, ERROR_INVALID,
		    "Volumes of different content types cannot be refreshed from each other");
	if (content == CONTENT_ISO)
		return error_set(err, ERROR_INVALID,
		    "Volumes of content type \"iso\" do not change and cannot be refreshed");
	gboolean all = !c->volume_only && !plan->from->snapshot;
	g_autoptr(GPtrArray) gone = all ? lacking(there, plan->snapshots) : g_ptr_array_new();
	g_autoptr(GPtrArray) fresh = all ? lacking(plan->snapshots, there) : g_ptr_array_new();
	plan->copy.snapshots = fresh;
	return volume_refresh(&plan->copy, gone, err);
}

int custom_refresh(const CustomCopy *c, Error **err)
{
	g_auto(Plan) plan = { 0 };
	if (make_plan(c, &plan, err) < 0)
		return -1;
	if (volume_row_find(c->to_pool, plan.to, NULL, NULL, NULL) < 0)
		return check_new(c, &plan, err) < 0 ? -1 : volume_copy(&plan.copy, err);
	return refresh(c, &plan, err);
}

/* ---- move ---- */

static void remove_moved(Pool *pool, const Volume *volume)
{
	g_autoptr(VolumeLock) lock = volume_lock(pool->locks, volume->path, FALSE);
	g_autoptr(Error) error = NULL;
	if (volume_remove(pool, volume, &error) < 0)
		log_warn("What a move left stays until the next start", "pool", pool->name,
		    "volume", volume->name, "err", error->message);
}

static int hand_over(const CustomCopy *c, const Plan *plan, const VolumeHandOver *over, Error **err)
{
	if (custom_backup_place_begin(c->from_pool, plan->from, c->to_pool, plan->to, err) < 0)
		return -1;
	int result = fault_point("volume hand over", err) < 0 ? -1 :
								 volume_row_hand_over(over, err);
	custom_backup_place_end(c->from_pool, plan->from, c->to_pool, plan->to, result == 0);
	return result;
}

/* The copy is marked as the one to remove until it is whole; then the old one is. */
static int move_between(const CustomCopy *c, Plan *plan, PoolAlso also, void *data, Error **err)
{
	g_autoptr(Config) marked = NULL;
	g_autoptr(VolumeLock) backups = custom_backup_lock(c->from_pool, plan->from);
	if (!volume_wait_unmounted(c->from_pool, plan->from))
		return error_set(
		    err, ERROR_BUSY, "Storage volume \"%s\" is in use", plan->from->name);
	if (volume_copy_config(&plan->copy, &marked, err) < 0)
		return -1;
	config_set(marked, VOLUME_MOVING, "true");
	plan->copy.config = marked;
	if (volume_copy(&plan->copy, err) < 0)
		return -1;
	VolumeHandOver over = { .from_pool = c->from_pool,
		.from = plan->from,
		.to_pool = c->to_pool,
		.to = plan->to,
		.snapshots = plan->names->len,
		.also = also,
		.data = data };
	int result = hand_over(c, plan, &over, err);
	if (result < 0)
		remove_moved(c->to_pool, plan->to);
	else
		remove_moved(c->from_pool, plan->from);
	return result;
}

int custom_move(const CustomCopy *c, PoolAlso also, void *data, Error **err)
{
	CustomCopy whole = *c;
	g_auto(Plan) plan = { 0 };
	whole.volume_only = FALSE;
	whole.description = "";
	if (make_plan(&whole, &plan, err) < 0 || check_moved(&whole, &plan, err) < 0)
		return -1;
	if (plan.from->snapshot)
		return error_set(err, ERROR_INVALID, "A snapshot cannot be moved");
	if (c->from_pool == c->to_pool)
		return custom_rename(c->from_pool, plan.from, c->project, c->name, also, data, err);
	return move_between(&whole, &plan, also, data, err);
}

typedef struct MarkedCall {
	Pool *pool;
	GPtrArray *volumes;
} MarkedCall;

static int marked_tx(Tx *tx, void *data, Error **err)
{
	MarkedCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(call->volumes, 0);
	if (tx_query(tx, &rows, err,
		"SELECT p.name, v.name, v.content_type FROM storage_volumes v JOIN projects p ON p.id = v.project_id"
		" JOIN storage_volumes_config c ON c.storage_volume_id = v.id AND c.key = '" VOLUME_MOVING
		"'"
		" WHERE v.storage_pool_id = ? AND v.type = 2",
		"i", call->pool->id) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Volume *volume = volume_new(
		    call->pool, VOLUME_CUSTOM, rows_text(rows, 0), rows_text(rows, 1));
		volume->content = (VolumeContent)rows_int(rows, 2);
		g_ptr_array_add(call->volumes, volume);
	}
	return more;
}

int custom_move_repair(Pool *pool, Error **err)
{
	g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	MarkedCall call = { .pool = pool, .volumes = volumes };
	if (db_read(pool->daemon->db, marked_tx, &call, err) < 0)
		return -1;
	for (guint n = 0; n < volumes->len; n++) {
		log_info("Removing what an interrupted move left", "pool", pool->name, "volume",
		    ((Volume *)volumes->pdata[n])->name);
		remove_moved(pool, volumes->pdata[n]);
	}
	return 0;
}
