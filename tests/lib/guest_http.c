/* guest-http VERB PATH [BODY]: one request at /dev/incus/sock, for the scripts' instances, which
 * have no such program. Prints the status and the body as they come; linked statically. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/incus/sock" };
	const char *body = argc > 3 ? argv[3] : "";
	char text[65536];
	size_t have = 0;
	ssize_t n;
	if (argc < 3)
		return 2;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("connect");
		return 1;
	}
	dprintf(fd,
	    "%s %s HTTP/1.1\r\nHost: incus\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
	    argv[1], argv[2], strlen(body), body);
	char *end = NULL;
	while (!end && have < sizeof(text) - 1 &&
	    (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0) {
		text[have += (size_t)n] = 0;
		end = strstr(text, "\r\n\r\n");
	}
	if (!end)
		return 1;
	printf("%.3s\n", text + strlen("HTTP/1.1 "));
	fflush(stdout);
	for (char *rest = end + 4; rest; rest = NULL)
		if (write(1, rest, have - (size_t)(rest - text)) < 0)
			return 1;
	while ((n = read(fd, text, sizeof(text))) > 0)
		if (write(1, text, (size_t)n) < 0)
			return 1;
	return 0;
}
