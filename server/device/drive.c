#include "server/device/drive.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/helper/client.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AGENT_MAX = 256 << 20 };

/* ---- what is on the agent's drive beside it ---- */

static const char setup_script[] =
    "#!/bin/sh\n"
    "# Takes incus-agent from the drive that the host gives every virtual machine.\n"
    "set -e\n"
    "run=/run/incus_agent\n"
    "mkdir -p \"$run/drive\"\n"
    "chmod 0700 \"$run\"\n"
    "modprobe isofs 2>/dev/null || true\n"
    "modprobe sr_mod 2>/dev/null || true\n"
    "for device in /dev/disk/by-label/incus-agent /dev/sr*; do\n"
    "\t[ -b \"$device\" ] || continue\n"
    "\tmount -t iso9660 -o ro \"$device\" \"$run/drive\" 2>/dev/null || continue\n"
    "\tif [ -f \"$run/drive/incus-agent\" ]; then\n"
    "\t\tcp \"$run/drive/incus-agent\" \"$run/incus-agent.new\"\n"
    "\t\tchmod 0755 \"$run/incus-agent.new\"\n"
    "\t\tmv \"$run/incus-agent.new\" \"$run/incus-agent\"\n"
    "\t\tumount \"$run/drive\"\n"
    "\t\texit 0\n"
    "\tfi\n"
    "\tumount \"$run/drive\"\n"
    "done\n"
    "echo 'No drive with incus-agent was found' >&2\n"
    "exit 1\n";

static const char service_unit[] = "[Unit]\n"
				   "Description=Incus agent\n"
				   "ConditionPathExists=/dev/virtio-ports/org.incus.agent.0\n"
				   "After=local-fs.target\n"
				   "\n"
				   "[Service]\n"
				   "ExecStartPre=/usr/local/sbin/incus-agent-setup\n"
				   "ExecStart=/run/incus_agent/incus-agent\n"
				   "WorkingDirectory=/run/incus_agent\n"
				   "KillMode=process\n"
				   "Restart=always\n"
				   "RestartSec=5\n"
				   "\n"
				   "[Install]\n"
				   "WantedBy=multi-user.target\n";

static const char install_script[] =
    "#!/bin/sh\n"
    "# Makes this system start incus-agent at every boot, from the drive this script is on.\n"
    "set -e\n"
    "here=$(dirname \"$0\")\n"
    "[ \"$(id -u)\" = 0 ] || { echo 'This must be run as root' >&2; exit 1; }\n"
    "mkdir -p /usr/local/sbin\n"
    "cp \"$here/systemd/incus-agent-setup\" /usr/local/sbin/incus-agent-setup\n"
    "chmod 0755 /usr/local/sbin/incus-agent-setup\n"
    "if [ -d /run/systemd/system ]; then\n"
    "\tcp \"$here/systemd/incus-agent.service\" /etc/systemd/system/incus-agent.service\n"
    "\tchmod 0644 /etc/systemd/system/incus-agent.service\n"
    "\tsystemctl daemon-reload\n"
    "\tsystemctl enable --now incus-agent.service\n"
    "\techo 'incus-agent is installed and started.'\n"
    "else\n"
    "\techo 'This system has no systemd: have its init run, at every boot,'\n"
    "\techo '  incus-agent-setup && /run/incus_agent/incus-agent'\n"
    "fi\n";

static const struct {
	const char *name, *text;
	mode_t mode;
} agent_files[] = {
	{ "install.sh", install_script, 0755 },
	{ "systemd/incus-agent-setup", setup_script, 0755 },
	{ "systemd/incus-agent.service", service_unit, 0644 },
};

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

static int write_agent(
    const char *path, const char *program, const struct timespec *moment, Error **err)
{
	g_auto(Drive) drive = { .fd = -1 };
	g_autofree char *agent = NULL;
	size_t length;
	if (file_read(AT_FDCWD, program, FILE_LINKS_NONE, AGENT_MAX, &agent, &length, err) < 0 ||
	    drive_open(&drive, path, "incus-agent", err) < 0 ||
	    drive_add(&drive, "incus-agent", 0755, agent, length, err) < 0)
		return -1;
	for (gsize n = 0; n < G_N_ELEMENTS(agent_files); n++)
		if (drive_add(&drive, agent_files[n].name, agent_files[n].mode, agent_files[n].text,
			strlen(agent_files[n].text), err) < 0)
			return -1;
	return drive_finish(&drive, moment, err);
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
	int result = fresh ? 0 : write_agent(path, program, &agent.st_mtim, err);
	g_mutex_unlock(&lock);
	if (result == 0)
		*ret_path = g_steal_pointer(&path);
	return result;
}

/* ---- cloud-init's ---- */

static char *cloud_init_path(const DeviceHost *host, const char *device)
{
	g_autofree char *name = g_strcmp0(host->project, "default") == 0 ?
	    g_strdup(host->instance) :
	    g_strconcat(host->project, "_", host->instance, NULL);
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, device, -1);
	g_autofree char *file = g_strdup_printf("cloud-init.%.16s.iso", sum);
	return g_build_filename(host->daemon->dir, "devices", name, file, NULL);
}

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
	g_autofree char *path = cloud_init_path(host, device);
	g_autofree char *folder = g_path_get_dirname(path);
	g_autofree char *meta = cloud_init_meta_data(host);
	const char *user = seed(host, "user-data", "#cloud-config\n{}\n"),
		   *vendor = seed(host, "vendor-data", "#cloud-config\n{}\n"),
		   *network = seed(host, "network-config", NULL);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (file_mkdir_all(folder, 0711, err) < 0 || drive_open(&drive, path, "cidata", err) < 0 ||
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
	g_autofree char *path = cloud_init_path(host, device);
	g_autofree char *folder = g_path_get_dirname(path);
	unlink(path);
	rmdir(folder); /* unless other devices have something there */
}
