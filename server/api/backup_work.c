#include "server/api/backup_work.h"
#include "incus/v1/backup.pb-c.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/key/check.h"
#include "server/key/server.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/storage/store.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Work {
	BackupOwner *owner;
	char *name, *new_name, *compression;
	int64_t expires;
	gboolean only, optimized;
	gboolean promised; /* the name */
} Work;

/* Once the row is there, or will not be: operations stay for a while after their end. */
static void end_promise(Work *work)
{
	if (work->promised)
		backup_promise_end(work->owner, work->name);
	work->promised = FALSE;
}

static void work_free(void *data)
{
	Work *work = data;
	end_promise(work);
	backup_owner_free(work->owner);
	g_free(work->name);
	g_free(work->new_name);
	g_free(work->compression);
	g_free(work);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

static Work *work_new(BackupOwner *owner)
{
	Work *work = g_new0(Work, 1);
	work->owner = owner;
	return work;
}

/* Packing notices by itself that it is to stop. */
static void stop_packing(Operation *op, void *data)
{
}

/* Takes `work`. */
static int start(Request *rq, const char *description, Work *work,
    int (*run)(Operation *, void *, Error **), void (*cancel)(Operation *, void *),
    Pb__Operation *out, Error **err)
{
	g_autofree char *owner = work->owner->kind->url(work->owner);
	g_autofree char *backup = g_strdup_printf("%s/backups/%s", owner, work->name);
	const char *const *names = work->owner->kind->resources;
	const char *resources[] = { "backups", backup, names[0], owner, names[1], owner, NULL };
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = description,
		.run = run,
		.cancel = cancel,
		.data = work,
		.destroy = work_free,
		.resources = resources };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

/* ---- create ---- */

static int run_create(Operation *op, void *data, Error **err)
{
	Work *work = data;
	BackupSpec spec = { .name = work->name,
		.expires = work->expires,
		.only = work->only,
		.optimized = work->optimized,
		.compression = work->compression };
	int result = backup_create(work->owner, &spec, op, operation_caller(op), err);
	end_promise(work);
	return result;
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

static int check_free(const BackupOwner *owner, const char *name, Error **err)
{
	g_autoptr(Backup) taken = NULL;
	if (name_check_snapshot(name, err) < 0)
		return error_prefix(err, "Invalid backup name");
	return backup_find(owner, name, &taken, NULL) == 0 ?
	    error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", name) :
	    0;
}

static int fill_create(Request *rq, const BackupPost *post, Work *work, Error **err)
{
	if (*post->name)
		work->name = g_strdup(post->name);
	else if (backup_promise_name(work->owner, &work->name, err) < 0)
		return -1;
	work->promised = !*post->name;
	if (check_free(work->owner, work->name, err) < 0)
		return -1;
	work->expires = post->expires_at ? MAX(post->expires_at->seconds, 0) : 0;
	work->only = post->only;
	work->optimized = post->optimized;
	work->compression = choose_compression(rq, post->compression);
	return work->compression && *work->compression ? check_compression(work->compression, err) :
							 0;
}

int backup_work_create(
    Request *rq, BackupOwner *owner, const BackupPost *post, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_new(owner);
	if (project_allow_backup(rq->daemon, rq->project, err) < 0 ||
	    fill_create(rq, post, work, err) < 0)
		return -1;
	return start(
	    rq, owner->kind->creating, g_steal_pointer(&work), run_create, stop_packing, out, err);
}

/* ---- change ---- */

static int run_rename(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return backup_rename(work->owner, work->name, work->new_name, operation_caller(op), err);
}

static int find(Work *work, const char *name, Error **err)
{
	g_autoptr(Backup) backup = NULL;
	work->name = g_strdup(name);
	return backup_find(work->owner, name, &backup, err);
}

int backup_work_rename(Request *rq, BackupOwner *owner, const char *name, const char *new_name,
    Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_new(owner);
	if (find(work, name, err) < 0 || check_free(owner, new_name, err) < 0)
		return -1;
	work->new_name = g_strdup(new_name);
	return start(
	    rq, owner->kind->renaming, g_steal_pointer(&work), run_rename, NULL, out, err);
}

static int run_delete(Operation *op, void *data, Error **err)
{
	Work *work = data;
	return backup_delete(work->owner, work->name, operation_caller(op), err);
}

int backup_work_delete(
    Request *rq, BackupOwner *owner, const char *name, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = work_new(owner);
	return find(work, name, err) < 0 ? -1 :
					   start(rq, owner->kind->deleting, g_steal_pointer(&work),
					       run_delete, NULL, out, err);
}

/* ---- files ---- */

static int send_file(
    Request *rq, const char *name, int fd, const BackupRest *rest, Stream *stream, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the backup \"%s\"", name);
	Pb__BackupFile head = PB__BACKUP_FILE__INIT;
	head.size = arena_printf(rq->arena, "%" G_GUINT64_FORMAT, (guint64)st.st_size);
	head.content_type = arena_strdup(rq->arena, "application/octet-stream");
	head.content_disposition = arena_printf(rq->arena, "inline;filename=%s", name);
	head.version = arena_printf(rq->arena, "%" G_GINT64_FORMAT ".%09ld-%" G_GUINT64_FORMAT,
	    (gint64)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (guint64)st.st_ino);
	uint64_t size = (uint64_t)st.st_size, start = rest->offset;
	if (stream_check_offset(start, rest->version, head.version, size, err) < 0)
		return -1;
	if (rq->rest)
		start = stream_set_file(stream, size);
	return stream_send(stream, &head, err) < 0 ?
	    -1 :
	    stream_send_file(stream, fd, start, size - start, err);
}

int backup_work_send(Request *rq, BackupOwner *owner, const char *name, const BackupRest *rest,
    Stream *stream, Error **err)
{
	g_autoptr(BackupOwner) kept = owner;
	autofd int fd = -1;
	if (backup_open(owner, name, &fd, err) < 0 ||
	    send_file(rq, name, fd, rest, stream, err) < 0)
		return -1;
	g_autofree char *base = owner->kind->url(owner);
	g_autofree char *url = g_strdup_printf("%s/backups/%s", base, name);
	g_autofree char *action = g_strdup_printf("%s-retrieved", owner->kind->event);
	event_lifecycle(rq->daemon->events, rq->project, action, url, NULL, rq->caller);
	return 0;
}

static void close_kept(void *data)
{
	close(GPOINTER_TO_INT(data) - 1);
}

/* The file of an upload that goes on, at its end; or a new one. */
static int open_received(Request *rq, UploadTurn *turn, Error **err)
{
	void *kept = upload_take(turn);
	int fd = kept ? GPOINTER_TO_INT(kept) - 1 : store_temporary(rq->daemon, STORE_BACKUPS, err);
	if (fd < 0)
		error_prefix(err, "Cannot keep the file");
	return fd;
}

int backup_work_receive(
    Request *rq, const UploadAsk *ask, Stream *stream, UploadTurn **ret_turn, Error **err)
{
	uint64_t written;
	Error *error = NULL;
	g_autoptr(UploadTurn) turn = NULL;
	if (upload_begin(rq, ask->id, ask->offset, stream, &turn, err) < 0)
		return -1;
	autofd int fd = open_received(rq, turn, err);
	if (fd < 0)
		return -1;
	if (stream_recv_file(stream, fd, UINT64_MAX, &written, &error) < 0) {
		off_t have = lseek(fd, 0, SEEK_END);
		if (turn && error->kind == ERROR_CANCELLED && have > 0)
			upload_keep(g_steal_pointer(&turn), GINT_TO_POINTER(g_steal_fd(&fd) + 1),
			    close_kept, (uint64_t)have);
		return error_propagate(err, error);
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the file");
	*ret_turn = g_steal_pointer(&turn);
	return g_steal_fd(&fd);
}
