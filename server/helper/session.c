#include "server/helper/session.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <string.h>

struct FileSession {
	Packet *packet; /* the answer to the last request */
	int socket;
	const FileRemote *remote; /* NULL: packets */
	void *held;
	GDestroyNotify release; /* of `held` */
};

struct FileTransfer {
	const FileRemote *remote;
	void *transfer;
};

FileSession *file_session_new(int socket, void *held, GDestroyNotify release)
{
	FileSession *s = g_new0(FileSession, 1);
	s->socket = socket;
	s->packet = packet_new(0);
	s->held = held;
	s->release = release;
	return s;
}

FileSession *file_session_new_remote(const FileRemote *remote, void *data, GDestroyNotify release)
{
	FileSession *s = file_session_new(-1, data, release);
	s->remote = remote;
	return s;
}

void file_session_close(FileSession *s)
{
	if (!s)
		return;
	own_close_fd(&s->socket);
	packet_free(s->packet);
	if (s->release)
		s->release(s->held);
	g_free(s);
}

static ErrorKind kind_of(int error)
{
	switch (error) {
	case ENOENT:
		return ERROR_NOT_FOUND;
	case EACCES:
	case EPERM:
		return ERROR_FORBIDDEN;
	case EEXIST:
		return ERROR_EXISTS;
	case EIO:
	case ENOSPC:
	case EDQUOT:
	case EROFS:
		return ERROR_INTERNAL;
	default:
		return ERROR_INVALID;
	}
}

static int receive(FileSession *s, const char *path, Error **err)
{
	int got = spawner_receive(s->socket, FILE_PATIENCE_MS, s->packet, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_INTERNAL,
		    "The instance's file system did not answer for \"%s\"", path);
	if (s->packet->error)
		return error_set(err, kind_of(s->packet->error), "\"%s\": %s", path,
		    g_strerror(s->packet->error));
	return 0;
}

static int ask(FileSession *s, Packet *rq, const char *path, Error **err)
{
	int sent = packet_send(s->socket, rq);
	int error = errno;
	packet_free(rq);
	if (sent < 0)
		return error_errno(err, error == EMSGSIZE ? ERROR_INVALID : ERROR_INTERNAL, error,
		    "Cannot ask for \"%s\"", path);
	return receive(s, path, err);
}

static Packet *request(FileOp op, const char *path, const FileOwner *owner)
{
	Packet *rq = packet_new(op);
	packet_add(rq, path);
	rq->n[1] = owner ? owner->mode : -1;
	rq->n[2] = owner ? owner->uid : -1;
	rq->n[3] = owner ? owner->gid : -1;
	return rq;
}

static void read_attributes(const Packet *p, FileAttributes *ret)
{
	*ret = (FileAttributes){ .mode = (mode_t)p->n[0],
		.uid = (uint32_t)p->n[1],
		.gid = (uint32_t)p->n[2],
		.size = p->n[3],
		.modified = p->n[4],
		.modified_ns = p->n[6] };
}

int file_stat(FileSession *s, const char *path, gboolean follow, FileAttributes *ret, Error **err)
{
	if (s->remote)
		return s->remote->stat(s->held, path, follow, ret, NULL, err);
	Packet *rq = request(FILE_STAT, path, NULL);
	rq->n[0] = !follow;
	if (ask(s, rq, path, err) < 0)
		return -1;
	read_attributes(s->packet, ret);
	return 0;
}

int file_open(FileSession *s, const char *path, int flags, const FileOwner *owner, int *ret_fd,
    FileAttributes *ret, gboolean *ret_created, Error **err)
{
	if (s->remote)
		return error_set(err, ERROR_UNSUPPORTED,
		    "\"%s\" cannot be opened from outside its machine", path);
	Packet *rq = request(FILE_OPEN, path, owner);
	rq->n[0] = flags;
	if (ask(s, rq, path, err) < 0)
		return -1;
	if (ret)
		read_attributes(s->packet, ret);
	if (ret_created)
		*ret_created = s->packet->n[7] != 0;
	*ret_fd = packet_take_fd(s->packet, 0);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_packets(FileSession *s, const char *path, GPtrArray *names, Error **err)
{
	int result = ask(s, request(FILE_READDIR, path, NULL), path, err);
	for (;; result = receive(s, path, err)) {
		if (result < 0)
			return -1;
		for (guint n = 0; n + 1 < s->packet->n_strings; n += 2) {
			g_ptr_array_add(names, g_strdup(packet_next(s->packet)));
			packet_next(s->packet);
		}
		if (s->packet->n[7])
			return 0;
	}
}

int file_list(FileSession *s, const char *path, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	int result = s->remote ? s->remote->list(s->held, path, names, err) :
				 list_packets(s, path, names, err);
	if (result < 0)
		return -1;
	g_ptr_array_sort(names, compare_names);
	*ret_names = g_steal_pointer(&names);
	return 0;
}

int file_readlink(FileSession *s, const char *path, char **ret_target, Error **err)
{
	FileAttributes a;
	if (s->remote && s->remote->stat(s->held, path, FALSE, &a, ret_target, err) < 0)
		return -1;
	if (s->remote)
		return *ret_target ? 0 :
				     error_set(err, ERROR_INVALID, "\"%s\" is no symlink", path);
	if (ask(s, request(FILE_READLINK, path, NULL), path, err) < 0)
		return -1;
	*ret_target = g_strdup(packet_next(s->packet));
	return 0;
}

int file_mkdir(FileSession *s, const char *path, const FileOwner *owner, Error **err)
{
	if (s->remote)
		return s->remote->mkdir(s->held, path, owner, err);
	return ask(s, request(FILE_MKDIR, path, owner), path, err);
}

int file_symlink(
    FileSession *s, const char *target, const char *path, const FileOwner *owner, Error **err)
{
	if (s->remote)
		return s->remote->symlink(s->held, target, path, owner, err);
	Packet *rq = request(FILE_SYMLINK, target, owner);
	packet_add(rq, path);
	return ask(s, rq, path, err);
}

int file_remove(FileSession *s, const char *path, Error **err)
{
	if (s->remote)
		return s->remote->remove(s->held, path, err);
	return ask(s, request(FILE_REMOVE, path, NULL), path, err);
}

int file_replace(FileSession *s, const char *path, const FileOwner *owner, int *ret_fd, Error **err)
{
	if (s->remote)
		return error_set(err, ERROR_UNSUPPORTED,
		    "\"%s\" cannot be opened from outside its machine", path);
	if (ask(s, request(FILE_REPLACE, path, owner), path, err) < 0)
		return -1;
	*ret_fd = packet_take_fd(s->packet, 0);
	return 0;
}

/* --- bytes of a remote file --- */

gboolean file_session_remote(const FileSession *s)
{
	return s->remote != NULL;
}

static FileTransfer *transfer_new(const FileSession *s, void *inner)
{
	FileTransfer *transfer = g_new0(FileTransfer, 1);
	transfer->remote = s->remote;
	transfer->transfer = inner;
	return transfer;
}

int file_read_begin(
    FileSession *s, const char *path, FileAttributes *ret, FileTransfer **ret_transfer, Error **err)
{
	void *inner;
	if (s->remote->read_begin(s->held, path, ret, &inner, err) < 0)
		return -1;
	*ret_transfer = transfer_new(s, inner);
	return 0;
}

int file_read_next(FileTransfer *t, const uint8_t **ret_data, size_t *ret_length, Error **err)
{
	return t->remote->read_next(t->transfer, ret_data, ret_length, err);
}

int file_write_begin(FileSession *s, const char *path, gboolean append, const FileOwner *owner,
    FileTransfer **ret_transfer, Error **err)
{
	void *inner;
	if (s->remote->write_begin(s->held, path, append, owner, &inner, err) < 0)
		return -1;
	*ret_transfer = transfer_new(s, inner);
	return 0;
}

int file_write_next(FileTransfer *t, const uint8_t *data, size_t length, Error **err)
{
	return t->remote->write_next(t->transfer, data, length, err);
}

int file_write_end(FileTransfer *t, Error **err)
{
	return t->remote->write_end(t->transfer, err);
}

void file_transfer_free(FileTransfer *t)
{
	if (!t)
		return;
	t->remote->transfer_free(t->transfer);
	g_free(t);
}
