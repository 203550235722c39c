/*
 * Running a command inside a container. The child stays beside the command as its parent, to give
 * its status; signals and window sizes are the daemon's business, through pidfd and pty.
 */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <lxc/attach_options.h>
#include <lxc/lxccontainer.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a process of its own: attaches, tells the pid, and leaves the command to the job's process,
 * which is the nearest that takes orphans. */
static _Noreturn void attach(
    struct lxc_container *c, Command *command, lxc_attach_options_t *options, int inside, int link)
{
	pid_t pid = -1;
	if (inside)
		options->attach_flags &= ~LXC_ATTACH_MOVE_TO_CGROUP;
	if (c->attach(c, command_run, command, options, &pid) < 0)
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

static void fill_options(Job *job, const Command *command, lxc_attach_options_t *options)
{
	Packet *rq = job->request;
	int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
	options->env_policy = LXC_ATTACH_CLEAR_ENV;
	options->extra_env_vars = command->environment;
	options->uid = command->uid;
	options->gid = command->gid;
	options->initial_cwd = (char *)"/";
	options->stdin_fd = command->interactive ? quiet : rq->fds[1];
	options->stdout_fd = command->interactive ? quiet : rq->fds[2];
	options->stderr_fd = command->interactive ? quiet : rq->fds[3];
}

void job_exec(Job *job)
{
	Packet *rq = job->request;
	const char *name = packet_next(rq), *lxcpath = packet_next(rq), *group = packet_next(rq);
	Command command;
	int ready = command_read(job, &command);
	struct lxc_container *c = lxc_container_new(name, lxcpath);
	if (!c)
		job_fail(job, ENOMEM, "Cannot make a container object");
	lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
	fill_options(job, &command, &options);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* A container at its limit of processes has no room for the way in, but liblxc's leads
	 * around it. */
	pid_t pid = start_command(c, &command, &options, group);
	if (pid <= 0)
		pid = start_command(c, &command, &options, NULL);
	if (pid <= 0)
		job_fail(job, ECANCELED, "Failed to attach to the container");
	command_attend(job, &command, pid, ready);
}
