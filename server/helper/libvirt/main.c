/*
 * incus-libvirt FOLDER STORAGE LIBVIRTD: keeps one libvirtd of incusd's own, apart from any other
 * of the host. FOLDER (INCUS_DIR/libvirt) has etc, run, lib, cache and log, which libvirtd sees in
 * the places that are built into it, for it has a mount namespace of its own. Mounts below STORAGE
 * are taken out of that namespace, so that pools can be unmounted; virtual machines open their
 * disks through /proc/PID/root of this process, which stays in the host's namespace.
 *
 * It adopts virtual machines whose libvirtd died, and so they are reaped at once; it starts
 * libvirtd again when it ends, and ends with it on SIGTERM. It outlives incusd, which finds it by
 * the lock on FOLDER/lock and the process id in it. The socket that clients connect to is opened
 * here: while libvirtd is not there they wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_FD = 3, HELD_FD = 10 };

static const struct {
	const char *name, *place;
} folders[] = { { "etc", "/etc/libvirt" }, { "run", "/run/libvirt" }, { "lib", "/var/lib/libvirt" },
	{ "cache", "/var/cache/libvirt" }, { "log", "/var/log/libvirt" } };

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;
	int saved = errno;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(saved));
	exit(1);
}

/* The lock goes with the process; what is read there while it is held is true. */
static void take_lock(void)
{
	int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		die("Cannot lock the folder of libvirtd");
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		die("Cannot write the lock file");
}

/* Relative: the folder's own path may be longer than an address. */
static int listen_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink("socket");
	umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 64) < 0)
		die("Cannot listen for libvirt's clients");
	umask(0022);
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HELD_FD); /* away from where libvirtd gets it */
	if (high < 0)
		die("Cannot move a descriptor");
	close(fd);
	return high;
}

/* ---- in libvirtd's process, before it is that ---- */

/* "\040" of mountinfo is a blank. */
static void unescape(char *text)
{
	char *to = text;
	for (const char *at = text; *at; at++, to++) {
		unsigned value;
		if (*at == '\\' && sscanf(at + 1, "%3o", &value) == 1) {
			*to = (char)value;
			at += 3;
		} else {
			*to = *at;
		}
	}
	*to = 0;
}

static void leave_mounts(const char *storage)
{
	char line[8192], path[4097];
	size_t length = strlen(storage);
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (!file)
		die("Cannot read the mounts");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*d %*d %*s %*s %4096s", path) != 1)
			continue;
		unescape(path);
		if (strncmp(path, storage, length) == 0 && path[length] == '/')
			umount2(path, MNT_DETACH);
	}
	fclose(file);
}

static void enter_namespace(const char *storage)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		die("Cannot make a mount namespace");
	leave_mounts(storage);
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		if (mkdir(folders[i].place, 0755) < 0 && errno != EEXIST)
			die("Cannot make \"%s\"", folders[i].place);
		if (mount(folders[i].name, folders[i].place, NULL, MS_BIND | MS_REC, NULL) < 0)
			die("Cannot mount over \"%s\"", folders[i].place);
	}
}

static void redirect_output(void)
{
	int fd = open("log/libvirtd.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		die("Cannot write libvirtd's log");
	if (fd > STDERR_FILENO)
		close(fd);
}

static void __attribute__((noreturn))
become_libvirtd(const char *program, const char *storage, int listener, pid_t parent)
{
	char pid[16];
	sigset_t none;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	redirect_output();
	enter_namespace(storage);
	if (dup2(listener, LISTEN_FD) < 0)
		die("Cannot pass the socket on");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", "libvirtd.socket", 1);
	execl(program, program, "--config", "/etc/libvirt/libvirtd.conf", "--pid-file",
	    "/run/libvirt/libvirtd.pid", (char *)NULL);
	die("Cannot run \"%s\"", program);
}

static pid_t start_libvirtd(const char *program, const char *storage, int listener)
{
	pid_t self = getpid(), pid = fork();
	if (pid < 0)
		die("Cannot fork");
	if (pid == 0)
		become_libvirtd(program, storage, listener, self);
	return pid;
}

/* Reaps whatever ended; 1 when libvirtd is among it. */
static int reap(pid_t libvirtd)
{
	int ended = 0;
	for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
		ended |= pid == libvirtd;
	return ended;
}

static void supervise(const char *program, const char *storage, int listener)
{
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	pid_t libvirtd = start_libvirtd(program, storage, listener);
	time_t started = time(NULL);
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		die("Cannot report");
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	for (int number; (number = sigwaitinfo(&wanted, NULL)) != SIGTERM;) {
		if (number != SIGCHLD || !reap(libvirtd))
			continue;
		/* One that cannot start must not keep the machine busy. */
		if (time(NULL) - started < 2)
			sleep(1);
		libvirtd = start_libvirtd(program, storage, listener);
		started = time(NULL);
	}
	kill(libvirtd, SIGTERM);
	waitpid(libvirtd, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(
		    stderr, "Usage: incus-libvirt FOLDER STORAGE LIBVIRTD (started by incusd)\n");
		return 2;
	}
	setsid();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || chdir(argv[1]) < 0)
		die("Cannot enter \"%s\"", argv[1]);
	take_lock();
	supervise(argv[3], argv[2], listen_socket());
	unlink("socket");
	return 0;
}
