#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/instance/copy.h"
#include "server/instance/flow.h"
#include "server/instance/private.h"
#include "server/operation/operation.h"
#include "server/operation/schedule.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_archive.h"
#include "server/sys/id_map.h"

static int lock_instance(BackupOwner *owner, Error **err)
{
	return instance_lock(owner->object, err);
}

static void unlock_instance(BackupOwner *owner)
{
	instance_unlock(owner->object);
}

static char *place_of(const BackupOwner *owner)
{
	return instance_file_name(owner->object);
}

static char *url_of(const BackupOwner *owner)
{
	return g_strdup_printf("/1.0/instances/%s", instance_name(owner->object));
}

static void release(void *object)
{
	instance_unref(object);
}

static int open_owner(Daemon *d, const char *project, const char *pool, const char *name,
    BackupOwner **ret_owner, Error **err)
{
	g_autoptr(Instance) i = NULL;
	if (instance_get(d, project, name, &i, err) < 0)
		return -1;
	*ret_owner = instance_backup_owner(i);
	return 0;
}

/* ---- packing ---- */

static int list_snapshots(
    Instance *i, const BackupSpec *spec, GPtrArray **ret_list, Error **err)
{
	if (!spec->only)
		return instance_snapshot_list(i, ret_list, err);
	*ret_list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	return 0;
}

typedef struct Parts {
	Pool *pool;
	GPtrArray *snapshots, *rows; /* InstanceSnapshot *; SnapshotRow * of the same */
} Parts;

static void parts_clear(Parts *parts)
{
	g_clear_pointer(&parts->snapshots, g_ptr_array_unref);
	g_clear_pointer(&parts->rows, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Parts, parts_clear)

static int pack_parts(Instance *i, const Parts *parts, VolumeArchive *archive,
    gboolean optimized, Pack *sink, Error **err)
{
	g_autofree char *index = NULL;
	if (optimized && volume_archive_hold(archive, err) < 0)
		return -1;
	VolumeIndexHead head = { .name = i->name,
		.type = instance_type_name(i->type),
		.pool = parts->pool,
		.optimized = archive->optimized,
		.header = volume_archive_has_header(archive),
		.snapshots = parts->rows };
	if (backup_index_write(i, parts->snapshots, &head, &index, err) < 0 ||
	    pack_text(sink, "backup/index.yaml", index, err) < 0)
		return -1;
	return volume_archive_pack(archive, sink, err);
}

static int pack(Instance *i, Pool *pool, const BackupSpec *spec, Pack *sink, struct Operation *op,
    Error **err)
{
	g_auto(Parts) parts = { .pool = pool };
	g_autoptr(GArray) owners = NULL;
	g_autoptr(GPtrArray) snapshot_owners = NULL;
	if (list_snapshots(i, spec, &parts.snapshots, err) < 0 ||
	    backup_volume_rows(i, pool, parts.snapshots, &parts.rows, err) < 0 ||
	    owners_now(i, &owners, err) < 0 ||
	    owners_of_snapshots(parts.snapshots, &snapshot_owners, err) < 0)
		return -1;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	VolumeArchive archive = { .pool = pool,
		.owners = owners,
		.snapshot_owners = snapshot_owners,
		.volume = volume,
		.snapshots = parts.rows,
		.names = i->type == INSTANCE_MACHINE ? &volume_archive_machine :
						       &volume_archive_container,
		.used = instance_running(i),
		.op = op };
	gboolean optimized = spec->optimized && !id_maps_any(owners, snapshot_owners);
	int result = pack_parts(i, &parts, &archive, optimized, sink, err);
	volume_archive_release(&archive);
	return result;
}

/* Nothing may change while trees are read, unless a clone is. */
static int pack_still(BackupOwner *owner, const BackupSpec *spec, Pack *sink, struct Operation *op,
    Error **err)
{
	Instance *i = owner->object;
	g_autoptr(Pool) pool = NULL;
	if (instance_pool(i, &pool, err) < 0)
		return -1;
	gboolean freeze = instance_status(i) == INSTANCE_RUNNING && !pool_snapshots_at_once(pool);
	backup_file_update(i);
	if (freeze && power_freeze_locked(i, TRUE, err) < 0)
		return -1;
	int result = pack(i, pool, spec, sink, op, err);
	return freeze && power_freeze_locked(i, FALSE, result == 0 ? err : NULL) < 0 ? -1 : result;
}

const BackupKind instance_backups = {
	.folder = "instances",
	.depth = 1,
	.event = "instance-backup",
	.missing = "Load backup from database: Instance backup not found",
	.creating = "Backing up instance",
	.renaming = "Renaming instance backup",
	.deleting = "Removing instance backup",
	.resources = { "instances", "containers" },
	.table = "instances_backups",
	.owner = "instance_id",
	.only = "container_only",
	.select_all =
	    "SELECT CASE p.name WHEN 'default' THEN i.name ELSE p.name || '_' || i.name END,"
	    " p.name, '', i.name, b.name, b.id, b.expiry_date FROM instances_backups AS b"
	    " JOIN instances AS i ON i.id = b.instance_id JOIN projects AS p ON p.id = i.project_id",
	.lock = lock_instance,
	.unlock = unlock_instance,
	.place = place_of,
	.url = url_of,
	.pack = pack_still,
	.open = open_owner,
	.release = release,
};

BackupOwner *instance_backup_owner(Instance *i)
{
	return backup_owner_new(
	    &instance_backups, i->daemon, i->project, i->id, instance_ref(i));
}

/* ---- start, and what has expired ---- */

int instance_backup_repair(Daemon *d, Error **err)
{
	return backup_repair(d, &instance_backups, err);
}

static gint64 expiry_due(Daemon *d, gint64 now)
{
	return backup_expiry_due(d, &instance_backups);
}

static int run_expiry(struct Operation *op, void *data, Error **err)
{
	return backup_expire(operation_daemon(op), &instance_backups, operation_caller(op), err);
}

int instance_backup_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob expiry = { "Cleaning up expired backups", expiry_due, run_expiry };
	schedule_add(d, &expiry);
	return 0;
}
