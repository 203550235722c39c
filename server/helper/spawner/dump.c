/* Writing a running container to a folder by CRIU. */
#include "server/helper/spawner/criu.h"
#include <errno.h>
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <mntent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS = 512 };

typedef struct Dump {
	Job *job;
	Criu criu;
	const char *name, *lxcpath, *group, *directory; /* of this run */
	pid_t init;
	int stay, hook;
	char images[4200];
	char *list[ARGUMENTS];
	int n;
} Dump;

static void add(Dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(Dump *d, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (d->n + 1 == ARGUMENTS || vasprintf(&d->list[d->n++], format, args) < 0)
		job_fail(d->job, E2BIG, "The container has too many mounts to be saved");
	va_end(args);
}

static int add_root(const char *name, const char *mount, void *data)
{
	Dump *d = data;
	char path[4200];
	snprintf(path, sizeof(path), "%s%s", mount, d->group);
	if (access(path, F_OK) == 0) {
		add(d, "--cgroup-root");
		add(d, "%s%s%s", name, *name ? ":" : "", d->group);
	}
	return 0;
}

static void add_external(Dump *d, const char *target)
{
	while (*target == '/')
		target++;
	add(d, "--ext-mount-map");
	add(d, "/%s:%s", target, target);
}

/* What liblxc bound into the container, by the names that it will use at the restore. */
static void add_bound(Dump *d)
{
	char strings[8192];
	struct mntent entry;
	struct lxc_container *c = lxc_container_new(d->name, d->lxcpath);
	/* It answers no question before it has a configuration of its own. */
	char *text = c && c->set_config_item(c, "lxc.uts.name", d->name) ?
	    c->get_running_config_item(c, "lxc.mount.entry") :
	    NULL;
	FILE *file = text && *text ? fmemopen(text, strlen(text), "r") : NULL;
	if (!text)
		job_fail(d->job, ECHILD, "The container's monitor does not answer");
	while (file && getmntent_r(file, &entry, strings, sizeof(strings)))
		if (hasmntopt(&entry, "bind") || hasmntopt(&entry, "rbind"))
			add_external(d, entry.mnt_dir);
	if (file)
		fclose(file);
}

/* The console's other end is the monitor's. Its number is noted for the restore. */
static void add_console(Dump *d, int folder)
{
	char path[64], id[64];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/%d/root/dev/console", (int)d->init);
	if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return;
	int n = snprintf(id, sizeof(id), "tty[%llx:%llx]", (unsigned long long)st.st_rdev,
	    (unsigned long long)st.st_dev);
	int fd = openat(folder, "console.txt", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, id, (size_t)n) != n || close(fd) < 0)
		job_fail(d->job, errno, "Cannot write to \"%s\": %s", d->images, strerror(errno));
	add(d, "--external");
	add(d, "%s", id);
	add(d, "--ext-mount-map");
	add(d, "/dev/console:console");
}

static void build(Dump *d, int folder)
{
	static const char *const fixed[] = { "--tcp-established", "--file-locks", "--link-remap",
		"--manage-cgroups=full", "--ext-mount-map", "auto", "--enable-external-sharing",
		"--enable-external-masters", "--enable-fs", "hugetlbfs", "--enable-fs", "tracefs",
		"--skip-in-flight", "--force-irmap", "--network-lock", "nftables", "--ghost-limit",
		"268435456", "-v3" };
	char hook[4200];
	add(d, "%s", d->criu.program);
	add(d, "dump");
	add(d, "-t");
	add(d, "%d", (int)d->init);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		add(d, "%s", fixed[i]);
	add(d, "-D");
	add(d, "%s", d->images);
	add(d, "-o");
	add(d, "%s", d->criu.log);
	criu_hook_path(d->directory, hook, sizeof(hook));
	add(d, "--action-script");
	add(d, "%s", hook);
	add(d, "-W");
	add(d, "%s", d->directory);
	if (d->stay)
		add(d, "--leave-running");
	cgroup_hierarchies(add_root, d);
	add_bound(d);
	add_console(d, folder);
}

static _Noreturn void run(Dump *d)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	signals_default();
	if (d->stay) {
		char number[16];
		int fd = fcntl(d->hook, F_DUPFD, 3);
		snprintf(number, sizeof(number), "%d", fd);
		setenv(criu_hook_variable, number, 1);
	}
	execv(d->criu.program, d->list);
	_exit(127);
}

/* Between these two the container stands still, and its state has its name. */
static void converse(Dump *d, int hook)
{
	char byte;
	Packet *packet = packet_new(0);
	if (read(hook, &byte, 1) == 1 && packet_send(d->job->answer, packet) == 0)
		packet_recv(d->job->answer, packet); /* or its end: nobody waits any more */
	shutdown(hook, SHUT_RDWR);
	close(hook);
	packet_free(packet);
}

static int committed(const Dump *d)
{
	char path[4200];
	struct stat st;
	snprintf(path, sizeof(path), "%s/state", d->criu.volume);
	return lstat(path, &st) == 0;
}

/* Its processes are ended by CRIU; by us when CRIU itself was ended in that moment. */
static void finish(Dump *d, int pidfd, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (!d->stay && committed(d)) {
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		return;
	}
	job_fail(d->job, ECANCELED, WIFEXITED(status) ? "CRIU ended with status %d" :
							"CRIU was ended by signal %d",
	    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void job_dump(Job *job)
{
	Packet *rq = job->request;
	Dump d = { .job = job, .init = (pid_t)rq->n[0], .stay = rq->n[1] != 0 };
	int pair[2] = { -1, -1 }, status = 0;
	d.name = packet_next(rq);
	d.lxcpath = packet_next(rq);
	d.group = packet_next(rq);
	d.directory = packet_next(rq);
	d.criu.idmap = packet_next(rq);
	if (criu_read(rq, &d.criu) < 0)
		job_fail(job, EINVAL, "No CRIU was named");
	/* Held until the end: a daemon that was started meanwhile waits before it looks for us. */
	int directory = open(d.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 || flock(directory, LOCK_EX) < 0)
		job_fail(job, errno, "Cannot lock \"%s\"", d.directory);
	int pidfd = packet_take_fd(rq, 1);
	snprintf(d.images, sizeof(d.images), "%s/state.new", d.criu.volume);
	int folder = mkdir(d.images, 0700) < 0 ? -1 : open(d.images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0 || cgroup_tree_write(d.group, d.criu.idmap, folder) < 0 ||
	    criu_prepare(&d.criu, d.directory) < 0)
		job_fail(job, errno, "Cannot write to \"%s\": %s", d.images, strerror(errno));
	build(&d, folder);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		job_fail(job, errno, "Cannot make a socket");
	d.hook = pair[1];
	pid_t child = fork();
	if (child == 0)
		run(&d);
	close(pair[1]);
	if (d.stay)
		converse(&d, pair[0]);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		job_fail(job, errno, "Cannot run CRIU");
	finish(&d, pidfd, status);
	job_answer(job, packet_new(0));
}
