#include "server/storage/tree_attributes.h"
#include <archive.h>
#include <endian.h>
#include <errno.h>
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

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* linux/posix_acl_xattr.h, which user space gets no header for: a version word, then entries. */
typedef struct __attribute__((packed)) AclEntry {
	uint16_t tag, permissions;
	uint32_t id;
} AclEntry;

static const struct {
	uint16_t tag;
	int archive_tag;
} acl_tags[] = {
	{ 1, ARCHIVE_ENTRY_ACL_USER_OBJ },
	{ 2, ARCHIVE_ENTRY_ACL_USER },
	{ 4, ARCHIVE_ENTRY_ACL_GROUP_OBJ },
	{ 8, ARCHIVE_ENTRY_ACL_GROUP },
	{ 16, ARCHIVE_ENTRY_ACL_MASK },
	{ 32, ARCHIVE_ENTRY_ACL_OTHER },
};

static void add_acl_entry(struct archive_entry *entry, int type, const AclEntry *acl, int tag)
{
	uint16_t bits = le16toh(acl->permissions);
	int permset = (bits & 4 ? ARCHIVE_ENTRY_ACL_READ : 0) |
	    (bits & 2 ? ARCHIVE_ENTRY_ACL_WRITE : 0) | (bits & 1 ? ARCHIVE_ENTRY_ACL_EXECUTE : 0);
	gboolean named = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
	int qualifier = named ? (int)le32toh(acl->id) : -1;
	/* The reader goes by numbers; a name must be there, or libarchive leaves the entry out. */
	g_autofree char *name = named ? g_strdup_printf("%d", qualifier) : NULL;
	archive_entry_acl_add_entry(entry, type, permset, tag, qualifier, name);
}

static int get_acl(struct archive_entry *entry, const char *name, const char *value, size_t size)
{
	int type = strcmp(name, ACL_ACCESS) == 0 ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS :
						   ARCHIVE_ENTRY_ACL_TYPE_DEFAULT;
	if (size < sizeof(uint32_t) || (size - sizeof(uint32_t)) % sizeof(AclEntry) != 0) {
		errno = EINVAL;
		return -1;
	}
	for (size_t at = sizeof(uint32_t); at < size; at += sizeof(AclEntry)) {
		AclEntry acl;
		memcpy(&acl, value + at, sizeof(acl));
		for (size_t i = 0; i < G_N_ELEMENTS(acl_tags); i++)
			if (acl_tags[i].tag == le16toh(acl.tag))
				add_acl_entry(entry, type, &acl, acl_tags[i].archive_tag);
	}
	return 0;
}

int attributes_get(int fd, struct archive_entry *entry)
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
		if (strcmp(name, ACL_ACCESS) != 0 && strcmp(name, ACL_DEFAULT) != 0)
			archive_entry_xattr_add_entry(entry, name, value, (size_t)size);
		else if (get_acl(entry, name, value, (size_t)size) < 0)
			return -1;
	}
	return 0;
}
