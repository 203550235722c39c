#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/spawner.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const JobRow jobs[] = {
	{ SPAWN_START, job_start },
	{ SPAWN_NETLINK, job_netlink },
	{ SPAWN_EXEC, job_exec },
	{ SPAWN_FILES, job_files },
	{ SPAWN_MOUNT, job_mount },
	{ SPAWN_UNMOUNT, job_unmount },
	{ SPAWN_CONSOLE, job_console },
	{ SPAWN_CONSOLE_LOG, job_console_log },
	{ SPAWN_SHIFT, job_shift },
	{ SPAWN_CHECK, job_check },
	{ SPAWN_MAPPABLE, job_mappable },
	{ SPAWN_DUMP, job_dump },
	{ SPAWN_CGROUP, job_cgroup },
	{ SPAWN_PROXY, job_proxy },
	{ SPAWN_SHARE, job_share },
	{ 0, NULL },
};

/* Standard input is nothing; output is the daemon's error stream. */
static void settle(void)
{
	umask(022);
	if (chdir("/") < 0)
		_exit(1);
	prctl(PR_SET_NAME, "incus-spawner");
	/* Monitors and exec children that lose their parent become ours and are reaped by the
	 * kernel. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (int i = SIGHUP; i <= SIGTERM; i++)
		if (i == SIGHUP || i == SIGINT || i == SIGTERM)
			signal(i, SIG_IGN);
	cgroup_find_mounts();
	host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	int status = criu_program(argc, argv);
	if (status >= 0)
		return status;
	if (argc > 1 && strcmp(argv[1], "--wire") == 0) /* more follows that rsync adds */
		return wire_run(3);
	if (argc > 1 && strcmp(argv[1], "--confined") == 0)
		return confine_run(argc - 2, argv + 2);
	if (argc != 2) {
		fprintf(stderr, "incus-spawner is started by incusd\n");
		return 2;
	}
	int control = atoi(argv[1]);
	fcntl(control, F_SETFD, FD_CLOEXEC);
	closefrom(control + 1); /* what incusd was started with is no container's */
	settle();
	return jobs_run(control, jobs);
}
