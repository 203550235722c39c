/* The gate of a restore: a socket in the folder of our names, which only its own processes see. */
#include "server/helper/spawner/criu.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The folder's path may be longer than a socket's may be. */
static int with_address(const char *folder, int (*act)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/gate", fd);
	int result = fd < 0 || end < 0 ?
	    -1 :
	    act(end, (const struct sockaddr *)&address, sizeof(address));
	if (fd >= 0)
		close(fd);
	if (result == 0)
		return end;
	if (end >= 0)
		close(end);
	return -1;
}

int criu_gate_open(const char *folder)
{
	int end = with_address(folder, bind);
	return end < 0 || listen(end, 1) < 0 ? -1 : end;
}

int criu_gate_pass(const char *folder)
{
	Packet *packet = packet_new(0);
	int end = with_address(folder, connect);
	int passed = end >= 0 && packet_recv(end, packet) > 0 && packet->n[0] == 1;
	if (end >= 0)
		close(end);
	packet_free(packet);
	return passed;
}
