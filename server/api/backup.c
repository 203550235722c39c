/* Handlers of BackupService: backups of instances, and instances from backups. */
#include "incus/v1/handlers.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/key/server.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/key/check.h"
#include "server/storage/store.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* ---- reading ---- */

int api_get_instance_backups(Request *rq, const Pb__GetInstanceBackupsRequest *in,
    Pb__GetInstanceBackupsResponse *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(GPtrArray) list = NULL;
	if (instance_get(rq->daemon, rq->project, in->instance, &instance, err) < 0 ||
	    instance_backup_list(instance, &list, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (list->len + 1) * sizeof(*out->items));
	for (guint n = 0; n < list->len; n++) {
		Pb__InstanceBackup *item = arena_message(
		    rq->arena, Pb__InstanceBackup, pb__instance_backup);
		instance_backup_render(list->pdata[n], rq->arena, item);
		out->items[out->n_items++] = item;
	}
	return 0;
}

int api_get_instance_backup(
    Request *rq, const Pb__GetInstanceBackupRequest *in, Pb__InstanceBackup *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(InstanceBackup) backup = NULL;
	if (instance_get(rq->daemon, rq->project, in->instance, &instance, err) < 0 ||
	    instance_backup_find(instance, in->name, &backup, err) < 0)
		return -1;
	instance_backup_render(backup, rq->arena, out);
	return 0;
}

static int send_file(Request *rq, const char *name, int fd, Stream *stream, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the backup \"%s\"", name);
	Pb__BackupFile head = PB__BACKUP_FILE__INIT;
	head.size = arena_printf(rq->arena, "%" G_GUINT64_FORMAT, (guint64)st.st_size);
	head.content_type = arena_strdup(rq->arena, "application/octet-stream");
	head.content_disposition = arena_printf(rq->arena, "inline;filename=%s", name);
	stream_set_length(stream, (uint64_t)st.st_size);
	return stream_send(stream, &head, err) < 0 ?
	    -1 :
	    stream_send_file(stream, fd, 0, (uint64_t)st.st_size, err);
}

int api_export_instance_backup(
    Request *rq, const Pb__ExportInstanceBackupRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	autofd int fd = -1;
	if (instance_get(rq->daemon, rq->project, in->instance, &instance, err) < 0 ||
	    instance_backup_open(instance, in->name, &fd, err) < 0 ||
	    send_file(rq, in->name, fd, stream, err) < 0)
		return -1;
	g_autofree char *url = g_strdup_printf(
	    "/1.0/instances/%s/backups/%s", in->instance, in->name);
	event_lifecycle(
	    rq->daemon->events, rq->project, "instance-backup-retrieved", url, NULL, rq->caller);
	return 0;
}

/* ---- work in the background ---- */

typedef struct Work {
	Instance *instance;
	char *name, *new_name, *compression;
	int64_t expires;
	gboolean instance_only, optimized;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	g_clear_pointer(&work->instance, instance_unref);
	g_free(work->name);
	g_free(work->new_name);
	g_free(work->compression);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

/* Packing notices by itself that it is to stop. */
static void stop_packing(Operation *op, void *data)
{
}

/* Takes `work`. */
static int start(Request *rq, const char *description, Work *work,
    int (*run)(Operation *, void *, Error **), void (*cancel)(Operation *, void *),
    Pb__Operation *out, Error **err)
{
	g_autofree char *instance = g_strdup_printf(
	    "/1.0/instances/%s", instance_name(work->instance));
	g_autofree char *backup = g_strdup_printf("%s/backups/%s", instance, work->name);
	const char *resources[] = { "instances", instance, "containers", instance, "backups",
		backup, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = description,
		.run = run,
		.cancel = cancel,
		.data = work,
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

static int run_create(Operation *op, void *data, Error **err)
{
	Work *work = data;
	InstanceBackupSpec spec = { .name = work->name,
		.expires = work->expires,
		.instance_only = work->instance_only,
		.optimized = work->optimized,
		.compression = work->compression };
	return instance_backup_create(work->instance, &spec, op, operation_caller(op), err);
}

/* What nobody has said is zstd for clients of our own, which look at what they get; Incus's expect
 * what the key's default says. */
static char *choose_compression(Request *rq, const char *asked)
{
	if (*asked)
		return g_strdup(asked);
	g_autoptr(Project) project = NULL;
	g_autoptr(Config) server = server_config_all(rq->daemon->config);
	if (rq->rest || config_get(server, "backups.compression_algorithm") ||
	    project_get(rq->daemon, rq->project, FALSE, &project, NULL) < 0 ||
	    config_get(project->config, "backups.compression_algorithm"))
		return project_setting(rq->daemon, rq->project, "backups.compression_algorithm");
	return g_strdup("zstd");
}

static int fill_create(Request *rq, const Pb__InstanceBackupsPost *post, Work *work, Error **err)
{
	g_autoptr(InstanceBackup) taken = NULL;
	if (!*post->name) {
		if (instance_backup_next_name(work->instance, &work->name, err) < 0)
			return -1;
	} else {
		if (name_check_snapshot(post->name, err) < 0)
			return error_prefix(err, "Invalid backup name");
		work->name = g_strdup(post->name);
	}
	if (instance_backup_find(work->instance, work->name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", work->name);
	work->expires = post->expires_at ? MAX(post->expires_at->seconds, 0) : 0;
	work->instance_only = post->instance_only;
	work->optimized = post->optimized_storage;
	work->compression = choose_compression(rq, post->compression_algorithm);
	return work->compression && *work->compression ? check_compression(work->compression, err) :
							 0;
}

int api_create_instance_backup(
    Request *rq, const Pb__CreateInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	static const Pb__InstanceBackupsPost plain = PB__INSTANCE_BACKUPS_POST__INIT;
	if (instance_get(rq->daemon, rq->project, in->instance, &work->instance, err) < 0 ||
	    project_allow_backup(rq->daemon, rq->project, err) < 0 ||
	    fill_create(rq, in->backup ? in->backup : &plain, work, err) < 0)
		return -1;
	return start(
	    rq, "Backing up instance", g_steal_pointer(&work), run_create, stop_packing, out, err);
}

static int run_rename(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_backup_rename(
	    work->instance, work->name, work->new_name, operation_caller(op), err);
}

static Work *work_on(Request *rq, const char *instance, const char *name, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	g_autoptr(InstanceBackup) backup = NULL;
	if (instance_get(rq->daemon, rq->project, instance, &work->instance, err) < 0 ||
	    instance_backup_find(work->instance, name, &backup, err) < 0)
		return NULL;
	work->name = g_strdup(name);
	return g_steal_pointer(&work);
}

int api_rename_instance_backup(
    Request *rq, const Pb__RenameInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->instance, in->name, err);
	g_autoptr(InstanceBackup) taken = NULL;
	if (!work)
		return -1;
	const char *name = in->backup ? in->backup->name : "";
	if (name_check_snapshot(name, err) < 0)
		return error_prefix(err, "Invalid backup name");
	if (instance_backup_find(work->instance, name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", name);
	work->new_name = g_strdup(name);
	return start(
	    rq, "Renaming instance backup", g_steal_pointer(&work), run_rename, NULL, out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return instance_backup_delete(work->instance, work->name, operation_caller(op), err);
}

int api_delete_instance_backup(
    Request *rq, const Pb__DeleteInstanceBackupRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_on(rq, in->instance, in->name, err);
	return work ? start(rq, "Removing instance backup", g_steal_pointer(&work), run_delete,
			  NULL, out, err) :
		      -1;
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

/* The archive has no name, so that nothing of it stays whatever happens. */
static int receive(Request *rq, Stream *stream, int *ret_fd, Error **err)
{
	uint64_t written;
	*ret_fd = store_temporary(rq->daemon, STORE_BACKUPS, err);
	if (*ret_fd < 0)
		return error_prefix(err, "Cannot keep the backup");
	if (stream_recv_file(stream, *ret_fd, UINT64_MAX, &written, err) < 0)
		return -1;
	return written ? 0 : error_set(err, ERROR_INVALID, "Invalid backup: it is empty");
}

static int start_import(Request *rq, Import *import, Stream *stream, Error **err)
{
	Pb__Operation reply = PB__OPERATION__INIT;
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", import->name);
	const char *resources[] = { "instances", url, "containers", url, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Restoring backup",
		.run = run_import,
		.cancel = stop_packing,
		.data = import,
		.destroy = import_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, &reply, err) < 0 ?
	    -1 :
	    stream_send(stream, &reply, err);
}

int api_import_instance(
    Request *rq, const Pb__ImportInstanceRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Import) import = g_new0(Import, 1);
	import->fd = -1;
	import->project = g_strdup(rq->project);
	import->name = g_strdup(in->name);
	import->pool = g_strdup(in->pool);
	if ((*in->name && name_check_instance(in->name, err) < 0) ||
	    receive(rq, stream, &import->fd, err) < 0 ||
	    backup_index_read(import->fd, &import->index, err) < 0)
		return -1;
	if (!*import->name) {
		g_free(import->name);
		import->name = g_strdup(import->index->name);
	}
	InstanceArchive archive = { .index = import->index, .fd = import->fd };
	g_autoptr(Instance) taken = NULL;
	if (instance_get(rq->daemon, rq->project, import->name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Instance \"%s\" already exists", import->name);
	if (instance_restore_check(
		rq->daemon, rq->project, import->name, import->pool, &archive, err) < 0)
		return -1;
	return start_import(rq, g_steal_pointer(&import), stream, err);
}
