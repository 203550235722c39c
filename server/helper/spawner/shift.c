/*
 * Moves the owners of a tree into a user namespace's range or back, where the file system cannot be
 * mounted idmapped. Works from directory fds, so nothing in the tree can lead it elsewhere.
 */
#include "server/helper/spawner/spawner.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { RANGES = 64, DEPTH = 4000 };

typedef struct Shift {
	struct {
		char kind;
		unsigned long from, to, count;
	} range[RANGES];
	int n;
	char failed[256];
} Shift;

static void shift_parse(Shift *shift, const char *idmap, int back)
{
	for (const char *line = idmap; line && *line && shift->n < RANGES;
	     line = strchr(line, '\n'), line += line != NULL) {
		char kind;
		unsigned long inside, outside, count;
		if (sscanf(line, "%c %lu %lu %lu", &kind, &inside, &outside, &count) != 4)
			continue;
		shift->range[shift->n].kind = kind;
		shift->range[shift->n].from = back ? outside : inside;
		shift->range[shift->n].to = back ? inside : outside;
		shift->range[shift->n++].count = count;
	}
}

/* (unsigned)-1, "leave it", for an id the map does not have. */
static unsigned shift_id(const Shift *shift, char kind, unsigned id)
{
	for (int i = 0; i < shift->n; i++)
		if (shift->range[i].kind == kind && id >= shift->range[i].from &&
		    id - shift->range[i].from < shift->range[i].count)
			return (unsigned)(id - shift->range[i].from + shift->range[i].to);
	return (unsigned)-1;
}

/* chown clears setuid bits and file capabilities: both are put back. */
static int shift_entry(const Shift *shift, int dir, const char *name, const struct stat *st)
{
	unsigned uid = shift_id(shift, 'u', st->st_uid), gid = shift_id(shift, 'g', st->st_gid);
	char caps[64], path[64];
	ssize_t n_caps = -1;
	int fd = S_ISREG(st->st_mode) ? openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd >= 0)
		n_caps = getxattr(path, "security.capability", caps, sizeof(caps));
	int result = fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW);
	if (result == 0 && fd >= 0 && (st->st_mode & (S_ISUID | S_ISGID)))
		result = chmod(path, st->st_mode & 07777);
	if (result == 0 && n_caps > 0)
		result = setxattr(path, "security.capability", caps, (size_t)n_caps, 0);
	if (fd >= 0)
		close(fd);
	return result;
}

static int shift_tree(const Shift *shift, int dir, int depth)
{
	DIR *list = depth < DEPTH ? fdopendir(dir) : NULL;
	if (!list) {
		close(dir);
		return -1;
	}
	int result = 0;
	for (struct dirent *e; result == 0 && (e = readdir(list));) {
		struct stat st;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(list), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    shift_entry(shift, dirfd(list), e->d_name, &st) < 0) {
			result = -1;
		} else if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(list), e->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			result = sub < 0 ? -1 : shift_tree(shift, sub, depth + 1);
		}
	}
	closedir(list);
	return result;
}

void job_shift(Job *job)
{
	static Shift shift;
	const char *path = packet_next(job->request);
	shift_parse(&shift, packet_next(job->request), job->request->n[0] < 0);
	struct stat st;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0 || shift_tree(&shift, dir, 0) < 0)
		job_fail(
		    job, errno, "Cannot shift the owners below \"%s\": %s", path, strerror(errno));
	if (chown(path, shift_id(&shift, 'u', st.st_uid), shift_id(&shift, 'g', st.st_gid)) < 0)
		job_fail(job, errno, "Cannot shift the owner of \"%s\": %s", path, strerror(errno));
	job_answer(job, packet_new(0));
}
