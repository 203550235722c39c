/* Under the name "criu": what liblxc starts for a restore. */
#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/criu_rpc.h"
#include "server/helper/spawner/keeper.h"
#include "server/helper/spawner/shift.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	size_t offset;
} variables[] = {
	{ "INCUS_CRIU", offsetof(Criu, program) },
	{ "INCUS_CRIU_VERSION", offsetof(Criu, version) },
	{ "INCUS_CRIU_VOLUME", offsetof(Criu, volume) },
	{ "INCUS_CRIU_LOG", offsetof(Criu, log) },
	{ "INCUS_CRIU_IDMAP", offsetof(Criu, idmap) },
	{ "INCUS_CRIU_GATED", offsetof(Criu, gated) },
};

int criu_read(Packet *packet, Criu *ret)
{
	ret->program = packet_next(packet);
	ret->version = packet_next(packet);
	ret->volume = packet_next(packet);
	ret->log = packet_next(packet);
	return *ret->program ? 0 : -1;
}

static int from_environment(Criu *ret)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		const char *value = getenv(variables[i].name);
		if (!value)
			return -1;
		*(const char **)((char *)ret + variables[i].offset) = value;
	}
	return 0;
}

int criu_prepare(const Criu *criu, const char *folder)
{
	char self[4096], path[4200], search[4300];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return -1;
	self[n] = '\0';
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		setenv(variables[i].name,
		    *(const char *const *)((const char *)criu + variables[i].offset), 1);
	snprintf(path, sizeof(path), "%s/criu", folder);
	if (symlink(self, path) < 0 && errno != EEXIST)
		return -1;
	/* CRIU runs `ip`; the rest of what it asks for may be missing. */
	snprintf(search, sizeof(search), "%s:/usr/sbin:/usr/bin:/sbin:/bin", folder);
	return setenv("PATH", search, 1);
}

void criu_hurry(void)
{
	setpriority(PRIO_PROCESS, 0, -10); /* or not */
}

static int volume_open(const Criu *criu)
{
	return open(criu->volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int visit_images(
    const Criu *criu, const char *name, int (*visit)(int fd, void *data), void *data)
{
	struct dirent *entry;
	int volume = volume_open(criu), result = 0;
	int folder = volume < 0 ?
	    -1 :
	    openat(volume, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = folder < 0 ? NULL : fdopendir(folder);
	if (volume >= 0)
		close(volume);
	if (!dir)
		return -1;
	while (result == 0 && (entry = readdir(dir))) { /* the folder itself too */
		if (strcmp(entry->d_name, "..") == 0)
			continue;
		int fd = openat(
		    dirfd(dir), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		result = fd < 0 ? -1 : visit(fd, data);
		if (fd >= 0)
			close(fd);
	}
	closedir(dir);
	return result;
}

/* The folder itself cannot be, and need not. */
static int write_out(int fd, void *data)
{
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int flush(int fd, void *data)
{
	return fsync(fd);
}

/* All of them are on their way to the disk before one is waited for. */
int criu_images_flush(const Criu *criu)
{
	return visit_images(criu, "state.new", write_out, NULL) < 0 ?
	    -1 :
	    visit_images(criu, "state.new", flush, NULL);
}

/* They are read by a process that is at first still the host's root, without its capabilities, and
 * later the container's. */
static int own(int fd, void *data)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || fchown(fd, 0, shift_id(data, 'g', 0)) < 0)
		return -1;
	return fchmod(fd, S_ISDIR(st.st_mode) ? 0750 : 0640);
}

int criu_images_own(const Criu *criu)
{
	ShiftMaps maps = { 0 };
	return shift_map_read(&maps.to, criu->idmap) < 0 ? -1 :
							   visit_images(criu, "state", own, &maps);
}

static const char idmap_name[] = "idmap.txt";

int criu_idmap_write(const Criu *criu, int folder)
{
	size_t length = strlen(criu->idmap);
	int fd = openat(folder, idmap_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t put = fd < 0 ? -1 : write(fd, criu->idmap, length);
	if (fd >= 0)
		close(fd);
	return put == (ssize_t)length ? 0 : -1;
}

int criu_idmap_same(const Criu *criu)
{
	char text[65536], path[4200];
	snprintf(path, sizeof(path), "%s/state/%s", criu->volume, idmap_name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -1;
	return (size_t)n == strlen(criu->idmap) && memcmp(text, criu->idmap, (size_t)n) == 0;
}

int criu_rename(const Criu *criu, const char *from, const char *to)
{
	int volume = volume_open(criu);
	int result = volume < 0 || renameat(volume, from, volume, to) < 0 || fsync(volume) < 0 ?
	    -1 :
	    0;
	if (volume >= 0)
		close(volume);
	return result;
}

/* liblxc's command line becomes a file of settings, since only by its socket does CRIU hand over
 * the other end of the container's console. */
typedef struct Restore {
	const Criu *criu;
	char folder[4096]; /* of our names */
	char settings[4200];
	char group[4096]; /* of the container */
	int state;
} Restore;

static void translate(Restore *r, FILE *file, int argc, char **argv)
{
	int has_lsm = access("/sys/kernel/security/apparmor", F_OK) == 0;
	for (int i = 0; i < argc; i++) {
		const char *value = i + 1 < argc && argv[i + 1][0] != '-' ? argv[i + 1] : "";
		if (strncmp(argv[i], "--", 2) != 0) /* a value, or what is said in the request */
			continue;
		if (strcmp(argv[i], "--lsm-profile") == 0 && !has_lsm)
			continue;
		if (strcmp(value, "console:") == 0) /* liblxc has none to give */
			continue;
		const char *path = strrchr(value, ':');
		if (strcmp(argv[i], "--cgroup-root") == 0)
			snprintf(r->group, sizeof(r->group), "%s", path ? path + 1 : value);
		criu_setting(file, argv[i], value);
	}
	/* liblxc names the hierarchies it manages; in any other it is the same group. */
	if (*r->group)
		criu_setting(file, "--cgroup-root", r->group);
	criu_setting(
	    file, "--shell-job", ""); /* the console may be nobody's controlling terminal */
	criu_setting(file, "--log-file", r->criu->log);
	criu_setting(file, "--work-dir", r->folder);
}

static int settings_write(Restore *r, int argc, char **argv)
{
	snprintf(r->settings, sizeof(r->settings), "%s/criu.conf", r->folder);
	FILE *file = fopen(r->settings, "we");
	if (!file)
		return -1;
	translate(r, file, argc, argv);
	return fclose(file);
}

/* Up to "post-restore" a refusal ends what was restored; later CRIU only takes note of it. */
static int attend_step(const Restore *r, const char *script)
{
	if (strcmp(script, "post-restore") == 0)
		return !*r->criu->gated || criu_gate_pass(r->folder);
	return strcmp(script, "pre-resume") != 0 || criu_rename(r->criu, "state", "state.used") == 0;
}

/* The other side of CRIU: asks for the restore, gives the state its name in the moment that counts,
 * and keeps the console afterwards. Nobody's child, so that CRIU and the monitor do not meet it. */
static _Noreturn void attend(const Restore *r, const Keeper *keeper, int socket)
{
	char script[64];
	int console = -1, kind;
	if (criu_rpc_ask(socket, 0, r->state, r->settings) < 0)
		_exit(1);
	while (
	    (kind = criu_rpc_read(socket, script, sizeof(script), &console)) == CRIU_RPC_NOTIFY) {
		if (criu_rpc_reply(socket, attend_step(r, script)) < 0)
			_exit(1);
	}
	close(socket);
	if (kind != CRIU_RPC_DONE)
		cgroup_tree_remove(r->group);
	if (kind != CRIU_RPC_DONE || console < 0)
		_exit(kind != CRIU_RPC_DONE);
	keeper_serve(keeper, console);
}

static void hold_only(Keeper *keeper, int *socket)
{
	int *const held[] = { &keeper->listener, &keeper->monitor, &keeper->log, socket };
	enum { HELD = sizeof(held) / sizeof(held[0]), FIRST = 3 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < FIRST; i++)
		dup2(null, i);
	/* Above all of them first, so that none is overwritten by its neighbour. */
	for (int i = 0; i < HELD; i++)
		*held[i] = fcntl(*held[i], F_DUPFD_CLOEXEC, FIRST + HELD);
	for (int i = 0; i < HELD; i++)
		*held[i] = dup2(*held[i], FIRST + i);
	closefrom(FIRST + HELD);
}

/* The end of a socket for CRIU, whose other end has somebody; -1. */
static int attendant_start(const Restore *r)
{
	Keeper keeper;
	int pair[2];
	char run[4200], log[4200];
	const char *slash = strrchr(r->criu->log, '/');
	snprintf(run, sizeof(run), "%s/..", r->folder);
	snprintf(log, sizeof(log), "%.*s/console.log", slash ? (int)(slash - r->criu->log) : 0,
	    r->criu->log);
	if (keeper_open(&keeper, run, log, getppid()) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		if (fork() != 0)
			_exit(0);
		setsid();
		hold_only(&keeper, &pair[0]);
		attend(r, &keeper, pair[0]);
	}
	close(pair[0]);
	close(keeper.listener);
	close(keeper.monitor);
	return child < 0 || waitpid(child, NULL, 0) < 0 ? -1 : fcntl(pair[1], F_DUPFD, 3);
}

static int fail(const char *what)
{
	fprintf(stderr, "criu: %s: %s\n", what, strerror(errno));
	return 1;
}

static int restore_run(const Criu *criu, int argc, char **argv)
{
	Restore r = { .criu = criu };
	char number[16];
	const char *slash = strrchr(argv[0], '/');
	snprintf(r.folder, sizeof(r.folder), "%.*s", slash ? (int)(slash - argv[0]) : 1,
	    slash ? argv[0] : ".");
	int volume = volume_open(criu);
	r.state = volume < 0 ?
	    -1 :
	    openat(volume, "state", O_RDONLY | O_DIRECTORY | O_NOFOLLOW); /* CRIU opens it again */
	if (r.state < 0 || settings_write(&r, argc, argv) < 0)
		return fail("the state cannot be read");
	cgroup_find_mounts();
	if (!*r.group || cgroup_tree_make(r.group, criu->idmap, r.state) < 0)
		return fail("the control groups cannot be made");
	int socket = attendant_start(&r);
	if (socket < 0)
		return fail("the console cannot be made");
	snprintf(number, sizeof(number), "%d", socket);
	if (cgroup_view_enter() < 0)
		return fail("the control groups cannot be entered");
	signals_default();
	criu_hurry();
	execl(criu->program, criu->program, "swrk", number, NULL);
	return fail(criu->program);
}

int criu_program(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
	Criu criu;
	if (strcmp(name, "criu") != 0)
		return -1;
	if (from_environment(&criu) < 0)
		return 1;
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return printf("Version: %s\n", criu.version) < 0;
	return restore_run(&criu, argc, argv);
}
