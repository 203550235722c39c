#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One piece: 1, 0 at the end, -1. */
static int carry(int from, int to)
{
	char buffer[65536];
	ssize_t n = read(from, buffer, sizeof(buffer));
	if (n <= 0)
		return n < 0 && errno == EINTR ? 1 : (int)n;
	for (ssize_t done = 0, put; done < n; done += put) {
		put = write(to, buffer + done, (size_t)(n - done));
		if (put < 0 && errno != EINTR)
			return -1;
		put = put < 0 ? 0 : put;
	}
	return 1;
}

int wire_run(int socket)
{
	struct pollfd ways[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = socket, .events = POLLIN } };
	for (;;) {
		if (poll(ways, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (ways[0].fd >= 0 && ways[0].revents && carry(STDIN_FILENO, socket) <= 0) {
			shutdown(socket, SHUT_WR);
			ways[0].fd = -1;
		}
		/* As ssh when the other side's rsync has ended: ours waits for us to go first. */
		if (ways[1].revents && carry(socket, STDOUT_FILENO) <= 0)
			return 0;
	}
}
