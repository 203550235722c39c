#pragma once
/*
 * A file's extended attributes and ACLs as an archive entry keeps them: the way back is
 * unpack_attributes.h.
 */
#include <archive_entry.h>

/* From an open file or directory. -1 with errno. */
int pack_attributes(int fd, struct archive_entry *entry);
