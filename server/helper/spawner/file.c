/*
 * File access inside an instance, by a child whose root file system is the instance's (files.c
 * enters a container's; in a virtual machine it is incus-agent's own). Nothing in the tree can lead
 * out of it. The asker gets open fds and moves the data itself.
 */
#include "server/helper/spawner/sftp.h"
#include "server/helper/spawner/spawner.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE = 30, LISTING = 400 };

static void put_attributes(Packet *answer, const struct stat *st)
{
	answer->n[0] = st->st_mode;
	answer->n[1] = st->st_uid;
	answer->n[2] = st->st_gid;
	answer->n[3] = st->st_size;
	answer->n[4] = st->st_mtim.tv_sec;
	answer->n[5] = st->st_atim.tv_sec;
	answer->n[6] = st->st_mtim.tv_nsec;
}

static int own_new(int fd, const Packet *rq)
{
	if ((rq->n[2] >= 0 || rq->n[3] >= 0) && fchown(fd, (uid_t)rq->n[2], (gid_t)rq->n[3]) < 0)
		return -1;
	return fchmod(fd, (mode_t)rq->n[1] & 07777);
}

/* Never opens a device, socket or pipe: the O_PATH fd is looked at first. */
static int open_existing(const char *path, int flags, struct stat *st)
{
	int nofollow = flags & O_NOFOLLOW;
	int at = open(path, O_PATH | O_CLOEXEC | nofollow);
	if (at < 0 || fstat(at, st) < 0)
		return -1;
	if (S_ISDIR(st->st_mode) && (flags & O_ACCMODE) != O_RDONLY)
		errno = EISDIR;
	else if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		errno = S_ISLNK(st->st_mode) ? ELOOP : ENXIO;
	else {
		int fd = fd_reopen(at, (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_NOCTTY);
		close(at);
		return fd;
	}
	int error = errno;
	close(at);
	errno = error;
	return -1;
}

static int file_open(Packet *rq, Packet *answer)
{
	const char *path = packet_next(rq);
	int flags = (int)rq->n[0] &
	    (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW);
	struct stat st;
	int fd = flags & O_CREAT ?
	    open(path, flags | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600) :
	    -1;
	if (fd >= 0) {
		answer->n[7] = 1;
		if (own_new(fd, rq) < 0 || fstat(fd, &st) < 0) {
			int error = errno;
			unlink(path);
			close(fd);
			errno = error;
			return -1;
		}
	} else if ((flags & O_CREAT) && (errno != EEXIST || (flags & O_EXCL))) {
		return -1;
	} else {
		fd = open_existing(path, flags, &st);
	}
	if (fd < 0)
		return -1;
	put_attributes(answer, &st);
	packet_add_fd(answer, fd);
	return 0;
}

static int file_stat(Packet *rq, Packet *answer)
{
	struct stat st;
	if (fstatat(AT_FDCWD, packet_next(rq), &st, rq->n[0] ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return -1;
	put_attributes(answer, &st);
	return 0;
}

static void flush_listing(Job *job, Packet *answer)
{
	packet_send(job->answer, answer);
	packet_reset(answer, 0);
}

static int file_readdir(Job *job, Packet *rq, Packet *answer)
{
	DIR *dir = opendir(packet_next(rq));
	if (!dir)
		return -1;
	for (struct dirent *e; (e = readdir(dir));) {
		struct stat st;
		char line[160];
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		snprintf(line, sizeof(line), "%u %u %u %lld %lld %lld", st.st_mode, st.st_uid,
		    st.st_gid, (long long)st.st_size, (long long)st.st_mtime,
		    (long long)st.st_atime);
		packet_add(answer, e->d_name);
		packet_add(answer, line);
		if (answer->n_strings >= LISTING)
			flush_listing(job, answer);
	}
	closedir(dir);
	answer->n[7] = 1;
	return 0;
}

static int file_readlink(Packet *rq, Packet *answer)
{
	char target[8192];
	ssize_t got = readlink(packet_next(rq), target, sizeof(target) - 1);
	if (got < 0)
		return -1;
	target[got] = '\0';
	packet_add(answer, target);
	return 0;
}

static int file_mkdir(Packet *rq)
{
	const char *path = packet_next(rq);
	if (mkdir(path, 0700) < 0)
		return -1;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int result = fd < 0 ? -1 : own_new(fd, rq);
	if (fd >= 0)
		close(fd);
	return result;
}

static int file_symlink(Packet *rq)
{
	const char *target = packet_next(rq), *path = packet_next(rq);
	if (symlink(target, path) < 0)
		return -1;
	return rq->n[2] >= 0 || rq->n[3] >= 0 ? lchown(path, (uid_t)rq->n[2], (gid_t)rq->n[3]) : 0;
}

static int file_remove(Packet *rq)
{
	const char *path = packet_next(rq);
	struct stat st;
	if (lstat(path, &st) < 0)
		return -1;
	if (rq->n[0] == 1 && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	if (rq->n[0] == 2 && !S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return -1;
	}
	return S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path);
}

static int file_rename(Packet *rq)
{
	const char *from = packet_next(rq), *to = packet_next(rq);
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, rq->n[0] ? 0 : RENAME_NOREPLACE);
}

static int file_setstat(Packet *rq)
{
	const char *path = packet_next(rq);
	if ((rq->n[0] & 1)) {
		struct stat st;
		int fd = open_existing(path, O_WRONLY, &st);
		if (fd < 0 || ftruncate(fd, rq->n[4]) < 0)
			return -1;
		close(fd);
	}
	if ((rq->n[0] & 2) && chown(path, (uid_t)rq->n[2], (gid_t)rq->n[3]) < 0)
		return -1;
	if ((rq->n[0] & 4) && chmod(path, (mode_t)rq->n[1] & 07777) < 0)
		return -1;
	if (rq->n[0] & 8) {
		struct timespec times[2] = { { .tv_sec = rq->n[6] }, { .tv_sec = rq->n[5] } };
		return utimensat(AT_FDCWD, path, times, 0);
	}
	return 0;
}

/* Makes the folders above a path. */
static void make_parents(const char *path)
{
	char copy[4096];
	if (strlen(path) >= sizeof(copy))
		return;
	memcpy(copy, path, strlen(path) + 1);
	for (char *at = strchr(copy + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(copy, 0755);
		*at = '/';
	}
}

static int file_replace(Packet *rq, Packet *answer)
{
	const char *path = packet_next(rq);
	struct stat st;
	make_parents(path);
	int existing = lstat(path, &st) == 0;
	if (existing && S_ISREG(st.st_mode)) { /* keeps its owner and mode, as Incus keeps them */
		if (rq->n[2] < 0)
			rq->n[2] = st.st_uid;
		if (rq->n[3] < 0)
			rq->n[3] = st.st_gid;
		if (rq->n[1] < 0)
			rq->n[1] = st.st_mode & 07777;
	}
	if (rq->n[1] < 0)
		rq->n[1] = 0644;
	if (existing && unlink(path) < 0)
		return -1;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || own_new(fd, rq) < 0)
		return -1;
	packet_add_fd(answer, fd);
	return 0;
}

static int serve_one(Job *job, Packet *rq, Packet *answer)
{
	switch (rq->op) {
	case FILE_STAT: return file_stat(rq, answer);
	case FILE_OPEN: return file_open(rq, answer);
	case FILE_READDIR: return file_readdir(job, rq, answer);
	case FILE_READLINK: return file_readlink(rq, answer);
	case FILE_MKDIR: return file_mkdir(rq);
	case FILE_SYMLINK: return file_symlink(rq);
	case FILE_REMOVE: return file_remove(rq);
	case FILE_RENAME: return file_rename(rq);
	case FILE_SETSTAT: return file_setstat(rq);
	case FILE_REPLACE: return file_replace(rq, answer);
	}
	errno = ENOSYS;
	return -1;
}

static void serve(Job *job)
{
	Packet *rq = packet_new(0), *answer = packet_new(0);
	/* A hung file system inside ends this child, not the daemon's patience. */
	for (; packet_recv(job->answer, rq) > 0; packet_reset(answer, 0)) {
		alarm(PATIENCE);
		errno = 0;
		if (serve_one(job, rq, answer) < 0) {
			int error = errno ? errno : EIO;
			packet_reset(answer, 0);
			answer->error = error;
			packet_add(answer, strerror(error));
		}
		packet_send(job->answer, answer);
		for (unsigned i = 0; i < answer->n_fds; i++)
			close(answer->fds[i]);
		alarm(0);
	}
}

void files_serve(Job *job, int sftp)
{
	if (sftp >= 0)
		sftp_serve(sftp);
	else
		serve(job);
}
