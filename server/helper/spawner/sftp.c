#include "server/helper/spawner/sftp.h"
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PACKET_MAX (300 * 1024) /* clients write up to 256 KiB at once */
#define READ_MAX (256 * 1024)
#define HANDLES_MAX 256
#define NAMES_PER_REPLY 100

enum { /* packet types */
	INIT = 1,
	VERSION = 2,
	OPEN = 3,
	CLOSE = 4,
	READ = 5,
	WRITE = 6,
	LSTAT = 7,
	FSTAT = 8,
	SETSTAT = 9,
	FSETSTAT = 10,
	OPENDIR = 11,
	READDIR = 12,
	REMOVE = 13,
	MKDIR = 14,
	RMDIR = 15,
	REALPATH = 16,
	STAT = 17,
	RENAME = 18,
	READLINK = 19,
	SYMLINK = 20,
	STATUS = 101,
	HANDLE = 102,
	DATA = 103,
	NAME = 104,
	ATTRS = 105,
	EXTENDED = 200,
	EXTENDED_REPLY = 201,
};

enum { OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 8 };

enum { ATTR_SIZE = 1, ATTR_UIDGID = 2, ATTR_PERMISSIONS = 4, ATTR_ACMODTIME = 8 };

enum {
	OPEN_READ = 1,
	OPEN_WRITE = 2,
	OPEN_APPEND = 4,
	OPEN_CREAT = 8,
	OPEN_TRUNC = 16,
	OPEN_EXCL = 32
};

typedef struct Handle {
	int fd; /* -1: free, unless dir is set */
	int append;
	DIR *dir;
} Handle;

typedef struct Attributes {
	uint32_t flags, uid, gid, mode, atime, mtime;
	uint64_t size;
} Attributes;

typedef struct Server {
	int fd;
	Handle handles[HANDLES_MAX];
	uint8_t in[PACKET_MAX];
	const uint8_t *at, *end; /* what is left of the packet being read */
	int bad;                 /* the packet was too short or a text too long */
	uint8_t out[READ_MAX + 4096];
	size_t out_length;
} Server;

/* ---- reading a packet ---- */

static uint32_t get_u32(Server *s)
{
	uint32_t value = 0;
	if (s->end - s->at < 4) {
		s->bad = 1;
		return 0;
	}
	memcpy(&value, s->at, 4);
	s->at += 4;
	return be32toh(value);
}

static uint64_t get_u64(Server *s)
{
	uint64_t high = get_u32(s);
	return high << 32 | get_u32(s);
}

static const uint8_t *get_bytes(Server *s, size_t *ret_length)
{
	size_t length = get_u32(s);
	if (s->bad || (size_t)(s->end - s->at) < length) {
		s->bad = 1;
		*ret_length = 0;
		return NULL;
	}
	const uint8_t *bytes = s->at;
	s->at += length;
	*ret_length = length;
	return bytes;
}

/* A path into the caller's buffer; an empty one is "." and NUL inside is refused. */
static void get_path(Server *s, char path[PATH_MAX])
{
	size_t length;
	const uint8_t *bytes = get_bytes(s, &length);
	path[0] = '\0';
	if (!bytes || length >= PATH_MAX || memchr(bytes, 0, length)) {
		s->bad = 1;
		return;
	}
	memcpy(path, bytes, length);
	path[length] = '\0';
	if (!length)
		memcpy(path, ".", 2);
}

static Attributes get_attributes(Server *s)
{
	Attributes a = {.flags = get_u32(s)};
	if (a.flags & ATTR_SIZE)
		a.size = get_u64(s);
	if (a.flags & ATTR_UIDGID) {
		a.uid = get_u32(s);
		a.gid = get_u32(s);
	}
	if (a.flags & ATTR_PERMISSIONS)
		a.mode = get_u32(s);
	if (a.flags & ATTR_ACMODTIME) {
		a.atime = get_u32(s);
		a.mtime = get_u32(s);
	}
	return a;
}

static Handle *get_handle(Server *s)
{
	size_t length;
	const uint8_t *bytes = get_bytes(s, &length);
	uint32_t index;
	if (!bytes || length != sizeof(index))
		return NULL;
	memcpy(&index, bytes, sizeof(index));
	if (index >= HANDLES_MAX || (s->handles[index].fd < 0 && !s->handles[index].dir))
		return NULL;
	return &s->handles[index];
}

/* ---- writing a reply ---- */

static void put_u32(Server *s, uint32_t value)
{
	value = htobe32(value);
	memcpy(s->out + s->out_length, &value, 4);
	s->out_length += 4;
}

static void put_u64(Server *s, uint64_t value)
{
	put_u32(s, (uint32_t)(value >> 32));
	put_u32(s, (uint32_t)value);
}

static void put_bytes(Server *s, const void *bytes, size_t length)
{
	put_u32(s, (uint32_t)length);
	memcpy(s->out + s->out_length, bytes, length);
	s->out_length += length;
}

static void put_text(Server *s, const char *text)
{
	put_bytes(s, text, strlen(text));
}

/* The length is filled in by send_reply(). */
static void begin_reply(Server *s, uint8_t type, uint32_t id)
{
	s->out_length = 4;
	s->out[s->out_length++] = type;
	put_u32(s, id);
}

static void put_attributes(Server *s, const struct stat *st)
{
	put_u32(s, ATTR_SIZE | ATTR_UIDGID | ATTR_PERMISSIONS | ATTR_ACMODTIME);
	put_u64(s, (uint64_t)st->st_size);
	put_u32(s, st->st_uid);
	put_u32(s, st->st_gid);
	put_u32(s, st->st_mode);
	put_u32(s, (uint32_t)st->st_atime);
	put_u32(s, (uint32_t)st->st_mtime);
}

static int send_reply(Server *s)
{
	uint32_t length = htobe32((uint32_t)(s->out_length - 4));
	memcpy(s->out, &length, 4);
	for (size_t done = 0; done < s->out_length;) {
		ssize_t n = write(s->fd, s->out + done, s->out_length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static uint32_t status_of(int error)
{
	switch (error) {
	case 0:
		return OK;
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
		return NO_SUCH_FILE;
	case EACCES:
	case EPERM:
		return PERMISSION_DENIED;
	default:
		return FAILURE;
	}
}

static int reply_status(Server *s, uint32_t id, uint32_t status, const char *text)
{
	begin_reply(s, STATUS, id);
	put_u32(s, status);
	put_text(s, text);
	put_text(s, "");
	return send_reply(s);
}

static int reply_errno(Server *s, uint32_t id, int error)
{
	return reply_status(s, id, status_of(error), error ? strerror(error) : "Success");
}

/* result: 0, or -1 with errno, of the call that the client asked for */
static int reply_result(Server *s, uint32_t id, int result)
{
	return reply_errno(s, id, result < 0 ? errno : 0);
}

static int reply_stat(Server *s, uint32_t id, int result, const struct stat *st)
{
	if (result < 0)
		return reply_errno(s, id, errno);
	begin_reply(s, ATTRS, id);
	put_attributes(s, st);
	return send_reply(s);
}

static int reply_bad(Server *s, uint32_t id)
{
	return reply_status(s, id, BAD_MESSAGE, "Malformed request");
}

/* ---- requests ---- */

static int set_attributes(int fd, const char *path, const Attributes *a)
{
	int result = 0;
	if (a->flags & ATTR_SIZE)
		result |= path ? truncate(path, (off_t)a->size) : ftruncate(fd, (off_t)a->size);
	if (a->flags & ATTR_UIDGID)
		result |= path ? lchown(path, a->uid, a->gid) : fchown(fd, a->uid, a->gid);
	if (a->flags & ATTR_PERMISSIONS)
		result |= path ? chmod(path, a->mode & 07777) : fchmod(fd, a->mode & 07777);
	if (a->flags & ATTR_ACMODTIME) {
		struct timespec times[2] = {{.tv_sec = a->atime}, {.tv_sec = a->mtime}};
		result |= path ? utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) :
				 futimens(fd, times);
	}
	return result ? -1 : 0;
}

static int reply_handle(Server *s, uint32_t id, int fd, DIR *dir, int append)
{
	for (uint32_t i = 0; i < HANDLES_MAX; i++) {
		if (s->handles[i].fd >= 0 || s->handles[i].dir)
			continue;
		s->handles[i] = (Handle){.fd = fd, .dir = dir, .append = append};
		begin_reply(s, HANDLE, id);
		put_bytes(s, &i, sizeof(i));
		return send_reply(s);
	}
	if (dir)
		closedir(dir);
	else
		close(fd);
	return reply_errno(s, id, EMFILE);
}

static int do_open(Server *s, uint32_t id)
{
	char path[PATH_MAX];
	get_path(s, path);
	uint32_t wanted = get_u32(s);
	Attributes a = get_attributes(s);
	if (s->bad)
		return reply_bad(s, id);
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	flags |= (wanted & OPEN_WRITE) ? (wanted & OPEN_READ) ? O_RDWR : O_WRONLY : O_RDONLY;
	flags |= (wanted & OPEN_CREAT) ? O_CREAT : 0;
	flags |= (wanted & OPEN_TRUNC) ? O_TRUNC : 0;
	flags |= (wanted & OPEN_EXCL) ? O_EXCL : 0;
	flags |= (wanted & OPEN_APPEND) ? O_APPEND : 0;
	int fd = open(path, flags, a.flags & ATTR_PERMISSIONS ? a.mode & 07777 : 0644);
	if (fd < 0)
		return reply_errno(s, id, errno);
	a.flags &= ATTR_UIDGID;
	if ((wanted & OPEN_CREAT) && a.flags && set_attributes(fd, NULL, &a) < 0) {
		int error = errno;
		close(fd);
		return reply_errno(s, id, error);
	}
	return reply_handle(s, id, fd, NULL, !!(wanted & OPEN_APPEND));
}

static int do_close(Server *s, uint32_t id)
{
	Handle *handle = get_handle(s);
	if (!handle)
		return reply_bad(s, id);
	int result = handle->dir ? closedir(handle->dir) : close(handle->fd);
	*handle = (Handle){.fd = -1};
	return reply_result(s, id, result);
}

static int do_read(Server *s, uint32_t id)
{
	Handle *handle = get_handle(s);
	uint64_t offset = get_u64(s);
	uint32_t length = get_u32(s);
	if (s->bad || !handle || handle->dir)
		return reply_bad(s, id);
	if (length > READ_MAX)
		length = READ_MAX;
	begin_reply(s, DATA, id);
	ssize_t n = pread(handle->fd, s->out + s->out_length + 4, length, (off_t)offset);
	if (n < 0)
		return reply_errno(s, id, errno);
	if (n == 0)
		return reply_status(s, id, END_OF_FILE, "End of file");
	put_u32(s, (uint32_t)n);
	s->out_length += (size_t)n;
	return send_reply(s);
}

static int do_write(Server *s, uint32_t id)
{
	Handle *handle = get_handle(s);
	uint64_t offset = get_u64(s);
	size_t length;
	const uint8_t *bytes = get_bytes(s, &length);
	if (s->bad || !handle || handle->dir)
		return reply_bad(s, id);
	while (length > 0) {
		ssize_t n = handle->append ? write(handle->fd, bytes, length)
		                           : pwrite(handle->fd, bytes, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return reply_errno(s, id, errno);
		bytes += n;
		length -= (size_t)n;
		offset += (uint64_t)n;
	}
	return reply_errno(s, id, 0);
}

static int do_stat(Server *s, uint32_t id, uint8_t type)
{
	struct stat st;
	if (type == FSTAT) {
		Handle *handle = get_handle(s);
		if (!handle)
			return reply_bad(s, id);
		return reply_stat(
		    s, id, fstat(handle->dir ? dirfd(handle->dir) : handle->fd, &st), &st);
	}
	char path[PATH_MAX];
	get_path(s, path);
	if (s->bad)
		return reply_bad(s, id);
	return reply_stat(s, id, type == STAT ? stat(path, &st) : lstat(path, &st), &st);
}

static int do_setstat(Server *s, uint32_t id, uint8_t type)
{
	char path[PATH_MAX];
	Handle *handle = NULL;
	if (type == FSETSTAT)
		handle = get_handle(s);
	else
		get_path(s, path);
	Attributes a = get_attributes(s);
	if (s->bad || (type == FSETSTAT && !handle))
		return reply_bad(s, id);
	if (!handle)
		return reply_result(s, id, set_attributes(-1, path, &a));
	return reply_result(
	    s, id, set_attributes(handle->dir ? dirfd(handle->dir) : handle->fd, NULL, &a));
}

static int do_opendir(Server *s, uint32_t id)
{
	char path[PATH_MAX];
	get_path(s, path);
	if (s->bad)
		return reply_bad(s, id);
	DIR *dir = opendir(path);
	return dir ? reply_handle(s, id, -1, dir, 0) : reply_errno(s, id, errno);
}

static void put_name(Server *s, const char *name, const struct stat *st)
{
	char text[NAME_MAX + 128];
	snprintf(text, sizeof(text), "%06o %lu %u %u %llu %s", st->st_mode,
	    (unsigned long)st->st_nlink, st->st_uid, st->st_gid, (unsigned long long)st->st_size,
	    name);
	put_text(s, name);
	put_text(s, text);
	put_attributes(s, st);
}

static int do_readdir(Server *s, uint32_t id)
{
	Handle *handle = get_handle(s);
	if (!handle || !handle->dir)
		return reply_bad(s, id);
	begin_reply(s, NAME, id);
	size_t count_at = s->out_length;
	uint32_t count = 0;
	put_u32(s, 0);
	while (count < NAMES_PER_REPLY) {
		struct dirent *entry = readdir(handle->dir);
		struct stat st;
		if (!entry)
			break;
		if (fstatat(dirfd(handle->dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone in between */
		put_name(s, entry->d_name, &st);
		count++;
	}
	if (!count)
		return reply_status(s, id, END_OF_FILE, "End of folder");
	count = htobe32(count);
	memcpy(s->out + count_at, &count, 4);
	return send_reply(s);
}

static int reply_one_name(Server *s, uint32_t id, const char *name)
{
	struct stat st = {0};
	begin_reply(s, NAME, id);
	put_u32(s, 1);
	put_text(s, name);
	put_text(s, name);
	put_attributes(s, &st);
	return send_reply(s);
}

/* Folds "." and ".." in the text alone: the file need not exist. */
static void clean_path(const char *path, char clean[PATH_MAX])
{
	size_t length = 0;
	while (*path) {
		while (*path == '/')
			path++;
		size_t part = strcspn(path, "/");
		if (part == 2 && path[0] == '.' && path[1] == '.') {
			while (length && clean[--length] != '/')
				;
		} else if (part && !(part == 1 && path[0] == '.') && length + part + 2 < PATH_MAX) {
			clean[length++] = '/';
			memcpy(clean + length, path, part);
			length += part;
		}
		path += part;
	}
	if (!length)
		clean[length++] = '/';
	clean[length] = '\0';
}

static int do_path(Server *s, uint32_t id, uint8_t type)
{
	char path[PATH_MAX], other[PATH_MAX];
	get_path(s, path);
	if (type == RENAME || type == SYMLINK)
		get_path(s, other);
	Attributes a = {0};
	if (type == MKDIR)
		a = get_attributes(s);
	if (s->bad)
		return reply_bad(s, id);
	switch (type) {
	case REMOVE:
		return reply_result(s, id, unlink(path));
	case RMDIR:
		return reply_result(s, id, rmdir(path));
	case MKDIR:
		return reply_result(
		    s, id, mkdir(path, a.flags & ATTR_PERMISSIONS ? a.mode & 07777 : 0755));
	case RENAME: /* version 3 never replaces the target */
		return reply_result(s, id,
		    renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_NOREPLACE));
	case SYMLINK: /* OpenSSH's order: target, then link */
		return reply_result(s, id, symlink(path, other));
	case REALPATH:
		clean_path(path, other);
		return reply_one_name(s, id, other);
	default: { /* READLINK */
		ssize_t n = readlink(path, other, sizeof(other) - 1);
		if (n < 0)
			return reply_errno(s, id, errno);
		other[n] = '\0';
		return reply_one_name(s, id, other);
	}
	}
}

static int do_extended(Server *s, uint32_t id)
{
	size_t length;
	const uint8_t *name = get_bytes(s, &length);
	char from[PATH_MAX], to[PATH_MAX];
	if (name && length == 24 && !memcmp(name, "posix-rename@openssh.com", 24)) {
		get_path(s, from);
		get_path(s, to);
		return s->bad ? reply_bad(s, id) : reply_result(s, id, rename(from, to));
	}
	if (name && length == 20 && !memcmp(name, "hardlink@openssh.com", 20)) {
		get_path(s, from);
		get_path(s, to);
		return s->bad ? reply_bad(s, id) : reply_result(s, id, link(from, to));
	}
	if (name && length == 17 && !memcmp(name, "fsync@openssh.com", 17)) {
		Handle *handle = get_handle(s);
		if (!handle || handle->dir)
			return reply_bad(s, id);
		return reply_result(s, id, fsync(handle->fd));
	}
	return reply_status(s, id, UNSUPPORTED, "Extension not supported");
}

static int reply_version(Server *s)
{
	static const char *const extensions[] = {"posix-rename@openssh.com", "hardlink@openssh.com",
	    "fsync@openssh.com"};
	s->out_length = 4;
	s->out[s->out_length++] = VERSION;
	put_u32(s, 3);
	for (size_t i = 0; i < sizeof(extensions) / sizeof(*extensions); i++) {
		put_text(s, extensions[i]);
		put_text(s, "1");
	}
	return send_reply(s);
}

static int handle_packet(Server *s, size_t length)
{
	s->at = s->in;
	s->end = s->in + length;
	s->bad = 0;
	uint8_t type = *s->at++;
	if (type == INIT)
		return reply_version(s);
	uint32_t id = get_u32(s);
	switch (type) {
	case OPEN:
		return do_open(s, id);
	case CLOSE:
		return do_close(s, id);
	case READ:
		return do_read(s, id);
	case WRITE:
		return do_write(s, id);
	case STAT:
	case LSTAT:
	case FSTAT:
		return do_stat(s, id, type);
	case SETSTAT:
	case FSETSTAT:
		return do_setstat(s, id, type);
	case OPENDIR:
		return do_opendir(s, id);
	case READDIR:
		return do_readdir(s, id);
	case REMOVE:
	case MKDIR:
	case RMDIR:
	case REALPATH:
	case RENAME:
	case READLINK:
	case SYMLINK:
		return do_path(s, id, type);
	case EXTENDED:
		return do_extended(s, id);
	default:
		return reply_status(s, id, UNSUPPORTED, "Request not supported");
	}
}

/* 1: all read, 0: the peer closed before the first byte, -1: failure or half a packet */
static int read_exactly(int fd, uint8_t *buffer, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = read(fd, buffer + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && done == 0 ? 0 : -1;
		done += (size_t)n;
	}
	return 1;
}

int sftp_serve(int fd)
{
	Server *s = calloc(1, sizeof(*s));
	int result = -1;
	if (!s)
		return -1;
	s->fd = fd;
	for (int i = 0; i < HANDLES_MAX; i++)
		s->handles[i].fd = -1;
	for (;;) {
		uint32_t length;
		int got = read_exactly(fd, (uint8_t *)&length, 4);
		if (got <= 0) {
			result = got;
			break;
		}
		length = be32toh(length);
		if (length < 1 || length > PACKET_MAX || read_exactly(fd, s->in, length) != 1 ||
		    handle_packet(s, length) < 0)
			break;
	}
	free(s);
	return result;
}
