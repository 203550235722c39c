#pragma once
/*
 * The value of raw.idmap: lines "uid|gid|both HOST[-HOST] INSIDE[-INSIDE]"; and lists of ids
 * "0-99,1000".
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <stdint.h>

typedef struct RawIdmapLine {
	gboolean uid, gid;
	uint32_t host, inside, count;
} RawIdmapLine;

/* *ret_lines: elements RawIdmapLine. NULL is no lines. */
int raw_idmap_parse(const char *raw, GArray **ret_lines, Error **err);

int id_list_check(const char *list, Error **err);
/* Whether ids [from, from+count) are all in the list; never in NULL, nor in a wrong list. */
gboolean id_list_covers(const char *list, uint32_t from, uint32_t count);
