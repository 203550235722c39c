#include "migrate/node/client.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Dqlite's wire protocol, version 1: https://dqlite.io/docs/protocol */
enum { WORD = 8, TEXT_MAX = 64, FILES_MAX = 8, CHUNK = 64 * 1024, ATTEMPTS = 1000 };
enum { ASK_CLIENT = 1, ASK_OPEN = 3, ASK_EXEC = 8, ASK_QUERY = 9, ASK_DUMP = 15 };
enum {
	SAYS_FAILURE = 0,
	SAYS_WELCOME = 2,
	SAYS_DATABASE = 4,
	SAYS_RESULT = 6,
	SAYS_ROWS = 7,
	SAYS_FILES = 9
};
static const char database[] = "db.bin";

/* Little-endian, as all hosts here. */
typedef struct Request {
	char *body;
	size_t length;
} Request;

void client_die(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	exit(1);
}

static void send_all(int fd, const void *data, size_t length)
{
	for (const char *at = data; length > 0;) {
		ssize_t n = write(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			client_die("Cannot write: %s", strerror(errno));
		at += n;
		length -= (size_t)n;
	}
}

static void receive(int fd, void *data, size_t length)
{
	for (char *at = data; length > 0;) {
		ssize_t n = read(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			client_die("The database node closed the connection");
		at += n;
		length -= (size_t)n;
	}
}

/* The next words of the request, zero. */
static char *add_words(Request *request, size_t length)
{
	size_t padded = (length + WORD - 1) / WORD * WORD;
	char *body = realloc(request->body, request->length + padded);
	if (!body)
		client_die("There is not enough memory");
	request->body = body;
	body += request->length;
	memset(body, 0, padded);
	request->length += padded;
	return body;
}

static void add_number(Request *request, uint64_t value)
{
	memcpy(add_words(request, WORD), &value, WORD);
}

/* A text is its bytes, a NUL, and zeros to the next word. */
static void add_text(Request *request, const char *text)
{
	size_t length = strlen(text) + 1;
	memcpy(add_words(request, length), text, length);
}

static void ask(int fd, int what, Request *request)
{
	unsigned char head[WORD] = { 0 };
	uint32_t words = (uint32_t)(request->length / WORD);
	memcpy(head, &words, sizeof(words));
	head[4] = (unsigned char)what;
	send_all(fd, head, WORD);
	send_all(fd, request->body, request->length);
	free(request->body);
}

/* The kind of the next message; its body of *ret_length bytes has not been read. */
static int next_message(int fd, size_t *ret_length)
{
	unsigned char head[WORD];
	uint32_t words;
	receive(fd, head, WORD);
	memcpy(&words, head, sizeof(words));
	*ret_length = (size_t)words * WORD;
	return head[4];
}

static void skip(int fd, size_t length)
{
	char part[CHUNK];
	for (size_t n; length > 0; length -= n) {
		n = length < sizeof(part) ? length : sizeof(part);
		receive(fd, part, n);
	}
}

/* True for the reply that was asked for; its body is skipped. */
static int answered(int fd, int what, char *ret_failure, size_t size)
{
	size_t length;
	int kind = next_message(fd, &length);
	ret_failure[0] = 0;
	if (kind != SAYS_FAILURE) {
		skip(fd, length);
		return kind == what;
	}
	char body[8 * TEXT_MAX] = { 0 };
	size_t kept = length < sizeof(body) - 1 ? length : sizeof(body) - 1;
	receive(fd, body, kept);
	skip(fd, length - kept);
	snprintf(ret_failure, size, "%s", body + WORD);
	return 0;
}

static int connect_to(dqlite_node *node)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *name = dqlite_node_get_bind_address(node) + 1; /* after the "@" */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t length = strlen(name);
	if (length >= sizeof(address.sun_path) - 1)
		client_die("The database node has no usable address");
	memcpy(address.sun_path + 1, name, length);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0)
		client_die("Cannot reach the database node: %s", strerror(errno));
	send_all(fd, &(uint64_t){ 1 }, WORD);
	return fd;
}

/* Asks again while the node is no leader yet. A query waits until every entry is applied. */
static void open_database(int fd)
{
	static const struct {
		int ask, expect;
	} steps[] = {
		{ ASK_CLIENT, SAYS_WELCOME },
		{ ASK_OPEN, SAYS_DATABASE },
		{ ASK_QUERY, SAYS_ROWS },
	};
	char failure[4 * TEXT_MAX];
	int tries = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]);) {
		Request request = { 0 };
		if (steps[i].ask != ASK_OPEN)
			add_number(&request, 0);
		if (steps[i].ask == ASK_OPEN) {
			add_text(&request, database);
			add_number(&request, 0);
			add_text(&request, "volatile");
		} else if (steps[i].ask == ASK_QUERY) {
			add_text(&request, "SELECT count(*) FROM sqlite_master");
			add_number(&request, 0); /* no parameters */
		}
		ask(fd, steps[i].ask, &request);
		if (answered(fd, steps[i].expect, failure, sizeof(failure)))
			i++;
		else if (++tries == ATTEMPTS)
			client_die("The database node does not lead: %s",
			    *failure ? failure : "unexpected reply");
		else
			nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
	}
}

static void write_file(int fd, int directory, const char *name, uint64_t size)
{
	char part[CHUNK];
	int out = openat(
	    directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		client_die("Cannot write \"%s\": %s", name, strerror(errno));
	for (size_t n; size > 0; size -= n) {
		n = size < sizeof(part) ? (size_t)size : sizeof(part);
		receive(fd, part, n);
		send_all(out, part, n);
	}
	if (close(out) < 0)
		client_die("Cannot write \"%s\": %s", name, strerror(errno));
}

void client_dump(int fd, int directory)
{
	Request request = { 0 };
	size_t left;
	uint64_t files, size;
	add_text(&request, database);
	ask(fd, ASK_DUMP, &request);
	if (next_message(fd, &left) != SAYS_FILES)
		client_die("The database node gives no copy of the database");
	receive(fd, &files, WORD);
	left -= WORD;
	if (files > FILES_MAX)
		client_die("The database node gives %" PRIu64 " files", files);
	for (; files > 0; files--) {
		char name[TEXT_MAX] = { 0 };
		for (size_t n = 0; n < sizeof(name) - WORD; n += WORD, left -= WORD) {
			receive(fd, name + n, WORD);
			if (memchr(name + n, 0, WORD)) {
				left -= WORD;
				break;
			}
		}
		receive(fd, &size, WORD);
		left -= WORD;
		if (size > left || (strcmp(name, "db.bin") != 0 && strcmp(name, "db.bin-wal") != 0))
			client_die("The database node gives a file \"%s\"", name);
		write_file(fd, directory, name, size);
		left -= (size_t)size;
	}
}

void client_exec(int fd, const char *sql)
{
	Request request = { 0 };
	char failure[4 * TEXT_MAX];
	add_number(&request, 0);
	add_text(&request, sql);
	add_number(&request, 0); /* no parameters */
	ask(fd, ASK_EXEC, &request);
	if (!answered(fd, SAYS_RESULT, failure, sizeof(failure)))
		client_die("%s: %.200s", *failure ? failure : "Unexpected reply", sql);
}

int client_open(const char *directory, uint64_t id, const char *address, unsigned snapshots,
    dqlite_node **ret_node)
{
	dqlite_node *node;
	if (dqlite_node_create(id, address, directory, &node) != 0)
		client_die("%s", dqlite_node_errmsg(node));
	/* An abstract address that only this process may use. */
	if (dqlite_node_set_bind_address(node, "@") != 0 ||
	    dqlite_node_set_snapshot_params(node, snapshots, snapshots) != 0 ||
	    dqlite_node_start(node) != 0)
		client_die("%s", dqlite_node_errmsg(node));
	int fd = connect_to(node);
	open_database(fd);
	*ret_node = node;
	return fd;
}

void client_close(int fd, dqlite_node *node)
{
	close(fd);
	dqlite_node_stop(node);
	dqlite_node_destroy(node);
}
