#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/driver_btrfs_private.h"
#include "server/storage/subvolume.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * A volume's stream: a list of the subvolumes inside of it, then the kernel's own stream of the
 * volume and one of each of those, as `btrfs send` writes them. Only the volume's goes on from a
 * parent: what is inside is sent as copies that nobody has kept.
 */
enum { INNER_MAX = 4096, PATH_LENGTH_MAX = 4095, LIST_MAX = 16 << 20 };
static const char magic[8] = "incus\1s";

/* ---- sending ---- */

/* FLAG LENGTH(4) PATH for each, after their number. */
static int write_list(int fd, const GPtrArray *list, Error **err)
{
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	uint32_t n = list->len, length;
	g_byte_array_append(bytes, (const guint8 *)magic, sizeof(magic));
	g_byte_array_append(bytes, (const guint8 *)&n, sizeof(n));
	for (guint i = 0; i < n; i++) {
		const SubvolumeInner *inner = list->pdata[i];
		guint8 read_only = (guint8)inner->read_only;
		length = (uint32_t)strlen(inner->path);
		g_byte_array_append(bytes, &read_only, 1);
		g_byte_array_append(bytes, (const guint8 *)&length, sizeof(length));
		g_byte_array_append(bytes, (const guint8 *)inner->path, length);
	}
	return file_write_all(fd, bytes->data, bytes->len) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write the stream of a volume");
}

static int send_inner(const char *sealed, const GPtrArray *list, int fd, Error **err)
{
	for (guint i = 0; i < list->len; i++) {
		const SubvolumeInner *inner = list->pdata[i];
		g_autofree char *path = g_build_filename(sealed, inner->path, NULL);
		if (subvolume_set_read_only(path, TRUE, err) < 0 ||
		    subvolume_send(path, NULL, fd, err) < 0)
			return -1;
	}
	return 0;
}

/* The list is that of the copy, where nobody can put a link into a path any more. */
static int send_copy(
    const char *sealed, const DriverVolume *volume, const char *since, int fd, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (subvolume_list_nested(sealed, &list, err) < 0)
		return -1;
	if (list->len > INNER_MAX)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Volume \"%s\" has more subvolumes inside than a stream can hold",
		    volume->name);
	const char *root = volume->snapshot ? volume->path : sealed;
	return write_list(fd, list, err) < 0 || subvolume_send(root, since, fd, err) < 0 ?
	    -1 :
	    send_inner(sealed, list, fd, err);
}

/* What can be written to is sent as a copy, which goes afterwards. */
static int send_sealed(
    DriverPool *pool, const DriverVolume *volume, const char *since, int fd, Error **err)
{
	g_autofree char *folder = driver_path(
	    pool->path, volume->type, PLACE_DELETED, volume->name, "");
	g_autofree char *sealed = g_build_filename(folder, "send", NULL);
	if (file_mkdir_all(folder, 0711, err) < 0 || subvolume_delete(sealed, err) < 0 ||
	    subvolume_snapshot(volume->path, sealed, TRUE, err) < 0)
		return -1;
	int result = send_copy(sealed, volume, since, fd, err);
	if (subvolume_delete(sealed, result == 0 ? err : NULL) < 0)
		return -1;
	rmdir(folder);
	return result;
}

int btrfs_volume_send(
    DriverPool *pool, const DriverVolume *volume, const char *parent, int fd, Error **err)
{
	gboolean nested = FALSE;
	g_autoptr(GPtrArray) none = g_ptr_array_new();
	if (volume->snapshot && subvolume_has_nested(volume->path, &nested, err) < 0)
		return -1;
	g_autofree char *since = parent ?
	    driver_path(pool->path, volume->type, volume->place, volume->name, parent) :
	    NULL;
	if (!volume->snapshot || nested)
		return send_sealed(pool, volume, since, fd, err);
	return write_list(fd, none, err) < 0 ? -1 : subvolume_send(volume->path, since, fd, err);
}

/* ---- receiving ---- */

static int read_exactly(int fd, void *to, size_t length, Error **err)
{
	for (size_t got = 0; got < length;) {
		ssize_t n = read(fd, (char *)to + got, length - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, ERROR_INVALID, "The stream of a volume is cut off");
		got += (size_t)n;
	}
	return 0;
}

static int read_one(int fd, size_t *total, GPtrArray *list, Error **err)
{
	guint8 read_only;
	uint32_t length;
	if (read_exactly(fd, &read_only, 1, err) < 0 ||
	    read_exactly(fd, &length, sizeof(length), err) < 0)
		return -1;
	if (length == 0 || length > PATH_LENGTH_MAX || (*total += length) > LIST_MAX)
		return error_set(err, ERROR_INVALID, "The stream of a volume has no valid list");
	SubvolumeInner *inner = g_new0(SubvolumeInner, 1);
	inner->path = g_malloc0(length + 1);
	inner->read_only = read_only != 0;
	g_ptr_array_add(list, inner);
	return read_exactly(fd, inner->path, length, err);
}

static int read_list(int fd, GPtrArray **ret_list, Error **err)
{
	char word[sizeof(magic)];
	uint32_t n;
	size_t total = 0;
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(subvolume_inner_free);
	if (read_exactly(fd, word, sizeof(word), err) < 0 ||
	    read_exactly(fd, &n, sizeof(n), err) < 0)
		return -1;
	if (memcmp(word, magic, sizeof(magic)) != 0 || n > INNER_MAX)
		return error_set(err, ERROR_INVALID, "The stream of a volume has no valid list");
	for (uint32_t i = 0; i < n; i++)
		if (read_one(fd, &total, list, err) < 0)
			return -1;
	*ret_list = g_steal_pointer(&list);
	return 0;
}

/* Those inside become what they were once all are there. */
static int seal_inner(const char *root, const GPtrArray *list, Error **err)
{
	for (guint i = 0; i < list->len; i++) {
		const SubvolumeInner *inner = list->pdata[i];
		g_autofree char *path = g_build_filename(root, inner->path, NULL);
		if (inner->read_only && subvolume_set_read_only(path, TRUE, err) < 0)
			return -1;
	}
	return 0;
}

static int read_end(int fd, Error **err)
{
	char more;
	ssize_t n;
	while ((n = read(fd, &more, 1)) < 0 && errno == EINTR)
		;
	return n == 0 ? 0 : error_set(err, ERROR_INVALID, "The stream of a volume does not end");
}

static int receive_inner(
    const char *folder, const DriverVolume *volume, const GPtrArray *list, int fd, Error **err)
{
	g_autofree char *kept = g_strdup_printf("%s/%cinner", folder, BTRFS_KEPT_MARK);
	autofd int root = file_open_directory(volume->path, err);
	if (root < 0)
		return -1;
	for (guint i = 0; i < list->len; i++) {
		const SubvolumeInner *inner = list->pdata[i];
		if (btrfs_receive(folder, fd, kept, err) < 0 ||
		    btrfs_open_up(kept, volume->foreign, err) < 0 ||
		    btrfs_place_inner(root, kept, inner->path, err) < 0)
			return -1;
	}
	return seal_inner(volume->path, list, err);
}

/* A snapshot is what the next stream goes on from: that stays as it came, and this is a copy. */
static int place_root(const char *kept, const DriverVolume *volume, Error **err)
{
	if (volume->snapshot) {
		if (subvolume_snapshot(kept, volume->path, FALSE, err) < 0)
			return -1;
	} else if (subvolume_set_read_only(kept, FALSE, err) < 0) {
		return -1;
	} else if (renameat2(AT_FDCWD, kept, AT_FDCWD, volume->path, RENAME_NOREPLACE) < 0) {
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot move \"%s\" to \"%s\"", kept, volume->path);
	}
	if (btrfs_open_up(volume->path, volume->foreign, err) == 0)
		return 0;
	subvolume_delete(volume->path, NULL);
	return -1;
}

/* A later stream since a snapshot finds it by what was received, which a copy does not have. */
static int seal_root(const char *kept, const DriverVolume *volume, Error **err)
{
	SubvolumeReceived identity;
	if (!volume->snapshot)
		return 0;
	return subvolume_get_received(kept, &identity, err) < 0 ||
		subvolume_set_received(volume->path, &identity, err) < 0 ?
	    -1 :
	    subvolume_set_read_only(volume->path, TRUE, err);
}

static int receive_all(const char *folder, const DriverVolume *volume, int fd, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	g_autofree char *kept = volume->snapshot ?
	    g_strdup_printf("%s/%c-%s", folder, BTRFS_KEPT_MARK, volume->snapshot) :
	    g_strdup_printf("%s/%cvolume", folder, BTRFS_KEPT_MARK);
	if (read_list(fd, &list, err) < 0 || btrfs_receive(folder, fd, kept, err) < 0 ||
	    place_root(kept, volume, err) < 0)
		return -1;
	if (receive_inner(folder, volume, list, fd, err) == 0 && read_end(fd, err) == 0 &&
	    seal_root(kept, volume, err) == 0)
		return 0;
	subvolume_delete(volume->path, NULL);
	return -1;
}

char *btrfs_receive_folder(const DriverPool *pool, const DriverVolume *volume)
{
	/* No volume can have such a name; what a crash leaves there is swept. */
	g_autofree char *name = g_strconcat(volume->name, "~receive", NULL);
	return driver_path(pool->path, volume->type, PLACE_UNFINISHED, name, NULL);
}

/* Snapshots come first, each since the one before. */
int btrfs_volume_receive(DriverPool *pool, const DriverVolume *volume, int fd, Error **err)
{
	g_autofree char *folder = btrfs_receive_folder(pool, volume);
	if (receive_all(folder, volume, fd, err) < 0) {
		subvolume_delete(folder, NULL);
		return -1;
	}
	return volume->snapshot ? 0 : subvolume_delete(folder, err);
}
