#include "server/storage/volume_index.h"
#include "incus/v1/storage.pb-c.h"
#include "sdk/base/json.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "sdk/base/yaml.h"
#include "server/key/key.h"
#include "server/storage/custom_volume.h"
#include "server/storage/index_value.h"
#include "server/storage/pool_private.h"
#include "server/storage/unpack.h"
#include "server/storage/volume_block.h"
#include <string.h>

enum { INDEX_MAX = 16 * 1024 * 1024, SNAPSHOTS_MAX = 100000 };

void volume_index_free(VolumeIndex *index)
{
	if (!index)
		return;
	g_free(index->name);
	g_free(index->pool);
	g_free(index->driver);
	g_free(index->type);
	g_free(index->description);
	g_clear_pointer(&index->config, g_hash_table_unref);
	g_clear_pointer(&index->snapshots, g_ptr_array_unref);
	g_free(index);
}

int volume_index_load(int archive_fd, json_t **ret_document, Error **err)
{
	g_autofree char *yaml = NULL;
	size_t length;
	Error *inner = NULL;
	if (unpack_read_file(archive_fd, "backup/index.yaml", INDEX_MAX, &yaml, &length, &inner) <
	    0) {
		/* What was sent is wrong, not the path that was asked for. */
		if (inner->kind == ERROR_NOT_FOUND)
			inner->kind = ERROR_INVALID;
		error_propagate(err, inner);
		return error_prefix(err, "Invalid backup");
	}
	if (yaml_parse(yaml, length, ret_document, err) < 0)
		return error_prefix(err, "Cannot read the backup's index");
	return 0;
}

static int read_head(const json_t *document, VolumeIndex *index, Error **err)
{
	if (!json_is_object(document))
		return error_set(err, ERROR_INVALID, "Backup index is not a map");
	if (index_text(document, "name", &index->name, err) < 0 ||
	    index_text(document, "pool", &index->pool, err) < 0 ||
	    index_text(document, "backend", &index->driver, err) < 0 ||
	    index_bool(document, "optimized", &index->optimized, err) < 0 ||
	    index_bool(document, "optimized_header", &index->header, err) < 0 ||
	    index_text(document, "type", &index->type, err) < 0)
		return -1;
	return *index->pool && name_check_pool(index->pool, err) < 0 ?
	    error_prefix(err, "Backup index") :
	    0;
}

const json_t *volume_index_snapshot(const json_t *list, const char *name)
{
	for (size_t n = 0; n < json_array_size(list); n++) {
		const char *own = json_string_value(
		    json_object_get(json_array_get(list, n), "name"));
		const char *slash = own ? strrchr(own, '/') : NULL;
		if (g_strcmp0(slash ? slash + 1 : own, name) == 0)
			return json_array_get(list, n);
	}
	return NULL;
}

/* What old versions do not say of it stays empty. */
static int read_snapshot(const json_t *list, VolumeIndex *index, const char *name, Error **err)
{
	const json_t *object = volume_index_snapshot(list, name);
	g_autoptr(SnapshotRow) row = g_new0(SnapshotRow, 1);
	row->name = g_strdup(name);
	if (index_text(object, "description", &row->description, err) < 0 ||
	    index_time(object, "created_at", &row->created, err) < 0 ||
	    index_moment(object, "expires_at", &row->expires, err) < 0 ||
	    index_config(object, "config", &row->config, err) < 0)
		return -1;
	g_ptr_array_add(index->snapshots, g_steal_pointer(&row));
	return 0;
}

static int read_snapshots(
    const json_t *names, const json_t *list, VolumeIndex *index, Error **err)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
	if ((names && !json_is_array(names) && !json_is_null(names)) ||
	    json_array_size(names) > SNAPSHOTS_MAX)
		return index_wrong(err, "snapshots");
	for (size_t n = 0; n < json_array_size(names); n++) {
		const char *name = json_string_value(json_array_get(names, n));
		if (name_check_snapshot(name, err) < 0)
			return error_prefix(err, "Backup index: snapshot");
		if (!g_hash_table_add(seen, (void *)name))
			return error_set(err, ERROR_INVALID,
			    "Backup index: snapshot \"%s\" is there twice", name);
		if (read_snapshot(list, index, name, err) < 0)
			return -1;
	}
	return 0;
}

static int read_volume(const json_t *object, VolumeIndex *index, Error **err)
{
	g_autofree char *content = NULL;
	if (object && !json_is_object(object) && !json_is_null(object))
		return index_wrong(err, "volume");
	if (index_text(object, "description", &index->description, err) < 0 ||
	    index_text(object, "content_type", &content, err) < 0 ||
	    index_config(object, "config", &index->config, err) < 0)
		return -1;
	return volume_content_parse(content, &index->content, err) < 0 ?
	    error_prefix(err, "Backup index") :
	    0;
}

int volume_index_parse(const json_t *document, VolumeIndex **ret_index, Error **err)
{
	g_autoptr(VolumeIndex) index = g_new0(VolumeIndex, 1);
	index->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_row_free);
	const json_t *config = json_object_get(document, "config");
	if (read_head(document, index, err) < 0 ||
	    read_snapshots(json_object_get(document, "snapshots"),
		json_object_get(config, "volume_snapshots"), index, err) < 0 ||
	    read_volume(json_object_get(config, "volume"), index, err) < 0)
		return -1;
	*ret_index = g_steal_pointer(&index);
	return 0;
}

static void filter_config(Config *config, const char *driver)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (g_str_has_prefix(key, "volatile.") || !key_find(KEY_VOLUME, driver, key))
			g_hash_table_iter_remove(&iter);
}

void volume_index_filter(VolumeIndex *index, Pool *pool)
{
	filter_config(index->config, pool->driver_name);
	for (guint n = 0; n < index->snapshots->len; n++)
		filter_config(
		    ((SnapshotRow *)index->snapshots->pdata[n])->config, pool->driver_name);
}

/* ---- writing ---- */

json_t *volume_index_message(const void *message, const char *const *without)
{
	g_autoptr(GString) text = g_string_new(NULL);
	json_write(text, message, 0, 0);
	json_t *object = json_loadb(text->str, text->len, 0, NULL);
	for (size_t n = 0; without[n]; n++)
		json_object_del(object, without[n]);
	return object;
}

json_t *volume_index_config(const Config *config)
{
	json_t *object = json_object();
	guint n;
	g_autofree const char **keys = config_sorted_keys(config, &n);
	for (guint k = 0; k < n; k++)
		json_object_set_new(object, keys[k], json_string(config_get(config, keys[k])));
	return object;
}

json_t *volume_index_moment(const Moment *moment)
{
	g_autofree char *text = moment->seconds ? moment_format(moment) :
						  g_strdup("0001-01-01T00:00:00Z");
	return json_string(text);
}

json_t *volume_index_time(int64_t seconds)
{
	Moment moment = { .seconds = seconds };
	return volume_index_moment(&moment);
}

int volume_index_volume(Pool *pool, const Volume *volume, json_t **ret, Error **err)
{
	static const char *const without[] = { "used_by", NULL };
	g_autoptr(Arena) arena = arena_new();
	VolumeQuery query = { .project = volume->project,
		.type = volume_type_name(volume->type),
		.name = volume->name };
	Pb__StorageVolume **volumes;
	size_t n;
	if (volume_describe(pool, &query, arena, &n, &volumes, err) < 0)
		return -1;
	if (n == 0)
		return error_set(err, ERROR_NOT_FOUND, "Storage volume not found");
	*ret = volume_index_message(volumes[0], without);
	json_object_set_new(*ret, "used_by", json_array());
	return 0;
}

json_t *volume_index_snapshots(const Volume *volume, const GPtrArray *snapshots)
{
	json_t *list = json_array();
	for (guint n = 0; n < snapshots->len; n++) {
		const SnapshotRow *row = snapshots->pdata[n];
		json_array_append_new(list,
		    json_pack("{s:s, s:o, s:s, s:o, s:s, s:o}", "description", row->description,
			"expires_at", volume_index_moment(&row->expires), "name", row->name, "config",
			row->config ? volume_index_config(row->config) : json_object(),
			"content_type", volume_content_name(volume->content), "created_at",
			volume_index_time(row->created)));
	}
	return list;
}

char *volume_index_write(const VolumeIndexHead *head, json_t *config)
{
	json_t *names = json_array();
	for (guint n = 0; n < head->snapshots->len; n++)
		json_array_append_new(
		    names, json_string(((SnapshotRow *)head->snapshots->pdata[n])->name));
	json_t *document = json_pack("{s:s, s:s, s:s, s:o, s:b, s:b, s:s, s:o}", "name", head->name,
	    "backend", pool_driver(head->pool), "pool", pool_name(head->pool), "snapshots", names,
	    "optimized", head->optimized, "optimized_header", head->header, "type", head->type,
	    "config", config);
	char *yaml = yaml_write(document);
	json_decref(document);
	return yaml;
}
