/* A disk: a raw image, a block device, or a qcow2 image, of which a raw one is made on the way. */
#include "migrate/host/host.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/qcow2.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/fs.h>
#include <unistd.h>

enum { SECTOR = 512 };

typedef struct Disk {
	int fd;
	gboolean qcow2;
	int64_t size; /* of the disk, which of qcow2 is not that of the file */
} Disk;

static int raw_size(Disk *disk, const char *path, Error **err)
{
	struct stat st;
	uint64_t bytes;
	if (fstat(disk->fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	disk->size = st.st_size;
	if (S_ISREG(st.st_mode))
		return st.st_size > 0 && st.st_size % SECTOR == 0 ?
		    0 :
		    error_set(err, ERROR_INVALID,
			"\"%s\" is no disk's image: it does not consist of whole sectors of %d bytes",
			path, SECTOR);
	if (!S_ISBLK(st.st_mode))
		return error_set(err, ERROR_INVALID,
		    "\"%s\" is neither a disk's image nor a block device", path);
	if (ioctl(disk->fd, BLKGETSIZE64, &bytes) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	disk->size = (int64_t)bytes;
	return 0;
}

static int check_others(const uint8_t *header, const char *path, Error **err)
{
	static const struct {
		const char *mark, *what;
	} others[] = { { "KDMV", "VMDK" }, { "conectix", "VHD" }, { "vhdxfile", "VHDX" },
		{ "<<< ", "VDI" } };
	for (size_t k = 0; k < G_N_ELEMENTS(others); k++)
		if (memcmp(header, others[k].mark, strlen(others[k].mark)) == 0)
			return error_set(err, ERROR_UNSUPPORTED,
			    "\"%s\" is a %s image: make a raw one of it first, with \"qemu-img convert -O raw\"",
			    path, others[k].what);
	return 0;
}

static int check_qcow2(Disk *disk, const uint8_t *header, const char *path, Error **err)
{
	g_autofree char *program = g_find_program_in_path("qemu-img");
	disk->qcow2 = TRUE;
	if (qcow2_check(header, &disk->size, err) < 0)
		return error_prefix(err, "\"%s\" cannot be used", path);
	return program ? 0 :
			 error_set(err, ERROR_UNSUPPORTED,
			     "\"%s\" is a qcow2 image, which needs the program \"qemu-img\"", path);
}

static int look(Disk *disk, const char *path, Error **err)
{
	uint8_t header[QCOW2_HEADER] = { 0 };
	disk->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (disk->fd < 0 || pread(disk->fd, header, sizeof(header), 0) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	if (qcow2_is(header))
		return check_qcow2(disk, header, path, err);
	return check_others(header, path, err) < 0 ? -1 : raw_size(disk, path, err);
}

int disk_check(const Migration *m, Error **err)
{
	Disk disk = { .fd = -1 };
	int result = look(&disk, m->source, err);
	own_close_fd(&disk.fd);
	return result;
}

/* Into a file without a name, which is gone however this ends. qemu-img gets both files open: what
 * was looked at is what is read. */
static int make_raw(Disk *disk, const char *path, Error **err)
{
	const char *folder = g_get_tmp_dir();
	autofd int raw = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (raw < 0 || ftruncate(raw, disk->size) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "No file can be made in \"%s\"", folder);
	const int fds[] = { disk->fd, raw };
	const char *const argv[] = { "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw",
		"/proc/self/fd/3", "/proc/self/fd/4", NULL };
	const Spawn spawn = { .argv = argv, .fds = fds, .n_fds = G_N_ELEMENTS(fds) };
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return error_prefix(err,
		    "\"%s\" cannot be made a raw image in \"%s\" (TMPDIR names "
		    "another folder)",
		    path, folder);
	own_close_fd(&disk->fd);
	disk->fd = g_steal_fd(&raw);
	return 0;
}

int disk_open(const Migration *m, int *ret_fd, int64_t *ret_size, Error **err)
{
	Disk disk = { .fd = -1 };
	if (look(&disk, m->source, err) < 0 ||
	    (disk.qcow2 && make_raw(&disk, m->source, err) < 0)) {
		own_close_fd(&disk.fd);
		return -1;
	}
	*ret_fd = disk.fd;
	*ret_size = disk.size;
	return 0;
}
