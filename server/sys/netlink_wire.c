#include "server/sys/netlink_wire.h"
#include "sdk/base/fault.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { DUMP_BUFFER = 64 * 1024 };

void *nl_begin(NlMessage *m, uint16_t type, uint16_t flags, size_t body_size)
{
	memset(&m->header, 0, NLMSG_SPACE(body_size));
	m->header.nlmsg_len = NLMSG_LENGTH(body_size);
	m->header.nlmsg_type = type;
	m->header.nlmsg_flags = NLM_F_REQUEST | flags;
	return NLMSG_DATA(&m->header);
}

void *nl_put_raw(NlMessage *m, size_t size)
{
	size_t at = NLMSG_ALIGN(m->header.nlmsg_len);
	g_assert(at + NLMSG_ALIGN(size) <= sizeof m->bytes);
	memset(m->bytes + at, 0, NLMSG_ALIGN(size));
	m->header.nlmsg_len = at + NLMSG_ALIGN(size);
	return m->bytes + at;
}

void nl_put(NlMessage *m, uint16_t type, const void *data, size_t size)
{
	struct rtattr *attribute = nl_put_raw(m, RTA_LENGTH(size));
	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(attribute), data, size);
}

void nl_put_u8(NlMessage *m, uint16_t type, uint8_t value)
{
	nl_put(m, type, &value, sizeof value);
}

void nl_put_u32(NlMessage *m, uint16_t type, uint32_t value)
{
	nl_put(m, type, &value, sizeof value);
}

void nl_put_text(NlMessage *m, uint16_t type, const char *text)
{
	nl_put(m, type, text, strlen(text) + 1);
}

struct rtattr *nl_nest(NlMessage *m, uint16_t type)
{
	struct rtattr *nest = nl_put_raw(m, RTA_LENGTH(0));
	nest->rta_type = type | NLA_F_NESTED;
	return nest;
}

void nl_nest_end(NlMessage *m, struct rtattr *nest)
{
	nest->rta_len = m->bytes + m->header.nlmsg_len - (uint8_t *)nest;
}

int nl_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -1;
	int on = 1;
	/* Words for failures, and header-only acknowledgements; both optional. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	struct timeval patience = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return fd;
}

static char *extended_text(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);
	size_t skip = NLMSG_LENGTH(sizeof *e);
	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += e->msg.nlmsg_len - sizeof e->msg;
	skip = NLMSG_ALIGN(skip);
	if (skip >= h->nlmsg_len)
		return NULL;
	const struct rtattr *table[NLMSGERR_ATTR_MSG + 1] = {0};
	nl_parse(table, NLMSGERR_ATTR_MSG, (const uint8_t *)h + skip, h->nlmsg_len - skip);
	const struct rtattr *text = table[NLMSGERR_ATTR_MSG];
	return text ? g_strndup(RTA_DATA(text), RTA_PAYLOAD(text)) : NULL;
}

typedef struct Exchange {
	uint32_t sequence;
	void (*each)(const struct nlmsghdr *h, void *data);
	void *data;
	char **ret_text;
} Exchange;

/* 1: go on reading, 0: finished, negative: errno. */
static int handle_part(const Exchange *x, const struct nlmsghdr *h)
{
	if (h->nlmsg_seq != x->sequence)
		return 1;
	if (h->nlmsg_type == NLMSG_DONE)
		return 0;
	if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(h);
		if (e->error && x->ret_text)
			*x->ret_text = extended_text(h);
		return e->error;
	}
	if (x->each)
		x->each(h, x->data);
	return 1;
}

static int exchange(int fd, NlMessage *m, const Exchange *x)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (sendto(fd, m->bytes, m->header.nlmsg_len, 0, (struct sockaddr *)&kernel,
		sizeof kernel) < 0)
		return -errno;
	g_autofree uint8_t *buffer = g_malloc(DUMP_BUFFER);
	for (;;) {
		ssize_t n = recv(fd, buffer, DUMP_BUFFER, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		unsigned left = n;
		for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			int result = handle_part(x, h);
			if (result <= 0)
				return result;
		}
	}
}

static int run(int socket_fd, NlMessage *m, Exchange *x)
{
	static gint sequence;
	autofd int own = -1;
	if (socket_fd < 0) {
		socket_fd = own = nl_socket();
		if (own < 0)
			return -errno;
	}
	x->sequence = m->header.nlmsg_seq = (uint32_t)g_atomic_int_add(&sequence, 1) + 1;
	return exchange(socket_fd, m, x);
}

int nl_talk(int socket_fd, NlMessage *m, char **ret_text)
{
	*ret_text = NULL;
	if (fault_point("network interface", NULL) < 0)
		return -ENOMEM;
	m->header.nlmsg_flags |= NLM_F_ACK;
	return run(socket_fd, m, &(Exchange){.ret_text = ret_text});
}

int nl_dump(
    int socket_fd, NlMessage *m, void (*each)(const struct nlmsghdr *h, void *data), void *data)
{
	m->header.nlmsg_flags |= NLM_F_DUMP;
	return run(socket_fd, m, &(Exchange){.each = each, .data = data});
}

int nl_ask(
    int socket_fd, NlMessage *m, void (*each)(const struct nlmsghdr *h, void *data), void *data)
{
	m->header.nlmsg_flags |= NLM_F_ACK;
	return run(socket_fd, m, &(Exchange){.each = each, .data = data});
}

void nl_parse(const struct rtattr **table, uint16_t max, const void *attributes, int length)
{
	for (const struct rtattr *a = attributes; RTA_OK(a, length); a = RTA_NEXT(a, length)) {
		uint16_t type = a->rta_type & NLA_TYPE_MASK;
		if (type <= max)
			table[type] = a;
	}
}

void nl_parse_nested(const struct rtattr **table, uint16_t max, const struct rtattr *nest)
{
	if (nest)
		nl_parse(table, max, RTA_DATA(nest), RTA_PAYLOAD(nest));
}

uint32_t nl_u32(const struct rtattr *attribute)
{
	uint32_t value = 0;
	if (attribute && RTA_PAYLOAD(attribute) >= sizeof value)
		memcpy(&value, RTA_DATA(attribute), sizeof value);
	return value;
}

uint16_t nl_u16(const struct rtattr *attribute)
{
	uint16_t value = 0;
	if (attribute && RTA_PAYLOAD(attribute) >= sizeof value)
		memcpy(&value, RTA_DATA(attribute), sizeof value);
	return value;
}

uint8_t nl_u8(const struct rtattr *attribute)
{
	return attribute && RTA_PAYLOAD(attribute) >= 1 ? *(const uint8_t *)RTA_DATA(attribute) : 0;
}
