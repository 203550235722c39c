#pragma once
/*
 * Id maps: which host ids the users inside a container have. As ranges; as lines
 * "u INSIDE OUTSIDE COUNT", for the spawner; and as the JSON that volatile keys hold, in Incus's
 * words: [{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000000000}, ...].
 * Pure. No ranges at all mean that ids are the same on either side.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* One contiguous range, as in /proc/PID/uid_map and gid_map alike. */
typedef struct IdRange {
	gboolean is_uid, is_gid;
	uint32_t inside, outside, count;
} IdRange;

char *id_map_text(const GArray *ranges); /* g_free, like the next */
char *id_map_json(const GArray *ranges);
/* NULL, "" and "null" are no ranges. ERROR_INVALID for what is no such list. */
int id_map_parse(const char *json, GArray **ret_ranges, Error **err);
gboolean id_map_equal(const GArray *a, const GArray *b);
/* The id on the other side; one that no range has stays what it is. NULL: no ranges. */
uint32_t id_map_outside(const GArray *ranges, gboolean user, uint32_t inside);
uint32_t id_map_inside(const GArray *ranges, gboolean user, uint32_t outside);
/* Whether one of the maps (GArray * each; the first may be NULL) is not empty. */
gboolean id_maps_any(const GArray *map, const GPtrArray *maps);
