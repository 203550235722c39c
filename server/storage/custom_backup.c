#include "server/storage/custom_backup.h"
#include "server/storage/custom_volume.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/operation/operation.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include "server/storage/pool_config.h"
#include "server/sys/id_map.h"
#include "server/storage/pool_private.h"
#include "server/storage/pool_used.h"
#include "server/storage/volume_archive.h"
#include <string.h>

/* What a backup is of. */
typedef struct Target {
	Pool *pool;
	Volume *volume;
	VolumeLock *lock;
} Target;

static void target_free(void *object)
{
	Target *target = object;
	volume_free(target->volume);
	pool_unref(target->pool);
	g_free(target);
}

VolumeLock *custom_backup_lock(Pool *pool, const Volume *volume)
{
	g_autofree char *name = g_strconcat(volume->path, "~backups", NULL);
	return volume_lock(pool->locks, name, FALSE);
}

static int lock_volume(BackupOwner *owner, Error **err)
{
	Target *target = owner->object;
	int64_t id;
	target->lock = custom_backup_lock(target->pool, target->volume);
	if (volume_row_find(target->pool, target->volume, &id, NULL, err) == 0) {
		if (id == owner->id)
			return 0;
		error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	}
	g_clear_pointer(&target->lock, volume_unlock);
	return -1;
}

static void unlock_volume(BackupOwner *owner)
{
	Target *target = owner->object;
	g_clear_pointer(&target->lock, volume_unlock);
}

static char *place_in(const Pool *pool, const Volume *volume)
{
	return g_build_filename(pool->name, volume->disk_name, NULL);
}

static char *place_of(const BackupOwner *owner)
{
	const Target *target = owner->object;
	return place_in(target->pool, target->volume);
}

static char *url_of(const BackupOwner *owner)
{
	const Target *target = owner->object;
	return g_strdup_printf("/1.0/storage-pools/%s/volumes/custom/%s", target->pool->name,
	    target->volume->name);
}

static int open_owner(Daemon *d, const char *project, const char *pool_name, const char *name,
    BackupOwner **ret_owner, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	return pool_get(d, pool_name, &pool, err) < 0 ?
	    -1 :
	    custom_backup_owner(pool, project, name, ret_owner, err);
}

/* ---- packing ---- */

static int describe(
    const Target *target, const VolumeIndexHead *head, char **ret_yaml, Error **err)
{
	json_t *volume;
	if (volume_index_volume(target->pool, target->volume, &volume, err) < 0)
		return -1;
	*ret_yaml = volume_index_write(head,
	    json_pack("{s:o, s:o}", "volume", volume, "volume_snapshots",
		volume_index_snapshots(target->volume, head->snapshots)));
	return 0;
}

static int list_snapshots(
    const Target *target, const BackupSpec *spec, GPtrArray **ret_rows, Error **err)
{
	if (!spec->only)
		return snapshot_row_list(target->pool, target->volume, ret_rows, err);
	*ret_rows = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_row_free);
	return 0;
}

static int pack_parts(const Target *target, VolumeArchive *archive, gboolean optimized, Pack *sink,
    Error **err)
{
	g_autofree char *yaml = NULL;
	if (optimized && volume_archive_hold(archive, err) < 0)
		return -1;
	VolumeIndexHead head = { .name = target->volume->name,
		.type = "custom",
		.pool = target->pool,
		.optimized = archive->optimized,
		.header = volume_archive_has_header(archive),
		.snapshots = archive->snapshots };
	if (describe(target, &head, &yaml, err) < 0 ||
	    pack_text(sink, "backup/index.yaml", yaml, err) < 0)
		return -1;
	return volume_archive_pack(archive, sink, err);
}

static int pack(BackupOwner *owner, const BackupSpec *spec, Pack *sink, struct Operation *op,
    Error **err)
{
	const Target *target = owner->object;
	g_autoptr(GPtrArray) rows = NULL;
	g_autoptr(GArray) owners = NULL;
	g_autoptr(GPtrArray) snapshot_owners = NULL;
	if (list_snapshots(target, spec, &rows, err) < 0 ||
	    custom_owners(target->pool, target->volume, rows, &owners, &snapshot_owners, err) < 0)
		return -1;
	VolumeArchive archive = { .pool = target->pool,
		.owners = owners,
		.snapshot_owners = snapshot_owners,
		.volume = target->volume,
		.snapshots = rows,
		.names = &volume_archive_custom,
		.used = TRUE,
		.op = op };
	gboolean optimized = spec->optimized && !id_maps_any(owners, snapshot_owners);
	int result = pack_parts(target, &archive, optimized, sink, err);
	volume_archive_release(&archive);
	return result;
}

const BackupKind custom_backups = {
	.folder = "custom",
	.depth = 2,
	.event = "storage-volume-backup",
	.missing = "Storage volume backup not found",
	.creating = "Creating storage volume backup",
	.renaming = "Renaming storage volume backup",
	.deleting = "Deleting storage volume backup",
	.resources = { "storage_volumes", NULL },
	.table = "storage_volumes_backups",
	.owner = "storage_volume_id",
	.only = "volume_only",
	.select_all =
	    "SELECT s.name || '/' || p.name || '_' || v.name, p.name, s.name, v.name, b.name, b.id,"
	    " b.expiry_date FROM storage_volumes_backups AS b"
	    " JOIN storage_volumes AS v ON v.id = b.storage_volume_id"
	    " JOIN storage_pools AS s ON s.id = v.storage_pool_id"
	    " JOIN projects AS p ON p.id = v.project_id",
	.lock = lock_volume,
	.unlock = unlock_volume,
	.place = place_of,
	.url = url_of,
	.pack = pack,
	.open = open_owner,
	.release = target_free,
};

int custom_backup_owner(Pool *pool, const char *project, const char *name, BackupOwner **ret_owner,
    Error **err)
{
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, project, name);
	int64_t id;
	if (volume_load(pool, volume, &id, NULL, err) < 0)
		return -1;
	Target *target = g_new0(Target, 1);
	target->pool = pool_ref(pool);
	target->volume = g_steal_pointer(&volume);
	*ret_owner = backup_owner_new(&custom_backups, pool->daemon, project, id, target);
	return 0;
}

/* ---- what they are of changes ---- */

int custom_backup_place_begin(
    const Pool *pool, const Volume *volume, const Pool *to_pool, const Volume *to, Error **err)
{
	g_autofree char *from = place_in(pool, volume);
	g_autofree char *fresh = place_in(to_pool, to);
	return backup_place_begin(pool->daemon, &custom_backups, from, fresh, err);
}

void custom_backup_place_end(
    const Pool *pool, const Volume *volume, const Pool *to_pool, const Volume *to, gboolean came)
{
	g_autofree char *from = place_in(pool, volume);
	g_autofree char *fresh = place_in(to_pool, to);
	backup_place_end(pool->daemon, &custom_backups, from, fresh, came);
}

void custom_backup_place_clear(const Pool *pool, const Volume *volume)
{
	g_autofree char *place = place_in(pool, volume);
	backup_place_clear(pool->daemon, &custom_backups, place);
}

int custom_backup_start(Daemon *d, Error **err)
{
	return backup_repair(d, &custom_backups, err);
}

static gint64 expiry_due(Daemon *d, gint64 now)
{
	return backup_expiry_due(d, &custom_backups);
}

static int run_expiry(struct Operation *op, void *data, Error **err)
{
	return backup_expire(operation_daemon(op), &custom_backups, operation_caller(op), err);
}

int custom_backup_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob expiry = { "Cleaning up expired storage volume backups",
		expiry_due, run_expiry };
	schedule_add(d, &expiry);
	return 0;
}

/* ---- the way back ---- */

static const char *restored_name(const CustomRestore *r)
{
	return r->name && *r->name ? r->name : r->index->name;
}

int custom_restore_check(const CustomRestore *r, Error **err)
{
	const VolumeIndex *index = r->index;
	const char *name = restored_name(r);
	if (strcmp(index->type, "custom") != 0)
		return error_set(err, ERROR_INVALID, "Backup holds a \"%s\", not a custom volume",
		    *index->type ? index->type : "container");
	if (name_check_volume(name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if (volume_archive_check(r->pool, index, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(r->pool, VOLUME_CUSTOM, r->project, name);
	if (volume_row_find(r->pool, volume, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	volume_index_filter(r->index, r->pool);
	if (volume_config_check(r->pool->driver_name, index->config, err) < 0)
		return error_prefix(err, "Backup index");
	return project_allow_volume(r->pool->daemon, r->project, r->pool->name, name,
	    config_get(index->config, "size"), err);
}

int custom_restore(const CustomRestore *r, Error **err)
{
	if (custom_restore_check(r, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(
	    r->pool, VOLUME_CUSTOM, r->project, restored_name(r));
	const char *size = config_get(r->index->config, "size");
	int64_t limit = 0;
	if (size && units_parse_bytes(size, &limit, err) < 0)
		return -1;
	volume->content = r->index->content;
	VolumeArchive archive = { .pool = r->pool,
		.volume = volume,
		.snapshots = r->index->snapshots,
		.names = &volume_archive_custom,
		.optimized = r->index->optimized,
		.op = r->op,
		.description = r->index->description,
		.config = r->index->config,
		.limit = (uint64_t)limit };
	if (volume_archive_unpack(&archive, r->fd, err) < 0)
		return -1;
	schedule_changed(r->pool->daemon); /* it may hold snapshots.schedule */
	return 0;
}
