#include "server/network/probe.h"
#include "sdk/base/own.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_US = 500000, PAYLOAD = 8 };

typedef union Address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} Address;

static int parse(const char *text, Address *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->any.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(ret->any.sa_family, text,
		   ret->any.sa_family == AF_INET ? (void *)&ret->v4.sin_addr :
						   (void *)&ret->v6.sin6_addr) == 1 ?
	    0 :
	    -1;
}

/* RFC 1071; of IPv6 the kernel computes it. */
static uint16_t checksum(const uint8_t *bytes, size_t length)
{
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* An echo request is of one shape in both families (RFC 792, 4443); they differ in the type. */
static void send_request(int fd, const Address *to, socklen_t length)
{
	uint8_t packet[8 + PAYLOAD] = { 0 };
	struct icmphdr *head = (struct icmphdr *)packet;
	gboolean v4 = to->any.sa_family == AF_INET;
	head->type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	head->un.echo.id = htons((uint16_t)getpid());
	if (v4)
		head->checksum = checksum(packet, sizeof(packet));
	/* One that cannot be sent is answered by nobody. */
	if (sendto(fd, packet, sizeof(packet), MSG_DONTWAIT, &to->any, length) < 0)
		return;
}

static gboolean is_answer(const uint8_t *packet, size_t length, gboolean v4)
{
	size_t at = v4 && length > 0 ? (size_t)(packet[0] & 15) * 4 :
				       0; /* IPv4 comes with its head */
	if (length < at + sizeof(struct icmphdr))
		return FALSE;
	return packet[at] == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
}

static gboolean same_host(const Address *a, const Address *b)
{
	return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr :
					     memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0;
}

static const char *receive(int fd, char *const *addresses, gboolean v4)
{
	uint8_t packet[1500];
	Address from = { 0 }, asked;
	socklen_t length = sizeof(from);
	ssize_t n = recvfrom(fd, packet, sizeof(packet), MSG_DONTWAIT, &from.any, &length);
	if (n <= 0 || !is_answer(packet, (size_t)n, v4))
		return NULL;
	for (; *addresses; addresses++)
		if (parse(*addresses, &asked) == 0 && same_host(&asked, &from))
			return *addresses;
	return NULL;
}

int probe_addresses(const char *link, char *const *addresses, char **ret_taken, Error **err)
{
	Address to;
	*ret_taken = NULL;
	if (!*addresses || parse(*addresses, &to) < 0)
		return 0;
	gboolean v4 = to.any.sa_family == AF_INET;
	autofd int fd = socket(to.any.sa_family, SOCK_RAW | SOCK_CLOEXEC,
	    v4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, link, strlen(link)) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot probe addresses on \"%s\"", link);
	for (char *const *one = addresses; *one; one++)
		if (parse(*one, &to) == 0)
			send_request(fd, &to, v4 ? sizeof(to.v4) : sizeof(to.v6));
	gint64 until = g_get_monotonic_time() + PATIENCE_US, left;
	while ((left = until - g_get_monotonic_time()) > 0) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		const char *taken = poll(&wait, 1, (int)(left / 1000) + 1) > 0 ?
		    receive(fd, addresses, v4) :
		    NULL;
		if (taken) {
			*ret_taken = g_strdup(taken);
			return 0;
		}
	}
	return 0;
}
