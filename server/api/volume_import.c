/* Volumes from files: ISO images, and backups. */
#include "incus/v1/handlers.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/api/backup_work.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/storage/custom_backup.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_used.h"
#include <string.h>

typedef struct Work {
	Pool *pool;
	char *project, *name;
	VolumeIndex *index; /* NULL: the file is an ISO image */
	int fd;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	pool_unref(work->pool);
	g_free(work->project);
	g_free(work->name);
	volume_index_free(work->index);
	own_close_fd(&work->fd);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

static char *url_of(const Work *work)
{
	g_autofree char *prefix = g_strdup_printf(
	    "/1.0/storage-pools/%s/volumes/custom", pool_name(work->pool));
	return used_url(prefix, work->name, "default");
}

static CustomRestore restore_of(const Work *work, Operation *op)
{
	return (CustomRestore){ .pool = work->pool,
		.project = work->project,
		.name = work->name,
		.index = work->index,
		.fd = work->fd,
		.op = op };
}

static int run_import(Operation *op, void *data, Error **err)
{
	Work *work = data;
	g_autofree char *url = url_of(work);
	CustomRestore restore = restore_of(work, op);
	int result = work->index ?
	    custom_restore(&restore, err) :
	    custom_create_iso(work->pool, work->project, work->name, "", work->fd, err);
	own_close_fd(&work->fd); /* not with the operation, which stays visible for a while */
	work->fd = -1;
	if (result < 0)
		return -1;
	event_lifecycle(operation_daemon(op)->events, work->project, "storage-volume-created", url,
	    NULL, operation_caller(op));
	return 0;
}

/* Unpacking notices by itself that it is to stop. */
static void stop_import(Operation *op, void *data)
{
}

/* ---- what the file is ---- */

static int read_index(Work *work, Error **err)
{
	json_t *document;
	if (volume_index_load(work->fd, &document, err) < 0)
		return -1;
	int result = volume_index_parse(document, &work->index, err);
	json_decref(document);
	if (result == 0 && !*work->name) {
		g_free(work->name);
		work->name = g_strdup(work->index->name);
	}
	CustomRestore restore = restore_of(work, NULL);
	return result < 0 ? -1 : custom_restore_check(&restore, err);
}

static int check_name(const Work *work, Error **err)
{
	if (name_check_volume(work->name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	g_autoptr(Volume) volume = volume_new(
	    work->pool, VOLUME_CUSTOM, work->project, work->name);
	return volume_row_find(work->pool, volume, NULL, NULL, NULL) == 0 ?
	    error_set(err, ERROR_EXISTS, "Volume by that name already exists") :
	    0;
}

static int find_place(
    Request *rq, const Pb__ImportStoragePoolVolumeRequest *in, Work *work, Error **err)
{
	if (*in->type && strcmp(in->type, "custom") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid storage volume type \"%s\"", in->type);
	work->name = g_strdup(in->name);
	return pool_get(rq->daemon, in->pool, &work->pool, err) < 0 ||
		project_effective(rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &work->project,
		    err) < 0 ?
	    -1 :
	    0;
}

static int receive(Request *rq, const Pb__ImportStoragePoolVolumeRequest *in, Stream *stream,
    Work *work, UploadTurn **ret_turn, Error **err)
{
	UploadAsk ask = { in->upload, in->offset };
	gboolean iso = strcmp(in->file_type, "iso") == 0;
	if (!iso && *in->file_type && strcmp(in->file_type, "backup") != 0)
		return error_set(err, ERROR_INVALID,
		    "Files of type \"%s\" cannot be imported: it is iso or backup", in->file_type);
	if ((iso || *work->name) && check_name(work, err) < 0)
		return -1;
	work->fd = backup_work_receive(rq, &ask, stream, ret_turn, err);
	return work->fd < 0 ? -1 : iso ? 0 : read_index(work, err);
}

int api_import_storage_pool_volume(
    Request *rq, const Pb__ImportStoragePoolVolumeRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	g_autoptr(UploadTurn) turn = NULL;
	Pb__Operation reply = PB__OPERATION__INIT;
	work->fd = -1;
	if (find_place(rq, in, work, err) < 0 || receive(rq, in, stream, work, &turn, err) < 0)
		return -1;
	g_autofree char *url = url_of(work);
	const char *resources[] = { "storage_volumes", url, NULL };
	gboolean backup = work->index != NULL;
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = backup ? "Restoring storage volume backup" : "Creating storage volume",
		.run = run_import,
		.cancel = backup ? stop_import : NULL,
		.data = g_steal_pointer(&work),
		.destroy = work_free,
		.resources = resources };
	if (operation_create(rq->daemon, rq, &spec, NULL, &reply, err) < 0)
		return -1;
	upload_done(g_steal_pointer(&turn), reply.id);
	return stream_send(stream, &reply, err);
}
