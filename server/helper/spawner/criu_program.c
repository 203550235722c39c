/*
 * Under the name "criu": what liblxc starts for a restore. Under the name "criu-hook": what CRIU
 * calls when all is written or restored.
 */
#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/keeper.h"
#include "server/helper/spawner/shift.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGUMENTS_EXTRA = 16 };

const char criu_hook_variable[] = "INCUS_CRIU_HOOK";

static const struct {
	const char *name;
	size_t offset;
} variables[] = {
	{ "INCUS_CRIU", offsetof(Criu, program) },
	{ "INCUS_CRIU_VERSION", offsetof(Criu, version) },
	{ "INCUS_CRIU_VOLUME", offsetof(Criu, volume) },
	{ "INCUS_CRIU_LOG", offsetof(Criu, log) },
	{ "INCUS_CRIU_IDMAP", offsetof(Criu, idmap) },
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

void criu_hook_path(const char *folder, char *ret, size_t size)
{
	snprintf(ret, size, "%s/criu-hook", folder);
}

int criu_prepare(const Criu *criu, const char *folder)
{
	char self[4096], path[4200], search[4300];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return -1;
	self[n] = '\0';
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		setenv(variables[i].name, *(const char *const *)((const char *)criu + variables[i].offset), 1);
	snprintf(path, sizeof(path), "%s/criu", folder);
	if (symlink(self, path) < 0 && errno != EEXIST)
		return -1;
	criu_hook_path(folder, path, sizeof(path));
	if (symlink(self, path) < 0 && errno != EEXIST)
		return -1;
	/* CRIU runs `ip`; the rest of what it asks for may be missing. */
	snprintf(search, sizeof(search), "%s:/usr/sbin:/usr/bin:/sbin:/bin", folder);
	return setenv("PATH", search, 1);
}

static int volume_open(const Criu *criu)
{
	return open(criu->volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int visit_images(const Criu *criu, const char *name, int (*visit)(int fd, void *data), void *data)
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

static int flush(int fd, void *data) { return fsync(fd); }

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

/* Gives one of the volume's folders another name, for good. */
static int rename_state(const Criu *criu, const char *from, const char *to)
{
	int volume = volume_open(criu);
	int result = volume < 0 || renameat(volume, from, volume, to) < 0 || fsync(volume) < 0 ? -1 : 0;
	if (volume >= 0)
		close(volume);
	return result;
}

/* All is written and the processes stand still; when we are through they end, or go on where
 * somebody waited for this moment to copy what is on disk. */
static int after_dump(const Criu *criu)
{
	const char *hook = getenv(criu_hook_variable);
	char byte = 0;
	if (visit_images(criu, "state.new", flush, NULL) < 0 ||
	    rename_state(criu, "state.new", "state") < 0)
		return 1;
	if (!hook)
		return 0;
	if (write(atoi(hook), &byte, 1) == 1 && read(atoi(hook), &byte, 1) < 0)
		fprintf(stderr, "criu-hook: %s\n", strerror(errno));
	return rename_state(criu, "state", "state.used") < 0;
}

static int hook_run(const char *action)
{
	Criu criu;
	if (from_environment(&criu) < 0)
		return 1;
	if (strcmp(action, "post-dump") == 0)
		return after_dump(&criu);
	if (strcmp(action, "pre-resume") == 0)
		return rename_state(&criu, "state", "state.used") < 0;
	return 0;
}

/* A restore's command line: what liblxc says, but for what we know better. */
typedef struct Restore {
	const Criu *criu;
	char folder[4096];  /* of our names */
	const char *group;  /* of the container */
	int state;
	char **list;
	int n;
} Restore;

static void add(Restore *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(Restore *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (vasprintf(&r->list[r->n++], format, args) < 0)
		_exit(1);
	va_end(args);
}

static void take_arguments(Restore *r, int argc, char **argv)
{
	int has_lsm = access("/sys/kernel/security/apparmor", F_OK) == 0;
	r->list = calloc((size_t)argc + ARGUMENTS_EXTRA, sizeof(char *));
	for (int i = 0; r->list && i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "--lsm-profile") == 0 && !has_lsm) {
			i++;
		} else if (strcmp(argv[i], "-o") == 0) {
			add(r, "-o");
			add(r, "%s", r->criu->log);
			i++;
		} else if (strcmp(argv[i], "--ext-mount-map") == 0 && strcmp(value, "console:") == 0) {
			i++; /* it has none to give */
		} else {
			add(r, "%s", argv[i]);
		}
		if (strcmp(argv[i], "--cgroup-root") == 0)
			r->group = strrchr(value, ':') ? strrchr(value, ':') + 1 : value;
	}
	if (!r->list)
		return;
	add(r, "--action-script");
	add(r, "%s/criu-hook", r->folder);
	add(r, "-W");
	add(r, "%s", r->folder);
	add(r, "-v3");
}

/* The number that the console's terminal had; 0 when there was none. */
static int console_read(const Restore *r, char *ret, size_t size)
{
	unsigned long long device, folder;
	int fd = openat(r->state, "console.txt", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);
	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return sscanf(ret, "tty[%llx:%llx]", &device, &folder) == 2;
}

/* A terminal of the host in the place of the console's; the container's root may open it. */
static int console_make(Restore *r)
{
	char id[64], path[64], log[4200], run[4200];
	int number, unlock = 0;
	ShiftMaps maps = { 0 };
	if (!console_read(r, id, sizeof(id)))
		return 0;
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	int slave = open(path, O_RDWR | O_NOCTTY);
	if (slave < 0 || shift_map_read(&maps.to, r->criu->idmap) < 0 ||
	    fchown(slave, shift_id(&maps, 'u', 0), shift_id(&maps, 'g', 5)) < 0 ||
	    fchmod(slave, 0620) < 0)
		return -1;
	const char *slash = strrchr(r->criu->log, '/');
	snprintf(log, sizeof(log), "%.*s/console.log", slash ? (int)(slash - r->criu->log) : 0, r->criu->log);
	snprintf(run, sizeof(run), "%s/..", r->folder);
	if (keeper_start(master, slave, run, log, getppid()) < 0)
		return -1;
	add(r, "--inherit-fd");
	add(r, "fd[%d]:%s", slave, id);
	add(r, "--ext-mount-map");
	add(r, "console:%s", path);
	return 0;
}

static int restore_run(const Criu *criu, int argc, char **argv)
{
	Restore r = { .criu = criu };
	const char *slash = strrchr(argv[0], '/');
	snprintf(r.folder, sizeof(r.folder), "%.*s", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
	take_arguments(&r, argc, argv);
	int volume = volume_open(criu);
	r.state = volume < 0 ? -1 :
			       openat(volume, "state", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (!r.list || !r.group || r.state < 0) {
		fprintf(stderr, "criu: the state cannot be read\n");
		return 1;
	}
	cgroup_find_mounts();
	if (cgroup_tree_make(r.group, criu->idmap, r.state) < 0) {
		fprintf(stderr, "criu: the control groups cannot be made: %s\n", strerror(errno));
		return 1;
	}
	if (console_make(&r) < 0) {
		fprintf(stderr, "criu: the console cannot be made: %s\n", strerror(errno));
		return 1;
	}
	signals_default();
	execv(criu->program, r.list);
	fprintf(stderr, "criu: %s: %s\n", criu->program, strerror(errno));
	return 1;
}

int criu_program(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	Criu criu;
	if (strcmp(name, "criu-hook") == 0)
		return hook_run(action ? action : "");
	if (strcmp(name, "criu") != 0)
		return -1;
	if (from_environment(&criu) < 0)
		return 1;
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return printf("Version: %s\n", criu.version) < 0;
	return restore_run(&criu, argc, argv);
}
