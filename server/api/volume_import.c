/* Volumes from files: ISO images. */
#include "incus/v1/handlers.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/rpc/stream.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_used.h"
#include "server/storage/store.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct Work {
	Pool *pool;
	char *project, *name;
	int fd;
} Work;

static void work_free(void *data)
{
	Work *work = data;
	pool_unref(work->pool);
	g_free(work->project);
	g_free(work->name);
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

static int run_import(Operation *op, void *data, Error **err)
{
	Work *work = data;
	g_autofree char *url = url_of(work);
	int result = custom_create_iso(work->pool, work->project, work->name, "", work->fd, err);
	own_close_fd(&work->fd); /* not with the operation, which stays visible for a while */
	if (result < 0)
		return -1;
	event_lifecycle(operation_daemon(op)->events, work->project, "storage-volume-created", url,
	    NULL, operation_caller(op));
	return 0;
}

/* The file has no name, so that nothing of it stays whatever happens. */
static int receive(Request *rq, Stream *stream, int *ret_fd, Error **err)
{
	uint64_t written;
	*ret_fd = store_temporary(rq->daemon, STORE_BACKUPS, err);
	if (*ret_fd < 0)
		return error_prefix(err, "Cannot keep the file");
	if (stream_recv_file(stream, *ret_fd, UINT64_MAX, &written, err) < 0)
		return -1;
	if (lseek(*ret_fd, 0, SEEK_SET) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the file");
	return written ? 0 : error_set(err, ERROR_INVALID, "The ISO file is empty");
}

static int check(Request *rq, const Pb__ImportStoragePoolVolumeRequest *in, Work *work, Error **err)
{
	if (*in->type && strcmp(in->type, "custom") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid storage volume type \"%s\"", in->type);
	if (strcmp(in->file_type, "iso") != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Only ISO files can be imported as volumes by this version");
	if (name_check_volume(in->name, err) < 0)
		return error_prefix(err, "Invalid storage volume name");
	if (pool_get(rq->daemon, in->pool, &work->pool, err) < 0 ||
	    project_effective(
		rq->daemon, rq->project, PROJECT_STORAGE_VOLUMES, &work->project, err) < 0)
		return -1;
	g_autoptr(Volume) volume = volume_new(work->pool, VOLUME_CUSTOM, work->project, in->name);
	if (volume_row_find(work->pool, volume, NULL, NULL, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Volume by that name already exists");
	work->name = g_strdup(in->name);
	return 0;
}

int api_import_storage_pool_volume(
    Request *rq, const Pb__ImportStoragePoolVolumeRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	Pb__Operation reply = PB__OPERATION__INIT;
	work->fd = -1;
	if (check(rq, in, work, err) < 0 || receive(rq, stream, &work->fd, err) < 0)
		return -1;
	g_autofree char *url = url_of(work);
	const char *resources[] = { "storage_volumes", url, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Creating storage volume",
		.run = run_import,
		.data = g_steal_pointer(&work),
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, &reply, err) < 0 ?
	    -1 :
	    stream_send(stream, &reply, err);
}
