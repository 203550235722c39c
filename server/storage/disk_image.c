#include "server/storage/disk_image.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/qcow2.h"
#include "sdk/base/spawn.h"
#include "server/helper/client.h"
#include "server/storage/volume_block.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = QCOW2_HEADER };
#define DISK_MOST ((int64_t)16 << 40)

static int refuse(Error **err, const char *why)
{
	return error_set(err, ERROR_INVALID, "The disk image cannot be used: %s", why);
}

static int check_qcow2(const guint8 *header, DiskImage *image, Error **err)
{
	image->qcow2 = TRUE;
	return qcow2_check(header, &image->size, err) < 0 ?
	    error_prefix(err, "The disk image cannot be used") :
	    0;
}

int disk_image_check(int fd, DiskImage *ret_image, Error **err)
{
	guint8 header[HEADER] = { 0 };
	struct stat st;
	if (fstat(fd, &st) < 0 || pread(fd, header, sizeof(header), 0) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the disk image");
	if (qcow2_is(header))
		return check_qcow2(header, ret_image, err);
	/* Other formats are told by their marks, so that no container of disks passes for one. */
	if (memcmp(header, "KDMV", 4) == 0 || memcmp(header, "vhdxfile", 8) == 0 ||
	    memcmp(header, "conectix", 8) == 0 || memcmp(header + 64, "\x7f\x10\xda\xbe", 4) == 0)
		return refuse(err, "only raw images and qcow2 are known");
	off_t size = S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_END) : st.st_size;
	if (size <= 0 || size > DISK_MOST)
		return refuse(err, "the size of its disk is not possible");
	*ret_image = (DiskImage){ .size = size };
	return 0;
}

int disk_image_check_raw(int fd, Error **err)
{
	DiskImage image = { 0 };
	if (disk_image_check(fd, &image, err) < 0)
		return -1;
	return image.qcow2 ? refuse(err, "it is qcow2 where a raw one is expected") : 0;
}

static int convert(int in, int out, gboolean (*cancelled)(void *data), void *data, Error **err)
{
	g_autofree char *spawner = spawner_program();
	g_autofree char *beside = g_path_get_dirname(spawner);
	g_autofree char *program = g_build_filename(beside, "incus-disk", NULL);
	const int fds[] = { in, out };
	const char *const argv[] = { program, NULL };
	const Spawn spawn = { .argv = argv,
		.fds = fds,
		.n_fds = G_N_ELEMENTS(fds),
		.cancelled = cancelled,
		.cancel_data = data };
	Error *inner = NULL;
	if (spawn_run(&spawn, NULL, NULL, &inner) == 0)
		return 0;
	if (inner->kind == ERROR_INTERNAL)
		inner->kind = ERROR_INVALID; /* the image is what is wrong, as a rule */
	error_propagate(err, inner);
	return error_prefix(err, "Cannot convert the disk image");
}

int disk_image_write(
    int fd, const char *target, gboolean (*cancelled)(void *data), void *data, Error **err)
{
	DiskImage image = { 0 };
	if (disk_image_check(fd, &image, err) < 0)
		return -1;
	autofd int out = open(target, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", target);
	struct stat st;
	if (fstat(out, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the disk image");
	gboolean device = S_ISBLK(st.st_mode); /* which may hold something where the image has holes */
	if (!image.qcow2)
		return device ? volume_block_write_fd(fd, out, err) : file_copy_data(fd, out, err);
	if (device ? lseek(out, 0, SEEK_END) < image.size : ftruncate(out, image.size) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot size \"%s\"", target);
	return convert(fd, out, cancelled, data, err);
}

/* Raw is never looked into, so nothing in the disk can mislead qemu-img: it needs no jail. It gets
 * the disk open, for its name could be a link by then. */
int disk_image_pack(const char *disk, const char *folder, gboolean (*cancelled)(void *data),
    void *data, int *ret_fd, Error **err)
{
	autofd int out = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	autofd int in = open(disk, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", disk);
	if (out < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot create a file in \"%s\"", folder);
	const int fds[] = { in, out };
	const char *const argv[] = { "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2",
		"/dev/fd/3", "/dev/fd/4", NULL };
	const Spawn spawn = { .argv = argv,
		.fds = fds,
		.n_fds = G_N_ELEMENTS(fds),
		.cancelled = cancelled,
		.cancel_data = data };
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return error_prefix(err, "Cannot pack the disk");
	*ret_fd = own_steal_fd(&out);
	return 0;
}
