#include "server/storage/unpack_attributes.h"
#include "server/storage/acl_xattr.h"
#include <archive.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

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
		ret_times[0] = (struct timespec){ archive_entry_atime(entry),
			archive_entry_atime_nsec(entry) };
	if (archive_entry_mtime_is_set(entry))
		ret_times[1] = (struct timespec){ archive_entry_mtime(entry),
			archive_entry_mtime_nsec(entry) };
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
		if (attributes_wanted(name) && fsetxattr(fd, name, value, size, 0) < 0 &&
		    errno != ENOTSUP && errno != EPERM)
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
	    (permset & ARCHIVE_ENTRY_ACL_WRITE ? 2 : 0) |
	    (permset & ARCHIVE_ENTRY_ACL_EXECUTE ? 1 : 0));
}

/* As the attribute that Incus writes; the kernel looks at what is in it. */
static GByteArray *acl_attribute(struct archive_entry *entry, int want)
{
	const char *own = want == ARCHIVE_ENTRY_ACL_TYPE_ACCESS ? ACL_XATTR_ACCESS :
								  ACL_XATTR_DEFAULT;
	const char *name;
	const void *value;
	size_t size;
	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
		if (strcmp(name, own) == 0 &&
		    size <= sizeof(uint32_t) + ACL_ENTRIES_MAX * sizeof(AclEntry))
			return g_byte_array_append(g_byte_array_new(), value, (guint)size);
	return NULL;
}

static GByteArray *acl_bytes(struct archive_entry *entry, int want)
{
	if (!(archive_entry_acl_types(entry) & want) || archive_entry_acl_reset(entry, want) <= 0)
		return acl_attribute(entry, want);
	GByteArray *out = g_byte_array_new();
	uint32_t version = htole32(ACL_XATTR_VERSION);
	g_byte_array_append(out, (guint8 *)&version, sizeof version);
	int type, permset, tag, qualifier;
	const char *name;
	guint n = 0;
	while (archive_entry_acl_next(entry, want, &type, &permset, &tag, &qualifier, &name) ==
	    ARCHIVE_OK) {
		AclEntry acl = { .tag = htole16(acl_tag(tag)),
			.permissions = htole16(acl_permissions(permset)),
			.id = htole32(UINT32_MAX) };
		if (tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP) {
			if (qualifier < 0) /* a name of the machine that packed it */
				continue;
			acl.id = htole32((uint32_t)qualifier);
		}
		if (!acl.tag || ++n > ACL_ENTRIES_MAX)
			continue;
		g_byte_array_append(out, (guint8 *)&acl, sizeof acl);
	}
	qsort(out->data + sizeof version, n > ACL_ENTRIES_MAX ? ACL_ENTRIES_MAX : n,
	    sizeof(AclEntry), acl_compare);
	return out;
}

static int set_acl(int fd, const char *attribute, const GByteArray *bytes)
{
	if (bytes && fsetxattr(fd, attribute, bytes->data, bytes->len, 0) < 0 && errno != ENOTSUP &&
	    errno != EINVAL)
		return -1;
	return 0;
}

GByteArray *attributes_default_acl(struct archive_entry *entry)
{
	return acl_bytes(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT);
}

int attributes_set_default_acl(int fd, const GByteArray *acl)
{
	return set_acl(fd, ACL_XATTR_DEFAULT, acl);
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
	g_autoptr(GByteArray) acl = acl_bytes(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
	if (set_acl(fd, ACL_XATTR_ACCESS, acl) < 0)
		return -1;
	attributes_times(entry, times);
	return futimens(fd, times);
}

int attributes_set_at(int directory_fd, const char *name, struct archive_entry *entry)
{
	uid_t uid;
	gid_t gid;
	struct timespec times[2];
	if (!ids(entry, &uid, &gid) ||
	    fchownat(directory_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (archive_entry_filetype(entry) != AE_IFLNK &&
	    fchmodat(directory_fd, name, archive_entry_perm(entry) & 07777, 0) < 0)
		return -1;
	attributes_times(entry, times);
	return utimensat(directory_fd, name, times, AT_SYMLINK_NOFOLLOW);
}
