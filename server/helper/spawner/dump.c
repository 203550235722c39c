/* Writing a running container to a folder by CRIU. */
#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/criu_rpc.h"
#include <errno.h>
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
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

typedef struct Dump {
	Job *job;
	Criu criu;
	const char *name, *lxcpath, *group, *directory; /* of this run */
	pid_t init;
	DumpKind kind;
	int goes_on; /* as the caller decided */
	int still;   /* and the caller was told */
	char images[4200], settings[4200];
	int folder;
	FILE *file;
} Dump;

static int add_root(const char *name, const char *mount, void *data)
{
	Dump *d = data;
	char path[4200];
	snprintf(path, sizeof(path), "%s%s", mount, d->group);
	if (access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "%s%s%s", name, *name ? ":" : "", d->group);
		criu_setting(d->file, "--cgroup-root", path);
	}
	return 0;
}

static void add_external(Dump *d, const char *target)
{
	char pair[8400];
	target += strspn(target, "/");
	snprintf(pair, sizeof(pair), "/%s:%s", target, target);
	criu_setting(d->file, "--ext-mount-map", pair);
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

static void settings_write(Dump *d)
{
	static const char *const fixed[][2] = { { "--tcp-established", "" }, { "--file-locks", "" },
		{ "--link-remap", "" }, { "--manage-cgroups", "full" },
		{ "--ext-mount-map", "auto" }, { "--enable-external-sharing", "" },
		{ "--enable-external-masters", "" }, { "--enable-fs", "hugetlbfs" },
		{ "--enable-fs", "tracefs" }, { "--skip-in-flight", "" }, { "--force-irmap", "" },
		{ "--ghost-limit", "268435456" } };
	snprintf(d->settings, sizeof(d->settings), "%s/criu.conf", d->directory);
	d->file = fopen(d->settings, "we");
	if (!d->file)
		job_fail(d->job, errno, "Cannot write \"%s\"", d->settings);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		criu_setting(d->file, fixed[i][0], fixed[i][1]);
	criu_setting(d->file, "--log-file", d->criu.log);
	criu_setting(d->file, "--work-dir", d->directory);
	if (d->kind == DUMP_STAY)
		criu_setting(d->file, "--leave-running", "");
	cgroup_hierarchies(add_root, d);
	add_bound(d);
	/* What was plugged in later, liblxc does not know. */
	for (int64_t i = 0; i < d->job->request->n[2]; i++)
		add_external(d, packet_next(d->job->request));
	if (fclose(d->file) != 0)
		job_fail(d->job, errno, "Cannot write \"%s\"", d->settings);
}

static pid_t run(Dump *d, int *ret_socket)
{
	int pair[2];
	char number[16];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		job_fail(d->job, errno, "Cannot make a socket");
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		signals_default();
		criu_hurry();
		snprintf(number, sizeof(number), "%d", fcntl(pair[1], F_DUPFD, 3));
		if (cgroup_view_enter() < 0)
			_exit(127);
		execl(d->criu.program, d->criu.program, "swrk", number, NULL);
		_exit(127);
	}
	close(pair[1]);
	*ret_socket = pair[0];
	return child;
}

/* CRIU locks the network once all processes stand still, before it writes of them. */
static void tell_still(Dump *d)
{
	if (d->kind != DUMP_ASK || d->still)
		return;
	Packet *packet = packet_new(0);
	packet_send(d->job->answer, packet);
	packet_free(packet);
	d->still = 1;
}

/* Somebody takes the state elsewhere, and says whether it is to be the only one. When this is 0 CRIU
 * takes back what it did. Nothing is flushed: what counts by then is on another machine too. */
static int ask(Dump *d)
{
	tell_still(d);
	Packet *packet = packet_new(0);
	int ends = packet_send(d->job->answer, packet) == 0 &&
	    packet_recv(d->job->answer, packet) > 0 && packet->n[0] == 1 &&
	    criu_rename(&d->criu, "state.new", "state") == 0;
	d->goes_on = !ends;
	packet_reset(packet, 0);
	if (ends)
		packet_send(d->job->answer, packet);
	packet_free(packet);
	return ends;
}

/* All is written and the processes stand still; when we are through they end, or go on, where
 * somebody waited for this moment to copy what is on disk. */
static int written(Dump *d)
{
	Packet *packet = packet_new(0);
	if (d->kind == DUMP_ASK) {
		packet_free(packet);
		return ask(d);
	}
	if (criu_images_flush(&d->criu) < 0 || criu_rename(&d->criu, "state.new", "state") < 0)
		return 0;
	if (d->kind == DUMP_STAY && packet_send(d->job->answer, packet) == 0)
		packet_recv(d->job->answer, packet); /* or its end: nobody waits any more */
	packet_free(packet);
	return d->kind != DUMP_STAY || criu_rename(&d->criu, "state", "state.used") == 0;
}

static CriuRpc attend(Dump *d, int socket)
{
	char script[64];
	int console = -1;
	CriuRpc kind;
	if (criu_rpc_ask(socket, d->init, d->folder, d->settings) < 0)
		return CRIU_RPC_FAILED;
	while (
	    (kind = criu_rpc_read(socket, script, sizeof(script), &console)) == CRIU_RPC_NOTIFY) {
		if (strcmp(script, "network-lock") == 0)
			tell_still(d);
		if (criu_rpc_reply(socket, strcmp(script, "post-dump") != 0 || written(d)) < 0)
			return CRIU_RPC_FAILED;
	}
	return kind;
}

static int committed(const Dump *d)
{
	char path[4200];
	struct stat st;
	snprintf(path, sizeof(path), "%s/state", d->criu.volume);
	return lstat(path, &st) == 0;
}

void job_dump(Job *job)
{
	Packet *rq = job->request;
	Dump d = { .job = job, .init = (pid_t)rq->n[0], .kind = (DumpKind)rq->n[1] };
	int socket = -1;
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
	d.folder = mkdir(d.images, 0700) < 0 ?
	    -1 :
	    open(d.images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d.folder < 0 || cgroup_tree_write(d.group, d.criu.idmap, d.folder) < 0 ||
	    criu_idmap_write(&d.criu, d.folder) < 0)
		job_fail(job, errno, "Cannot write to \"%s\": %s", d.images, strerror(errno));
	settings_write(&d);
	pid_t child = run(&d, &socket);
	CriuRpc result = child < 0 ? CRIU_RPC_FAILED : attend(&d, socket);
	close(socket);
	waitpid(child, NULL, 0);
	/* Its processes are ended by CRIU; by us when CRIU itself was ended in that moment. Who looks
	 * for them from now on must not find them alive beside their state. */
	if (d.kind != DUMP_STAY && committed(&d)) {
		struct pollfd end = { .fd = pidfd, .events = POLLIN };
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		poll(&end, 1, 10000);
	} else if (result != CRIU_RPC_DONE && !d.goes_on)
		job_fail(job, ECANCELED, "CRIU failed");
	job_answer(job, packet_new(0));
}
