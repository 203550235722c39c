#include "server/storage/filesystem.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/storage/program.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOOL_MS = 600000, KERNEL_LIST = 64 << 10 };

static gboolean kernel_has(const char *type)
{
	g_autofree char *list = NULL;
	if (file_read(
		AT_FDCWD, "/proc/filesystems", FILE_LINKS_NONE, KERNEL_LIST, &list, NULL, NULL) < 0)
		return FALSE;
	g_auto(GStrv) lines = g_strsplit(list, "\n", -1);
	for (size_t i = 0; lines[i]; i++) {
		const char *name = strrchr(lines[i], '\t');
		if (name && strcmp(name + 1, type) == 0)
			return TRUE;
	}
	return FALSE;
}

int filesystem_supported(const char *type, Error **err)
{
	if (kernel_has(type))
		return 0;
	spawn_simple(NULL, "modprobe", "-q", type, NULL);
	return kernel_has(type) ? 0
				: error_set(err, ERROR_UNSUPPORTED, "The kernel has no %s", type);
}

int filesystem_probe(const char *device, char **ret_type, Error **err)
{
	const char *const argv[] = {
	    "blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", device, NULL};
	enum { NOTHING_FOUND = 2 };
	Spawn spawn = {.argv = argv, .timeout_ms = TOOL_MS};
	g_autofree char *output = NULL;
	int status;
	if (spawn_status(&spawn, &output, &status, err) < 0)
		return -1;
	if (status != 0 && status != NOTHING_FOUND)
		return error_set(err, ERROR_INTERNAL,
		    "Cannot tell what is on \"%s\" (blkid gives %d)", device, status);
	g_strstrip(output);
	*ret_type = *output ? g_steal_pointer(&output) : NULL;
	return 0;
}

/* Of what the kernel tells nobody about. */
enum { TRIES = 50, PAUSE_US = 20000 };

int filesystem_check_blank(const char *device, Error **err)
{
	g_autofree char *type = NULL;
	if (filesystem_probe(device, &type, err) < 0)
		return -1;
	return type ? error_set(err, ERROR_INVALID,
			  "\"%s\" is not empty (%s): set source.wipe=true to overwrite it", device,
			  type)
		    : 0;
}

/* What is mounted in another namespace writes its signature again when it leaves; containers that
 * are starting hold every mount of the host for a moment. */
static int wait_unused(const char *device, Error **err)
{
	for (int tries = 0;; tries++) {
		autofd int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
		if (fd >= 0)
			return 0;
		if (errno != EBUSY || tries == TRIES)
			return error_errno(err, errno == EBUSY ? ERROR_BUSY : ERROR_INTERNAL, errno,
			    "Cannot wipe \"%s\"", device);
		g_usleep(PAUSE_US);
	}
}

int filesystem_wipe(const char *device, Error **err)
{
	if (wait_unused(device, err) < 0)
		return -1;
	const char *const argv[] = {"wipefs", "-a", "-f", "-q", device, NULL};
	return program_run_vector(argv, err);
}

static const struct {
	const char *type;
	const char *make[6];
	const char *zeroed; /* in place of the last word */
} makers[] = {
	/* Tables are written now: a background writer would compete with the first unpacking. */
	{ "ext4",
	    { "mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0" },
	    "nodiscard,assume_storage_prezeroed=1" },
	{ "xfs", { "mkfs.xfs", "-q", "-f", "-K" }, NULL },
	{ "btrfs", { "mkfs.btrfs", "-q", "-f", "-K" }, NULL },
};

int filesystem_make(
    const char *device, const char *type, const char *label, gboolean zeroed, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(makers); i++) {
		if (strcmp(makers[i].type, type) != 0)
			continue;
		const char *argv[G_N_ELEMENTS(makers[i].make) + 4] = { NULL };
		size_t n = 0;
		for (; makers[i].make[n]; n++)
			argv[n] = makers[i].make[n];
		if (zeroed && makers[i].zeroed)
			argv[n - 1] = makers[i].zeroed;
		if (label) {
			argv[n++] = "-L";
			argv[n++] = label;
		}
		argv[n] = device;
		return program_run_vector(argv, err) < 0 ?
		    error_prefix(err, "Cannot make a %s file system on \"%s\"", type, device) :
		    0;
	}
	return error_set(
	    err, ERROR_INVALID, "File system \"%s\" cannot be used: ext4, xfs or btrfs", type);
}

int filesystem_open_volume(const char *path, gboolean entered, Error **err)
{
	g_autofree char *made = g_build_filename(path, "lost+found", NULL);
	rmdir(made); /* unless something is in it; e2fsck makes it when it needs it */
	return chmod(path, entered ? 0711 : 0700) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot set up \"%s\"", path);
}

static int btrfs_grow(const char *path, Error **err)
{
	struct btrfs_ioctl_vol_args args = {.name = "max"};
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	return ioctl(fd, BTRFS_IOC_RESIZE, &args) < 0
		   ? error_errno(err, ERROR_INTERNAL, errno, "Cannot grow \"%s\"", path)
		   : 0;
}

int filesystem_grow(const char *device, const char *path, const char *type, Error **err)
{
	const char *const ext4[] = {"resize2fs", device, NULL}, *const xfs[] = {
								    "xfs_growfs", path, NULL};
	if (strcmp(type, "btrfs") == 0)
		return btrfs_grow(path, err);
	return program_run_vector(strcmp(type, "xfs") == 0 ? xfs : ext4, err);
}

int filesystem_shrink(const char *device, const char *type, int64_t bytes, Error **err)
{
	g_autofree char *size = g_strdup_printf("%" PRId64 "K", bytes / 1024);
	const char *const check[] = {"e2fsck", "-f", "-y", device, NULL};
	const char *const shrink[] = {"resize2fs", device, size, NULL};
	if (strcmp(type, "ext4") != 0)
		return error_set(
		    err, ERROR_INVALID, "Volumes with a %s file system cannot be shrunk", type);
	enum { CORRECTED = 1 };
	Spawn spawn = {.argv = check, .timeout_ms = TOOL_MS};
	int status;
	if (spawn_status(&spawn, NULL, &status, err) < 0)
		return -1;
	if (status > CORRECTED)
		return error_set(err, ERROR_INTERNAL,
		    "The file system on \"%s\" has errors (e2fsck gives %d)", device, status);
	return program_run_vector(shrink, err);
}

static const struct {
	const char *name;
	unsigned long set, clear;
} flags[] = {
    {"defaults", 0, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"lazytime", MS_LAZYTIME, 0},
    {"nolazytime", 0, MS_LAZYTIME},
};

static gboolean take_flag(const char *word, unsigned long *value)
{
	for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
		if (strcmp(flags[i].name, word) == 0) {
			*value = (*value | flags[i].set) & ~flags[i].clear;
			return TRUE;
		}
	return FALSE;
}

void filesystem_options(const char *text, unsigned long *ret_flags, char **ret_data)
{
	g_auto(GStrv) words = g_strsplit(text ? text : "", ",", -1);
	GString *data = g_string_new(NULL);
	*ret_flags = 0;
	for (size_t i = 0; words[i]; i++)
		if (*words[i] && !take_flag(words[i], ret_flags))
			g_string_append_printf(data, "%s%s", data->len ? "," : "", words[i]);
	*ret_data = g_string_free(data, FALSE);
}

int filesystem_mount(
    const char *device, const char *path, const char *type, const char *options, Error **err)
{
	unsigned long values;
	g_autofree char *data = NULL;
	filesystem_options(options, &values, &data);
	if (mount(device, path, type, values, data) < 0)
		return error_errno(err, errno == EINVAL ? ERROR_INVALID : ERROR_INTERNAL, errno,
		    "Cannot mount \"%s\" at \"%s\" with options \"%s\"", device, path,
		    options ? options : "");
	return 0;
}

int filesystem_remount(const char *path, const char *options, Error **err)
{
	unsigned long values;
	g_autofree char *data = NULL;
	filesystem_options(options, &values, &data);
	if (mount(NULL, path, NULL, MS_REMOUNT | values, data) < 0)
		return error_errno(err, errno == EINVAL ? ERROR_INVALID : ERROR_INTERNAL, errno,
		    "Cannot mount \"%s\" anew with options \"%s\"", path, options);
	return 0;
}

static gboolean is_same(const char *path, const char *source)
{
	struct stat a, b;
	return stat(path, &a) == 0 && stat(source, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int filesystem_bind(const char *source, const char *path, Error **err)
{
	if (is_same(path, source)) /* from before a restart */
		return 0;
	if (mount(source, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot mount \"%s\" at \"%s\"", source, path);
	return 0;
}

/* A helper that ends is still in the mount for a moment after it was heard of last, and the kernel
 * tells nobody when it has left. */
static gboolean unmount_patiently(const char *path)
{
	for (int tries = 0; umount2(path, UMOUNT_NOFOLLOW) < 0; tries++) {
		if (errno != EBUSY || tries == TRIES)
			return FALSE;
		g_usleep(PAUSE_US);
	}
	return TRUE;
}

int filesystem_unmount(const char *path, Error **err)
{
	if (!filesystem_is_mounted(path) || unmount_patiently(path))
		return 0;
	return error_errno(err, errno == EBUSY ? ERROR_BUSY : ERROR_INTERNAL, errno,
	    "Cannot unmount \"%s\"", path);
}

gboolean filesystem_is_mounted(const char *path)
{
	struct statx st;
	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO, &st) == 0 &&
	       st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

int filesystem_flush(const char *path, Error **err)
{
	if (!filesystem_is_mounted(path))
		return 0;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	return syncfs(fd) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\" out", path);
}
