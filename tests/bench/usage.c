/*
 * usage COMMAND...: runs it without output and prints its CPU milliseconds and peak resident KiB. A
 * small program of its own, because the peak of a process counts what it was before exec.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double milliseconds(struct timeval t)
{
	return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

int main(int argc, char **argv)
{
	struct rusage used;
	int status;
	if (argc < 2)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, STDOUT_FILENO);
		execv(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &used) < 0 || status)
		return 1;
	printf("%.3f %ld\n", milliseconds(used.ru_utime) + milliseconds(used.ru_stime),
	    used.ru_maxrss);
	return 0;
}
