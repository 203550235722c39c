#include "server/storage/pool_used.h"
#include "server/db/db.h"
#include "server/storage/volume.h"
#include <string.h>

typedef struct UsedCall {
	const char *pool;
	GHashTable *used;
	GPtrArray *images;
	unsigned others;
} UsedCall;

char *used_url(const char *prefix, const char *name, const char *project)
{
	g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
	if (strcmp(project, "default") == 0)
		return g_strdup_printf("%s/%s", prefix, escaped);
	g_autofree char *query = g_uri_escape_string(project, NULL, FALSE);
	return g_strdup_printf("%s/%s?project=%s", prefix, escaped, query);
}

static void add(UsedCall *call, const char *pool, char *url)
{
	GPtrArray *urls = g_hash_table_lookup(call->used, pool);
	if (!urls) {
		urls = g_ptr_array_new_with_free_func(g_free);
		g_hash_table_insert(call->used, g_strdup(pool), urls);
	}
	g_ptr_array_add(urls, url);
}

static void add_volume(
    UsedCall *call, const char *pool, int64_t type, const char *name, const char *project)
{
	if (type != VOLUME_IMAGE)
		call->others++;
	if (type == VOLUME_IMAGE) {
		g_ptr_array_add(call->images, g_strdup(name));
		add(call, pool, used_url("/1.0/images", name, "default"));
	} else if (type == VOLUME_CUSTOM) {
		g_autofree char *prefix = g_strdup_printf(
		    "/1.0/storage-pools/%s/volumes/custom", pool);
		add(call, pool, used_url(prefix, name, project));
	} else {
		add(call, pool, used_url("/1.0/instances", name, project));
	}
}

static int load_volumes(Tx *tx, UsedCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT s.name, v.type, v.name, p.name FROM storage_volumes v"
		" JOIN storage_pools s ON s.id = v.storage_pool_id JOIN projects p ON p.id = v.project_id"
		" WHERE ? IS NULL OR s.name = ?",
		"ss", call->pool, call->pool) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		add_volume(call, rows_text(rows, 0), rows_int(rows, 1), rows_text(rows, 2),
		    rows_text(rows, 3));
	return more;
}

static int load_profiles(Tx *tx, UsedCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT DISTINCT c.value, f.name, p.name FROM profiles_devices_config c"
		" JOIN profiles_devices d ON d.id = c.profile_device_id JOIN profiles f ON f.id = d.profile_id"
		" JOIN projects p ON p.id = f.project_id WHERE c.key = 'pool' AND (? IS NULL OR c.value = ?)",
		"ss", call->pool, call->pool) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		add(call, rows_text(rows, 0),
		    used_url("/1.0/profiles", rows_text(rows, 1), rows_text(rows, 2)));
		call->others++;
	}
	return more;
}

static int load_tx(Tx *tx, void *data, Error **err)
{
	UsedCall *call = data;
	g_hash_table_remove_all(call->used);
	g_ptr_array_set_size(call->images, 0);
	call->others = 0;
	return load_volumes(tx, call, err) < 0 ? -1 : load_profiles(tx, call, err);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int load(Daemon *d, UsedCall *call, Error **err)
{
	call->used = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
	call->images = g_ptr_array_new_with_free_func(g_free);
	if (db_read(d->db, load_tx, call, err) < 0) {
		g_hash_table_unref(call->used);
		g_ptr_array_unref(call->images);
		return -1;
	}
	GHashTableIter iter;
	void *urls;
	g_hash_table_iter_init(&iter, call->used);
	while (g_hash_table_iter_next(&iter, NULL, &urls))
		g_ptr_array_sort(urls, compare_text);
	return 0;
}

int pool_used_load(Daemon *d, const char *pool, GHashTable **ret_used, Error **err)
{
	UsedCall call = { .pool = pool };
	if (load(d, &call, err) < 0)
		return -1;
	g_ptr_array_unref(call.images);
	*ret_used = call.used;
	return 0;
}

int pool_used_check(
    Daemon *d, const char *pool, gboolean *ret_used, GPtrArray **ret_images, Error **err)
{
	UsedCall call = { .pool = pool };
	if (load(d, &call, err) < 0)
		return -1;
	g_hash_table_unref(call.used);
	*ret_used = call.others > 0;
	*ret_images = call.images;
	return 0;
}
