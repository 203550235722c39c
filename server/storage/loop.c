#include "server/storage/loop.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { GIB = 1 << 30, ATTEMPTS = 32 };

int64_t loop_default_size(uint64_t free_bytes)
{
	return (int64_t)CLAMP(free_bytes / GIB / 5, 5, 30) * GIB;
}

int loop_file_create(const char *file, int64_t bytes, Error **err)
{
	autofd int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST
			   ? error_set(err, ERROR_EXISTS, "Loop file \"%s\" already exists", file)
			   : error_errno(err, ERROR_INTERNAL, errno,
				 "Cannot create the loop file \"%s\"", file);
	if (ftruncate(fd, bytes) == 0)
		return 0;
	unlink(file);
	return error_errno(err, ERROR_INTERNAL, errno,
	    "Cannot make the loop file \"%s\" %" PRId64 " bytes long", file, bytes);
}

/* Opens a loop device if it shows the file; open, it stays so (LO_FLAGS_AUTOCLEAR waits). */
static int open_if_shows(const char *device, const struct stat *file)
{
	struct loop_info64 info;
	autofd int fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 || info.lo_inode != file->st_ino ||
	    info.lo_device != file->st_dev)
		return -1;
	return own_steal_fd(&fd);
}

/* The kernel lists attached ones in /sys/block. -1: none. */
static int find(const struct stat *file, char **ret_device)
{
	g_autoptr(GDir) dir = g_dir_open("/sys/block", 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *loop = g_strdup_printf("/sys/block/%s/loop", name);
		if (!g_str_has_prefix(name, "loop") || access(loop, F_OK) < 0)
			continue;
		g_autofree char *device = g_strconcat("/dev/", name, NULL);
		int fd = open_if_shows(device, file);
		if (fd < 0)
			continue;
		if (ret_device)
			*ret_device = g_steal_pointer(&device);
		return fd;
	}
	return -1;
}

static int attach_free(int control, int file, uint32_t flags, char **ret_device)
{
	int number = ioctl(control, LOOP_CTL_GET_FREE);
	if (number < 0)
		return -1;
	g_autofree char *device = g_strdup_printf("/dev/loop%d", number);
	autofd int fd = open(device, O_RDWR | O_CLOEXEC);
	struct loop_config config = {.fd = (uint32_t)file, .info.lo_flags = flags};
	if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0)
		return -1;
	*ret_device = g_steal_pointer(&device);
	return own_steal_fd(&fd);
}

int loop_attach(const char *file, LoopLife life, char **ret_device, Error **err)
{
	struct stat st;
	autofd int backing = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (backing < 0 || fstat(backing, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot open the loop file \"%s\"", file);
	int fd = find(&st, ret_device);
	if (fd >= 0)
		return fd;
	autofd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	/* Not through the page cache twice; the kernel falls back where the file system cannot. */
	uint32_t flags = LO_FLAGS_DIRECT_IO | (life == LOOP_UNTIL_UNUSED ? LO_FLAGS_AUTOCLEAR : 0);
	/* Between asking for a free device and taking it, another may come first: EBUSY. */
	for (int i = 0; control >= 0 && fd < 0 && i < ATTEMPTS; i++) {
		fd = attach_free(control, backing, flags, ret_device);
		if (fd < 0 && errno != EBUSY)
			break;
	}
	return fd >= 0 ? fd
		       : error_errno(err, ERROR_INTERNAL, errno,
			     "Cannot make a loop device of \"%s\"", file);
}

int loop_find(const char *file, char **ret_device)
{
	struct stat st;
	return stat(file, &st) < 0 ? -1 : find(&st, ret_device);
}

int loop_detach(const char *file, Error **err)
{
	struct stat st;
	if (stat(file, &st) < 0)
		return errno == ENOENT ? 0
				       : error_errno(err, ERROR_INTERNAL, errno,
					     "Cannot find the loop file \"%s\"", file);
	autofd int fd = find(&st, NULL);
	if (fd >= 0 && ioctl(fd, LOOP_CLR_FD) < 0 && errno != ENXIO)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot detach the loop device of \"%s\"", file);
	return 0;
}

int loop_grow(const char *file, int64_t bytes, Error **err)
{
	struct stat st;
	autofd int backing = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (backing < 0 || fstat(backing, &st) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot open the loop file \"%s\"", file);
	if (st.st_size < bytes && ftruncate(backing, bytes) < 0)
		return error_errno(err, ERROR_INTERNAL, errno,
		    "Cannot make the loop file \"%s\" %" PRId64 " bytes long", file, bytes);
	autofd int fd = find(&st, NULL);
	if (fd >= 0 && ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot grow the loop device of \"%s\"", file);
	return 0;
}
