/* incus-agent [{--port DEVICE | --fd NUMBER} [--guest-api SOCKET]]; started by the guest's init
 * (server/agent/dist). */
#include "server/agent/agent.h"
#include "sdk/base/log.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static Spawner *spawner;

Spawner *agent_spawner(void)
{
	return spawner;
}

/* SIGTERM comes when the guest shuts down. */
static gpointer wait_for_end(gpointer data)
{
	const sigset_t *set = data;
	int number;
	while (sigwait(set, &number) != 0)
		;
	watch_shutdown();
	_exit(0);
}

static int fail(const Error *err)
{
	fprintf(stderr, "incus-agent: %s\n", err->message);
	return 1;
}

static int serve(const char *path, int fd, sigset_t *ends)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *program = g_strdup("/proc/self/exe");
	if (fd < 0)
		fd = port_open(path, &err);
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (fd < 0 || spawner_new(program, &spawner, &err) < 0)
		return fail(err);
	pthread_sigmask(SIG_BLOCK, ends, NULL);
	g_thread_unref(g_thread_new("signals", wait_for_end, ends));
	if (door_start(&err) < 0 || port_run(fd, &err) < 0)
		return fail(err);
	return 0;
}

static int usage(void)
{
	fputs("Usage: incus-agent [{--port DEVICE | --fd NUMBER} [--guest-api SOCKET]]\n\n"
	      "Lets the host's incusd run commands, reach files and read figures in this virtual "
	      "machine.\n",
	    stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static sigset_t ends;
	if (argc == 2 && argv[1][0] >= '0' && argv[1][0] <= '9')
		return helper_run(atoi(argv[1]));
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts(INCUS_VERSION) < 0;
	if (argc == 5 && strcmp(argv[3], "--guest-api") == 0) {
		guest_api_place(argv[4]);
		argc = 3;
	}
	if (argc != 1 && argc != 3)
		return usage();
	const char *path = argc == 3 && strcmp(argv[1], "--port") == 0 ? argv[2] : NULL;
	int fd = argc == 3 && strcmp(argv[1], "--fd") == 0 ? atoi(argv[2]) : -1;
	if (argc == 3 && !path && fd < 0)
		return usage();
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	if (chdir("/") < 0)
		return 1;
	return serve(path, fd, &ends);
}
