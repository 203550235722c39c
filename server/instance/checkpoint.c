#include "server/instance/checkpoint.h"
#include "server/instance/criu.h"
#include "server/instance/vm_checkpoint.h"
#include "server/project/project.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { PATIENCE = 600000, END_PATIENCE = 60000 }; /* gigabytes take their time */

static char *log_path(Instance *i, const char *what)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *name = g_strdup_printf("migration_%s.log", what);
	return g_build_filename(logs, name, NULL);
}

static gboolean exists(int fd, const char *name)
{
	struct stat st;
	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static gboolean has_state(const Instance *i, int fd)
{
	struct stat st;
	mode_t wanted = i->type == INSTANCE_MACHINE ? S_IFREG : S_IFDIR;
	return fstatat(fd, "state", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (st.st_mode & S_IFMT) == wanted;
}

static void remove_part(Instance *i, int fd, const char *name)
{
	Error *error = NULL;
	if (exists(fd, name) && file_remove_all(fd, name, &error) < 0)
		log_warn("Saved state is not removed", "instance", i->name, "err", error->message);
	error_free(error);
}

static int set_stateful(Instance *i, gboolean stateful, Error **err)
{
	if (i->stateful == stateful)
		return 0;
	i->stateful = stateful;
	return row_set_stateful(i, err);
}

/* The four strings of helper/spawner/criu.h. */
static int add_criu(Instance *i, const char *volume, const char *log, Packet *rq, Error **err)
{
	g_autofree char *program = NULL, *version = NULL;
	if (criu_find(i->daemon, &program, &version, err) < 0)
		return -1;
	packet_add(rq, program);
	packet_add(rq, version);
	packet_add(rq, volume);
	packet_add(rq, log);
	return 0;
}

/* The disks that a restore will bind again, at the same places. */
static void add_disks(Instance *i, Packet *rq)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	GHashTableIter iter;
	void *config;
	g_hash_table_iter_init(&iter, devices);
	while (g_hash_table_iter_next(&iter, NULL, &config)) {
		const char *path = config_get(config, "path"),
			   *source = config_get(config, "source");
		if (g_strcmp0(config_get(config, "type"), "disk") != 0 || !path ||
		    strcmp(path, "/") == 0 || (source && g_str_has_prefix(source, "tmpfs")))
			continue;
		packet_add(rq, path);
		rq->n[2]++;
	}
}

static int dump_request(
    Instance *i, Runtime *r, const char *volume, DumpKind kind, Packet **ret_packet, Error **err)
{
	g_autoptr(Packet) rq = packet_new(SPAWN_DUMP);
	g_autofree char *name = instance_file_name(i);
	g_autofree char *lxcpath = instance_lxcpath(i->daemon);
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *idmap = NULL, *log = log_path(i, "dump");
	if (instance_idmap(i, NULL, &idmap, err) < 0)
		return -1;
	packet_add(rq, name);
	packet_add(rq, lxcpath);
	packet_add(rq, r->cgroup);
	packet_add(rq, directory);
	packet_add(rq, idmap);
	if (add_criu(i, volume, log, rq, err) < 0)
		return -1;
	add_disks(i, rq);
	rq->n[0] = r->init;
	rq->n[1] = kind;
	packet_add_fd(rq, r->init_fd);
	*ret_packet = g_steal_pointer(&rq);
	return 0;
}

int checkpoint_open(Instance *i, InstanceFolder **ret_folder, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	static const char *const stale[] = { "state", "state.new", "state.used" };
	for (guint n = 0; n < G_N_ELEMENTS(stale); n++)
		remove_part(i, instance_folder_fd(folder), stale[n]);
	*ret_folder = g_steal_pointer(&folder);
	return 0;
}

static void explain(Instance *i, const char *what, Error **err)
{
	g_autofree char *log = log_path(i, what);
	criu_explain(log, err);
}

void checkpoint_explain(Instance *i, Error **err)
{
	explain(i, "restore", err);
}

static int failed(Instance *i, InstanceFolder *folder, Error **err)
{
	explain(i, "dump", err);
	remove_part(i, instance_folder_fd(folder), "state.new");
	return error_prefix(err, "The state of the instance cannot be saved");
}

int checkpoint_save(Instance *i, Runtime *r, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	Packet *rq;
	if (checkpoint_open(i, &folder, err) < 0 || fault_point("state", err) < 0 ||
	    dump_request(i, r, instance_folder_path(folder), DUMP_END, &rq, err) < 0)
		return -1;
	SpawnerCall call = { .timeout_ms = PATIENCE };
	if (spawner_call(i->daemon->spawner, rq, &call, NULL, err) < 0)
		return failed(i, folder, err);
	/* From here on it is stopped, whatever fails. */
	fault_point("state saved", NULL);
	if (!runtime_wait(r, END_PATIENCE))
		return error_set(err, ERROR_TIMEOUT, "The instance's monitor did not end");
	checkpoint_saved(i);
	return 0;
}

void checkpoint_saved(Instance *i)
{
	g_autoptr(Error) error = NULL;
	if (set_stateful(i, TRUE, &error) < 0)
		log_error("That there is state is not stored", "instance", i->name, "err",
		    error->message);
}

int checkpoint_received(Instance *i, Error **err)
{
	return set_stateful(i, TRUE, err);
}

struct CheckpointHold {
	Instance *i;
	InstanceFolder *folder;
	int socket;
	gboolean asks;	 /* it is still to be heard that all is written */
	gboolean failed; /* and will not be */
	gboolean ended;
};

static void hold_free(CheckpointHold *hold)
{
	instance_unref(hold->i);
	instance_folder_close(hold->folder);
	own_close_fd(&hold->socket);
	g_free(hold);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CheckpointHold, hold_free)

int checkpoint_hold(Instance *i, DumpKind kind, CheckpointHold **ret_hold, Error **err)
{
	g_autoptr(CheckpointHold) hold = g_new0(CheckpointHold, 1);
	g_autoptr(Runtime) r = instance_runtime(i);
	g_autoptr(Packet) answer = NULL;
	Packet *rq;
	hold->i = instance_ref(i);
	hold->socket = -1;
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance isn't running");
	if (i->type == INSTANCE_MACHINE) {
		if (vm_hold(i, err) < 0)
			return -1;
		*ret_hold = g_steal_pointer(&hold);
		return 0;
	}
	if (checkpoint_open(i, &hold->folder, err) < 0 ||
	    fault_point("state held", err) < 0 ||
	    dump_request(i, r, instance_folder_path(hold->folder), kind, &rq, err) < 0)
		return -1;
	SpawnerCall call = { .timeout_ms = PATIENCE, .ret_socket = &hold->socket };
	if (spawner_call(i->daemon->spawner, rq, &call, &answer, err) < 0)
		return failed(i, hold->folder, err);
	hold->asks = kind == DUMP_ASK;
	*ret_hold = g_steal_pointer(&hold);
	return 0;
}

int checkpoint_written(CheckpointHold *hold, int timeout_ms, Error **err)
{
	g_autoptr(Packet) packet = packet_new(0);
	g_autoptr(Error) error = NULL;
	if (!hold->asks)
		return 1;
	int got = spawner_receive(
	    hold->socket, timeout_ms < 0 ? PATIENCE : timeout_ms, packet, &error);
	if (got < 0 && error->kind == ERROR_TIMEOUT && timeout_ms >= 0)
		return 0;
	hold->asks = FALSE;
	if (got > 0 && !packet->error)
		return 1;
	hold->failed = TRUE;
	error_set(err, ERROR_INTERNAL, "%s",
	    got > 0	? packet_next(packet) :
		got < 0 ? error->message :
			  "The spawner ended");
	return failed(hold->i, hold->folder, err);
}

int checkpoint_folder(const CheckpointHold *hold, int *ret_fd, Error **err)
{
	*ret_fd = file_openat(instance_folder_fd(hold->folder), "state.new",
	    O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	return *ret_fd < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot open the saved state") :
	    0;
}

int checkpoint_end(CheckpointHold *hold, Error **err)
{
	g_autoptr(Packet) packet = packet_new(0);
	packet->n[0] = 1;
	if (packet_send(hold->socket, packet) == 0 &&
	    spawner_receive(hold->socket, END_PATIENCE, packet, NULL) > 0 && !packet->error)
		hold->ended = TRUE;
	else /* what is on disk knows */
		hold->ended = has_state(hold->i, instance_folder_fd(hold->folder));
	return hold->ended ? 0 :
			     error_set(err, ERROR_INTERNAL,
				 "The instance goes on, since its state does not get its name");
}

int checkpoint_release(CheckpointHold *held, Error **err)
{
	g_autoptr(CheckpointHold) hold = held;
	if (hold->i->type == INSTANCE_MACHINE)
		return vm_release(hold->i, err);
	g_autoptr(Packet) packet = packet_new(0);
	fault_point("state released", NULL);
	checkpoint_written(hold, -1, NULL); /* CRIU is not stopped in the middle */
	if (hold->failed)
		return 0;
	if (!hold->ended)
		packet_send(hold->socket, packet);
	int got = spawner_receive(hold->socket, PATIENCE, packet, err);
	remove_part(hold->i, instance_folder_fd(hold->folder), "state.used");
	remove_part(hold->i, instance_folder_fd(hold->folder), "state.new");
	if (got < 0)
		return -1;
	return got == 0 || packet->error ?
	    error_set(err, ERROR_INTERNAL, "The instance did not go on as it was: %s",
		got ? packet_next(packet) : "the spawner ended") :
	    0;
}

int checkpoint_clear(Instance *i, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	return exists(instance_folder_fd(folder), "state") ?
	    file_remove_all(instance_folder_fd(folder), "state", err) :
	    0;
}

int checkpoint_receive(
    Instance *i, int (*receive)(int folder, void *data, Error **err), void *data, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (checkpoint_open(i, &folder, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	if (mkdirat(fd, "state.new", 0700) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a folder for the state");
	autofd int state = file_openat(
	    fd, "state.new", O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	if (state < 0 || receive(state, data, err) < 0 ||
	    renameat(fd, "state.new", fd, "state") < 0) {
		remove_part(i, fd, "state.new");
		return err && *err ?
		    -1 :
		    error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the state");
	}
	return set_stateful(i, TRUE, err);
}

int checkpoint_request(Instance *i, const char *volume, Packet *rq, Error **err)
{
	if (!i->stateful) {
		packet_add(rq, "");
		return checkpoint_clear(i, err);
	}
	g_autofree char *state = g_build_filename(volume, "state", NULL);
	g_autofree char *log = log_path(i, "restore");
	if (!g_file_test(state, G_FILE_TEST_IS_DIR))
		return error_set(err, ERROR_INVALID,
		    "The saved state is gone: start the instance without it (--stateless)");
	return add_criu(i, volume, log, rq, err);
}

void checkpoint_spent(Instance *i)
{
	Error *error = NULL;
	g_autoptr(InstanceFolder) folder = NULL;
	if (!i->stateful)
		return;
	fault_point("state used", NULL);
	if (instance_folder_open(i, &folder, &error) == 0)
		remove_part(i, instance_folder_fd(folder), "state.used");
	if (error || set_stateful(i, FALSE, &error) < 0)
		log_error("That the state was used is not stored", "instance", i->name, "err",
		    error->message);
	error_free(error);
}

void checkpoint_settle(Instance *i)
{
	g_autoptr(InstanceFolder) folder = NULL;
	g_autoptr(Error) error = NULL;
	int result = instance_folder_open(i, &folder, &error);
	if (result == 0) {
		int fd = instance_folder_fd(folder);
		if (instance_running(i))
			remove_part(i, fd, "state");
		else if (i->type == INSTANCE_MACHINE)
			vm_checkpoint_settle(i, fd);
		remove_part(i, fd, "state.new");
		remove_part(i, fd, "state.used");
		result = set_stateful(i, has_state(i, fd), &error);
	}
	if (result < 0)
		log_warn("Whether the instance has saved state is not known", "instance", i->name,
		    "err", error->message);
}

gboolean checkpoint_trusted(Instance *i)
{
	g_autofree char *restricted = project_setting(i->daemon, i->project, "restricted");
	return g_strcmp0(restricted, "true") != 0;
}

int checkpoint_drop(Instance *i, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (!i->stateful)
		return 0;
	if (instance_folder_open(i, &folder, err) < 0 ||
	    (exists(instance_folder_fd(folder), "state") &&
		file_remove_all(instance_folder_fd(folder), "state", err) < 0))
		return -1;
	return set_stateful(i, FALSE, err);
}

int checkpoint_restored(Instance *i, gboolean keep, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	gboolean present = has_state(i, fd);
	if (exists(fd, "state") && !keep && file_remove_all(fd, "state", err) < 0)
		return -1;
	if (set_stateful(i, keep && present, err) < 0)
		return -1;
	return keep && !present ?
	    error_set(err, ERROR_INVALID, "The snapshot holds no state of running processes") :
	    0;
}
