#include "server/sys/id_map.h"
#include <jansson.h>
#include <string.h>

char *id_map_text(const GArray *ranges)
{
	GString *text = g_string_new(NULL);
	for (guint n = 0; n < ranges->len; n++) {
		const IdRange *r = &g_array_index(ranges, IdRange, n);
		if (r->is_uid)
			g_string_append_printf(
			    text, "u %u %u %u\n", r->inside, r->outside, r->count);
		if (r->is_gid)
			g_string_append_printf(
			    text, "g %u %u %u\n", r->inside, r->outside, r->count);
	}
	return g_string_free(text, FALSE);
}

char *id_map_json(const GArray *ranges)
{
	GString *text = g_string_new("[");
	for (guint n = 0; n < ranges->len; n++) {
		const IdRange *r = &g_array_index(ranges, IdRange, n);
		g_string_append_printf(text,
		    "%s{\"Isuid\":%s,\"Isgid\":%s,\"Hostid\":%u,\"Nsid\":%u,\"Maprange\":%u}",
		    n ? "," : "", r->is_uid ? "true" : "false", r->is_gid ? "true" : "false",
		    r->outside, r->inside, r->count);
	}
	return g_string_free(g_string_append_c(text, ']'), FALSE);
}

static gboolean read_range(json_t *item, IdRange *ret)
{
	int uid, gid;
	json_int_t outside, inside, count;
	if (json_unpack(item, "{s:b, s:b, s:I, s:I, s:I}", "Isuid", &uid, "Isgid", &gid, "Hostid",
		&outside, "Nsid", &inside, "Maprange", &count) < 0)
		return FALSE;
	if (outside < 0 || inside < 0 || count < 1 || outside > G_MAXUINT32 ||
	    inside > G_MAXUINT32 || count > G_MAXUINT32 || outside + count > G_MAXUINT32 ||
	    inside + count > G_MAXUINT32)
		return FALSE;
	*ret = (IdRange){ .is_uid = uid,
		.is_gid = gid,
		.inside = (uint32_t)inside,
		.outside = (uint32_t)outside,
		.count = (uint32_t)count };
	return TRUE;
}

int id_map_parse(const char *json, GArray **ret_ranges, Error **err)
{
	g_autoptr(GArray) ranges = g_array_new(FALSE, TRUE, sizeof(IdRange));
	json_t *list = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL, *item;
	gboolean good = !json || !*json || json_is_null(list) || json_is_array(list);
	size_t n;
	json_array_foreach(list, n, item) {
		IdRange range;
		if (!good || !read_range(item, &range)) {
			good = FALSE;
			break;
		}
		g_array_append_val(ranges, range);
	}
	json_decref(list);
	if (!good)
		return error_set(err, ERROR_INVALID, "Invalid id map \"%.100s\"", json);
	*ret_ranges = g_steal_pointer(&ranges);
	return 0;
}

gboolean id_map_equal(const GArray *a, const GArray *b)
{
	g_autofree char *one = id_map_text(a), *other = id_map_text(b);
	return strcmp(one, other) == 0;
}

static uint32_t translate(const GArray *ranges, gboolean user, gboolean out, uint32_t id)
{
	for (guint n = 0; ranges && n < ranges->len; n++) {
		const IdRange *r = &g_array_index(ranges, IdRange, n);
		uint32_t from = out ? r->inside : r->outside, to = out ? r->outside : r->inside;
		if ((user ? r->is_uid : r->is_gid) && id >= from && id - from < r->count)
			return id - from + to;
	}
	return id;
}

uint32_t id_map_outside(const GArray *ranges, gboolean user, uint32_t inside)
{
	return translate(ranges, user, TRUE, inside);
}

uint32_t id_map_inside(const GArray *ranges, gboolean user, uint32_t outside)
{
	return translate(ranges, user, FALSE, outside);
}

gboolean id_maps_any(const GArray *map, const GPtrArray *maps)
{
	gboolean any = map && map->len > 0;
	for (guint n = 0; n < maps->len && !any; n++)
		any = ((GArray *)maps->pdata[n])->len > 0;
	return any;
}
