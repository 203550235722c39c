/* Handlers of BackupService: backups of instances, and instances from backups. */
#include "incus/v1/handlers.h"
#include "sdk/base/moment_message.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/api/backup_work.h"
#include "server/api/instance_backup.h"
#include "server/daemon.h"
#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/operation/operation.h"

/* ---- reading ---- */

static BackupOwner *owner_of(Request *rq, const char *name, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	return instance_get(rq->daemon, rq->project, name, &instance, err) < 0 ?
	    NULL :
	    instance_backup_owner(instance);
}

static Pb__InstanceBackup *render(const Backup *backup, Arena *arena)
{
	Pb__InstanceBackup *out = arena_message(arena, Pb__InstanceBackup, pb__instance_backup);
	out->name = arena_strdup(arena, backup->name);
	out->created_at = seconds_to_message(backup->created, arena);
	out->expires_at = seconds_to_message(backup->expires, arena);
	out->instance_only = backup->only;
	out->optimized_storage = backup->optimized;
	return out;
}

int instance_backups_render(Request *rq, Instance *instance, size_t *ret_n,
    Pb__InstanceBackup ***ret_backups, Error **err)
{
	g_autoptr(BackupOwner) owner = instance_backup_owner(instance);
	g_autoptr(GPtrArray) list = NULL;
	if (backup_list(owner, &list, err) < 0)
		return -1;
	*ret_backups = arena_alloc(rq->arena, (list->len + 1) * sizeof(**ret_backups));
	for (guint n = 0; n < list->len; n++)
		(*ret_backups)[n] = render(list->pdata[n], rq->arena);
	*ret_n = list->len;
	return 0;
}

int api_get_instance_backups(Request *rq, const Pb__GetInstanceBackupsRequest *in,
    Pb__GetInstanceBackupsResponse *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	return instance_get(rq->daemon, rq->project, in->instance, &instance, err) < 0 ?
	    -1 :
	    instance_backups_render(rq, instance, &out->n_items, &out->items, err);
}

int api_get_instance_backup(
    Request *rq, const Pb__GetInstanceBackupRequest *in, Pb__InstanceBackup *out, Error **err)
{
	g_autoptr(BackupOwner) owner = owner_of(rq, in->instance, err);
	g_autoptr(Backup) backup = NULL;
	if (!owner || backup_find(owner, in->name, &backup, err) < 0)
		return -1;
	*out = *render(backup, rq->arena);
	return 0;
}

int api_export_instance_backup(
    Request *rq, const Pb__ExportInstanceBackupRequest *in, Stream *stream, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->instance, err);
	BackupRest rest = { in->offset, in->version };
	return owner ? backup_work_send(rq, owner, in->name, &rest, stream, err) : -1;
}

/* ---- changing ---- */

int api_create_instance_backup(
    Request *rq, const Pb__CreateInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	static const Pb__InstanceBackupsPost plain = PB__INSTANCE_BACKUPS_POST__INIT;
	const Pb__InstanceBackupsPost *asked = in->backup ? in->backup : &plain;
	BackupPost post = { .name = asked->name,
		.expires_at = asked->expires_at,
		.only = asked->instance_only,
		.optimized = asked->optimized_storage,
		.compression = asked->compression_algorithm };
	BackupOwner *owner = owner_of(rq, in->instance, err);
	return owner ? backup_work_create(rq, owner, &post, out, err) : -1;
}

int api_rename_instance_backup(
    Request *rq, const Pb__RenameInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->instance, err);
	const char *name = in->backup ? in->backup->name : "";
	return owner ? backup_work_rename(rq, owner, in->name, name, out, err) : -1;
}

int api_delete_instance_backup(
    Request *rq, const Pb__DeleteInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	BackupOwner *owner = owner_of(rq, in->instance, err);
	return owner ? backup_work_delete(rq, owner, in->name, out, err) : -1;
}

/* ---- instances from backups ---- */

typedef struct Import {
	char *project, *name, *pool;
	BackupIndex *index;
	int fd;
} Import;

static void import_free(void *data)
{
	Import *import = data;
	g_free(import->project);
	g_free(import->name);
	g_free(import->pool);
	backup_index_free(import->index);
	own_close_fd(&import->fd);
	g_free(import);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Import, import_free)

static int run_import(Operation *op, void *data, Error **err)
{
	Import *import = data;
	InstanceArchive archive = { .index = import->index, .fd = import->fd };
	int result = instance_restore(operation_daemon(op), import->project, import->name,
	    import->pool, &archive, op, operation_caller(op), err);
	own_close_fd(&import->fd); /* not with the operation, which stays visible for a while */
	import->fd = -1;
	return result;
}

/* Reading notices by itself that it is to stop. */
static void stop_reading(Operation *op, void *data)
{
}

static int start_import(Request *rq, Import *import, UploadTurn *turn, Stream *stream, Error **err)
{
	Pb__Operation reply = PB__OPERATION__INIT;
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", import->name);
	const char *resources[] = { "instances", url, "containers", url, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Restoring backup",
		.run = run_import,
		.cancel = stop_reading,
		.data = import,
		.destroy = import_free,
		.resources = resources };
	if (operation_create(rq->daemon, rq, &spec, NULL, &reply, err) < 0) {
		upload_end(turn);
		return -1;
	}
	upload_done(turn, reply.id);
	return stream_send(stream, &reply, err);
}

static int receive(Request *rq, const UploadAsk *ask, Stream *stream, Import *import,
    UploadTurn **ret_turn, Error **err)
{
	json_t *document;
	import->fd = backup_work_receive(rq, ask, stream, ret_turn, err);
	if (import->fd < 0 || volume_index_load(import->fd, &document, err) < 0)
		return -1;
	int result = backup_index_parse(document, &import->index, err);
	json_decref(document);
	return result;
}

int api_import_instance(
    Request *rq, const Pb__ImportInstanceRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Import) import = g_new0(Import, 1);
	g_autoptr(UploadTurn) turn = NULL;
	UploadAsk ask = { in->upload, in->offset };
	import->fd = -1;
	import->project = g_strdup(rq->project);
	import->name = g_strdup(in->name);
	import->pool = g_strdup(in->pool);
	if ((*in->name && name_check_instance(in->name, err) < 0) ||
	    receive(rq, &ask, stream, import, &turn, err) < 0)
		return -1;
	if (!*import->name) {
		g_free(import->name);
		import->name = g_strdup(import->index->volume->name);
	}
	InstanceArchive archive = { .index = import->index, .fd = import->fd };
	g_autoptr(Instance) taken = NULL;
	if (instance_get(rq->daemon, rq->project, import->name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Instance \"%s\" already exists", import->name);
	if (instance_restore_check(
		rq->daemon, rq->project, import->name, import->pool, &archive, err) < 0)
		return -1;
	return start_import(rq, g_steal_pointer(&import), g_steal_pointer(&turn), stream, err);
}
