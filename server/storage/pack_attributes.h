#pragma once
/* Reads what unpack_attributes.h writes: ACLs, file capabilities and user.* attributes. */
#include "server/sys/id_map.h"
#include <archive_entry.h>

/* Those of an open file or directory go into the entry, ids as the map has them inside. 0 or -1
 * with errno. */
int pack_attributes(int fd, const GArray *owners, struct archive_entry *entry);
