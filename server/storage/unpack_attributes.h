#pragma once
/*
 * Gives a file the owner, mode, times, extended attributes and ACLs of an archive entry. Only
 * attributes that mean nothing to the host's own security are taken: user.*, file capabilities and
 * POSIX ACLs.
 */
#include <archive_entry.h>
#include <glib.h>
#include <time.h>

/* Whether an extended attribute is one of those. */
gboolean attributes_wanted(const char *name);
/* 0 or -1 with errno. A directory's default ACL is left for later. Unsupported attributes are left
 * out silently: file systems differ. */
int attributes_set_fd(int fd, struct archive_entry *entry);
/* NULL when there is none; the caller's. To be set when all is in the directory. */
GByteArray *attributes_default_acl(struct archive_entry *entry);
int attributes_set_default_acl(int fd, const GByteArray *acl);
/* For what cannot be opened (symbolic links, nodes). */
int attributes_set_at(int directory_fd, const char *name, struct archive_entry *entry);
/* Access and modification time; UTIME_OMIT where the archive has none. */
void attributes_times(struct archive_entry *entry, struct timespec ret_times[2]);
