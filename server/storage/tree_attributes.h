#pragma once
/* What unpack_attributes.h sets (user.*, file capabilities, ACLs), read from a file into an archive
 * entry. */
#include <archive_entry.h>
#include <glib.h>

/* Whether an extended attribute goes with a file from place to place; ACLs do, in their own form.
 */
gboolean attribute_is_carried(const char *name);
/* The carried attributes of an open file: names one after the other, each with its NUL; g_free.
 * Length, or -1 with errno. fd may be O_PATH. */
ssize_t attributes_list(int fd, char **ret_names);
/* One value; g_free. Length, or -1 with errno. */
ssize_t attribute_read(int fd, const char *name, void **ret_value);
/* All of them into the entry. 0 or -1 with errno. */
int attributes_get(int fd, struct archive_entry *entry);
