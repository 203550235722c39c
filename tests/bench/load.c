/*
 * load SOCKET PATH CONNECTIONS SECONDS: keep-alive GETs over a unix socket, one thread a
 * connection, each waiting for the whole answer before it asks again. Prints answers a second.
 * Bodies must have a Content-Length and the status 200: anything else ends it with an error.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, CONNECTIONS_MAX = 64 };

static const char *socket_path, *path;
static double end;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(1);
}

static int connect_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("cannot connect");
	return fd;
}

/* Reads one answer: the head may come with a part of the body. */
static void read_answer(int fd, char *buffer)
{
	size_t have = 0;
	char *body = NULL;
	while (!body) {
		ssize_t n = have < BUFFER - 1 ? read(fd, buffer + have, BUFFER - 1 - have) : 0;
		if (n <= 0)
			fail("the answer ends early");
		have += (size_t)n;
		buffer[have] = '\0';
		body = strstr(buffer, "\r\n\r\n");
	}
	const char *length = strstr(buffer, "Content-Length: ");
	if (strncmp(buffer, "HTTP/1.1 200 ", 13) != 0 || !length || length > body)
		fail("not an answer with 200 and a length");
	size_t total = (size_t)(body + 4 - buffer) + strtoul(length + 16, NULL, 10);
	while (have < total) {
		ssize_t n = read(fd, buffer, total - have < BUFFER ? total - have : BUFFER);
		if (n <= 0)
			fail("the answer ends early");
		have += (size_t)n;
	}
}

static void *run(void *data)
{
	char request[1024], *buffer = malloc(BUFFER);
	long *count = data;
	int fd = connect_socket();
	int length =
	    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
	for (*count = 0; now() < end; (*count)++) {
		if (write(fd, request, (size_t)length) != length)
			fail("cannot send");
		read_answer(fd, buffer);
	}
	close(fd);
	free(buffer);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[CONNECTIONS_MAX];
	long counts[CONNECTIONS_MAX] = {0}, total = 0;
	int connections = argc == 5 ? atoi(argv[3]) : 0;
	if (connections < 1 || connections > CONNECTIONS_MAX)
		fail("usage: load SOCKET PATH CONNECTIONS SECONDS");
	socket_path = argv[1];
	path = argv[2];
	double start = now();
	end = start + atof(argv[4]);
	for (int i = 0; i < connections; i++)
		pthread_create(&threads[i], NULL, run, &counts[i]);
	for (int i = 0; i < connections; i++) {
		pthread_join(threads[i], NULL);
		total += counts[i];
	}
	printf("%.1f\n", (double)total / (now() - start));
	return 0;
}
