#include "server/storage/pack_attributes.h"
#include "server/storage/acl_xattr.h"
#include "server/storage/unpack_attributes.h"
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/xattr.h>

enum { NAMES_MAX = 65536, VALUE_MAX = 65536 };

static int archive_permissions(uint16_t bits)
{
	return (bits & 4 ? ARCHIVE_ENTRY_ACL_READ : 0) | (bits & 2 ? ARCHIVE_ENTRY_ACL_WRITE : 0) |
	    (bits & 1 ? ARCHIVE_ENTRY_ACL_EXECUTE : 0);
}

/* `value` gets the ids of inside. */
static void add_acl(
    struct archive_entry *entry, int type, char *value, size_t size, const GArray *owners)
{
	uint32_t version;
	if (size < sizeof(version))
		return;
	memcpy(&version, value, sizeof(version));
	if (le32toh(version) != ACL_XATTR_VERSION)
		return;
	for (size_t at = sizeof(version); at + sizeof(AclEntry) <= size; at += sizeof(AclEntry)) {
		AclEntry acl;
		memcpy(&acl, value + at, sizeof(acl));
		int tag = acl_archive_tag(le16toh(acl.tag));
		gboolean user = tag == ARCHIVE_ENTRY_ACL_USER;
		gboolean named = user || tag == ARCHIVE_ENTRY_ACL_GROUP;
		uint32_t id = id_map_inside(owners, user, le32toh(acl.id));
		if (named) {
			acl.id = htole32(id);
			memcpy(value + at, &acl, sizeof(acl));
		}
		if (tag)
			archive_entry_acl_add_entry(entry, type,
			    archive_permissions(le16toh(acl.permissions)), tag,
			    named ? (int)id : -1, NULL);
	}
}

/* Capabilities of a user namespace's root, which is the host's once more where the archive goes. */
static size_t map_capabilities(char *value, size_t size, const GArray *owners)
{
	struct vfs_ns_cap_data data = { 0 };
	if (size != XATTR_CAPS_SZ_3)
		return size;
	memcpy(&data, value, size);
	uint32_t root = id_map_inside(owners, TRUE, le32toh(data.rootid));
	data.rootid = htole32(root);
	if (root != 0) {
		memcpy(value, &data, size);
		return size;
	}
	uint32_t flags = le32toh(data.magic_etc) & ~VFS_CAP_REVISION_MASK;
	data.magic_etc = htole32(flags | VFS_CAP_REVISION_2);
	memcpy(value, &data, XATTR_CAPS_SZ_2);
	return XATTR_CAPS_SZ_2;
}

/* ACLs are written twice: as tar has them, and as the attributes that Incus looks for. */
static void add(struct archive_entry *entry, const char *name, char *value, size_t size,
    const GArray *owners)
{
	gboolean access = strcmp(name, ACL_XATTR_ACCESS) == 0;
	if (access || strcmp(name, ACL_XATTR_DEFAULT) == 0) {
		add_acl(entry,
		    access ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS : ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, value,
		    size, owners);
		archive_entry_xattr_add_entry(entry, name, value, size);
	} else if (attributes_wanted(name))
		archive_entry_xattr_add_entry(entry, name, value,
		    strcmp(name, "security.capability") == 0 ? map_capabilities(value, size, owners) :
							 size);
}

int pack_attributes(int fd, const GArray *owners, struct archive_entry *entry)
{
	char few[4096];
	g_autofree char *many = NULL;
	char *names = few;
	ssize_t length = flistxattr(fd, few, sizeof(few));
	if (length < 0 && errno == ERANGE) {
		names = many = g_malloc(NAMES_MAX);
		length = flistxattr(fd, many, NAMES_MAX);
	}
	if (length < 0)
		return errno == ENOTSUP ? 0 : -1;
	if (length == 0)
		return 0;
	g_autofree char *value = g_malloc(VALUE_MAX);
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		ssize_t size = fgetxattr(fd, name, value, VALUE_MAX);
		if (size < 0 && errno != ENODATA)
			return -1;
		if (size >= 0)
			add(entry, name, value, (size_t)size, owners);
	}
	return 0;
}
