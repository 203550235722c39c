#include "server/storage/tree_attributes.h"
#include "server/storage/acl_xattr.h"
#include <archive.h>
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/xattr.h>

enum { VALUE_MAX = 65536, PATH_SIZE = 64 };

/* Works for O_PATH descriptors and nodes too, where f*xattr does not. */
static const char *fd_path(int fd, char path[PATH_SIZE])
{
	g_snprintf(path, PATH_SIZE, "/proc/self/fd/%d", fd);
	return path;
}

gboolean attribute_is_carried(const char *name)
{
	return g_str_has_prefix(name, "user.") || strcmp(name, "security.capability") == 0 ||
	    g_str_has_prefix(name, "system.posix_acl_");
}

ssize_t attributes_list(int fd, char **ret_names)
{
	char path[PATH_SIZE];
	*ret_names = NULL;
	ssize_t length = listxattr(fd_path(fd, path), NULL, 0);
	if (length <= 0)
		return length == 0 || errno == ENOTSUP ? 0 : -1;
	g_autofree char *all = g_malloc((gsize)VALUE_MAX);
	length = listxattr(path, all, VALUE_MAX);
	if (length < 0)
		return -1;
	char *names = g_malloc((gsize)length + 1), *end = names;
	for (const char *name = all; name < all + length; name += strlen(name) + 1)
		if (attribute_is_carried(name))
			end = stpcpy(end, name) + 1;
	*ret_names = names;
	return end - names;
}

ssize_t attribute_read(int fd, const char *name, void **ret_value)
{
	char path[PATH_SIZE], value[VALUE_MAX];
	ssize_t size = getxattr(fd_path(fd, path), name, value, sizeof(value));
	if (size >= 0)
		*ret_value = g_memdup2(value, (gsize)size + (size == 0));
	return size;
}

/* `acl` gets the id of inside. */
static void add_acl_entry(
    struct archive_entry *entry, int type, AclEntry *acl, int tag, const GArray *owners)
{
	uint16_t bits = le16toh(acl->permissions);
	int permset = (bits & 4 ? ARCHIVE_ENTRY_ACL_READ : 0) |
	    (bits & 2 ? ARCHIVE_ENTRY_ACL_WRITE : 0) | (bits & 1 ? ARCHIVE_ENTRY_ACL_EXECUTE : 0);
	gboolean user = tag == ARCHIVE_ENTRY_ACL_USER;
	gboolean named = user || tag == ARCHIVE_ENTRY_ACL_GROUP;
	int qualifier = named ? (int)id_map_inside(owners, user, le32toh(acl->id)) : -1;
	if (named)
		acl->id = htole32((uint32_t)qualifier);
	/* The reader goes by numbers; a name must be there, or libarchive leaves the entry out. */
	g_autofree char *name = named ? g_strdup_printf("%d", qualifier) : NULL;
	archive_entry_acl_add_entry(entry, type, permset, tag, qualifier, name);
}

/* ACLs are written twice: as tar has them, and as the attributes that Incus looks for. */
static int get_acl(struct archive_entry *entry, const char *name, char *value, size_t size,
    const GArray *owners)
{
	int type = strcmp(name, ACL_XATTR_ACCESS) == 0 ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS :
							 ARCHIVE_ENTRY_ACL_TYPE_DEFAULT;
	if (size < sizeof(uint32_t) || (size - sizeof(uint32_t)) % sizeof(AclEntry) != 0) {
		errno = EINVAL;
		return -1;
	}
	for (size_t at = sizeof(uint32_t); at < size; at += sizeof(AclEntry)) {
		AclEntry acl;
		memcpy(&acl, value + at, sizeof(acl));
		int tag = acl_archive_tag(le16toh(acl.tag));
		if (tag)
			add_acl_entry(entry, type, &acl, tag, owners);
		memcpy(value + at, &acl, sizeof(acl));
	}
	archive_entry_xattr_add_entry(entry, name, value, size);
	return 0;
}

/* Capabilities of a user namespace's root, which is the host's once more where the entry goes. */
static size_t map_capabilities(char *value, size_t size, const GArray *owners)
{
	struct vfs_ns_cap_data data = { 0 };
	if (size != XATTR_CAPS_SZ_3)
		return size;
	memcpy(&data, value, size);
	uint32_t root = id_map_inside(owners, TRUE, le32toh(data.rootid));
	uint32_t flags = le32toh(data.magic_etc) & ~VFS_CAP_REVISION_MASK;
	data.rootid = htole32(root);
	data.magic_etc = htole32(flags | (root ? VFS_CAP_REVISION_3 : VFS_CAP_REVISION_2));
	size = root ? XATTR_CAPS_SZ_3 : XATTR_CAPS_SZ_2;
	memcpy(value, &data, size);
	return size;
}

static int add_value(
    struct archive_entry *entry, const char *name, char *value, size_t size, const GArray *owners)
{
	if (g_str_has_prefix(name, "system.posix_acl_"))
		return get_acl(entry, name, value, size, owners);
	if (strcmp(name, "security.capability") == 0)
		size = map_capabilities(value, size, owners);
	archive_entry_xattr_add_entry(entry, name, value, size);
	return 0;
}

int attributes_get(int fd, const GArray *owners, struct archive_entry *entry)
{
	g_autofree char *names = NULL;
	ssize_t length = attributes_list(fd, &names);
	if (length < 0)
		return -1;
	for (const char *name = names; name && name < names + length; name += strlen(name) + 1) {
		g_autofree void *value = NULL;
		ssize_t size = attribute_read(fd, name, &value);
		if (size < 0 && errno == ENODATA)
			continue;
		if (size < 0)
			return -1;
		if (add_value(entry, name, value, (size_t)size, owners) < 0)
			return -1;
	}
	return 0;
}
