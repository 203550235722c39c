#include "server/helper/spawner/shift.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH = 4000, TREES = 4096 };

/* ---- maps ---- */

int shift_map_read(ShiftMap *map, const char *lines)
{
	map->n = 0;
	for (const char *line = lines; line && *line;
	     line = strchr(line, '\n'), line += line != NULL) {
		char kind;
		uint32_t inside, outside, count;
		if (map->n == SHIFT_RANGES ||
		    sscanf(line, "%c %u %u %u", &kind, &inside, &outside, &count) != 4) {
			errno = E2BIG;
			return -1;
		}
		map->range[map->n].kind = kind;
		map->range[map->n].inside = inside;
		map->range[map->n].outside = outside;
		map->range[map->n++].count = count;
	}
	return 0;
}

static uint32_t translate(const ShiftMap *map, int out, char kind, uint32_t id)
{
	for (int i = 0; i < map->n; i++) {
		uint32_t inside = map->range[i].inside, outside = map->range[i].outside;
		uint32_t first = out ? inside : outside;
		if (map->range[i].kind == kind && id >= first && id - first < map->range[i].count)
			return id - first + (out ? outside : inside);
	}
	return id;
}

uint32_t shift_id(const ShiftMaps *maps, char kind, uint32_t id)
{
	return translate(&maps->to, 1, kind, translate(&maps->from, 0, kind, id));
}

/* ---- walking ---- */

typedef struct Walk Walk;
struct Walk {
	Job *job;
	ShiftMaps maps;
	ShiftJournal journal;
	dev_t trees[TREES];
	uint32_t n_trees;
	/* Of an inode, open as O_PATH and, by `path`, for calls that take none. */
	int (*visit)(Walk *walk, int fd, const char *path, const struct stat *st);
};

static uint32_t tree_of(Walk *walk, dev_t device)
{
	uint32_t n = 0;
	while (n < walk->n_trees && walk->trees[n] != device)
		n++;
	if (n == TREES)
		job_fail(walk->job, EMLINK, "The tree is on too many devices");
	walk->trees[n] = device;
	if (n == walk->n_trees)
		walk->n_trees++;
	return n;
}

static _Noreturn void fail(Walk *walk, const char *name)
{
	job_fail(walk->job, errno, "Cannot shift the owner of \"%s\": %s", name, strerror(errno));
}

static void walk_folder(Walk *walk, int fd, const char *name, int depth);

/* Neither links nor mounts are followed. */
static void walk_child(Walk *walk, int folder, const char *name, int depth)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	struct stat st;
	char path[48];
	int fd = (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) < 0)
		fail(walk, name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (walk->visit(walk, fd, path, &st) < 0)
		fail(walk, name);
	int below = S_ISDIR(st.st_mode) ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	close(fd);
	if (S_ISDIR(st.st_mode))
		walk_folder(walk, below, name, depth + 1);
}

static void walk_folder(Walk *walk, int fd, const char *name, int depth)
{
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list && depth > DEPTH)
		errno = ELOOP;
	if (!list || depth > DEPTH)
		fail(walk, name);
	errno = 0;
	for (struct dirent *e; (e = readdir(list)); errno = 0)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			walk_child(walk, fd, e->d_name, depth);
	if (errno)
		fail(walk, name);
	closedir(list);
}

static void walk_tree(Walk *walk, int directory)
{
	walk->n_trees = 0;
	struct stat st;
	char path[48];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", directory);
	if (fstat(directory, &st) < 0 || walk->visit(walk, directory, path, &st) < 0)
		fail(walk, "/");
	walk_folder(walk, openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "/", 0);
}

/* ---- the two walks ---- */

static int note(Walk *walk, int fd, const char *path, const struct stat *st)
{
	ShiftEntry entry = { .inode = st->st_ino,
		.tree = tree_of(walk, st->st_dev),
		.uid = shift_id(&walk->maps, 'u', st->st_uid),
		.gid = shift_id(&walk->maps, 'g', st->st_gid),
		.mode = st->st_mode & 07777 };
	const void *values = "";
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		values = shift_values_read(&walk->maps, path, &entry);
	return values ? shift_journal_add(&walk->journal, &entry, values) : -1;
}

/* chown() takes set-id bits and capabilities away: they are set after it. */
static int apply(Walk *walk, int fd, const char *path, const struct stat *st)
{
	const ShiftEntry *entry = shift_journal_find(
	    &walk->journal, tree_of(walk, st->st_dev), st->st_ino);
	if (!entry) {
		errno = ESTALE; /* somebody has changed the tree */
		return -1;
	}
	if (entry->uid == st->st_uid && entry->gid == st->st_gid &&
	    entry->mode == (st->st_mode & 07777) && entry->n_values == 0)
		return 0;
	if (fchownat(fd, "", entry->uid, entry->gid, AT_EMPTY_PATH) < 0)
		return -1;
	if (!S_ISLNK(st->st_mode) && (entry->mode & (S_ISUID | S_ISGID)) &&
	    chmod(path, entry->mode) < 0)
		return -1;
	return shift_values_write(path, entry);
}

static void make_journal(Walk *walk, int directory, const char *label, const char *path)
{
	walk->visit = note;
	if (shift_journal_begin(&walk->journal, label) < 0)
		job_fail(walk->job, errno, "Cannot write \"%s\": %s", path, strerror(errno));
	walk_tree(walk, directory);
	if (shift_journal_end(&walk->journal, path) < 0 ||
	    shift_journal_load(&walk->journal) != 1)
		job_fail(walk->job, errno, "Cannot write \"%s\": %s", path, strerror(errno));
}

/* Each level of folders is an open one. */
static void allow_depth(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

void job_shift(Job *job)
{
	static Walk walk;
	Packet *rq = job->request;
	const char *directory = packet_next(rq), *from = packet_next(rq), *to = packet_next(rq);
	const char *label = packet_next(rq), *path = packet_next(rq);
	walk.job = job;
	allow_depth();
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || shift_map_read(&walk.maps.from, from) < 0 ||
	    shift_map_read(&walk.maps.to, to) < 0)
		job_fail(job, errno, "Cannot shift the owners below \"%s\": %s", directory,
		    strerror(errno));
	if (shift_journal_open(&walk.journal, path) < 0)
		job_fail(job, errno, "Cannot open \"%s\": %s", path, strerror(errno));
	int whole = shift_journal_load(&walk.journal);
	if (whole < 0)
		job_fail(job, errno, "Cannot read \"%s\": %s", path, strerror(errno));
	Packet *answer = packet_new(0);
	if (!whole && !rq->n[0])
		make_journal(&walk, fd, label, path);
	if (whole || !rq->n[0]) {
		walk.visit = apply;
		walk_tree(&walk, fd);
		if (syncfs(fd) < 0)
			job_fail(job, errno, "Cannot write to \"%s\"", directory);
		packet_add(answer, walk.journal.label);
		answer->n[0] = 1;
	}
	job_answer(job, answer);
}
