/*
 * Starting a container. The child takes a mount namespace of its own, puts the finished root file
 * system (idmapped) and the sources of all mounts there, and lets liblxc daemonize a monitor in it:
 * when the monitor ends, the mounts are gone, and the host never saw them.
 */
#include "server/helper/spawner/criu.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <lxc/lxccontainer.h>
#include <poll.h>
#include <sched.h>
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

void mount_spec_read(Packet *packet, MountSpec *ret_spec)
{
	MountSpec spec;
	spec.source = packet_next(packet);
	spec.beneath = packet_next(packet);
	spec.target = packet_next(packet);
	spec.propagation = packet_next(packet);
	spec.filesystem = packet_next(packet);
	spec.options = packet_next(packet);
	const char *flags = packet_next(packet);
	spec.readonly = strstr(flags, "ro,") != NULL;
	spec.recursive = strstr(flags, "rec,") != NULL;
	spec.shift = strstr(flags, "shift,") != NULL;
	spec.is_file = strstr(flags, "file,") != NULL;
	spec.is_device = strstr(flags, "dev,") != NULL;
	spec.optional = strstr(flags, "opt,") != NULL;
	*ret_spec = spec;
}

int source_open(const char *path, const char *beneath)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	size_t length = strlen(beneath);
	if (!length)
		return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (strncmp(path, beneath, length) != 0) {
		errno = EXDEV;
		return -1;
	}
	int folder = (int)syscall(SYS_openat2, AT_FDCWD, beneath, &how, sizeof(how));
	const char *rest = path + length + strspn(path + length, "/");
	if (folder < 0)
		return -1;
	how.resolve |= RESOLVE_BENEATH;
	int fd = (int)syscall(SYS_openat2, folder, *rest ? rest : ".", &how, sizeof(how));
	int error = errno;
	close(folder);
	errno = error;
	return fd;
}

static void stage_tree(Job *job, int tree, const char *at)
{
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		job_fail(job, errno, "Cannot mount on \"%s\"", at);
	close(tree);
}

/* Mounts the source on `at`, which is made as folder or file like the source. */
static void stage_source(Job *job, const MountSpec *spec, int userns, const char *at)
{
	int is_file;
	int tree = tree_open(job, spec, userns, &is_file);
	if (is_file)
		close(open(at, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	else
		mkdir(at, 0755);
	stage_tree(job, tree, at);
}

/* fstab's escapes for the fields of lxc.mount.entry. */
static void escape(char *to, size_t size, const char *from)
{
	size_t n = 0;
	for (; *from && n + 5 < size; from++)
		if (strchr(" \t\\\n", *from))
			n += (size_t)snprintf(to + n, size - n, "\\%03o", (unsigned char)*from);
		else
			to[n++] = *from;
	to[n] = '\0';
}

static void configure(Job *job, struct lxc_container *c, const char *key, const char *value)
{
	if (!c->set_config_item(c, key, value))
		job_fail(job, EINVAL, "Failed to set LXC config: %s=%s", key, value);
}

static void configure_mount(
    Job *job, struct lxc_container *c, const MountSpec *spec, const char *staged)
{
	char source[8192], target[8192], line[20000];
	escape(source, sizeof(source), *staged ? staged : spec->source);
	const char *inside = spec->target;
	while (*inside == '/')
		inside++;
	escape(target, sizeof(target), inside);
	const char *options = *spec->filesystem ? spec->options :
						  ""; /* a bind's are on its source */
	snprintf(line, sizeof(line), "%s %s %s %s%s%s%s,create=%s%s%s%s%s 0 0", source, target,
	    *spec->filesystem ? spec->filesystem : "none", *spec->filesystem ? "" : "bind",
	    !*spec->filesystem && spec->recursive ? ",rbind" : "", *options ? "," : "", options,
	    spec->is_file ? "file" : "dir", spec->optional ? ",optional" : "",
	    spec->readonly ? ",ro" : "", *spec->propagation ? "," : "", spec->propagation);
	char *clean = *spec->filesystem ? strstr(line, " ,create") : NULL;
	if (clean)
		memmove(clean + 1, clean + 2, strlen(clean + 2) + 1);
	configure(job, c, "lxc.mount.entry", line);
}

/* The payload's cgroup, the same path in every hierarchy: liblxc's name for it is its start. */
static void cgroup_path(pid_t pid, char *ret, size_t size)
{
	char path[64], line[4096];
	*ret = '\0';
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "lxc.payload.");
		char *start = at ? strchr(strchr(line, ':') + 1, ':') : NULL;
		if (!start)
			continue;
		at[strcspn(at, "/\n")] = '\0';
		snprintf(ret, size, "%s", start + 1);
		break;
	}
	if (file)
		fclose(file);
}

static pid_t parent_of(pid_t pid)
{
	char path[64], line[256];
	int parent = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "PPid: %d", &parent) == 1)
			break;
	if (file)
		fclose(file);
	return parent;
}

/* A socket made inside the network namespace keeps showing it without entering it again. */
static int netlink_inside(int pidfd)
{
	if (setns(pidfd, CLONE_NEWNET) < 0)
		return -1;
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

/* What a later incusd finds the container by; in place before anybody hears of the start. */
static void write_state(Job *job, int directory, const Packet *started, const char *cgroup)
{
	char text[4400];
	int length = snprintf(text, sizeof(text), "%lld %lld %lld %lld %s\n",
	    (long long)started->n[0], (long long)started->n[1], (long long)started->n[2],
	    (long long)started->n[3], cgroup);
	int fd = openat(directory, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, (size_t)length) != length || close(fd) < 0 ||
	    renameat(directory, "state.new", directory, "state") < 0)
		job_fail(job, errno, "Cannot write the running state");
}

static void answer_started(Job *job, struct lxc_container *c, int directory)
{
	Packet *packet = packet_new(0);
	char cgroup[4096];
	pid_t init = c->init_pid(c);
	pid_t monitor = init > 0 ? parent_of(init) : 0;
	int init_fd = init > 0 ? pidfd_open_pid(init) : -1;
	int monitor_fd = monitor > 1 ? pidfd_open_pid(monitor) : -1;
	if (init_fd < 0 || monitor_fd < 0)
		job_fail(job, ECHILD, "The container ended at once");
	packet->n[0] = init;
	packet->n[1] = monitor;
	packet->n[2] = (int64_t)pid_start_time(init);
	packet->n[3] = (int64_t)pid_start_time(monitor);
	cgroup_path(init, cgroup, sizeof(cgroup));
	packet_add(packet, cgroup);
	write_state(job, directory, packet, cgroup);
	packet_add_fd(packet, init_fd);
	packet_add_fd(packet, monitor_fd);
	int netlink = netlink_inside(init_fd);
	if (netlink >= 0)
		packet_add_fd(packet, netlink);
	job_answer(job, packet);
}

/* The container has its own by now; ours would keep a file system busy when a device is removed. */
static void unstage(const char *path, int64_t n)
{
	char staged[4200];
	for (int64_t i = 0; i < n; i++) {
		snprintf(staged, sizeof(staged), "%s/%d", path, (int)i);
		umount2(staged, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
}

/* In a process of its own, which liblxc makes the monitor: it must hold nothing of ours. */
static _Noreturn void restore(Job *job, struct lxc_container *c, const Criu *criu, int directory)
{
	char state[4200];
	snprintf(state, sizeof(state), "%s/state", criu->volume);
	struct migrate_opts options = { .directory = state };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(job->answer);
	close(directory);
	keep_freed_in_children();
	_exit(c->migrate(c, MIGRATE_RESTORE, &options, sizeof(options)) == 0 ? 0 : 1);
}

/* Whoever comes to the gate waits there until our caller lets it through. */
static void gate_ask(Job *job, int gate)
{
	Packet *packet = packet_new(0);
	int knocking = accept4(gate, NULL, NULL, SOCK_CLOEXEC);
	if (knocking >= 0 && (packet_send(job->answer, packet) < 0 || packet_recv(job->answer, packet) <= 0))
		packet_reset(packet, 0); /* nobody there: no */
	if (knocking >= 0) {
		packet_send(knocking, packet);
		close(knocking);
	}
	packet_free(packet);
}

/* Until somebody came, or the restore failed before. */
static void gate_keep(Job *job, int gate, pid_t child)
{
	int pidfd = pidfd_open_pid(child);
	struct pollfd wait[] = { { .fd = gate, .events = POLLIN },
		{ .fd = pidfd, .events = POLLIN } };
	while (poll(wait, 2, -1) < 0 && errno == EINTR)
		;
	if (wait[0].revents & POLLIN)
		gate_ask(job, gate);
	close(pidfd);
	close(gate);
}

static void start_restored(
    Job *job, struct lxc_container *c, const Criu *criu, const char *folder, int directory)
{
	int status;
	if (criu_idmap_same(criu) == 0)
		job_fail(job, EINVAL,
		    "The id map of the instance is another one than when its state was saved: set it back, or start the instance without the state (--stateless)");
	if (criu_prepare(criu, folder) < 0 || criu_images_own(criu) < 0)
		job_fail(job, errno, "Cannot read the state in \"%s\": %s", criu->volume,
		    strerror(errno));
	int gate = *criu->gated ? criu_gate_open(folder) : -1;
	if (*criu->gated && gate < 0)
		job_fail(job, errno, "Cannot make a socket in \"%s\"", folder);
	pid_t child = fork();
	if (child == 0) {
		if (gate >= 0)
			close(gate);
		restore(job, c, criu, directory);
	}
	if (child > 0 && gate >= 0)
		gate_keep(job, gate, child);
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
		job_fail(job, ECANCELED, "CRIU cannot restore the container");
}

static void start_afresh(Job *job, struct lxc_container *c)
{
	/* Without newuidmap in reach liblxc writes the maps itself: /etc/subuid was checked by
	 * incusd. */
	setenv("PATH", "/nonexistent", 1);
	c->want_daemonize(c, true);
	c->want_close_all_fds(c, true);
	/* The daemonized monitor must not hold the answer's socket. */
	fcntl(job->answer, F_SETFD, FD_CLOEXEC);
	if (!c->start(c, 0, NULL))
		job_fail(job, ECANCELED, "Failed to run the container's init");
}

void job_start(Job *job)
{
	Packet *rq = job->request;
	const char *name = packet_next(rq), *lxcpath = packet_next(rq), *rootfs = packet_next(rq);
	const char *state = packet_next(rq), *idmap = packet_next(rq);
	/* Held while starting: a daemon that was started meanwhile waits here before it looks for
	 * us. */
	int directory = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 || flock(directory, LOCK_EX) < 0)
		job_fail(job, errno, "Cannot lock \"%s\"", state);
	int userns = *idmap ? userns_open(idmap) : -1;
	if (*idmap && userns < 0)
		job_fail(job, errno, "Cannot make a user namespace with the instance's id map");
	setsid();
	if (mntns_private() < 0)
		job_fail(job, errno, "Cannot make a mount namespace");
	char path[4096], staged[4200];
	snprintf(path, sizeof(path), "%s/mounts", state);
	if (mount("none", path, "tmpfs", MS_NODEV | MS_NOSUID, "mode=0711,size=1m") < 0)
		job_fail(job, errno, "Cannot mount \"%s\"", path);
	MountSpec root = { .source = rootfs, .beneath = "", .options = "", .shift = rq->n[0] != 0 };
	snprintf(staged, sizeof(staged), "%s/rootfs", path);
	stage_source(job, &root, userns, staged);

	struct lxc_container *c = lxc_container_new(name, lxcpath);
	if (!c)
		job_fail(job, ENOMEM, "Cannot make a container object");
	c->clear_config(c);
	char value[4300];
	snprintf(value, sizeof(value), "dir:%s", staged);
	configure(job, c, "lxc.rootfs.path", value);
	for (int64_t i = 0; i < rq->n[1]; i++) {
		const char *key = packet_next(rq);
		configure(job, c, key, packet_next(rq));
	}
	for (int64_t i = 0; i < rq->n[2]; i++) {
		MountSpec spec;
		mount_spec_read(rq, &spec);
		snprintf(staged, sizeof(staged), "%s/%d", path, (int)i);
		if (*spec.filesystem)
			staged[0] = '\0';
		else
			stage_source(job, &spec, userns, staged);
		configure_mount(job, c, &spec, staged);
	}
	Criu criu = { .idmap = idmap, .gated = rq->n[3] ? "1" : "" };
	int saved = criu_read(rq, &criu) == 0;
	if (userns >= 0)
		close(userns);
	if (saved)
		start_restored(job, c, &criu, path, directory);
	else
		start_afresh(job, c);
	unstage(path, rq->n[2]);
	answer_started(job, c, directory);
}

void job_check(Job *job)
{
	struct lxc_container *c = lxc_container_new("check", packet_next(job->request));
	if (!c)
		job_fail(job, ENOMEM, "Cannot make a container object");
	for (int64_t i = 0; i < job->request->n[0]; i++) {
		const char *key = packet_next(job->request);
		configure(job, c, key, packet_next(job->request));
	}
	job_answer(job, packet_new(0));
}

void job_cgroup(Job *job)
{
	const char *name = packet_next(job->request);
	struct lxc_container *c = lxc_container_new(name, packet_next(job->request));
	const char *key = packet_next(job->request), *value = packet_next(job->request);
	if (!c || !c->set_cgroup_item(c, key, value))
		job_fail(job, EINVAL, "Cannot set \"%s\" to \"%s\"", key, value);
	job_answer(job, packet_new(0));
}
