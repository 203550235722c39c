#include "server/storage/subvolume.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* ---- one subvolume ---- */

gboolean subvolume_is(const char *path)
{
	struct stat st;
	struct statfs fs;
	return lstat(path, &st) == 0 && st.st_ino == BTRFS_FIRST_FREE_OBJECTID &&
	       S_ISDIR(st.st_mode) && statfs(path, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

/* The directory of a trusted path, and the name in it. */
static int open_parent(const char *path, const char **ret_name, Error **err)
{
	g_autofree char *folder = g_path_get_dirname(path);
	*ret_name = strrchr(path, '/') + 1;
	return file_open_directory(folder, err);
}

static int64_t tree_id(int fd)
{
	struct btrfs_ioctl_ino_lookup_args args = {
	    .treeid = 0, .objectid = BTRFS_FIRST_FREE_OBJECTID};
	return ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) < 0 ? -1 : (int64_t)args.treeid;
}

int subvolume_create(const char *path, Error **err)
{
	const char *name;
	struct btrfs_ioctl_vol_args args = {0};
	autofd int parent = open_parent(path, &name, err);
	if (parent < 0)
		return -1;
	if (g_strlcpy(args.name, name, BTRFS_SUBVOL_NAME_MAX) >= BTRFS_SUBVOL_NAME_MAX)
		return error_set(err, ERROR_INVALID, "Name \"%s\" is too long", name);
	if (ioctl(parent, BTRFS_IOC_SUBVOL_CREATE, &args) < 0)
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot create the subvolume \"%s\"", path);
	return 0;
}

static gboolean is_read_only(int fd)
{
	uint64_t flags;
	return ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) == 0 && flags & BTRFS_SUBVOL_RDONLY;
}

static int set_read_only(int fd, gboolean read_only)
{
	uint64_t flags;
	if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0)
		return -1;
	uint64_t wanted = read_only ? flags | BTRFS_SUBVOL_RDONLY : flags & ~BTRFS_SUBVOL_RDONLY;
	return wanted == flags ? 0 : ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &wanted);
}

int subvolume_set_read_only(const char *path, gboolean read_only, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	return set_read_only(fd, read_only) < 0 ? error_errno(err, ERROR_INTERNAL, errno,
						      "Cannot change the subvolume \"%s\"", path)
						: 0;
}

int subvolume_get_received(const char *path, SubvolumeReceived *ret, Error **err)
{
	struct btrfs_ioctl_get_subvol_info_args info = { 0 };
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot look at the subvolume \"%s\"", path);
	memcpy(ret->uuid, info.received_uuid, sizeof(ret->uuid));
	ret->generation = info.stransid;
	return 0;
}

int subvolume_set_received(const char *path, const SubvolumeReceived *received, Error **err)
{
	struct btrfs_ioctl_received_subvol_args args = { .stransid = received->generation };
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	memcpy(args.uuid, received->uuid, sizeof(received->uuid));
	return ioctl(fd, BTRFS_IOC_SET_RECEIVED_SUBVOL, &args) < 0 ?
	    error_errno(
		err, ERROR_INTERNAL, errno, "Cannot mark the subvolume \"%s\"", path) :
	    0;
}

int subvolume_set_nodatacow(const char *path, Error **err)
{
	int flags;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ||
	    (flags |= FS_NOCOW_FL, ioctl(fd, FS_IOC_SETFLAGS, &flags)) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot switch copy on write off for \"%s\"", path);
	return 0;
}

int subvolume_send(const char *path, const char *parent, int fd, Error **err)
{
	autofd int root = file_open_directory(path, err);
	autofd int since = root < 0 || !parent ? -1 : file_open_directory(parent, err);
	if (root < 0 || (parent && since < 0))
		return -1;
	struct btrfs_ioctl_send_args args = {.send_fd = fd};
	if (parent) {
		int64_t id = tree_id(since);
		if (id < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot read the subvolume \"%s\"", parent);
		args.parent_root = (uint64_t)id;
	}
	return ioctl(root, BTRFS_IOC_SEND, &args) < 0
		   ? error_errno(
			 err, ERROR_INTERNAL, errno, "Cannot send the subvolume \"%s\"", path)
		   : 0;
}

int subvolume_uuid(const char *path, char **ret_uuid, Error **err)
{
	g_autofree struct btrfs_ioctl_get_subvol_info_args *info =
	    g_new0(struct btrfs_ioctl_get_subvol_info_args, 1);
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, info) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the subvolume \"%s\"", path);
	GString *text = g_string_new(NULL);
	for (size_t i = 0; i < sizeof info->uuid; i++)
		g_string_append_printf(text, "%s%02x",
		    i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", info->uuid[i]);
	*ret_uuid = g_string_free(text, FALSE);
	return 0;
}

/* ---- nested ones ---- */

/* Subvolumes below one, parents before children. Paths are relative to the outermost. */
typedef struct Nested {
	uint64_t id;
	char *path;
} Nested;

static void nested_free(void *data)
{
	Nested *nested = data;
	g_free(nested->path);
	g_free(nested);
}

/* The child's place, as the tree has it: "dir/" and "name". */
static int nested_add(int fd, const char *prefix, uint64_t id, uint64_t dir, GPtrArray *list)
{
	g_autofree struct btrfs_ioctl_ino_lookup_user_args *args =
	    g_new0(struct btrfs_ioctl_ino_lookup_user_args, 1);
	args->treeid = id;
	args->dirid = dir;
	if (ioctl(fd, BTRFS_IOC_INO_LOOKUP_USER, args) < 0)
		return errno == ENOENT ? 0 : -1; /* removed meanwhile */
	Nested *nested = g_new0(Nested, 1);
	nested->id = id;
	const char *slash = *args->path && !g_str_has_suffix(args->path, "/") ? "/" : "";
	nested->path = g_strconcat(prefix, args->path, slash, args->name, NULL);
	g_ptr_array_add(list, nested);
	return 0;
}

/* -1 with errno. */
static int children_add(int fd, const char *prefix, GPtrArray *list)
{
	g_autofree struct btrfs_ioctl_get_subvol_rootref_args *args =
	    g_new0(struct btrfs_ioctl_get_subvol_rootref_args, 1);
	for (;;) {
		int result = ioctl(fd, BTRFS_IOC_GET_SUBVOL_ROOTREF, args);
		if (result < 0 && errno != EOVERFLOW)
			return -1;
		for (int i = 0; i < args->num_items; i++)
			if (nested_add(fd, prefix, args->rootref[i].treeid, args->rootref[i].dirid,
				list) < 0)
				return -1;
		if (result == 0)
			return 0;
	}
}

/* -1 with errno. The number tells that it is still the same one. */
static int nested_open(int root, const Nested *nested)
{
	autofd int fd = file_openat(root, nested->path, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	if (fd < 0)
		return -1;
	if (tree_id(fd) != (int64_t)nested->id) {
		errno = ESTALE;
		return -1;
	}
	return own_steal_fd(&fd);
}

/* -1 with errno: ENAMETOOLONG for paths that the kernel cannot tell. */
static int nested_list(int root, GPtrArray *list)
{
	if (children_add(root, "", list) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++) {
		const Nested *nested = list->pdata[i];
		autofd int fd = nested_open(root, nested);
		g_autofree char *prefix = g_strconcat(nested->path, "/", NULL);
		if (fd < 0 || children_add(fd, prefix, list) < 0)
			return -1;
	}
	return 0;
}

static int nested_load(const char *path, int *ret_fd, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(nested_free);
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	if (nested_list(fd, list) < 0)
		return error_errno(err, errno == ENAMETOOLONG ? ERROR_INVALID : ERROR_INTERNAL,
		    errno, "Cannot list the subvolumes inside \"%s\"", path);
	*ret_fd = own_steal_fd(&fd);
	*ret_list = g_steal_pointer(&list);
	return 0;
}

int subvolume_has_nested(const char *path, gboolean *ret_nested, Error **err)
{
	autofd int fd = -1;
	g_autoptr(GPtrArray) list = NULL;
	if (nested_load(path, &fd, &list, err) < 0)
		return -1;
	*ret_nested = list->len > 0;
	return 0;
}

void subvolume_inner_free(void *data)
{
	g_free(((SubvolumeInner *)data)->path);
	g_free(data);
}

int subvolume_list_nested(const char *path, GPtrArray **ret_list, Error **err)
{
	autofd int root = -1;
	g_autoptr(GPtrArray) list = NULL;
	g_autoptr(GPtrArray) inner = g_ptr_array_new_with_free_func(subvolume_inner_free);
	if (nested_load(path, &root, &list, err) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++) {
		const Nested *nested = list->pdata[i];
		autofd int fd = nested_open(root, nested);
		SubvolumeInner *one = g_new0(SubvolumeInner, 1);
		one->path = g_strdup(nested->path);
		one->read_only = fd >= 0 && is_read_only(fd);
		g_ptr_array_add(inner, one);
	}
	*ret_list = g_steal_pointer(&inner);
	return 0;
}

/* ---- snapshots ---- */

/* -1 with errno. */
static int snapshot_at(int from, int parent, const char *name, gboolean read_only)
{
	struct btrfs_ioctl_vol_args_v2 args = {
	    .fd = from, .flags = read_only ? BTRFS_SUBVOL_RDONLY : 0};
	if (g_strlcpy(args.name, name, sizeof(args.name)) >= sizeof(args.name)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return ioctl(parent, BTRFS_IOC_SNAP_CREATE_V2, &args);
}

/* In the copy, an empty directory stands where the nested one was. */
static int snapshot_nested(int from, int to, const Nested *nested)
{
	const char *name;
	struct stat before;
	autofd int source = nested_open(from, nested);
	autofd int parent =
	    source < 0 ? -1 : file_open_parent(to, nested->path, FILE_LINKS_NONE, &name, NULL);
	if (source < 0 || parent < 0 || fstat(parent, &before) < 0)
		return -1;
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -1;
	if (snapshot_at(source, parent, name, FALSE) < 0)
		return -1;
	file_restore_times(parent, &before);
	return 0;
}

/* Once all are made, for nothing can be made in a read-only one. */
static int copy_read_only(int from, int to, const GPtrArray *list)
{
	for (guint i = 0; i < list->len; i++) {
		const Nested *nested = list->pdata[i];
		autofd int source = nested_open(from, nested);
		autofd int copy = file_openat(
		    to, nested->path, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
		if (source < 0 || copy < 0 ||
		    (is_read_only(source) && set_read_only(copy, TRUE) < 0))
			return -1;
	}
	return 0;
}

static int snapshot_all(
    int from, const GPtrArray *list, const char *to, gboolean read_only, Error **err)
{
	autofd int copy = file_open_directory(to, err);
	if (copy < 0)
		return -1;
	for (guint i = 0; i < list->len; i++)
		if (snapshot_nested(from, copy, list->pdata[i]) < 0)
			return error_errno(err, ERROR_INTERNAL, errno,
			    "Cannot snapshot the subvolume \"%s\" inside",
			    ((const Nested *)list->pdata[i])->path);
	if (copy_read_only(from, copy, list) < 0 || (read_only && set_read_only(copy, TRUE) < 0))
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make the snapshot \"%s\" read-only", to);
	return 0;
}

int subvolume_snapshot(const char *from, const char *to, gboolean read_only, Error **err)
{
	const char *name;
	autofd int source = -1;
	g_autoptr(GPtrArray) list = NULL;
	if (nested_load(from, &source, &list, err) < 0)
		return -1;
	autofd int parent = open_parent(to, &name, err);
	if (parent < 0)
		return -1;
	if (snapshot_at(source, parent, name, read_only && list->len == 0) < 0)
		return error_errno(err, errno == EEXIST ? ERROR_EXISTS : ERROR_INTERNAL, errno,
		    "Cannot snapshot \"%s\" as \"%s\"", from, to);
	if (list->len == 0 || snapshot_all(source, list, to, read_only, err) == 0)
		return 0;
	subvolume_delete(to, NULL);
	return -1;
}

/* ---- removal ---- */

static int destroy_at(int parent, const char *name)
{
	struct btrfs_ioctl_vol_args args = {0};
	if (g_strlcpy(args.name, name, sizeof(args.name)) >= sizeof(args.name)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &args);
}

static int destroy_nested(int root, const Nested *nested)
{
	const char *name;
	autofd int parent = file_open_parent(root, nested->path, FILE_LINKS_NONE, &name, NULL);
	return parent < 0 ? -1 : destroy_at(parent, name);
}

/* Nothing can be removed from a read-only one: first all are made writable. -1 with errno. */
static int destroy_inside(int root)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(nested_free);
	if (nested_list(root, list) < 0)
		return -1;
	if (list->len == 0)
		return 0;
	if (set_read_only(root, FALSE) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++) {
		autofd int fd = nested_open(root, list->pdata[i]);
		if (fd < 0 || set_read_only(fd, FALSE) < 0)
			return -1;
	}
	for (guint i = list->len; i > 0; i--)
		if (destroy_nested(root, list->pdata[i - 1]) < 0)
			return -1;
	return 0;
}

static int delete_one(int parent, const char *name, const char *path, Error **err)
{
	autofd int root = file_openat(parent, name, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE);
	if (root < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot open the subvolume \"%s\"", path);
	if (destroy_inside(root) == 0) {
		subvolume_forget_group(root);
		own_close_fd(&root);
		root = -1;
		if (destroy_at(parent, name) == 0)
			return 0;
	}
	/* Somebody is making new ones, or they are too deep to have a path: file by file, then. */
	int failed = errno;
	set_read_only(root, FALSE);
	return file_remove_all(parent, name, err) < 0
		   ? error_prefix(
			 err, "Cannot delete the subvolume \"%s\" (%s)", path, strerror(failed))
		   : 0;
}

static int delete_folder(const char *path, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *entry = g_build_filename(path, name, NULL);
		if (g_file_test(entry, G_FILE_TEST_IS_DIR) &&
		    !g_file_test(entry, G_FILE_TEST_IS_SYMLINK) && subvolume_delete(entry, err) < 0)
			return -1;
	}
	return file_remove_all(AT_FDCWD, path, err);
}

int subvolume_delete(const char *path, Error **err)
{
	const char *name;
	if (access(path, F_OK) < 0)
		return errno == ENOENT
			   ? 0
			   : error_errno(err, ERROR_INTERNAL, errno, "Cannot look at \"%s\"", path);
	if (!subvolume_is(path))
		return delete_folder(path, err);
	autofd int parent = open_parent(path, &name, err);
	return parent < 0 ? -1 : delete_one(parent, name, path, err);
}
