#include "server/storage/subvolume.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <string.h>
#include <sys/ioctl.h>

/* The group of a subvolume has its number and is made by the kernel, at level 0. */
static int group_id(int fd, const char *path, uint64_t *ret_id, Error **err)
{
	struct btrfs_ioctl_ino_lookup_args args = {.objectid = BTRFS_FIRST_FREE_OBJECTID};
	if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the subvolume \"%s\"", path);
	*ret_id = args.treeid;
	return 0;
}

/* 1 and the item of the quota tree, 0 none (or nothing is counted), -1 with errno. */
static int find_item(int fd, uint32_t type, uint64_t id, void *ret_item, size_t size)
{
	enum { ROOM = 512 }; /* for one item of these types, with its header */
	g_autofree struct btrfs_ioctl_search_args_v2 *search = g_malloc0(sizeof(*search) + ROOM);
	search->key = (struct btrfs_ioctl_search_key){.tree_id = BTRFS_QUOTA_TREE_OBJECTID,
	    .min_type = type,
	    .max_type = type,
	    .min_offset = id,
	    .max_offset = id,
	    .max_transid = UINT64_MAX,
	    .nr_items = 1};
	search->buf_size = ROOM;
	if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, search) < 0)
		return errno == ENOENT ? 0 : -1;
	struct btrfs_ioctl_search_header header;
	if (search->key.nr_items == 0)
		return 0;
	memcpy(&header, search->buf, sizeof(header));
	if (header.len < size || header.type != type || header.offset != id)
		return 0;
	memcpy(ret_item, (const char *)search->buf + sizeof(header), size);
	return 1;
}

/* Counting begins with a walk over all that is there, which is waited for. */
static int quota_enable(int fd, Error **err)
{
	struct btrfs_ioctl_quota_ctl_args args = {.cmd = BTRFS_QUOTA_CTL_ENABLE};
	if (ioctl(fd, BTRFS_IOC_QUOTA_CTL, &args) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot switch quotas on");
	if (ioctl(fd, BTRFS_IOC_QUOTA_RESCAN_WAIT) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot count the space in use");
	return 0;
}

static int quota_limit(int fd, uint64_t id, int64_t bytes)
{
	struct btrfs_ioctl_qgroup_limit_args args = {.qgroupid = id,
	    .lim = {.flags = BTRFS_QGROUP_LIMIT_MAX_RFER | BTRFS_QGROUP_LIMIT_MAX_EXCL,
		.max_rfer = bytes ? (uint64_t)bytes : UINT64_MAX,
		.max_excl = UINT64_MAX}};
	return ioctl(fd, BTRFS_IOC_QGROUP_LIMIT, &args);
}

int subvolume_set_limit(const char *path, int64_t bytes, Error **err)
{
	uint64_t id;
	struct btrfs_qgroup_info_item counted;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0 || group_id(fd, path, &id, err) < 0)
		return -1;
	int known = find_item(fd, BTRFS_QGROUP_INFO_KEY, id, &counted, sizeof(counted));
	if (known < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the quota of \"%s\"", path);
	if (!known && bytes == 0)
		return 0;
	if (!known && quota_enable(fd, err) < 0)
		return -1;
	return quota_limit(fd, id, bytes) < 0 ? error_errno(err, ERROR_INTERNAL, errno,
						    "Cannot limit the size of \"%s\"", path)
					      : 0;
}

int subvolume_usage(const char *path, SubvolumeUsage *ret, Error **err)
{
	uint64_t id;
	struct btrfs_qgroup_info_item counted;
	struct btrfs_qgroup_limit_item limit;
	autofd int fd = file_open_directory(path, err);
	if (fd < 0 || group_id(fd, path, &id, err) < 0)
		return -1;
	*ret = (SubvolumeUsage){-1, -1, -1};
	int known = find_item(fd, BTRFS_QGROUP_INFO_KEY, id, &counted, sizeof(counted));
	int limited =
	    known <= 0 ? known : find_item(fd, BTRFS_QGROUP_LIMIT_KEY, id, &limit, sizeof(limit));
	if (known < 0 || limited < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the quota of \"%s\"", path);
	if (known) {
		ret->referenced = (int64_t)le64toh(counted.rfer);
		ret->exclusive = (int64_t)le64toh(counted.excl);
	}
	if (limited && le64toh(limit.flags) & BTRFS_QGROUP_LIMIT_MAX_RFER &&
	    le64toh(limit.max_rfer) != UINT64_MAX)
		ret->limit = (int64_t)le64toh(limit.max_rfer);
	return 0;
}

void subvolume_forget_group(int fd)
{
	struct btrfs_ioctl_qgroup_create_args args = { .create = 0 };
	Error *err = NULL;
	uint64_t id;
	if (group_id(fd, "", &id, &err) < 0) {
		error_free(err);
		return;
	}
	args.qgroupid = id;
	ioctl(fd, BTRFS_IOC_QGROUP_CREATE, &args); /* refused by those that do it themselves */
}
