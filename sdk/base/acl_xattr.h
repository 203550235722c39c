#pragma once
/*
 * ACLs as the kernel keeps them in extended attributes (linux/posix_acl_xattr.h, which user space
 * gets no header for): a version word, then entries, little-endian.
 */
#include <stdint.h>

#define ACL_XATTR_ACCESS "system.posix_acl_access"
#define ACL_XATTR_DEFAULT "system.posix_acl_default"

enum { ACL_XATTR_VERSION = 2, ACL_TAG_USER_OBJ = 1, ACL_TAG_USER = 2, ACL_TAG_GROUP_OBJ = 4,
	ACL_TAG_GROUP = 8, ACL_TAG_MASK = 16, ACL_TAG_OTHER = 32, ACL_ENTRIES_MAX = 1000 };

typedef struct __attribute__((packed)) AclEntry {
	uint16_t tag, permissions;
	uint32_t id;
} AclEntry;
