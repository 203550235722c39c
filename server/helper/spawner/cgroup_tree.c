#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/shift.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

/* One line an entry: HIERARCHY \t d or f \t MODE \t UID \t GID \t PATH below the container's group.
 * The ids are as inside; NOT_MAPPED stands for one of the host. */
static const char file_name[] = "cgroups.txt";
static const uint32_t NOT_MAPPED = UINT32_MAX;

typedef struct Tree {
	const char *group;
	ShiftMaps maps; /* ids of the host to ids inside, or back */
	FILE *file;
	const char *hierarchy;
} Tree;

/* `outside`: as the host numbers it. */
static int is_mapped(const ShiftMap *map, char kind, uint32_t id, int outside)
{
	for (int i = 0; i < map->n; i++) {
		uint32_t first = outside ? map->range[i].outside : map->range[i].inside;
		if (map->range[i].kind == kind && id >= first && id - first < map->range[i].count)
			return 1;
	}
	return map->n == 0;
}

static uint32_t id_inside(const Tree *tree, char kind, uint32_t id)
{
	return is_mapped(&tree->maps.from, kind, id, 1) ? shift_id(&tree->maps, kind, id) :
							  NOT_MAPPED;
}

static int write_entry(const Tree *tree, const struct stat *st, const char *path)
{
	if (strchr(path, '\n')) {
		errno = EINVAL;
		return -1;
	}
	return fprintf(tree->file, "%s\t%c\t%o\t%u\t%u\t%s\n", tree->hierarchy,
		   S_ISDIR(st->st_mode) ? 'd' : 'f', (unsigned)(st->st_mode & 07777),
		   id_inside(tree, 'u', st->st_uid), id_inside(tree, 'g', st->st_gid), path) < 0 ?
	    -1 :
	    0;
}

static int write_folder(const Tree *tree, int fd, const char *path, int depth);

static int write_child(const Tree *tree, DIR *dir, const char *name, const char *path, int depth)
{
	struct stat st;
	char below[4096];
	if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	/* Files that are the container's in no way are as they always are. */
	if (!S_ISDIR(st.st_mode) && !is_mapped(&tree->maps.from, 'u', st.st_uid, 1) &&
	    !is_mapped(&tree->maps.from, 'g', st.st_gid, 1))
		return 0;
	if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", name) >=
	    (int)sizeof(below)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return write_entry(tree, &st, below);
	int fd = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -1 : write_folder(tree, fd, below, depth + 1);
}

/* Takes fd. A folder comes before what is in it. */
static int write_folder(const Tree *tree, int fd, const char *path, int depth)
{
	struct stat st;
	struct dirent *entry;
	DIR *dir = fdopendir(fd);
	int result = dir && depth < DEPTH_MAX && fstat(fd, &st) == 0 ?
	    write_entry(tree, &st, path) :
	    -1;
	while (result == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = write_child(tree, dir, entry->d_name, path, depth);
	if (dir)
		closedir(dir);
	else
		close(fd);
	return result;
}

static int group_open(const Tree *tree, const char *mount)
{
	char path[4096];
	if (snprintf(path, sizeof(path), "%s%s", mount, tree->group) >= (int)sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int write_hierarchy(const char *name, const char *mount, void *data)
{
	Tree *tree = data;
	int fd = group_open(tree, mount);
	tree->hierarchy = name;
	if (fd < 0) /* a hierarchy that liblxc does not use */
		return errno == ENOENT ? 0 : -1;
	return write_folder(tree, fd, "", 0);
}

static int same_file(int folder, int flags)
{
	return openat(folder, file_name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int cgroup_tree_write(const char *group, const char *idmap, int folder)
{
	Tree tree = { .group = group };
	if (shift_map_read(&tree.maps.from, idmap) < 0)
		return -1;
	int fd = same_file(folder, O_WRONLY | O_CREAT | O_TRUNC);
	tree.file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!tree.file)
		return -1;
	int result = cgroup_hierarchies(write_hierarchy, &tree);
	return fclose(tree.file) == 0 ? result : -1;
}

/* The way back. The list may come from a backup: nothing is reached but what is beneath the group,
 * and no owner is given but the container's. */

static int find_hierarchy(const char *name, const char *mount, void *data)
{
	Tree *tree = data;
	if (strcmp(name, tree->hierarchy) != 0)
		return 0;
	return group_open(tree, mount);
}

static int beneath(int group, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	return (int)syscall(SYS_openat2, group, *path ? path : ".", &how, sizeof(how));
}

static int folder_make(int group, const char *path)
{
	char above[4096];
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	if (!*path)
		return 0;
	snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - path) : 0, path);
	int fd = beneath(group, above, O_RDONLY | O_DIRECTORY);
	int result = fd < 0 || strcmp(name, "..") == 0 ? -1 : mkdirat(fd, name, 0755);
	if (result < 0 && errno == EEXIST)
		result = 0;
	if (fd >= 0)
		close(fd);
	return result;
}

/* What fchown() takes; NOT_MAPPED leaves an owner as it is. */
static uint32_t id_outside(const Tree *tree, char kind, uint32_t id)
{
	return id != NOT_MAPPED && is_mapped(&tree->maps.to, kind, id, 0) ?
	    shift_id(&tree->maps, kind, id) :
	    NOT_MAPPED;
}

/* 0, also for a file that this host's kernel does not have. */
static int entry_make(const Tree *tree, int group, const char *path, const struct stat *st)
{
	int is_folder = S_ISDIR(st->st_mode);
	if (is_folder && folder_make(group, path) < 0)
		return -1;
	int fd = beneath(group, path, O_RDONLY | O_NONBLOCK | (is_folder ? O_DIRECTORY : 0));
	if (fd < 0 && (errno == EACCES || errno == EINVAL)) /* files that can only be written to */
		fd = beneath(group, path, O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	int result = fchown(
	    fd, id_outside(tree, 'u', st->st_uid), id_outside(tree, 'g', st->st_gid));
	if (result == 0)
		result = fchmod(fd, st->st_mode & 0777);
	close(fd);
	return result;
}

typedef struct Open {
	char hierarchy[64];
	int group;
} Open;

/* The hierarchies come one after the other, so that one open group is enough. */
static int line_make(Tree *tree, Open *open, char *line)
{
	char hierarchy[64], kind;
	unsigned mode, uid, gid;
	int at = 0;
	line[strcspn(line, "\n")] = '\0';
	hierarchy[0] = '\0';
	if (*line != '\t' && sscanf(line, "%63[^\t]", hierarchy) != 1)
		return -1;
	if (sscanf(line + strlen(hierarchy), "\t%c\t%o\t%u\t%u%n", &kind, &mode, &uid, &gid, &at) !=
		4 ||
	    line[strlen(hierarchy) + (size_t)at] != '\t')
		return -1;
	if (open->group < 0 || strcmp(open->hierarchy, hierarchy) != 0) {
		if (open->group > 0)
			close(open->group);
		memcpy(open->hierarchy, hierarchy, sizeof(hierarchy));
		tree->hierarchy = open->hierarchy;
		open->group = cgroup_hierarchies(find_hierarchy, tree);
	}
	if (open->group <= 0) /* this host has no such hierarchy */
		return 0;
	struct stat st = { .st_mode = (kind == 'd' ? S_IFDIR : S_IFREG) | (mode & 0777),
		.st_uid = uid,
		.st_gid = gid };
	return entry_make(tree, open->group, line + strlen(hierarchy) + at + 1, &st);
}

int cgroup_tree_make(const char *group, const char *idmap, int folder)
{
	Tree tree = { .group = group };
	Open open = { .group = -1 };
	char line[8192];
	int result = 0;
	if (shift_map_read(&tree.maps.to, idmap) < 0)
		return -1;
	int fd = same_file(folder, O_RDONLY);
	tree.file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!tree.file)
		return -1;
	while (result == 0 && fgets(line, sizeof(line), tree.file))
		result = line_make(&tree, &open, line);
	if (open.group > 0)
		close(open.group);
	fclose(tree.file);
	return result;
}

/* ---- and away ---- */

static int remove_below(int parent, const char *name, int depth)
{
	struct dirent *entry;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return errno == ENOENT ? 0 : -1;
	while (depth < DEPTH_MAX && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			remove_below(fd, entry->d_name, depth + 1);
	closedir(dir);
	return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

static int remove_hierarchy(const char *name, const char *mount, void *data)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	const char *group = data;
	int fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Those that are being ended are in it for a moment. */
	for (int n = 0; fd >= 0 && n < 400 && remove_below(fd, group + 1, 0) < 0 && errno == EBUSY; n++)
		nanosleep(&moment, NULL);
	if (fd >= 0)
		close(fd);
	return 0;
}

void cgroup_tree_remove(const char *group)
{
	if (*group == '/' && group[1])
		cgroup_hierarchies(remove_hierarchy, (void *)group);
}
