#include "server/instance/state_stream.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	NAME_SIZE = 128, /* of a name with its NUL */
	LINE_SIZE = NAME_SIZE + 32,
	FILES_MAX = 100000,
	PIECE = 1 << 20,
	GROWTH = 1 << 20 /* that is worth a line of its own */
};

/* "pages-1.img", "cgroups.txt" */
static gboolean is_name(const char *name)
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "._-";
	size_t length = strlen(name);
	return length && length < NAME_SIZE && strspn(name, signs) == length &&
	    g_ascii_isalnum(*name) &&
	    (g_str_has_suffix(name, ".img") || g_str_has_suffix(name, ".txt"));
}

/* ---- sending ---- */

typedef int (*Visit)(const char *name, int fd, uint64_t size, void *data, Error **err);

static int visit_one(int folder, const char *name, Visit visit, void *data, Error **err)
{
	struct stat st;
	autofd int fd = file_openat(folder, name, O_RDONLY | O_NONBLOCK, 0, FILE_LINKS_NONE);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot open \"%s\" of the state", name);
	if (!S_ISREG(st.st_mode) ||
	    !is_name(name)) /* CRIU's "stats" and its like are not read again */
		return 0;
	return visit(name, fd, (uint64_t)st.st_size, data, err);
}

static int visit_all(int folder, Visit visit, void *data, Error **err)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the state");
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    visit_one(folder, entry->d_name, visit, data, err) < 0)
			return -1;
	return 0;
}

static int add_size(const char *name, int fd, uint64_t size, void *data, Error **err)
{
	*(uint64_t *)data += size + LINE_SIZE;
	return 0;
}

int state_stream_size(int folder, uint64_t *ret_bytes, Error **err)
{
	*ret_bytes = LINE_SIZE;
	return visit_all(folder, add_size, ret_bytes, err);
}

/* What has gone of which file. */
typedef struct Sender {
	int to;
	GHashTable *sent; /* name: guint64 * */
	gboolean growing; /* only what is written in order goes by now */
} Sender;

static int send_bytes(int to, int fd, const char *name, uint64_t size, Error **err)
{
	while (size > 0) {
		ssize_t n = sendfile(to, fd, NULL, (size_t)MIN(size, PIECE));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, ERROR_INTERNAL, n < 0 ? errno : EIO,
			    "Cannot pass \"%s\" of the state on", name);
		size -= (uint64_t)n;
	}
	return 0;
}

static int send_file(const char *name, int fd, uint64_t size, void *data, Error **err)
{
	Sender *s = data;
	char line[LINE_SIZE];
	guint64 *sent = g_hash_table_lookup(s->sent, name);
	uint64_t from = sent ? *sent : 0;
	if (s->growing && (!g_str_has_prefix(name, "pages-") || size < from + GROWTH))
		return 0;
	if (sent && size <= from)
		return 0;
	if (!sent) {
		sent = g_new(guint64, 1);
		g_hash_table_insert(s->sent, g_strdup(name), sent);
	}
	*sent = size;
	int length = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, size - from);
	if (lseek(fd, (off_t)from, SEEK_SET) < 0 || file_write_all(s->to, line, (size_t)length) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot pass the state on");
	return send_bytes(s->to, fd, name, size - from, err);
}

static int written_already(void *data, Error **err)
{
	return 1;
}

int state_stream_send(int folder, int fd, Error **err)
{
	return state_stream_follow(folder, fd, written_already, NULL, err);
}

int state_stream_follow(
    int folder, int fd, int (*wait)(void *data, Error **err), void *data, Error **err)
{
	g_autoptr(GHashTable) sent = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	Sender s = { .to = fd, .sent = sent, .growing = TRUE };
	int done;
	while ((done = wait(data, err)) == 0)
		if (visit_all(folder, send_file, &s, err) < 0)
			return -1;
	s.growing = FALSE;
	if (done < 0 || visit_all(folder, send_file, &s, err) < 0)
		return -1;
	return file_write_all(fd, ".\n", 2) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot pass the state on") :
	    0;
}

/* ---- receiving ---- */

typedef struct Reader {
	int fd;
	uint64_t left; /* that may come */
	size_t at, end;
	uint8_t data[256 * 1024];
} Reader;

static int fill(Reader *r, Error **err)
{
	ssize_t n;
	do
		n = read(r->fd, r->data, sizeof(r->data));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the state");
	if (n == 0)
		return error_set(err, ERROR_INVALID, "The state that came is cut short");
	if ((uint64_t)n > r->left)
		return error_set(err, ERROR_TOO_LARGE, "The state is more than was announced");
	r->left -= (uint64_t)n;
	r->at = 0;
	r->end = (size_t)n;
	return 0;
}

static int read_line(Reader *r, char *line, Error **err)
{
	for (size_t n = 0; n < LINE_SIZE; n++) {
		if (r->at == r->end && fill(r, err) < 0)
			return -1;
		line[n] = (char)r->data[r->at++];
		if (line[n] != '\n')
			continue;
		line[n] = '\0';
		return 0;
	}
	return error_set(err, ERROR_INVALID, "The state that came is damaged");
}

static int parse_line(char *line, uint64_t *ret_size, Error **err)
{
	char *space = strchr(line, ' ');
	guint64 size;
	if (space)
		*space = '\0';
	if (!space || !g_ascii_string_to_unsigned(space + 1, 10, 0, INT64_MAX, &size, NULL) ||
	    !is_name(line))
		return error_set(
		    err, ERROR_INVALID, "The state that came has a file that no state has");
	*ret_size = size;
	return 0;
}

static int receive_file(Reader *r, int folder, const char *name, uint64_t size, Error **err)
{
	autofd int fd = openat(
	    folder, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\" of the state", name);
	while (size > 0) {
		if (r->at == r->end && fill(r, err) < 0)
			return -1;
		size_t n = (size_t)MIN(size, r->end - r->at);
		if (file_write_all(fd, r->data + r->at, n) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot write \"%s\" of the state", name);
		r->at += n;
		size -= n;
	}
	return 0;
}

int state_stream_receive(int folder, int fd, uint64_t limit, Error **err)
{
	g_autofree Reader *r = g_new0(Reader, 1);
	char line[LINE_SIZE];
	r->fd = fd;
	r->left = limit ? limit : UINT64_MAX;
	for (unsigned small = 0; small < FILES_MAX;) {
		uint64_t size = 0;
		if (read_line(r, line, err) < 0)
			return -1;
		if (strcmp(line, ".") == 0)
			return r->at == r->end ?
			    0 :
			    error_set(err, ERROR_INVALID, "More comes than the state");
		if (parse_line(line, &size, err) < 0 ||
		    receive_file(r, folder, line, size, err) < 0)
			return -1;
		small += size < GROWTH; /* of others the disk has room for so many */
	}
	return error_set(err, ERROR_TOO_LARGE, "The state that came has too many files");
}
