/* A number and the wall clock's time, a hundred times a second: what runs in a container that moves. */
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec now, rest = { 0, 10000000 };
	FILE *file = fopen("/root/counts", "we");
	for (unsigned long n = 1; file; n++) {
		nanosleep(&rest, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
		fprintf(file, "%lu %lld.%09ld\n", n, (long long)now.tv_sec, now.tv_nsec);
		fflush(file);
	}
	return 1;
}
