/* What `zfs send` writes, for other pools and servers and for optimised backups. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include "server/storage/driver_zfs_private.h"
#include "server/storage/unpack.h"
#include "server/storage/zfs_stream.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one process, or thread, writes what the other reads ---- */

typedef struct Writer {
	int (*write)(struct Writer *writer, Error **err);
	const char *const *argv;
	const uint8_t *head; /* what was read of `from` already */
	int from, fd, result;
	Error *error;
} Writer;

static void *run_writer(void *data)
{
	Writer *writer = data;
	writer->result = writer->write(writer, &writer->error);
	close(writer->fd);
	return NULL;
}

/* Of the two that fail together the writer knows why. */
static int read_from(Writer *writer, const char *const *receive, Error **err)
{
	int ends[2];
	Error *inner = NULL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	writer->fd = ends[1];
	GThread *thread = g_thread_new("zfs-stream", run_writer, writer);
	int result = zfs_stream(receive, ends[0], 0, &inner);
	close(ends[0]);
	g_thread_join(thread);
	if (writer->result < 0) {
		g_clear_pointer(&inner, error_free);
		return error_propagate(err, writer->error);
	}
	return result < 0 ? error_propagate(err, inner) : 0;
}

static int write_sent(Writer *writer, Error **err)
{
	return zfs_stream(writer->argv, 0, writer->fd, err);
}

int zfs_transfer(const char *const *send, const char *const *receive, Error **err)
{
	Writer writer = { .write = write_sent, .argv = send };
	return read_from(&writer, receive, err);
}

/* ---- sending ---- */

static int send_snapshot(const char *name, const char *since, int fd, Error **err)
{
	const char *const whole[] = { "zfs", "send", name, NULL },
			  *const difference[] = { "zfs", "send", "-i", since, name, NULL };
	return zfs_stream(since ? difference : whole, 0, fd, err);
}

int zfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	g_autofree char *since = parent ? zfs_snapshot_name(pool, volume, parent) : NULL;
	if (volume->snapshot) {
		g_autofree char *name = zfs_snapshot_name(pool, volume, volume->snapshot);
		return send_snapshot(name, since, fd, err);
	}
	g_autofree char *dataset = zfs_dataset(pool, volume), *unique = zfs_unique(ZFS_MIGRATION);
	g_autofree char *name = g_strdup_printf("%s@%s", dataset, unique);
	if (zfs_run(err, "zfs", "snapshot", name, NULL) < 0)
		return -1;
	int result = send_snapshot(name, since, fd, err);
	return zfs_remove(NULL, name, result == 0 ? err : NULL) < 0 ? -1 : result;
}

/* Whoever receives it would have its kernel read a file system that anybody may have written. */
gboolean zfs_volume_is_portable(DriverPool *pool, const DriverVolume *volume)
{
	ZfsKind kind;
	g_autofree char *dataset = zfs_dataset(pool, volume);
	return volume->content != CONTENT_FILESYSTEM ||
	    (zfs_kind(dataset, &kind, NULL) == 0 && !kind.zvol);
}

/* ---- receiving ---- */

/* Until the stream ends, or nobody reads any more. */
static int write_read(Writer *writer, Error **err)
{
	enum { PIECE = 1 << 20 };
	if (file_write_all(writer->fd, writer->head, ZFS_STREAM_HEAD) < 0)
		return 0;
	for (;;) {
		struct pollfd fds[] = { { .fd = writer->from, .events = POLLIN },
			{ .fd = writer->fd } };
		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot wait for a stream");
		if (fds[1].revents & (POLLERR | POLLHUP))
			return 0;
		ssize_t n = splice(writer->from, NULL, writer->fd, NULL, PIECE, SPLICE_F_MOVE);
		if (n == 0 || (n < 0 && errno == EPIPE))
			return 0;
		if (n < 0 && errno != EINTR)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read a stream");
	}
}

static int read_head(int fd, uint8_t *head, Error **err)
{
	for (size_t have = 0; have < ZFS_STREAM_HEAD;) {
		ssize_t n = read(fd, head + have, ZFS_STREAM_HEAD - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, ERROR_INVALID, "The ZFS stream is cut off");
		have += (size_t)n;
	}
	return 0;
}

/* `zfs receive` looks for what a stream goes on from in all of the pool, when the dataset that it
 * is told is not there: a stranger's stream would go into a volume of somebody else. */
static int check_fits(
    const DriverVolume *volume, const ZfsStream *stream, const char *dataset, Error **err)
{
	gboolean files = volume->content == CONTENT_FILESYSTEM;
	if (!files && !stream->zvol)
		return error_set(err, ERROR_INVALID, "The ZFS stream is not that of a disk");
	if (files && stream->zvol && volume->foreign)
		return error_set(err, ERROR_INVALID,
		    "The ZFS stream is that of a disk, whose file system this server would have to "
		    "trust (zfs.block_mode): have its files sent instead");
	return !stream->since || zfs_exists(dataset) ?
	    0 :
	    error_set(
		err, ERROR_INVALID, "The ZFS stream goes on from a snapshot that is not there");
}

/* A new dataset has from the first moment what the volume is to have, the room as well: nobody but
 * us mounts or shares it, and what is written into it is counted. */
static void add_properties(GPtrArray *words, const DriverVolume *volume, const ZfsStream *stream)
{
	int64_t bytes = 0;
	const char *size = config_get(volume->config, "size");
	if (volume->foreign)
		program_add(words, "-o", ZFS_FOREIGN "=yes", NULL);
	if (stream->zvol) {
		program_add(words, "-o", "volmode=dev", NULL);
		return;
	}
	program_add(words, "-o", "mountpoint=legacy", "-o", "canmount=noauto", NULL);
	if (volume->foreign && size && !config_true(volume->config, "zfs.use_refquota") &&
	    units_parse_bytes(size, &bytes, NULL) == 0 && bytes > 0) {
		g_autofree char *quota = g_strdup_printf("quota=%" PRId64, bytes);
		program_add(words, "-o", quota, NULL);
	}
}

static int receive(const DriverVolume *volume, const ZfsStream *stream, const char *name,
    const uint8_t *head, int fd, Error **err)
{
	Writer writer = { .write = write_read, .head = head, .from = fd };
	g_autoptr(GPtrArray) words = program_words("zfs", "receive", "-u", NULL);
	if (!stream->since)
		add_properties(words, volume, stream);
	program_add(words, name, NULL);
	g_ptr_array_add(words, NULL);
	return read_from(&writer, (const char *const *)words->pdata, err);
}

/* Whatever a stream is: there is nothing below the dataset. */
static int check_alone(const char *dataset, Error **err)
{
	g_autoptr(GPtrArray) below = g_ptr_array_new_with_free_func(g_free);
	if (zfs_children(dataset, below, err) < 0)
		return -1;
	return below->len == 0 ?
	    0 :
	    error_set(err, ERROR_INVALID, "The ZFS stream holds more than one dataset");
}

/* Nodes of devices are doors to the host, as in any archive. Snapshots cannot be changed: what came
 * from strangers is mounted without devices. */
static int drop_devices(DriverPool *pool, const DriverVolume *volume, Error **err)
{
	if (zfs_volume_mount(pool, volume, err) < 0)
		return -1;
	int fd = file_open_directory(volume->path, err);
	int result = fd < 0 ? -1 : unpack_drop_devices(fd, err);
	own_close_fd(&fd);
	return zfs_volume_unmount(pool, volume, result == 0 ? err : NULL) < 0 ? -1 : result;
}

/* The last stream is there: its snapshot goes, the dataset is the volume. */
static int settle(DriverPool *pool, const DriverVolume *volume, const ZfsStream *stream,
    const char *dataset, const char *name, Error **err)
{
	if (zfs_remove(NULL, name, err) < 0)
		return -1;
	if (volume->content != CONTENT_FILESYSTEM)
		return 0;
	if (stream->zvol && zfs_renew_uuid(dataset, err) < 0)
		return -1;
	return volume->foreign ? drop_devices(pool, volume, err) : 0;
}

/* Snapshots come first, in their order, into the dataset that becomes the volume with the last
 * stream. Nothing is forced: a stream goes on from the last snapshot, or is refused. */
int zfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	uint8_t head[ZFS_STREAM_HEAD];
	ZfsStream stream;
	g_autofree char *dataset = zfs_dataset(pool, volume), *unique = zfs_unique(ZFS_MIGRATION);
	g_autofree char *name = volume->snapshot ?
	    zfs_snapshot_name(pool, volume, volume->snapshot) :
	    g_strdup_printf("%s@%s", dataset, unique);
	if (read_head(fd, head, err) < 0 || zfs_stream_parse(head, &stream, err) < 0 ||
	    check_fits(volume, &stream, dataset, err) < 0 || zfs_make_parent(dataset, err) < 0)
		return -1;
	if (receive(volume, &stream, name, head, fd, err) == 0 && check_alone(dataset, err) == 0 &&
	    (volume->snapshot || settle(pool, volume, &stream, dataset, name, err) == 0))
		return 0;
	if (!stream.since)
		zfs_run(NULL, "zfs", "destroy", "-r", dataset, NULL);
	return -1;
}

int zfs_backup_send(DriverPool *pool, const DriverVolume *volume, const struct BackupStream *stream,
    const char *parent, int fd, Error **err)
{
	return zfs_volume_send(pool, volume, parent, fd, err);
}

int zfs_backup_receive(DriverPool *pool, const DriverVolume *volume,
    const struct BackupStream *stream, guint number, int fd, Error **err)
{
	DriverVolume strange = *volume;
	strange.foreign = TRUE;
	return zfs_volume_receive(pool, &strange, fd, err);
}
