#include "server/helper/packet.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD = offsetof(Packet, n_fds) };

void packet_reset(Packet *packet, uint32_t op)
{
	memset(packet, 0, offsetof(Packet, text));
	packet->op = op;
}

Packet *packet_new(uint32_t op)
{
	Packet *packet = malloc(sizeof(Packet));
	if (!packet)
		abort();
	packet_reset(packet, op);
	return packet;
}

static void close_fds(Packet *packet)
{
	for (unsigned i = 0; i < packet->n_fds; i++)
		if (packet->fds[i] >= 0)
			close(packet->fds[i]);
	packet->n_fds = 0;
}

void packet_free(Packet *packet)
{
	if (!packet)
		return;
	close_fds(packet);
	free(packet);
}

void packet_add(Packet *packet, const char *text)
{
	size_t length = strlen(text ? text : "") + 1;
	if (length > PACKET_TEXT - packet->size) {
		packet->overflow = 1;
		return;
	}
	memcpy(packet->text + packet->size, text ? text : "", length);
	packet->size += (uint32_t)length;
	packet->n_strings++;
}

void packet_add_fd(Packet *packet, int fd)
{
	if (packet->n_fds == PACKET_FDS)
		packet->overflow = 1;
	else
		packet->fds[packet->n_fds++] = fd;
}

const char *packet_next(Packet *packet)
{
	if (packet->cursor >= packet->size)
		return "";
	const char *text = packet->text + packet->cursor;
	packet->cursor += (uint32_t)strlen(text) + 1;
	return text;
}

int packet_take_fd(Packet *packet, unsigned i)
{
	if (i >= packet->n_fds)
		return -1;
	int fd = packet->fds[i];
	packet->fds[i] = -1;
	return fd;
}

int packet_send(int fd, const Packet *packet)
{
	if (packet->overflow) {
		errno = EMSGSIZE;
		return -1;
	}
	struct iovec iov[2] = {
		{ .iov_base = (void *)packet, .iov_len = HEAD },
		{ .iov_base = (void *)packet->text, .iov_len = packet->size },
	};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * PACKET_FDS)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	if (packet->n_fds) {
		size_t bytes = sizeof(int) * packet->n_fds;
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), packet->fds, bytes);
	}
	ssize_t sent;
	do
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -1 : 0;
}

static void take_fds(Packet *packet, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t bytes = c->cmsg_len - CMSG_LEN(0);
		memcpy(packet->fds, CMSG_DATA(c), bytes);
		packet->n_fds = (uint32_t)(bytes / sizeof(int));
	}
}

int packet_recv(int fd, Packet *packet)
{
	close_fds(packet);
	packet_reset(packet, 0);
	struct iovec iov[2] = {
		{ .iov_base = packet, .iov_len = HEAD },
		{ .iov_base = packet->text, .iov_len = PACKET_TEXT },
	};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * PACKET_FDS)];
	} control;
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control.space,
		.msg_controllen = sizeof(control.space) };
	ssize_t got;
	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return (int)got;
	packet->n_fds = 0;
	take_fds(packet, &msg);
	size_t text = (size_t)got - HEAD;
	if (got < HEAD || packet->size != text || (text && packet->text[text - 1])) {
		errno = EPROTO;
		return -1;
	}
	return 1;
}
