#include "server/instance/file.h"
#include "server/instance/flow.h"
#include "server/instance/folder.h"
#include "server/instance/driver.h"
#include "server/storage/shift.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

enum { PATIENCE = 40000 };

struct FileSession {
	Packet *packet;   /* the answer to the last request */
	int socket;
	Instance *instance;
	InstanceFolder *folder; /* of a stopped instance */
};

/* Its users' ids are those on disk, seen through its id map. Owners that are not shifted on disk,
 * where no mount can map them, are seen as they are. */
static int add_owners(Instance *i, const char *path, Packet *rq, Error **err)
{
	g_autoptr(GArray) owners = NULL;
	g_autoptr(Config) config = instance_expanded_config(i);
	g_autofree char *idmap = NULL;
	gboolean can;
	if (owners_now(i, &owners, err) < 0 || idmap_for(config, NULL, &idmap, err) < 0 ||
	    shift_can_map(i->daemon, path, &can, err) < 0)
		return -1;
	g_autofree char *shifted = id_map_text(owners);
	rq->n[1] = owners->len > 0;
	packet_add(rq, owners->len > 0 ? shifted : can ? idmap : "");
	return 0;
}

static int enter_stopped(Instance *i, FileSession *s, Packet *rq, Error **err)
{
	if (instance_folder_open(i, &s->folder, err) < 0)
		return -1;
	const char *path = instance_folder_path(s->folder);
	g_autofree char *rootfs = g_build_filename(path, "rootfs", NULL);
	rq->n[0] = 1;
	packet_add(rq, rootfs);
	return add_owners(i, path, rq, err);
}

/* A request whose session enters the instance. */
static Packet *enter(Instance *i, FileSession *s, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	Packet *rq = packet_new(SPAWN_FILES);
	if (r) {
		int fd = fcntl(r->init_fd, F_DUPFD_CLOEXEC, 0);
		packet_add_fd(rq, fd);
		return rq;
	}
	if (enter_stopped(i, s, rq, err) == 0)
		return rq;
	packet_free(rq);
	return NULL;
}

static int session_open(Instance *i, int sftp, FileSession **ret_session, Error **err)
{
	if (instance_driver(i)->enter(i, err) < 0)
		return -1;
	g_autoptr(FileSession) s = g_new0(FileSession, 1);
	s->socket = -1;
	s->instance = instance_ref(i);
	Packet *rq = enter(i, s, err);
	if (!rq)
		return -1;
	int entered = rq->n_fds ? rq->fds[0] : -1;
	if (sftp >= 0) {
		rq->n[2] = 1;
		packet_add_fd(rq, sftp);
	}
	SpawnerCall call = { .timeout_ms = PATIENCE, .ret_socket = &s->socket };
	int result = spawner_call(i->daemon->spawner, rq, &call, &s->packet, err);
	if (entered >= 0)
		close(entered);
	if (result < 0)
		return -1;
	*ret_session = g_steal_pointer(&s);
	return 0;
}

int file_session_open(Instance *i, FileSession **ret_session, Error **err)
{
	return session_open(i, -1, ret_session, err);
}

void file_session_close(FileSession *s)
{
	if (!s)
		return;
	own_close_fd(&s->socket);
	packet_free(s->packet);
	instance_folder_close(s->folder);
	instance_unref(s->instance);
	g_free(s);
}

static ErrorKind kind_of(int error)
{
	switch (error) {
	case ENOENT: return ERROR_NOT_FOUND;
	case EACCES: case EPERM: return ERROR_FORBIDDEN;
	case EEXIST: return ERROR_EXISTS;
	case EIO: case ENOSPC: case EDQUOT: case EROFS: return ERROR_INTERNAL;
	default: return ERROR_INVALID;
	}
}

static int receive(FileSession *s, const char *path, Error **err)
{
	int got = spawner_receive(s->socket, PATIENCE, s->packet, err);
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

int file_list(FileSession *s, const char *path, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	int result = ask(s, request(FILE_READDIR, path, NULL), path, err);
	for (;; result = receive(s, path, err)) {
		if (result < 0)
			return -1;
		for (guint n = 0; n + 1 < s->packet->n_strings; n += 2) {
			g_ptr_array_add(names, g_strdup(packet_next(s->packet)));
			packet_next(s->packet);
		}
		if (s->packet->n[7])
			break;
	}
	g_ptr_array_sort(names, compare_names);
	*ret_names = g_steal_pointer(&names);
	return 0;
}

int file_readlink(FileSession *s, const char *path, char **ret_target, Error **err)
{
	if (ask(s, request(FILE_READLINK, path, NULL), path, err) < 0)
		return -1;
	*ret_target = g_strdup(packet_next(s->packet));
	return 0;
}

int file_mkdir(FileSession *s, const char *path, const FileOwner *owner, Error **err)
{
	return ask(s, request(FILE_MKDIR, path, owner), path, err);
}

int file_symlink(
    FileSession *s, const char *target, const char *path, const FileOwner *owner, Error **err)
{
	Packet *rq = request(FILE_SYMLINK, target, owner);
	packet_add(rq, path);
	return ask(s, rq, path, err);
}

int file_remove(FileSession *s, const char *path, Error **err)
{
	return ask(s, request(FILE_REMOVE, path, NULL), path, err);
}

int file_replace(FileSession *s, const char *path, const FileOwner *owner, int *ret_fd, Error **err)
{
	if (ask(s, request(FILE_REPLACE, path, owner), path, err) < 0)
		return -1;
	*ret_fd = packet_take_fd(s->packet, 0);
	return 0;
}

int file_sftp_open(Instance *i, int *ret_socket, Error **err)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	g_autoptr(FileSession) s = NULL;
	int result = session_open(i, pair[1], &s, err);
	close(pair[1]);
	if (result < 0) {
		close(pair[0]);
		return -1;
	}
	*ret_socket = pair[0];
	return 0;
}
