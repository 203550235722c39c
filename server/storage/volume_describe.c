#include "server/storage/custom_volume.h"
#include "sdk/base/moment_message.h"
#include "server/project/project.h"
#include "server/storage/pool_private.h"
#include "server/storage/pool_used.h"
#include "server/storage/store.h"
#include "server/storage/volume_block.h"
#include <string.h>

typedef struct Described {
	int64_t id;
	VolumeType type;
	Pb__StorageVolume *message;
	Config *config;
	GPtrArray *used;
} Described;

typedef struct DescribeCall {
	Pool *pool;
	const VolumeQuery *query;
	const char *custom_project, *image_project;
	int64_t type; /* -1: any */
	Arena *arena;
	GPtrArray *volumes;
	GHashTable *by_id, *custom; /* id -> Described; "PROJECT/NAME" -> Described */
} DescribeCall;

static void described_free(void *data)
{
	Described *d = data;
	g_hash_table_unref(d->config);
	g_ptr_array_unref(d->used);
	g_free(d);
}

static void add_instance_user(Described *d)
{
	const char *name = d->message->name, *slash = strchr(name, '/');
	if (!slash) {
		g_ptr_array_add(d->used, used_url("/1.0/instances", name, d->message->project));
		return;
	}
	g_autofree char *prefix = g_strdup_printf(
	    "/1.0/instances/%.*s/snapshots", (int)(slash - name), name);
	g_ptr_array_add(d->used, used_url(prefix, slash + 1, d->message->project));
}

static void add_row(DescribeCall *call, Rows *rows)
{
	Described *d = g_new0(Described, 1);
	d->id = rows_int(rows, 0);
	d->type = (VolumeType)rows_int(rows, 2);
	d->config = config_new();
	d->used = g_ptr_array_new_with_free_func(g_free);
	Pb__StorageVolume *m = d->message = arena_message(
	    call->arena, Pb__StorageVolume, pb__storage_volume);
	m->name = arena_strdup(call->arena, rows_text(rows, 1));
	m->type = arena_strdup(call->arena, volume_type_name(d->type));
	m->description = arena_strdup(call->arena, rows_text(rows, 3));
	m->content_type = (char *)volume_content_name((VolumeContent)rows_int(rows, 4));
	m->project = arena_strdup(call->arena, rows_text(rows, 5));
	m->location = arena_strdup(call->arena, "none");
	m->created_at = seconds_to_message(rows_time(rows, 6), call->arena);
	g_ptr_array_add(call->volumes, d);
	g_hash_table_insert(call->by_id, &d->id, d);
	if (d->type == VOLUME_CUSTOM)
		g_hash_table_insert(call->custom, g_strdup_printf("%s/%s", m->project, m->name), d);
	else if (d->type == VOLUME_IMAGE)
		g_ptr_array_add(d->used, used_url("/1.0/images", m->name, "default"));
	else
		add_instance_user(d);
}

/* A custom volume that a move is copying, or has left behind, is nobody's; a project sees what is
 * unpacked of its own images. */
#define WANTED                                                                                               \
	" JOIN projects p ON p.id = v.project_id"                                                            \
	" WHERE v.storage_pool_id = ? AND (? < 0 OR v.type = ?) AND (? IS NULL OR v.name = ?)"               \
	" AND (? IS NULL OR (v.type = 2 AND p.name = ?) OR (v.type IN (0, 3) AND p.name = ?)"                \
	" OR (v.type = 1 AND EXISTS (SELECT 1 FROM images m JOIN projects q ON q.id = m.project_id"          \
	" WHERE m.fingerprint = v.name AND q.name = ?)))"                                                    \
	" AND NOT (v.type = 2 AND EXISTS (SELECT 1 FROM storage_volumes_config m"                            \
	" WHERE m.storage_volume_id = v.id AND m.key = '" VOLUME_MOVING "'))"
#define WANTED_FORMAT "iiissssss"
#define WANTED_VALUES(call)                                                                        \
	(call)->pool->id, (call)->type, (call)->type, (call)->query->name, (call)->query->name,    \
	    (call)->query->project, (call)->custom_project, (call)->query->project,                \
	    (call)->image_project

/* Volumes and their snapshots share one space of ids. */
static int load_volumes(Tx *tx, DescribeCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT v.id, v.name, v.type, coalesce(v.description, ''), v.content_type, p.name, v.creation_date"
		" FROM storage_volumes v" WANTED
		" UNION ALL SELECT s.id, v.name || '/' || s.name, v.type, coalesce(s.description, ''), v.content_type,"
		" p.name, s.creation_date FROM storage_volumes_snapshots s"
		" JOIN storage_volumes v ON v.id = s.storage_volume_id" WANTED " AND ?"
		" ORDER BY 3, 2, 6",
		WANTED_FORMAT WANTED_FORMAT "i", WANTED_VALUES(call), WANTED_VALUES(call),
		(int64_t)call->query->snapshots) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		add_row(call, rows);
	return more;
}

static int load_configs(Tx *tx, DescribeCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT c.storage_volume_id, c.key, c.value FROM storage_volumes_config c"
		" JOIN storage_volumes v ON v.id = c.storage_volume_id WHERE v.storage_pool_id = ?"
		" UNION ALL SELECT c.storage_volume_snapshot_id, c.key, c.value FROM storage_volumes_snapshots_config c"
		" JOIN storage_volumes_snapshots s ON s.id = c.storage_volume_snapshot_id"
		" JOIN storage_volumes v ON v.id = s.storage_volume_id WHERE v.storage_pool_id = ? AND ?",
		"iii", call->pool->id, call->pool->id, (int64_t)call->query->snapshots) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		Described *d = g_hash_table_lookup(call->by_id, &id);
		if (d && !volume_key_is_internal(rows_text(rows, 1)))
			config_set(d->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

/* Devices name a volume by pool= and source=; a project without its own volumes means default's. */
static int load_users(Tx *tx, DescribeCall *call, const char *kind, const char *sql, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, sql, "s", call->pool->name) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		const char *project = rows_text(rows, 1), *own = rows_text(rows, 3);
		gboolean has = own && g_ascii_strcasecmp(own, "true") == 0;
		g_autofree char *key = g_strdup_printf(
		    "%s/%s", has ? project : "default", rows_text(rows, 2));
		Described *d = g_hash_table_lookup(call->custom, key);
		if (d)
			g_ptr_array_add(d->used, used_url(kind, rows_text(rows, 0), project));
	}
	return more;
}

static int describe_tx(Tx *tx, void *data, Error **err)
{
	DescribeCall *call = data;
	g_hash_table_remove_all(call->by_id);
	g_hash_table_remove_all(call->custom);
	g_ptr_array_set_size(call->volumes, 0);
	if (load_volumes(tx, call, err) < 0 || load_configs(tx, call, err) < 0)
		return -1;
	if (load_users(tx, call, "/1.0/instances",
		"SELECT DISTINCT i.name, p.name, s.value, f.value FROM instances_devices d"
		" JOIN instances_devices_config o ON o.instance_device_id = d.id AND o.key = 'pool'"
		" JOIN instances_devices_config s ON s.instance_device_id = d.id AND s.key = 'source'"
		" JOIN instances i ON i.id = d.instance_id JOIN projects p ON p.id = i.project_id"
		" LEFT JOIN projects_config f ON f.project_id = p.id AND f.key = 'features.storage.volumes'"
		" WHERE o.value = ? ORDER BY p.name, i.name",
		err) < 0)
		return -1;
	return load_users(tx, call, "/1.0/profiles",
	    "SELECT DISTINCT i.name, p.name, s.value, f.value FROM profiles_devices d"
	    " JOIN profiles_devices_config o ON o.profile_device_id = d.id AND o.key = 'pool'"
	    " JOIN profiles_devices_config s ON s.profile_device_id = d.id AND s.key = 'source'"
	    " JOIN profiles i ON i.id = d.profile_id JOIN projects p ON p.id = i.project_id"
	    " LEFT JOIN projects_config f ON f.project_id = p.id AND f.key = 'features.storage.volumes'"
	    " WHERE o.value = ? ORDER BY p.name, i.name",
	    err);
}

static void finish(Pool *pool, Described *d, Arena *arena)
{
	Pb__StorageVolume *m = d->message;
	if (d->type == VOLUME_CUSTOM &&
	    store_on_volume(pool->daemon, pool->name, m->project, m->name))
		g_ptr_array_add(d->used, g_strdup("/1.0"));
	config_to_map(d->config, arena, &pb__storage_volume__config_entry__descriptor, &m->n_config,
	    &m->config);
	m->n_used_by = d->used->len;
	m->used_by = arena_alloc(arena, (d->used->len + 1) * sizeof(char *));
	for (guint i = 0; i < d->used->len; i++)
		m->used_by[i] = arena_strdup(arena, d->used->pdata[i]);
}

int volume_describe(Pool *pool, const VolumeQuery *query, Arena *arena, size_t *ret_n,
    Pb__StorageVolume ***ret_volumes, Error **err)
{
	DescribeCall call = { .pool = pool, .query = query, .type = -1, .arena = arena };
	g_autofree char *custom = NULL, *images = NULL;
	VolumeType type;
	if (query->type) {
		if (volume_type_parse(query->type, &type, err) < 0)
			return -1;
		call.type = (int64_t)type;
	}
	if (query->project &&
	    (project_effective(
		 pool->daemon, query->project, PROJECT_STORAGE_VOLUMES, &custom, err) < 0 ||
		project_effective(pool->daemon, query->project, PROJECT_IMAGES, &images, err) < 0))
		return -1;
	call.custom_project = custom;
	call.image_project = images;
	g_autoptr(GPtrArray) volumes = call.volumes = g_ptr_array_new_with_free_func(
	    described_free);
	g_autoptr(GHashTable) by_id = call.by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	g_autoptr(GHashTable) by_name = call.custom = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, NULL);
	if (db_read(pool->daemon->db, describe_tx, &call, err) < 0)
		return -1;
	*ret_n = volumes->len;
	*ret_volumes = arena_alloc(arena, (volumes->len + 1) * sizeof(void *));
	for (guint i = 0; i < volumes->len; i++) {
		finish(pool, volumes->pdata[i], arena);
		(*ret_volumes)[i] = ((Described *)volumes->pdata[i])->message;
	}
	return 0;
}
