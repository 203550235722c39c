#include "server/storage/pack_attributes.h"
#include "server/storage/acl_xattr.h"
#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/xattr.h>

enum { NAMES_MAX = 65536, VALUE_MAX = 65536 };

static int archive_permissions(uint16_t bits)
{
	return (bits & 4 ? ARCHIVE_ENTRY_ACL_READ : 0) | (bits & 2 ? ARCHIVE_ENTRY_ACL_WRITE : 0) |
	    (bits & 1 ? ARCHIVE_ENTRY_ACL_EXECUTE : 0);
}

static void add_acl(struct archive_entry *entry, int type, const char *value, size_t size)
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
		gboolean named = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
		if (tag)
			archive_entry_acl_add_entry(entry, type,
			    archive_permissions(le16toh(acl.permissions)), tag,
			    named ? (int)le32toh(acl.id) : -1, NULL);
	}
}

static void add(struct archive_entry *entry, const char *name, const char *value, size_t size)
{
	if (strcmp(name, ACL_XATTR_ACCESS) == 0)
		add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, value, size);
	else if (strcmp(name, ACL_XATTR_DEFAULT) == 0)
		add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, value, size);
	else if (!g_str_has_prefix(
		     name, "security.selinux")) /* the kernel's own label of this host */
		archive_entry_xattr_add_entry(entry, name, value, size);
}

int pack_attributes(int fd, struct archive_entry *entry)
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
			add(entry, name, value, (size_t)size);
	}
	return 0;
}
