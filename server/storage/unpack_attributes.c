#include "server/storage/unpack_attributes.h"
#include <archive.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* linux/posix_acl_xattr.h, which user space gets no header for: a version word, then entries. */
enum { ACL_XATTR_VERSION = 2, ACL_TAG_USER_OBJ = 1, ACL_TAG_USER = 2, ACL_TAG_GROUP_OBJ = 4,
	ACL_TAG_GROUP = 8, ACL_TAG_MASK = 16, ACL_TAG_OTHER = 32, ACL_ENTRIES_MAX = 1000 };

typedef struct __attribute__((packed)) AclEntry {
	uint16_t tag, permissions;
	uint32_t id;
} AclEntry;

static const struct {
	int archive_tag;
	uint16_t tag;
} acl_tags[] = {
	{ ARCHIVE_ENTRY_ACL_USER_OBJ, ACL_TAG_USER_OBJ },
	{ ARCHIVE_ENTRY_ACL_USER, ACL_TAG_USER },
	{ ARCHIVE_ENTRY_ACL_GROUP_OBJ, ACL_TAG_GROUP_OBJ },
	{ ARCHIVE_ENTRY_ACL_GROUP, ACL_TAG_GROUP },
	{ ARCHIVE_ENTRY_ACL_MASK, ACL_TAG_MASK },
	{ ARCHIVE_ENTRY_ACL_OTHER, ACL_TAG_OTHER },
};

static gboolean ids(struct archive_entry *entry, uid_t *ret_uid, gid_t *ret_gid)
{
	la_int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX) {
		errno = EINVAL;
		return FALSE;
	}
	*ret_uid = (uid_t)uid;
	*ret_gid = (gid_t)gid;
	return TRUE;
}

void attributes_times(struct archive_entry *entry, struct timespec ret_times[2])
{
	ret_times[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	ret_times[1] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (archive_entry_atime_is_set(entry))
		ret_times[0] = (struct timespec){ archive_entry_atime(entry), archive_entry_atime_nsec(entry) };
	if (archive_entry_mtime_is_set(entry))
		ret_times[1] = (struct timespec){ archive_entry_mtime(entry), archive_entry_mtime_nsec(entry) };
}

gboolean attributes_wanted(const char *name)
{
	return g_str_has_prefix(name, "user.") || strcmp(name, "security.capability") == 0;
}

static int set_xattrs(int fd, struct archive_entry *entry)
{
	const char *name;
	const void *value;
	size_t size;
	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
		if (attributes_wanted(name) && fsetxattr(fd, name, value, size, 0) < 0 && errno != ENOTSUP && errno != EPERM)
			return -1;
	return 0;
}

static int acl_compare(const void *a, const void *b)
{
	const AclEntry *x = a, *y = b;
	int tags = (int)le16toh(x->tag) - (int)le16toh(y->tag);
	return tags ? tags : (le32toh(x->id) > le32toh(y->id)) - (le32toh(x->id) < le32toh(y->id));
}

static uint16_t acl_permissions(int permset)
{
	return (uint16_t)((permset & ARCHIVE_ENTRY_ACL_READ ? 4 : 0) |
	    (permset & ARCHIVE_ENTRY_ACL_WRITE ? 2 : 0) | (permset & ARCHIVE_ENTRY_ACL_EXECUTE ? 1 : 0));
}

static int set_acl(int fd, struct archive_entry *entry, int want, const char *attribute)
{
	if (archive_entry_acl_reset(entry, want) <= 0)
		return 0;
	g_autoptr(GByteArray) out = g_byte_array_new();
	uint32_t version = htole32(ACL_XATTR_VERSION);
	g_byte_array_append(out, (guint8 *)&version, sizeof version);
	int type, permset, tag, qualifier;
	const char *name;
	guint n = 0;
	while (archive_entry_acl_next(entry, want, &type, &permset, &tag, &qualifier, &name) == ARCHIVE_OK) {
		AclEntry acl = { .permissions = htole16(acl_permissions(permset)), .id = htole32(UINT32_MAX) };
		for (size_t i = 0; i < G_N_ELEMENTS(acl_tags); i++)
			if (acl_tags[i].archive_tag == tag)
				acl.tag = htole16(acl_tags[i].tag);
		if (tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP) {
			if (qualifier < 0) /* a name of the machine that packed it */
				continue;
			acl.id = htole32((uint32_t)qualifier);
		}
		if (!acl.tag || ++n > ACL_ENTRIES_MAX)
			continue;
		g_byte_array_append(out, (guint8 *)&acl, sizeof acl);
	}
	qsort(out->data + sizeof version, n > ACL_ENTRIES_MAX ? ACL_ENTRIES_MAX : n, sizeof(AclEntry), acl_compare);
	if (fsetxattr(fd, attribute, out->data, out->len, 0) < 0 && errno != ENOTSUP && errno != EINVAL)
		return -1;
	return 0;
}

int attributes_set_fd(int fd, struct archive_entry *entry)
{
	uid_t uid;
	gid_t gid;
	struct timespec times[2];
	/* The owner first: changing it clears set-id bits and capabilities. */
	if (!ids(entry, &uid, &gid) || fchown(fd, uid, gid) < 0)
		return -1;
	if (fchmod(fd, archive_entry_perm(entry) & 07777) < 0 || set_xattrs(fd, entry) < 0)
		return -1;
	if (archive_entry_acl_types(entry) &&
	    set_acl(fd, entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access") < 0)
		return -1;
	attributes_times(entry, times);
	return futimens(fd, times);
}

gboolean attributes_has_default_acl(struct archive_entry *entry)
{
	return (archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_DEFAULT) != 0;
}

int attributes_set_default_acl(int fd, struct archive_entry *entry)
{
	return set_acl(fd, entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default");
}

int attributes_set_at(int directory_fd, const char *name, struct archive_entry *entry)
{
	uid_t uid;
	gid_t gid;
	struct timespec times[2];
	if (!ids(entry, &uid, &gid) || fchownat(directory_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (archive_entry_filetype(entry) != AE_IFLNK &&
	    fchmodat(directory_fd, name, archive_entry_perm(entry) & 07777, 0) < 0)
		return -1;
	attributes_times(entry, times);
	return utimensat(directory_fd, name, times, AT_SYMLINK_NOFOLLOW);
}
