#pragma once
/* The tags of ACL entries, as libarchive and as the kernel calls them. */
#include "sdk/base/acl_xattr.h"
#include <archive_entry.h>
#include <stddef.h>

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

/* The kernel's tag of libarchive's, and back; 0 for unknown ones. */
static inline uint16_t acl_tag(int archive_tag)
{
	for (size_t i = 0; i < sizeof(acl_tags) / sizeof(*acl_tags); i++)
		if (acl_tags[i].archive_tag == archive_tag)
			return acl_tags[i].tag;
	return 0;
}

static inline int acl_archive_tag(uint16_t tag)
{
	for (size_t i = 0; i < sizeof(acl_tags) / sizeof(*acl_tags); i++)
		if (acl_tags[i].tag == tag)
			return acl_tags[i].archive_tag;
	return 0;
}
