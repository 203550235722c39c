/* Handlers of FileService. */
#include "incus/v1/handlers.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/daemon.h"
#include "server/instance/channel.h"
#include "server/instance/file.h"
#include "server/rpc/local_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK (256 * 1024)
#define LINK_MAX_LENGTH 4096

static int open_session(Request *rq, const char *project, const char *name, const char *path,
    Instance **ret_instance, FileSession **ret_session, Error **err)
{
	if (!*path)
		return error_set(err, ERROR_INVALID, "Missing path argument");
	if (!caller_has_project(rq->caller, project))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (instance_get(rq->daemon, project, name, ret_instance, err) < 0)
		return -1;
	return file_session_open(*ret_instance, ret_session, err);
}

static char *absolute(Arena *arena, const char *path)
{
	return *path == '/' ? arena_strdup(arena, path) : arena_printf(arena, "/%s", path);
}

static void fill_attributes(Request *rq, const FileAttributes *a, Pb__InstanceFile *out)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(a->modified);
	g_autofree char *text = time ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S +0000 UTC") :
				       g_strdup("");
	out->uid = arena_printf(rq->arena, "%u", a->uid);
	out->gid = arena_printf(rq->arena, "%u", a->gid);
	out->mode = arena_printf(rq->arena, "%04o", a->mode & 07777);
	out->modified = request_strdup(rq, text);
	out->size = arena_printf(rq->arena, "%" G_GINT64_FORMAT, a->size);
}

static int send_directory(Request *rq, FileSession *session, const char *path,
    Pb__InstanceFile *head, Stream *stream, Error **err)
{
	g_autoptr(GPtrArray) names = NULL;
	if (file_list(session, path, &names, err) < 0)
		return -1;
	head->type = (char *)"directory";
	head->size = (char *)"";
	head->entries = (char **)names->pdata;
	head->n_entries = names->len;
	return stream_send_sync(stream, head, err);
}

static int send_symlink(
    FileSession *session, const char *path, Pb__InstanceFile *head, Stream *stream, Error **err)
{
	g_autofree char *target = NULL;
	if (file_readlink(session, path, &target, err) < 0)
		return -1;
	head->type = (char *)"symlink";
	head->content_type = (char *)"application/octet-stream";
	head->data = (ProtobufCBinaryData){strlen(target), (uint8_t *)target};
	stream_set_length(stream, strlen(target));
	return stream_send(stream, head, err);
}

static void describe_file(
    Request *rq, const char *path, const FileAttributes *a, Pb__InstanceFile *head)
{
	g_autofree char *name = g_path_get_basename(path);
	fill_attributes(rq, a, head);
	head->type = (char *)"file";
	head->content_type = (char *)"application/octet-stream";
	if (!strpbrk(name, "\"\\\r\n"))
		head->content_disposition = arena_printf(rq->arena, "inline;filename=\"%s\"", name);
}

/* The bytes that the file had when it was opened, as they come from its machine. */
static int send_remote(Request *rq, FileSession *session, const char *path, Pb__InstanceFile *head,
    Stream *stream, Error **err)
{
	g_autoptr(FileTransfer) transfer = NULL;
	FileAttributes a;
	const uint8_t *data;
	size_t length;
	if (file_read_begin(session, path, &a, &transfer, err) < 0)
		return -1;
	describe_file(rq, path, &a, head);
	stream_set_length(stream, (uint64_t)a.size);
	if (stream_send(stream, head, err) < 0)
		return -1;
	for (int64_t left = a.size; left > 0; left -= (int64_t)length) {
		Pb__InstanceFile part = PB__INSTANCE_FILE__INIT;
		if (file_read_next(transfer, &data, &length, err) < 0)
			return -1;
		if (length == 0)
			return error_set(
			    err, ERROR_INTERNAL, "File became shorter while it was sent");
		length = MIN(length, (size_t)left);
		part.data = (ProtobufCBinaryData){length, (uint8_t *)data};
		if (stream_send(stream, &part, err) < 0)
			return -1;
	}
	return 0;
}

static int send_file(Request *rq, FileSession *session, const char *path,
    const Pb__LocalFile *local, Pb__InstanceFile *head, Stream *stream, Error **err)
{
	autofd int fd = -1, to = -1;
	FileAttributes a;
	if (file_session_remote(session))
		return local ? error_set(err, ERROR_UNSUPPORTED,
				   "A file of a virtual machine must be sent")
			     : send_remote(rq, session, path, head, stream, err);
	if (local && local_file_take(rq, local, &to, err) < 0)
		return -1;
	if (file_open(session, path, O_RDONLY | O_NONBLOCK, NULL, &fd, &a, NULL, err) < 0)
		return -1;
	describe_file(rq, path, &a, head);
	if (local)
		return local_file_copy(rq, fd, to, err) < 0 ? -1 : stream_send(stream, head, err);
	stream_set_length(stream, (uint64_t)a.size);
	if (stream_send(stream, head, err) < 0)
		return -1;
	return stream_send_file(stream, fd, 0, (uint64_t)a.size, err);
}

int api_get_instance_file(
    Request *rq, const Pb__GetInstanceFileRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(FileSession) session = NULL;
	FileAttributes a;
	if (open_session(rq, rq->project, in->name, in->path, &instance, &session, err) < 0)
		return -1;
	char *path = absolute(rq->arena, in->path);
	if (file_stat(session, path, FALSE, &a, err) < 0)
		return -1;
	Pb__InstanceFile *head = arena_message(rq->arena, Pb__InstanceFile, pb__instance_file);
	fill_attributes(rq, &a, head);
	int result;
	if (S_ISDIR(a.mode))
		result = send_directory(rq, session, path, head, stream, err);
	else if (S_ISLNK(a.mode))
		result = send_symlink(session, path, head, stream, err);
	else if (S_ISREG(a.mode))
		result = send_file(rq, session, path, in->local_file, head, stream, err);
	else
		return error_set(err, ERROR_INVALID,
		    "\"%s\" is neither a file, a directory nor a symlink", path);
	if (result == 0)
		instance_event(instance, "instance-file-retrieved", NULL, rq->caller);
	return result;
}

/* A decimal or, with a leading 0, octal number within limits; `fallback` when empty. */
static int read_number(const char *text, const char *what, gboolean mode, int64_t fallback,
    int64_t *ret, Error **err)
{
	char *end = NULL;
	*ret = fallback;
	if (!*text)
		return 0;
	errno = 0;
	long long value = strtoll(text, &end, mode && *text == '0' ? 8 : 10);
	if (errno || *end || value < 0 || value > (mode ? 07777 : G_MAXUINT32 - 1LL))
		return error_set(err, ERROR_INVALID, "Invalid %s \"%s\"", what, text);
	*ret = value;
	return 0;
}

static int read_owner(const Pb__CreateInstanceFileRequest *in, FileOwner *ret, Error **err)
{
	int64_t mode = g_str_equal(in->type, "directory") ? 0750 : 0644;
	if (read_number(in->uid, "uid", FALSE, 0, &ret->uid, err) < 0 ||
	    read_number(in->gid, "gid", FALSE, 0, &ret->gid, err) < 0)
		return -1;
	return read_number(in->mode, "mode", TRUE, mode, &ret->mode, err);
}

/* All that the client sends, into a file of another machine. */
static int write_remote(FileSession *session, const char *path, gboolean append,
    const FileOwner *owner, Stream *stream, Error **err)
{
	g_autoptr(FileTransfer) transfer = NULL;
	const void *message;
	int got;
	if (file_write_begin(session, path, append, owner, &transfer, err) < 0)
		return -1;
	while ((got = stream_recv(stream, -1, &message, err)) == 1) {
		const Pb__CreateInstanceFileRequest *part = message;
		if (file_write_next(transfer, part->data.data, part->data.len, err) < 0)
			return -1;
	}
	return got < 0 ? -1 : file_write_end(transfer, err);
}

static int write_file(Request *rq, FileSession *session, const char *path, const FileOwner *owner,
    const Pb__CreateInstanceFileRequest *in, Stream *stream, Error **err)
{
	autofd int fd = -1, from = -1;
	uint64_t written;
	int flags = O_WRONLY;
	if (!*in->write || g_str_equal(in->write, "overwrite"))
		flags |= O_CREAT | O_TRUNC;
	else if (g_str_equal(in->write, "append"))
		flags |= O_APPEND;
	else
		return error_set(err, ERROR_INVALID, "Bad file write mode: %s", in->write);
	if (in->local_file && (flags & O_APPEND))
		return error_set(err, ERROR_UNSUPPORTED, "What is appended must be sent");
	if (in->local_file && file_session_remote(session))
		return error_set(err, ERROR_UNSUPPORTED,
		    "A file for a virtual machine must be sent");
	if (file_session_remote(session))
		return write_remote(
		    session, path, (flags & O_APPEND) != 0, owner, stream, err);
	if ((in->local_file && local_file_take(rq, in->local_file, &from, err) < 0) ||
	    file_open(session, path, flags, owner, &fd, NULL, NULL, err) < 0)
		return -1;
	if (from >= 0)
		return local_file_copy(rq, from, fd, err);
	return stream_recv_file(stream, fd, UINT64_MAX, &written, err);
}

/* One that is there and leads to the same place is as good as a new one. */
static int make_symlink(FileSession *session, const char *path, const FileOwner *owner,
    Stream *stream, Error **err)
{
	g_autoptr(GString) target = g_string_new(NULL);
	const void *message;
	int got;
	while ((got = stream_recv(stream, -1, &message, err)) == 1) {
		const Pb__CreateInstanceFileRequest *more = message;
		g_string_append_len(target, (const char *)more->data.data, (gssize)more->data.len);
		if (target->len > LINK_MAX_LENGTH)
			return error_set(err, ERROR_INVALID, "The symlink's target is too long");
	}
	if (got < 0)
		return -1;
	if (!target->len || memchr(target->str, 0, target->len))
		return error_set(
		    err, ERROR_INVALID, "The symlink's target is empty or holds a NUL");
	g_autofree char *there = NULL;
	if (file_readlink(session, path, &there, NULL) == 0 && g_str_equal(there, target->str))
		return 0;
	return file_symlink(session, target->str, path, owner, err);
}

/* An existing directory is as good as a new one. */
static int make_directory(
    FileSession *session, const char *path, const FileOwner *owner, Error **err)
{
	FileAttributes a;
	if (file_stat(session, path, TRUE, &a, NULL) == 0 && S_ISDIR(a.mode))
		return 0;
	return file_mkdir(session, path, owner, err);
}

int api_create_instance_file(
    Request *rq, const Pb__CreateInstanceFileRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(FileSession) session = NULL;
	FileOwner owner;
	if (open_session(rq, rq->project, in->name, in->path, &instance, &session, err) < 0 ||
	    read_owner(in, &owner, err) < 0)
		return -1;
	char *path = absolute(rq->arena, in->path);
	int result;
	if (!*in->type || g_str_equal(in->type, "file"))
		result = write_file(rq, session, path, &owner, in, stream, err);
	else if (g_str_equal(in->type, "directory"))
		result = make_directory(session, path, &owner, err);
	else if (g_str_equal(in->type, "symlink"))
		result = make_symlink(session, path, &owner, stream, err);
	else
		return error_set(err, ERROR_INVALID, "Bad file type: %s", in->type);
	if (result < 0)
		return -1;
	instance_event(instance, "instance-file-pushed", NULL, rq->caller);
	Google__Protobuf__Empty done = GOOGLE__PROTOBUF__EMPTY__INIT;
	return stream_send(stream, &done, err);
}

int api_delete_instance_file(Request *rq, const Pb__DeleteInstanceFileRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(FileSession) session = NULL;
	if (open_session(rq, rq->project, in->name, in->path, &instance, &session, err) < 0 ||
	    file_remove(session, absolute(rq->arena, in->path), err) < 0)
		return -1;
	instance_event(instance, "instance-file-deleted", NULL, rq->caller);
	return 0;
}

/* ---- SFTP ---- */

typedef struct Relay {
	Stream *stream;
	int socket;
} Relay;

static gpointer send_replies(gpointer data)
{
	Relay *relay = data;
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	ssize_t n;
	while ((n = read(relay->socket, buffer, CHUNK)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && channel_send(relay->stream, buffer, (size_t)n) < 0)
			break;
	shutdown(relay->socket, SHUT_RDWR);
	return NULL;
}

int api_connect_sftp(Request *rq, const Pb__ConnectSftpRequest *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	autofd int socket = -1;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    file_sftp_open(instance, &socket, err) < 0 || stream_open(stream, err) < 0)
		return -1;
	Relay relay = {.stream = stream, .socket = socket};
	GThread *thread = g_thread_new("sftp", send_replies, &relay);
	const void *message;
	while (stream_recv(stream, -1, &message, NULL) == 1) {
		const Pb__ConnectSftpRequest *more = message;
		if (file_write_all(socket, more->data.data, more->data.len) < 0)
			break;
	}
	shutdown(socket, SHUT_RDWR);
	g_thread_join(thread);
	return 0;
}
