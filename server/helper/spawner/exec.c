/*
 * Running a command inside a container. The child stays beside the command as its parent, to give
 * its status; signals and window sizes are the daemon's business, through pidfd and pty.
 */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <lxc/attach_options.h>
#include <lxc/lxccontainer.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

typedef struct Command {
	Job *job;
	char **argv;
	const char *cwd;
	int interactive, width, height;
	int ready; /* write end: what went wrong before the command ran, else closed by exec */
} Command;

/* A pty of the container's own devpts, so that `tty` and ttyname() work there. What the path leads
 * to is the container's choice, so it is checked to be a devpts master. */
static int open_pty(int *ret_peer)
{
	struct statfs fs;
	int ptmx = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (ptmx < 0)
		ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int unlock = 0;
	if (ptmx < 0 || fstatfs(ptmx, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC ||
	    ioctl(ptmx, TIOCSPTLCK, &unlock) < 0)
		return -1;
	*ret_peer = ioctl(ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*ret_peer < 0)
		return -1;
	fcntl(ptmx, F_SETFL, fcntl(ptmx, F_GETFL) & ~O_NONBLOCK);
	return ptmx;
}

static int use_pty(Command *command)
{
	int peer = -1, ptmx = open_pty(&peer);
	if (ptmx < 0)
		return -1;
	if (command->width > 0 && command->height > 0) {
		struct winsize size = { .ws_col = (unsigned short)command->width,
			.ws_row = (unsigned short)command->height };
		ioctl(ptmx, TIOCSWINSZ, &size);
	}
	setsid();
	if (ioctl(peer, TIOCSCTTY, 0) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (dup2(peer, i) < 0)
			return -1;
	/* Hand the master to the supervisor over the pipe's socket. */
	Packet *packet = packet_new(0);
	packet_add_fd(packet, ptmx);
	int result = packet_send(command->ready, packet);
	packet->n_fds = 0;
	packet_free(packet);
	close(ptmx);
	return result;
}

void signals_default(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
}

/* The host's /dev/null becomes the container's: what stays behind must hold nothing of the host, or
 * the container's state could not be saved. */
static void nulls_inside(void)
{
	struct stat st;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (null < 0 || fstat(null, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return;
	for (int i = 0; i < 3; i++)
		if (fstat(i, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
			dup2(null, i);
}

/* Runs inside the container, already as the wanted user. */
static int run_command(void *payload)
{
	Command *command = payload;
	signals_default();
	nulls_inside();
	if (command->interactive ? use_pty(command) < 0 : setsid() < 0 && errno != EPERM) {
		Packet *packet = packet_new(0);
		packet->error = errno ? errno : EIO;
		packet_add(packet, "Cannot open a terminal in the container");
		packet_send(command->ready, packet);
		_exit(125);
	}
	if (!*command->cwd || chdir(command->cwd) < 0)
		if (chdir("/") < 0)
			_exit(125);
	execvp(command->argv[0], command->argv);
	_exit(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
}

static char **read_strings(Packet *packet, int64_t n)
{
	char **list = calloc((size_t)n + 1, sizeof(char *));
	for (int64_t i = 0; list && i < n; i++)
		list[i] = strdup(packet_next(packet));
	return list;
}

/* Sends what the caller waits for: the pid, its pidfd and the pty. */
static void answer_running(Job *job, pid_t pid, int ready, int interactive)
{
	Packet *packet = packet_new(0), *inner = packet_new(0);
	packet->n[0] = pid;
	int pidfd = pidfd_open_pid(pid);
	packet_add_fd(packet, pidfd);
	if (interactive) {
		if (packet_recv(ready, inner) <= 0)
			job_fail(job, ECHILD, "The command ended before it had a terminal");
		if (inner->error)
			job_fail(job, inner->error, "%s: %s", packet_next(inner),
			    strerror(inner->error));
		packet_add_fd(packet, inner->fds[0]);
	}
	packet_send(job->answer, packet);
	packet_free(packet);
	inner->n_fds = interactive ? 0 : inner->n_fds;
	packet_free(inner);
}

/* In a process of its own: attaches, tells the pid, and leaves the command to the job's process,
 * which is the nearest that takes orphans. */
static _Noreturn void attach(
    struct lxc_container *c, Command *command, lxc_attach_options_t *options, int inside, int link)
{
	pid_t pid = -1;
	if (inside)
		options->attach_flags &= ~LXC_ATTACH_MOVE_TO_CGROUP;
	if (c->attach(c, run_command, command, options, &pid) < 0)
		pid = -1;
	_exit(write(link, &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
}

/* The command's pid, as a child of ours; -1. `group` NULL: liblxc moves it into the container's
 * cgroups. */
static pid_t start_command(
    struct lxc_container *c, Command *command, lxc_attach_options_t *options, const char *group)
{
	int link[2], inside = 0;
	if (pipe2(link, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = -1, middle = group ? cgroup_fork(group, &inside) : fork();
	if (middle == 0)
		attach(c, command, options, inside, link[1]);
	close(link[1]);
	if (middle > 0) {
		if (read(link[0], &pid, sizeof(pid)) != sizeof(pid))
			pid = -1;
		while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(link[0]);
	return pid;
}

static void fill_options(
    Job *job, const Command *command, char **environment, lxc_attach_options_t *options)
{
	Packet *rq = job->request;
	int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
	options->env_policy = LXC_ATTACH_CLEAR_ENV;
	options->extra_env_vars = environment;
	options->uid = (uid_t)rq->n[2];
	options->gid = (gid_t)rq->n[3];
	options->initial_cwd = (char *)"/";
	options->stdin_fd = command->interactive ? quiet : rq->fds[1];
	options->stdout_fd = command->interactive ? quiet : rq->fds[2];
	options->stderr_fd = command->interactive ? quiet : rq->fds[3];
	for (char **line = environment; *line; line++)
		if (strncmp(*line, "PATH=", 5) == 0)
			setenv("PATH", *line + 5, 1);
}

void job_exec(Job *job)
{
	Packet *rq = job->request;
	const char *name = packet_next(rq), *lxcpath = packet_next(rq), *group = packet_next(rq);
	Command command = { .job = job, .cwd = packet_next(rq), .interactive = rq->n[4] != 0,
		.width = (int)rq->n[5], .height = (int)rq->n[6] };
	command.argv = read_strings(rq, rq->n[0]);
	char **environment = read_strings(rq, rq->n[1]);
	if (!command.argv || !environment || !command.argv[0])
		job_fail(job, EINVAL, "No command");
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		job_fail(job, errno, "Cannot make a socket");
	command.ready = pair[1];
	struct lxc_container *c = lxc_container_new(name, lxcpath);
	if (!c)
		job_fail(job, ENOMEM, "Cannot make a container object");
	lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
	fill_options(job, &command, environment, &options);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* A container at its limit of processes has no room for the way in, but liblxc's leads
	 * around it. */
	pid_t pid = start_command(c, &command, &options, group);
	if (pid <= 0)
		pid = start_command(c, &command, &options, NULL);
	if (pid <= 0)
		job_fail(job, ECANCELED, "Failed to attach to the container");
	close(pair[1]);
	for (unsigned i = 1; i < rq->n_fds; i++) {
		close(rq->fds[i]);
		rq->fds[i] = -1;
	}
	answer_running(job, pid, pair[0], command.interactive);
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	Packet *packet = packet_new(0);
	packet->n[0] = status;
	job_answer(job, packet);
}
