#include "server/storage/backup_stream.h"
#include "sdk/base/yaml.h"
#include "server/storage/index_value.h"
#include "server/storage/snapshot.h"
#include <string.h>

enum { INNER_LENGTH_MAX = 4095 };

/* ---- lists ---- */

static void stream_free(void *data)
{
	BackupStream *stream = data;
	g_free(stream->snapshot);
	g_free(stream->inner);
	g_free(stream->uuid);
	g_free(stream);
}

GPtrArray *backup_stream_list_new(void)
{
	return g_ptr_array_new_with_free_func(stream_free);
}

BackupStream *backup_stream_add(GPtrArray *list, const char *snapshot, const char *inner)
{
	BackupStream *stream = g_new0(BackupStream, 1);
	stream->snapshot = g_strdup(snapshot);
	stream->inner = g_strdup(inner);
	stream->read_only = snapshot && !inner;
	g_ptr_array_add(list, stream);
	return stream;
}

GPtrArray *backup_stream_list_plain(const GPtrArray *snapshots)
{
	GPtrArray *list = backup_stream_list_new();
	for (guint n = 0; n < snapshots->len; n++)
		backup_stream_add(list, snapshots->pdata[n], NULL);
	backup_stream_add(list, NULL, NULL);
	return list;
}

/* ---- names ---- */

char *backup_stream_entry(const VolumeArchiveNames *names, const BackupStream *stream)
{
	GString *entry = g_string_new(stream->snapshot ? names->snapshots : names->volume);
	if (stream->snapshot)
		g_string_append_printf(entry, "/%s", stream->snapshot);
	if (stream->inner)
		g_string_append_c(entry, '_');
	for (const char *p = stream->inner; p && *p; p++)
		g_string_append(entry,
		    *p == '-'	 ? "--" :
			*p == '/' ? "-" :
				    (const char[]){ *p, '\0' });
	g_string_append(entry, ".bin");
	return g_string_free(entry, FALSE);
}

/* ---- the document ---- */

char *backup_stream_write(const GPtrArray *list)
{
	json_t *streams = json_array();
	for (guint n = 0; n < list->len; n++) {
		const BackupStream *stream = list->pdata[n];
		g_autofree char *path = g_strconcat("/", stream->inner, NULL);
		json_array_append_new(streams,
		    json_pack("{s:s, s:s, s:b, s:s}", "path", path, "snapshot",
			stream->snapshot ? stream->snapshot : "", "readonly", stream->read_only,
			"uuid", stream->uuid ? stream->uuid : ""));
	}
	json_t *document = json_pack("{s:o}", "subvolumes", streams);
	char *yaml = yaml_write(document);
	json_decref(document);
	return yaml;
}

/* "/" or a path whose parts are names. */
static gboolean is_path(const char *path)
{
	if (path[0] != '/' || strlen(path) > INNER_LENGTH_MAX)
		return FALSE;
	g_auto(GStrv) parts = g_strsplit(path + 1, "/", -1);
	for (char **part = parts; path[1] && *part; part++)
		if (!**part || strcmp(*part, ".") == 0 || strcmp(*part, "..") == 0)
			return FALSE;
	return TRUE;
}

static gboolean is_snapshot(const GPtrArray *snapshots, const char *name)
{
	for (guint n = 0; n < snapshots->len; n++)
		if (strcmp(((SnapshotRow *)snapshots->pdata[n])->name, name) == 0)
			return TRUE;
	return FALSE;
}

static int take_stream(
    json_t *item, const GPtrArray *snapshots, GHashTable *seen, GPtrArray *list, Error **err)
{
	const char *path = json_string_value(json_object_get(item, "path"));
	const char *snapshot = json_string_value(json_object_get(item, "snapshot"));
	gboolean read_only = FALSE;
	snapshot = snapshot ? snapshot : "";
	if (!path || !is_path(path) || (*snapshot && !is_snapshot(snapshots, snapshot)))
		return error_set(err, ERROR_INVALID, "Backup tells of a subvolume wrongly");
	if (index_bool(item, "readonly", &read_only, err) < 0)
		return -1;
	if (!g_hash_table_add(seen, g_strconcat(snapshot, path, NULL)))
		return error_set(err, ERROR_INVALID, "Backup has the subvolume \"%s\" twice", path);
	BackupStream *stream = backup_stream_add(
	    list, *snapshot ? snapshot : NULL, path[1] ? path + 1 : NULL);
	stream->read_only = read_only;
	return 0;
}

static int check_outermost(const GPtrArray *snapshots, GHashTable *seen, Error **err)
{
	if (!g_hash_table_contains(seen, "/"))
		return error_set(err, ERROR_INVALID, "Backup tells of no volume");
	for (guint n = 0; n < snapshots->len; n++) {
		const char *name = ((SnapshotRow *)snapshots->pdata[n])->name;
		g_autofree char *key = g_strconcat(name, "/", NULL);
		if (!g_hash_table_contains(seen, key))
			return error_set(
			    err, ERROR_INVALID, "Backup does not tell of snapshot \"%s\"", name);
	}
	return 0;
}

static int take_streams(
    json_t *document, const GPtrArray *snapshots, GPtrArray *list, Error **err)
{
	json_t *streams = json_object_get(document, "subvolumes"), *item;
	size_t n;
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	if (!json_is_array(streams) || json_array_size(streams) > BACKUP_STREAMS_MAX)
		return error_set(err, ERROR_INVALID, "Backup has no list of its subvolumes");
	json_array_foreach(streams, n, item)
		if (take_stream(item, snapshots, seen, list, err) < 0)
			return -1;
	return check_outermost(snapshots, seen, err);
}

int backup_stream_parse(const char *yaml, size_t length, const GPtrArray *snapshots,
    GPtrArray **ret_list, Error **err)
{
	json_t *document = NULL;
	g_autoptr(GPtrArray) list = backup_stream_list_new();
	if (yaml_parse(yaml, length, &document, err) < 0)
		return error_prefix(err, "Backup's list of subvolumes");
	int result = take_streams(document, snapshots, list, err);
	json_decref(document);
	if (result == 0)
		*ret_list = g_steal_pointer(&list);
	return result;
}
