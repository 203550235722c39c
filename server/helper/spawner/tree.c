/* Unattached mounts: clones of what the host has mounted, and file systems on block devices. */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPTIONS_MAX = 32 };

/* Options of a mount, "ro,nosuid,uid=1": what every mount has, and what its file system reads. */
typedef struct Options {
	uint64_t set, clear; /* MOUNT_ATTR_* */
	char text[4096];
	char *own[OPTIONS_MAX];
	int n_own;
} Options;

static const struct {
	const char *name;
	uint64_t set, clear;
} common[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"relatime", 0, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"defaults", 0, 0},
    {"bind", 0, 0},
    {"rbind", 0, 0},
};

static int take_common(Options *options, const char *word)
{
	for (unsigned i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		if (strcmp(common[i].name, word) == 0) {
			options->set = (options->set & ~common[i].clear) | common[i].set;
			options->clear |= common[i].clear;
			return 1;
		}
	return 0;
}

/* 0, or -1 when there are too many. */
static int options_read(const char *text, Options *ret)
{
	char *rest = ret->text, *word;
	memset(ret, 0, sizeof(*ret));
	if (strlen(text) >= sizeof(ret->text))
		return -1;
	memcpy(ret->text, text, strlen(text) + 1);
	while ((word = strsep(&rest, ",\n"))) {
		if (!*word || take_common(ret, word))
			continue;
		if (ret->n_own == OPTIONS_MAX)
			return -1;
		ret->own[ret->n_own++] = word;
	}
	return 0;
}

static int set_option(int fs, const char *option)
{
	char key[256];
	const char *equals = strchr(option, '=');
	if (!equals)
		return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, option, NULL, 0);
	if ((size_t)(equals - option) >= sizeof(key)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(key, option, (size_t)(equals - option));
	key[equals - option] = '\0';
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

static int configure(int fs, const char *device, const Options *options)
{
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", device, 0) < 0)
		return -1;
	/* A device that cannot be written to has no other kind of mount. */
	if (options->set & MOUNT_ATTR_RDONLY && set_option(fs, "ro") < 0)
		return -1;
	for (int i = 0; i < options->n_own; i++)
		if (set_option(fs, options->own[i]) < 0)
			return -1;
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

static int mount_as(const char *type, const char *device, const Options *options)
{
	int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	int tree = -1;
	if (fs < 0)
		return -1;
	if (configure(fs, device, options) == 0)
		tree = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	int error = errno;
	close(fs);
	errno = error;
	return tree;
}

/* As mount(8) does without knowing better: each kind of file system in the kernel's order. A wrong
 * one says EINVAL; any other error is the right one's. */
static int mount_block(int source, const Options *options)
{
	char device[48], line[128], type[100];
	int tree = -1, error = EINVAL;
	FILE *file = fopen("/proc/filesystems", "re");
	snprintf(device, sizeof(device), "/proc/self/fd/%d", source);
	while (file && tree < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "nodev", 5) == 0 || sscanf(line, " %99s", type) != 1)
			continue;
		tree = mount_as(type, device, options);
		if (tree < 0 && errno != EINVAL)
			error = errno;
	}
	if (file)
		fclose(file);
	errno = error;
	return tree;
}

static int adjust(int tree, int recursive, uint64_t set, uint64_t clear, int userns)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
	if (userns >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns;
	}
	unsigned at = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	if (!attr.attr_set && !attr.attr_clr)
		return tree;
	if (syscall(SYS_mount_setattr, tree, "", at, &attr, sizeof(attr)) == 0)
		return tree;
	int error = errno;
	close(tree);
	errno = error;
	return -1;
}

static int clone(int source, int recursive)
{
	unsigned flags =
	    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	return (int)syscall(SYS_open_tree, source, "", flags);
}

int tree_clone(int source, int recursive, int readonly, int userns)
{
	int tree = clone(source, recursive);
	return tree < 0 ? -1 : adjust(tree, recursive, readonly ? MOUNT_ATTR_RDONLY : 0, 0, userns);
}

int tree_open(Job *job, const MountSpec *spec, int userns, int *ret_is_file)
{
	Options options;
	struct stat st;
	int source = source_open(spec->source, spec->beneath);
	if (source < 0 || fstat(source, &st) < 0)
		job_fail(job, errno, "Cannot open \"%s\": %s", spec->source, strerror(errno));
	int block = S_ISBLK(st.st_mode) && !spec->is_device;
	if (options_read(spec->options, &options) < 0 || (!block && options.n_own))
		job_fail(job, EINVAL, "Bad mount option \"%s\" for \"%s\"",
		    options.n_own ? options.own[0] : spec->options, spec->source);
	if (spec->readonly)
		options.set |= MOUNT_ATTR_RDONLY;
	int tree = block ? mount_block(source, &options) : clone(source, spec->recursive);
	if (tree >= 0)
		tree = adjust(
		    tree, spec->recursive, options.set, options.clear, spec->shift ? userns : -1);
	if (tree < 0)
		job_fail(job, errno, "Cannot %s \"%s\"%s: %s",
		    block ? "mount the file system on" : "clone the mount of", spec->source,
		    spec->shift ? " with mapped owners" : "", strerror(errno));
	close(source);
	*ret_is_file = !block && !S_ISDIR(st.st_mode);
	return tree;
}
