#include "server/instance/file.h"
#include "server/guest/session.h"
#include "server/instance/flow.h"
#include "server/instance/folder.h"
#include "server/instance/driver.h"
#include "server/storage/shift.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* What a session holds. */
typedef struct Entry {
	Instance *instance;
	InstanceFolder *folder; /* of a stopped instance */
} Entry;

static void entry_free(gpointer data)
{
	Entry *entry = data;
	instance_folder_close(entry->folder);
	instance_unref(entry->instance);
	g_free(entry);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Entry, entry_free)

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

static int enter_stopped(Instance *i, Entry *s, Packet *rq, Error **err)
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
static Packet *enter(Instance *i, Entry *s, Error **err)
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
	g_autoptr(Entry) entry = g_new0(Entry, 1);
	entry->instance = instance_ref(i);
	Packet *rq = enter(i, entry, err);
	if (!rq)
		return -1;
	int entered = rq->n_fds ? rq->fds[0] : -1, socket = -1;
	if (sftp >= 0) {
		rq->n[2] = 1;
		packet_add_fd(rq, sftp);
	}
	SpawnerCall call = {.timeout_ms = FILE_PATIENCE_MS, .ret_socket = &socket};
	int result = spawner_call(i->daemon->spawner, rq, &call, NULL, err);
	if (entered >= 0)
		close(entered);
	if (result < 0)
		return -1;
	*ret_session = file_session_new(socket, g_steal_pointer(&entry), entry_free);
	return 0;
}

int file_session_open(Instance *i, FileSession **ret_session, Error **err)
{
	g_autoptr(Guest) guest = NULL;
	if (!instance_driver(i)->guest)
		return session_open(i, -1, ret_session, err);
	return instance_driver(i)->guest(i, &guest, err) < 0 ? -1 :
							       guest_files(guest, ret_session, err);
}

int file_sftp_open(Instance *i, int *ret_socket, Error **err)
{
	g_autoptr(Guest) guest = NULL;
	int pair[2];
	if (instance_driver(i)->guest)
		return instance_driver(i)->guest(i, &guest, err) < 0 ?
		    -1 :
		    guest_sftp(guest, ret_socket, err);
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
