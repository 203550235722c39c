/* The process that forks: commands and file sessions, of the guest itself. */
#include "server/agent/agent.h"
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* In the command's process. */
static _Noreturn void run(Job *job, Command *command)
{
	for (int i = 0; i < 3 && !command->interactive; i++)
		if (dup2(job->request->fds[i + 1], i) < 0)
			_exit(125);
	if (setgroups(0, NULL) < 0 || setresgid(command->gid, command->gid, command->gid) < 0 ||
	    setresuid(command->uid, command->uid, command->uid) < 0) {
		Packet *packet = packet_new(0);
		packet->error = errno;
		packet_add(packet, "Cannot become the user");
		packet_send(command->ready, packet);
		_exit(125);
	}
	environ = command->environment;
	_exit(command_run(command));
}

static void guest_exec(Job *job)
{
	Command command;
	for (int i = 0; i < 3; i++) /* of a container */
		packet_next(job->request);
	int ready = command_read(job, &command);
	umask(022);
	pid_t pid = fork();
	if (pid == 0)
		run(job, &command);
	if (pid < 0)
		job_fail(job, errno, "Cannot fork: %s", strerror(errno));
	command_attend(job, &command, pid, ready);
}

static void guest_files(Job *job)
{
	Packet *rq = job->request;
	int sftp = rq->n[2] ? packet_take_fd(rq, rq->n_fds - 1) : -1;
	umask(0);
	job_answer(job, packet_new(0));
	files_serve(job, sftp);
}

int helper_run(int control)
{
	static const JobRow jobs[] = {
		{ SPAWN_EXEC, guest_exec },
		{ SPAWN_FILES, guest_files },
		{ 0, NULL },
	};
	fcntl(control, F_SETFD, FD_CLOEXEC);
	if (chdir("/") < 0)
		return 1;
	prctl(PR_SET_NAME, "incus-agent-run");
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return jobs_run(control, jobs);
}
