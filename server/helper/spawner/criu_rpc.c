#include "server/helper/spawner/criu_rpc.h"
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE = 16384 };
enum { TYPE_DUMP = 1, TYPE_RESTORE = 2, TYPE_NOTIFY = 6 };
/* Numbers of the fields. */
enum {
	REQUEST_TYPE = 1,
	REQUEST_OPTIONS = 2,
	REQUEST_SUCCESS = 3,
	OPTION_IMAGES_FD = 1,
	OPTION_PID = 2,
	OPTION_LOG_LEVEL = 9,
	OPTION_NOTIFY = 12,
	OPTION_SIBLING = 26,
	OPTION_TERMINAL = 50,
	OPTION_SETTINGS = 51,
	OPTION_NETWORK_LOCK = 64,
	REPLY_TYPE = 1,
	REPLY_SUCCESS = 2,
	REPLY_NOTICE = 5,
	NOTICE_SCRIPT = 1
};
enum { VARINT = 0, BYTES = 2 };
enum { LOCK_BY_NFTABLES = 2 };

typedef struct Message {
	uint8_t data[MESSAGE];
	size_t n;
} Message;

static void put_number(Message *m, uint64_t value)
{
	for (; value > 127 && m->n < MESSAGE; value >>= 7)
		m->data[m->n++] = (uint8_t)(value | 128);
	if (m->n < MESSAGE)
		m->data[m->n++] = (uint8_t)value;
}

static void put_field(Message *m, unsigned field, int64_t value)
{
	put_number(m, field << 3 | VARINT);
	put_number(m, (uint64_t)value);
}

static void put_bytes(Message *m, unsigned field, const void *data, size_t n)
{
	put_number(m, field << 3 | BYTES);
	put_number(m, n);
	if (m->n + n > MESSAGE)
		n = MESSAGE - m->n; /* found out by message_send() */
	memcpy(m->data + m->n, data, n);
	m->n += n;
}

static int message_send(int socket, const Message *m)
{
	return m->n < MESSAGE && send(socket, m->data, m->n, MSG_NOSIGNAL) == (ssize_t)m->n ? 0 :
											      -1;
}

int criu_rpc_ask(int socket, pid_t pid, int images, const char *settings)
{
	Message options = { .n = 0 }, request = { .n = 0 };
	put_field(&options, OPTION_IMAGES_FD, images);
	put_bytes(&options, OPTION_SETTINGS, settings, strlen(settings));
	put_field(&options, OPTION_LOG_LEVEL, 3);
	put_field(&options, OPTION_NOTIFY, 1);
	if (pid)
		put_field(&options, OPTION_PID, pid);
	else
		put_field(&options, OPTION_SIBLING, 1);
	put_field(&options, OPTION_TERMINAL, 1);
	put_field(
	    &options, OPTION_NETWORK_LOCK, LOCK_BY_NFTABLES); /* 4.1 cannot read it in a file */
	put_field(&request, REQUEST_TYPE, pid ? TYPE_DUMP : TYPE_RESTORE);
	put_bytes(&request, REQUEST_OPTIONS, options.data, options.n);
	return message_send(socket, &request);
}

int criu_rpc_reply(int socket, int success)
{
	Message request = { .n = 0 };
	put_field(&request, REQUEST_TYPE, TYPE_NOTIFY);
	put_field(&request, REQUEST_SUCCESS, success);
	return message_send(socket, &request);
}

/* Reading. */

typedef struct Reader {
	const uint8_t *at, *end;
} Reader;

static uint64_t get_number(Reader *r)
{
	uint64_t value = 0;
	for (int shift = 0; r->at < r->end && shift < 64; shift += 7) {
		uint8_t byte = *r->at++;
		value |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			break;
	}
	return value;
}

/* The next field's number, its value or its bytes; 0 at the end or at what is none. */
static unsigned get_field(Reader *r, uint64_t *ret_value, Reader *ret_bytes)
{
	if (r->at >= r->end)
		return 0;
	uint64_t key = get_number(r);
	*ret_value = get_number(r);
	*ret_bytes = (Reader){ NULL, NULL };
	if ((key & 7) == VARINT)
		return (unsigned)(key >> 3);
	if ((key & 7) != BYTES || *ret_value > (uint64_t)(r->end - r->at))
		return 0;
	*ret_bytes = (Reader){ r->at, r->at + *ret_value };
	r->at += *ret_value;
	return (unsigned)(key >> 3);
}

static void read_notice(Reader notice, char *ret_script, size_t size)
{
	uint64_t value;
	Reader bytes;
	unsigned field;
	while ((field = get_field(&notice, &value, &bytes)))
		if (field == NOTICE_SCRIPT && value < size) {
			memcpy(ret_script, bytes.at, value);
			ret_script[value] = '\0';
		}
}

static void take_fd(struct msghdr *header, int *ret_console)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int))) {
			if (*ret_console >= 0)
				close(*ret_console);
			memcpy(ret_console, CMSG_DATA(c), sizeof(int));
		}
}

CriuRpc criu_rpc_read(int socket, char *ret_script, size_t size, int *ret_console)
{
	uint8_t data[MESSAGE];
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec piece = { data, sizeof(data) };
	struct msghdr header = { .msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	Reader reader = { data, data + (n > 0 ? n : 0) }, bytes;
	uint64_t value, type = 0, success = 0;
	unsigned field;
	*ret_script = '\0';
	while ((field = get_field(&reader, &value, &bytes))) {
		if (field == REPLY_TYPE)
			type = value;
		else if (field == REPLY_SUCCESS)
			success = value;
		else if (field == REPLY_NOTICE)
			read_notice(bytes, ret_script, size);
	}
	take_fd(&header, ret_console);
	if (type == TYPE_NOTIFY)
		return CRIU_RPC_NOTIFY;
	return (type == TYPE_RESTORE || type == TYPE_DUMP) && success ? CRIU_RPC_DONE :
									CRIU_RPC_FAILED;
}

void criu_setting(FILE *file, const char *name, const char *value)
{
	fputs(name + 2, file);
	if (*value) { /* between quotes, where a backslash keeps the next sign */
		fputs(" \"", file);
		for (; *value; value++)
			fprintf(file, strchr("\\\"", *value) ? "\\%c" : "%c", *value);
		fputc('"', file);
	}
	fputc('\n', file);
}
