#pragma once
/*
 * Names of volumes and snapshots as storage tools allow them. Users may use nearly every character;
 * LVM and ZFS know a few, and some that are left mean something to them ("@", "%", ",").
 */

/* A byte that is none of letters, digits and `others` becomes `mark` and two hexadecimal digits, as
 * does the mark where it would read so. What is allowed stays as it is. (g_free) */
char *disk_name_escape(const char *name, const char *others, char mark);
/* Undoes that (g_free). */
char *disk_name_read(const char *escaped, char mark);
