/* A command with its terminal or pipes, and the process beside it that gives its status: what
 * containers and incus-agent have in common. */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* A pty of the instance's own devpts, so that `tty` and ttyname() work there. What the path leads
 * to is the instance's choice, so it is checked to be a devpts master. */
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

/* The host's /dev/null becomes the instance's: what stays behind must hold nothing of the host, or
 * a container's state could not be saved. */
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

int command_run(void *payload)
{
	Command *command = payload;
	signals_default();
	nulls_inside();
	if (command->interactive ? use_pty(command) < 0 : setsid() < 0 && errno != EPERM) {
		Packet *packet = packet_new(0);
		packet->error = errno ? errno : EIO;
		packet_add(packet, "Cannot open a terminal in the instance");
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

int command_read(Job *job, Command *command)
{
	Packet *rq = job->request;
	int pair[2];
	*command = (Command){ .cwd = packet_next(rq),
		.uid = (unsigned)rq->n[2],
		.gid = (unsigned)rq->n[3],
		.interactive = rq->n[4] != 0,
		.width = (int)rq->n[5],
		.height = (int)rq->n[6] };
	command->argv = read_strings(rq, rq->n[0]);
	command->environment = read_strings(rq, rq->n[1]);
	if (!command->argv || !command->environment || !command->argv[0])
		job_fail(job, EINVAL, "No command");
	if (!command->interactive && rq->n_fds < 4)
		job_fail(job, EINVAL, "No standard input and output");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		job_fail(job, errno, "Cannot make a socket");
	command->ready = pair[1];
	/* execvp() looks there. */
	for (char **line = command->environment; *line; line++)
		if (strncmp(*line, "PATH=", 5) == 0)
			setenv("PATH", *line + 5, 1);
	return pair[0];
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

_Noreturn void command_attend(Job *job, const Command *command, pid_t pid, int ready)
{
	Packet *rq = job->request;
	close(command->ready);
	for (unsigned i = 1; i < rq->n_fds; i++) {
		close(rq->fds[i]);
		rq->fds[i] = -1;
	}
	answer_running(job, pid, ready, command->interactive);
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	Packet *packet = packet_new(0);
	packet->n[0] = status;
	job_answer(job, packet);
	_exit(0);
}
