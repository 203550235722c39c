#include "server/device/drive.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/device/device_private.h"
#include "server/helper/client.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 256 << 20 };

/* ---- writing ---- */

typedef struct Drive {
	struct archive *archive;
	char *path, *unfinished;
	int fd;
} Drive;

static int fail(const Drive *drive, Error **err)
{
	return error_set(err, ERROR_INTERNAL, "Cannot write \"%s\": %s", drive->path,
	    archive_error_string(drive->archive));
}

static int drive_open(Drive *drive, const char *path, const char *label, Error **err)
{
	drive->path = g_strdup(path);
	drive->unfinished = g_strconcat(path, ".new", NULL);
	drive->fd = open(
	    drive->unfinished, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	drive->archive = archive_write_new();
	if (drive->fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", path);
	if (archive_write_set_format_iso9660(drive->archive) != ARCHIVE_OK ||
	    archive_write_set_format_option(drive->archive, "iso9660", "volume-id", label) !=
		ARCHIVE_OK ||
	    archive_write_open_fd(drive->archive, drive->fd) != ARCHIVE_OK)
		return fail(drive, err);
	return 0;
}

static int drive_add(
    Drive *drive, const char *name, mode_t mode, const void *data, size_t length, Error **err)
{
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, mode);
	archive_entry_set_size(entry, (int64_t)length);
	gboolean written = archive_write_header(drive->archive, entry) == ARCHIVE_OK &&
	    archive_write_data(drive->archive, data, length) == (ssize_t)length;
	archive_entry_free(entry);
	return written ? 0 : fail(drive, err);
}

/* What is there under the name is the old drive or the whole new one. */
static int drive_finish(Drive *drive, const struct timespec *moment, Error **err)
{
	const struct timespec times[2] = { *moment, *moment };
	if (archive_write_close(drive->archive) != ARCHIVE_OK)
		return fail(drive, err);
	if (futimens(drive->fd, times) < 0 || rename(drive->unfinished, drive->path) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", drive->path);
	return 0;
}

static void drive_clear(Drive *drive)
{
	if (drive->archive)
		archive_write_free(drive->archive);
	if (drive->unfinished)
		unlink(drive->unfinished); /* of one that was not finished */
	own_close_fd(&drive->fd);
	g_free(drive->path);
	g_free(drive->unfinished);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Drive, drive_clear)

/* ---- the agent's ---- */

static int add_file(Drive *drive, int folder, const char *name, Error **err)
{
	struct stat st;
	size_t length;
	g_autofree char *data = NULL;
	if (fstatat(folder, name, &st, 0) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", name);
	return file_read(folder, name, FILE_LINKS_NONE, FILE_MAX, &data, &length, err) < 0 ?
	    -1 :
	    drive_add(drive, name, st.st_mode & 0100 ? 0755 : 0644, data, length, err);
}

/* The agent, and what is in the folder "agent" beside it (server/agent/dist). */
static int add_agent(Drive *drive, const char *beside, Error **err)
{
	g_autofree char *scripts = g_build_filename(beside, "agent", NULL);
	g_autoptr(GPtrArray) names = NULL;
	autofd int programs = file_open_directory(beside, err);
	if (programs < 0 || add_file(drive, programs, "incus-agent", err) < 0)
		return -1;
	autofd int folder = file_open_directory(scripts, err);
	if (folder < 0 || file_names(folder, &names, err) < 0)
		return -1;
	for (guint n = 0; n < names->len; n++)
		if (add_file(drive, folder, names->pdata[n], err) < 0)
			return -1;
	return 0;
}

static int write_agent(
    const char *path, const char *beside, const struct timespec *moment, Error **err)
{
	g_auto(Drive) drive = { .fd = -1 };
	return drive_open(&drive, path, "incus-agent", err) < 0 ||
		add_agent(&drive, beside, err) < 0 ?
	    -1 :
	    drive_finish(&drive, moment, err);
}

int drive_agent(Daemon *d, char **ret_path, Error **err)
{
	static GMutex lock; /* one writer of the file */
	g_autofree char *spawner = spawner_program();
	g_autofree char *beside = g_path_get_dirname(spawner);
	g_autofree char *program = g_build_filename(beside, "incus-agent", NULL);
	g_autofree char *path = g_build_filename(d->dir, "agent.iso", NULL);
	struct stat agent, there;
	if (stat(program, &agent) < 0)
		return error_set(err, ERROR_NOT_FOUND, "\"%s\" is not installed", program);
	g_mutex_lock(&lock);
	gboolean fresh = stat(path, &there) == 0 && there.st_mtim.tv_sec == agent.st_mtim.tv_sec &&
	    there.st_mtim.tv_nsec == agent.st_mtim.tv_nsec;
	int result = fresh ? 0 : write_agent(path, beside, &agent.st_mtim, err);
	g_mutex_unlock(&lock);
	if (result == 0)
		*ret_path = g_steal_pointer(&path);
	return result;
}

/* ---- cloud-init's ---- */

#define CLOUD_INIT "cloud-init" /* kind of device file */

static char *cloud_init_meta_data(const DeviceHost *host)
{
	const char *id = host->volatile_get(host, "cloud-init.instance-id"),
		   *more = config_get(host->config, "user.meta-data");
	return g_strdup_printf("instance-id: %s\nlocal-hostname: %s\n%s\n",
	    id ? id : host->instance, host->instance, more ? more : "");
}

/* cloud-init.NAME, or what images from before it read. */
static const char *seed(const DeviceHost *host, const char *name, const char *otherwise)
{
	g_autofree char *key = g_strconcat("cloud-init.", name, NULL);
	g_autofree char *old = g_strconcat("user.", name, NULL);
	const char *value = config_get(host->config, key);
	if (!value)
		value = config_get(host->config, old);
	return value ? value : otherwise;
}

int drive_cloud_init(const DeviceHost *host, const char *device, char **ret_path, Error **err)
{
	g_auto(Drive) drive = { .fd = -1 };
	g_autofree char *path = NULL;
	g_autofree char *meta = cloud_init_meta_data(host);
	const char *user = seed(host, "user-data", "#cloud-config\n{}\n"),
		   *vendor = seed(host, "vendor-data", "#cloud-config\n{}\n"),
		   *network = seed(host, "network-config", NULL);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (device_file_make(host, CLOUD_INIT, device, &path, err) < 0 ||
	    drive_open(&drive, path, "cidata", err) < 0 ||
	    drive_add(&drive, "meta-data", 0600, meta, strlen(meta), err) < 0 ||
	    drive_add(&drive, "user-data", 0600, user, strlen(user), err) < 0 ||
	    drive_add(&drive, "vendor-data", 0600, vendor, strlen(vendor), err) < 0 ||
	    (network &&
		drive_add(&drive, "network-config", 0600, network, strlen(network), err) < 0) ||
	    drive_finish(&drive, &now, err) < 0)
		return -1;
	*ret_path = g_steal_pointer(&path);
	return 0;
}

void drive_cloud_init_remove(const DeviceHost *host, const char *device)
{
	g_autofree char *path = device_file_path(host, CLOUD_INIT, device);
	device_file_remove(path);
}
