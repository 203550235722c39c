/* Handlers of VolumeBackupService: backups of custom volumes. */
#include "incus/v1/handlers.h"
#include "sdk/base/moment_message.h"
#include "server/api/backup_work.h"
#include "server/project/project.h"
#include "server/storage/custom_backup.h"

static BackupOwner *owner_of(
    Request *rq, const char *pool_name, const char *type, const char *name, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autofree char *project = NULL;
	BackupOwner *owner;
	VolumeType kind;
	if (volume_type_parse(type, &kind, err) < 0)
		return NULL;
	if (kind != VOLUME_CUSTOM) {
		error_set(err, ERROR_INVALID, "Invalid storage volume type \"%s\"", type);
		return NULL;
	}
	return pool_get(rq->daemon, pool_name, &pool, err) < 0 ||
		project_effective(
		    rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &project, err) < 0 ||
		custom_backup_owner(pool, project, name, &owner, err) < 0 ?
	    NULL :
	    owner;
}

static Pb__StorageVolumeBackup *render(const Backup *backup, Arena *arena)
{
	Pb__StorageVolumeBackup *out = arena_message(
	    arena, Pb__StorageVolumeBackup, pb__storage_volume_backup);
	out->name = arena_strdup(arena, backup->name);
	out->created_at = seconds_to_message(backup->created, arena);
	out->expires_at = seconds_to_message(backup->expires, arena);
	out->volume_only = backup->only;
	out->optimized_storage = backup->optimized;
	return out;
}

int api_get_storage_pool_volume_backups(Request *rq, const Pb__GetStoragePoolVolumeBackupsRequest *in,
    Pb__GetStoragePoolVolumeBackupsResponse *out, Error **err)
{
	g_autoptr(BackupOwner) owner = owner_of(rq, in->pool, in->type, in->volume, err);
	g_autoptr(GPtrArray) list = NULL;
	if (!owner || backup_list(owner, &list, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (list->len + 1) * sizeof(*out->items));
	for (guint n = 0; n < list->len; n++)
		out->items[out->n_items++] = render(list->pdata[n], rq->arena);
	return 0;
}

int api_get_storage_pool_volume_backup(Request *rq, const Pb__GetStoragePoolVolumeBackupRequest *in,
    Pb__StorageVolumeBackup *out, Error **err)
{
	g_autoptr(BackupOwner) owner = owner_of(rq, in->pool, in->type, in->volume, err);
	g_autoptr(Backup) backup = NULL;
	if (!owner || backup_find(owner, in->name, &backup, err) < 0)
		return -1;
	*out = *render(backup, rq->arena);
	return 0;
}

int api_create_storage_pool_volume_backup(Request *rq,
    const Pb__CreateStoragePoolVolumeBackupRequest *in, Pb__Operation *out, Error **err)
{
	static const Pb__StorageVolumeBackupsPost plain = PB__STORAGE_VOLUME_BACKUPS_POST__INIT;
	const Pb__StorageVolumeBackupsPost *asked = in->backup ? in->backup : &plain;
	BackupPost post = { .name = asked->name,
		.expires_at = asked->expires_at,
		.only = asked->volume_only,
		.optimized = asked->optimized_storage,
		.compression = asked->compression_algorithm };
	BackupOwner *owner = owner_of(rq, in->pool, in->type, in->volume, err);
	return owner ? backup_work_create(rq, owner, &post, out, err) : -1;
}

int api_rename_storage_pool_volume_backup(Request *rq,
    const Pb__RenameStoragePoolVolumeBackupRequest *in, Pb__Operation *out, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->pool, in->type, in->volume, err);
	const char *name = in->backup ? in->backup->name : "";
	return owner ? backup_work_rename(rq, owner, in->name, name, out, err) : -1;
}

int api_delete_storage_pool_volume_backup(Request *rq,
    const Pb__DeleteStoragePoolVolumeBackupRequest *in, Pb__Operation *out, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->pool, in->type, in->volume, err);
	return owner ? backup_work_delete(rq, owner, in->name, out, err) : -1;
}

int api_export_storage_pool_volume_backup(Request *rq,
    const Pb__ExportStoragePoolVolumeBackupRequest *in, Stream *stream, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->pool, in->type, in->volume, err);
	BackupRest rest = { in->offset, in->version };
	return owner ? backup_work_send(rq, owner, in->name, &rest, stream, err) : -1;
}
