#include "server/device/share.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "server/device/device_private.h"
#include "server/helper/client.h"
#include "server/sys/process.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { START_PATIENCE_MS = 30000, LEAVE_PATIENCE_MS = 500, STOP_PATIENCE_MS = 5000 };

/* Neither is a program for people, and so in no PATH. */
static int find_program(const char **ret_program, Error **err)
{
	static const char *const known[] = { "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd",
		"/usr/lib/virtiofsd" };
	for (gsize n = 0; n < G_N_ELEMENTS(known); n++)
		if (access(known[n], X_OK) == 0) {
			*ret_program = known[n];
			return 0;
		}
	return error_set(err, ERROR_UNSUPPORTED,
	    "Sharing a folder with a virtual machine needs \"virtiofsd\": install the package \"virtiofsd\" (in Debian 12 \"qemu-system-common\" has it)");
}

/* Nobody can connect before it has its rights; the spawner's child listens. */
static int make_socket(const char *path, Error **err)
{
	unlink(path);
	autofd int fd = unix_bind(path, 0);
	if (fd < 0 && errno == ENAMETOOLONG)
		return error_set(err, ERROR_INVALID,
		    "The socket's path \"%s\" is too long: give the device a shorter name", path);
	if (fd < 0 || chmod(path, 0600) < 0 || listen(fd, 1) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot listen on \"%s\"", path);
	return own_steal_fd(&fd);
}

char *device_share_log(const char *name)
{
	g_autofree char *device = g_strdelimit(g_strdup(name), "/", '-');
	return g_strdup_printf("virtiofsd.%s.log", device);
}

static int open_log(const DeviceHost *host, const char *name, Error **err)
{
	g_autofree char *instance = device_host_file_name(host);
	g_autofree char *file = device_share_log(name);
	g_autofree char *folder = g_build_filename(host->daemon->dir, "logs", instance, NULL);
	g_autofree char *path = g_build_filename(folder, file, NULL);
	if (file_mkdir_all(folder, 0700, err) < 0)
		return -1;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : error_errno(err, ERROR_INTERNAL, errno, "Cannot open \"%s\"", path);
}

/* Of a folder of the host a guest's ids are those that the files have; of others the volume knows.
 * Where a project restricts the host's paths, what the guest's root makes must not be the host's
 * root's, for whoever else uses the folder: its ids are an unprivileged container's then. */
gboolean share_has_map(const DeviceHost *host, const DeviceMount *mount)
{
	return mount->beneath || (!mount->of_volume && config_get(host->config, "raw.idmap"));
}

static int find_map(
    const DeviceHost *host, const char *name, const DeviceMount *mount, char **ret_map, Error **err)
{
	g_autoptr(GArray) ranges = NULL;
	if (!mount->shift)
		return 0;
	if (host->unprivileged_map(host, &ranges, err) < 0)
		return -1;
	if (ranges->len == 0)
		return error_set(err, ERROR_FORBIDDEN,
		    "Disk \"%s\" needs an id map, which a privileged instance has not", name);
	/* A container's map is of files with the ids of inside; these have those of outside. */
	for (guint n = 0; n < ranges->len; n++) {
		IdRange *range = &g_array_index(ranges, IdRange, n);
		uint32_t inside = range->inside;
		range->inside = range->outside;
		range->outside = inside;
	}
	*ret_map = id_map_text(ranges);
	return 0;
}

static int start_program(const DeviceHost *host, const char *note, const DeviceMount *mount,
    const char *map, const int fds[2], Error **err)
{
	const char *program = NULL;
	DeviceMount shared = *mount;
	g_autofree char *place = g_path_get_dirname(note);
	SpawnerCall call = { .timeout_ms = START_PATIENCE_MS };
	if (find_program(&program, err) < 0)
		return -1;
	shared.is_device = TRUE; /* one that is there is not mounted for what is on it */
	Packet *rq = packet_new(SPAWN_SHARE);
	packet_add(rq, note);
	packet_add(rq, program);
	packet_add(rq, place);
	device_mount_pack(&shared, rq);
	packet_add(rq, map);
	packet_add_fd(rq, fds[0]);
	packet_add_fd(rq, fds[1]);
	return spawner_call(host->daemon->spawner, rq, &call, NULL, err);
}

DevicePart *share_part(const DeviceHost *host, const char *name, char *target)
{
	DevicePart *part = g_new0(DevicePart, 1);
	part->kind = PART_SHARE;
	part->device = g_strdup(name);
	part->source = device_file_path(host, "share", name);
	part->target = target;
	return part;
}

int share_start(const DeviceHost *host, const char *name, const DeviceMount *mount, Error **err)
{
	g_autofree char *map = NULL, *note = NULL;
	g_autofree char *socket = device_file_path(host, "share", name);
	share_stop(host, name); /* of a run that was cut off */
	if (find_map(host, name, mount, &map, err) < 0 ||
	    device_file_make(host, "virtiofsd", name, &note, err) < 0)
		return -1;
	autofd int listener = make_socket(socket, err);
	autofd int log = listener < 0 ? -1 : open_log(host, name, err);
	if (log < 0 ||
	    start_program(host, note, mount, map, (const int[]){ listener, log }, err) < 0) {
		share_stop(host, name);
		return -1;
	}
	return 0;
}

void share_stop(const DeviceHost *host, const char *name)
{
	g_autofree char *note = device_file_path(host, "virtiofsd", name);
	g_autofree char *socket = device_file_path(host, "share", name);
	autofd int process = process_open_noted(note);
	/* It ends after QEMU by itself, and then nothing of it holds the folder any more. */
	if (process >= 0 && !process_wait(process, LEAVE_PATIENCE_MS))
		process_end(process, STOP_PATIENCE_MS);
	device_file_remove(note);
	device_file_remove(socket);
}
