/* A number and the wall clock's time, a hundred times a second: what runs in an instance that moves. `count
 * ADDRESS PORT` sends each number there as well, since the clock of a virtual machine stands still with it: only
 * who hears it from outside knows for how long. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		exit(1);
	return fd;
}

int main(int argc, char **argv)
{
	struct timespec now, rest = { 0, 10000000 };
	FILE *file = fopen("/root/counts", "we");
	int fd = argc == 3 ? connect_to(argv[1], argv[2]) : -1;
	char line[64];
	for (unsigned long n = 1; file; n++) {
		nanosleep(&rest, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
		int length = snprintf(line, sizeof(line), "%lu %lld.%09ld\n", n, (long long)now.tv_sec, now.tv_nsec);
		fputs(line, file);
		fflush(file);
		if (fd >= 0)
			send(fd, line, (size_t)length, 0);
	}
	return 1;
}
