/* Attributes that hold ids: ACLs, and file capabilities, which belong to one user namespace's root.
 */
#include "server/helper/spawner/shift.h"
#include "sdk/base/acl_xattr.h"
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { VALUE_MAX = 65536, LIST_MAX = 65536 };

/* ---- one value, changed in place; its new size ---- */

static size_t shift_acl(const ShiftMaps *maps, char *value, size_t size)
{
	for (size_t at = sizeof(uint32_t); at + sizeof(AclEntry) <= size; at += sizeof(AclEntry)) {
		AclEntry acl;
		memcpy(&acl, value + at, sizeof(acl));
		uint16_t tag = le16toh(acl.tag);
		if (tag != ACL_TAG_USER && tag != ACL_TAG_GROUP)
			continue;
		acl.id = htole32(
		    shift_id(maps, tag == ACL_TAG_USER ? 'u' : 'g', le32toh(acl.id)));
		memcpy(value + at, &acl, sizeof(acl));
	}
	return size;
}

/* Revision 2 is of the host's root, 3 names another. Older ones are left alone. */
static size_t shift_capabilities(const ShiftMaps *maps, char *value, size_t size)
{
	struct vfs_ns_cap_data data = { 0 };
	if (size != XATTR_CAPS_SZ_2 && size != XATTR_CAPS_SZ_3)
		return size;
	memcpy(&data, value, size);
	uint32_t root = shift_id(maps, 'u', le32toh(data.rootid));
	uint32_t flags = le32toh(data.magic_etc) & ~VFS_CAP_REVISION_MASK;
	data.rootid = htole32(root);
	data.magic_etc = htole32(flags | (root ? VFS_CAP_REVISION_3 : VFS_CAP_REVISION_2));
	size = root ? XATTR_CAPS_SZ_3 : XATTR_CAPS_SZ_2;
	memcpy(value, &data, size);
	return size;
}

static const struct {
	const char *name;
	size_t (*shift)(const ShiftMaps *maps, char *value, size_t size);
} names[] = {
	{ "security.capability", shift_capabilities },
	{ ACL_XATTR_ACCESS, shift_acl },
	{ ACL_XATTR_DEFAULT, shift_acl },
};
enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

/* ---- all of an inode ---- */

static char values[N_NAMES * (sizeof(ShiftValue) + VALUE_MAX)];

static int add_value(const ShiftMaps *maps, const char *path, unsigned name, ShiftEntry *entry)
{
	ShiftValue value = { .name = name };
	char *bytes = values + entry->size + sizeof(value);
	ssize_t size = getxattr(path, names[name].name, bytes, VALUE_MAX);
	if (size < 0)
		return errno == ENODATA ? 0 : -1;
	value.size = (uint32_t)names[name].shift(maps, bytes, (size_t)size);
	uint32_t padded = (value.size + 7) / 8 * 8;
	memset(bytes + value.size, 0, padded - value.size);
	memcpy(values + entry->size, &value, sizeof(value));
	entry->size += (uint32_t)sizeof(value) + padded;
	entry->n_values++;
	return 0;
}

const void *shift_values_read(const ShiftMaps *maps, const char *path, ShiftEntry *entry)
{
	static char list[LIST_MAX];
	ssize_t length = listxattr(path, list, sizeof(list));
	entry->n_values = entry->size = 0;
	if (length < 0)
		return errno == ENOTSUP ? values : NULL;
	for (const char *at = list; at < list + length; at += strlen(at) + 1)
		for (unsigned n = 0; n < N_NAMES; n++)
			if (strcmp(at, names[n].name) == 0 &&
			    add_value(maps, path, n, entry) < 0)
				return NULL;
	return values;
}

int shift_values_write(const char *path, const ShiftEntry *entry)
{
	const char *at = (const char *)(entry + 1), *end = at + entry->size;
	for (uint32_t n = 0; n < entry->n_values; n++) {
		ShiftValue value;
		if (at + sizeof(value) > end) {
			errno = EUCLEAN;
			return -1;
		}
		memcpy(&value, at, sizeof(value));
		at += sizeof(value);
		if (value.name >= N_NAMES || value.size > (size_t)(end - at)) {
			errno = EUCLEAN;
			return -1;
		}
		if (setxattr(path, names[value.name].name, at, value.size, 0) < 0)
			return -1;
		at += (value.size + 7) / 8 * 8;
	}
	return 0;
}
