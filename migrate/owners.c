#include "migrate/owners.h"
#include "migrate/journal.h"
#include "migrate/pool_view.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "server/helper/client.h"
#include "server/sys/id_map.h"
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Whose owners: id, project, name, pool, map, the volume's id. */
static const struct {
	const char *sql, *now; /* as LXD has it; the map that our database has for an id */
	VolumeType type;
	const char *below;
	gboolean prefixed; /* the default project's names have a prefix, too */
} kinds[] = {
	{ "SELECT i.id, j.name, i.name, p.name, c.value, v.id FROM instances i"
	  " JOIN instances_config c ON c.instance_id = i.id AND c.key = 'volatile.last_state.idmap'"
	  " JOIN projects j ON j.id = i.project_id JOIN storage_volumes v ON v.name = i.name"
	  " AND v.project_id = i.project_id AND v.type = 0 JOIN storage_pools p ON p.id = v.storage_pool_id"
	  " WHERE i.type = 0 ORDER BY p.name",
	    "SELECT value FROM instances_config WHERE instance_id = ? AND key = 'volatile.last_state.idmap'",
	    VOLUME_CONTAINER, "rootfs", FALSE },
	{ "SELECT v.id, j.name, v.name, p.name, c.value, v.id FROM storage_volumes v"
	  " JOIN storage_volumes_config c ON c.storage_volume_id = v.id AND c.key = 'volatile.idmap.last'"
	  " JOIN projects j ON j.id = v.project_id JOIN storage_pools p ON p.id = v.storage_pool_id"
	  " WHERE v.type = 2 ORDER BY p.name",
	    "SELECT value FROM storage_volumes_config WHERE storage_volume_id = ? AND key = 'volatile.idmap.last'",
	    VOLUME_CUSTOM, NULL, TRUE },
};

/* ---- before ---- */

static int note_kind(Tx *tx, json_t *list, int kind, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, kinds[kind].sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		const char *project = rows_text(rows, 1), *map = rows_text(rows, 4);
		gboolean plain = !kinds[kind].prefixed && strcmp(project, "default") == 0;
		g_autofree char *on_disk = g_strconcat(
		    plain ? "" : project, plain ? "" : "_", rows_text(rows, 2), NULL);
		json_array_append_new(list,
		    json_pack("{s:i, s:I, s:I, s:s, s:s, s:s}", "kind", kind, "id",
			(json_int_t)rows_int(rows, 0), "volume", (json_int_t)rows_int(rows, 5),
			"pool", rows_text(rows, 3), "name", on_disk, "map", map ? map : ""));
	}
	return more;
}

static int note_all(Tx *tx, void *data, Error **err)
{
	json_t *list = data;
	json_array_clear(list);
	for (int kind = 0; kind < (int)G_N_ELEMENTS(kinds); kind++)
		if (note_kind(tx, list, kind, err) < 0)
			return -1;
	return 0;
}

int owners_note(Migration *m, Error **err)
{
	json_t *list = json_array();
	if (db_read(m->lxd->db, note_all, list, err) < 0) {
		json_decref(list);
		return -1;
	}
	return journal_note(m->journal, "owners", json_pack("{s:o}", "list", list), err);
}

/* ---- back ---- */

typedef struct Restore {
	const Target *target;
	Db *ours;
	Spawner *spawner;
	char *pool; /* that the view is of */
	PoolView *view;
	char *journals;	 /* one for each tree: what was begun is finished, and never done twice */
	const char *sql; /* of the tree at hand */
	int64_t id;
	char *now;
} Restore;

static int read_now(Tx *tx, void *data, Error **err)
{
	Restore *restore = data;
	g_autoptr(Rows) rows = NULL;
	g_clear_pointer(&restore->now, g_free);
	if (tx_query(tx, &rows, err, restore->sql, "i", restore->id) < 0)
		return -1;
	int more = rows_next(rows, err);
	if (more > 0)
		restore->now = g_strdup(rows_text(rows, 0));
	return more < 0 ? -1 : 0;
}

static int shift(Restore *restore, const char *path, const char *journal, const GArray *from,
    const GArray *to, gboolean *ret_done, Error **err)
{
	g_autoptr(Packet) answer = NULL;
	g_autofree char *from_text = from ? id_map_text(from) : NULL;
	g_autofree char *to_text = to ? id_map_text(to) : NULL;
	Packet *request = packet_new(SPAWN_SHIFT);
	request->n[0] = from == NULL;
	packet_add(request, path);
	packet_add(request, from_text);
	packet_add(request, to_text);
	packet_add(request, "lxd");
	packet_add(request, journal);
	if (spawner_call(restore->spawner, request, NULL, &answer, err) < 0)
		return -1;
	*ret_done = answer->n[0] != 0;
	return 0;
}

static int restore_tree(Restore *restore, const char *path, const char *journal, const GArray *from,
    const GArray *to, Error **err)
{
	gboolean done = FALSE;
	if (access(journal, F_OK) == 0 && shift(restore, path, journal, NULL, NULL, &done, err) < 0)
		return -1;
	log_info("Owners as LXD has them", "path", path);
	return done ? 0 : shift(restore, path, journal, from, to, &done, err);
}

static int leave_pool(Restore *restore, Error **err)
{
	PoolView *view = g_steal_pointer(&restore->view);
	g_clear_pointer(&restore->pool, g_free);
	return pool_view_close(view, err);
}

/* The view stays NULL where the pool is gone. Entries of one pool come one after the other. */
static int enter_pool(Restore *restore, const char *pool, Error **err)
{
	Error *problem = NULL;
	if (g_strcmp0(restore->pool, pool) == 0)
		return 0;
	if (leave_pool(restore, err) < 0)
		return -1;
	if (pool_view_open(restore->target->directory, restore->ours, pool, &restore->view,
		&problem) < 0) {
		if (problem->kind != ERROR_NOT_FOUND)
			return error_propagate(err, problem);
		log_warn("A storage pool is not there on the way back: its files keep their owners",
		    "pool", pool, "err", problem->message);
		error_free(problem);
	}
	restore->pool = g_strdup(pool);
	return 0;
}

static int restore_volume(Restore *restore, const json_t *entry, const GArray *from,
    const GArray *to, Error **err)
{
	const char *name = json_string_value(json_object_get(entry, "name")), *folder = NULL;
	json_int_t kind = json_integer_value(json_object_get(entry, "kind"));
	if (restore->view &&
	    pool_view_enter(restore->view, kinds[kind].type, name,
		json_integer_value(json_object_get(entry, "volume")), &folder, err) < 0)
		return -1;
	if (!folder) { /* deleted meanwhile, or moved */
		log_warn("A volume is not there on the way back", "pool", restore->pool, "volume",
		    name);
		return 0;
	}
	g_autofree char *path = g_build_filename(folder, kinds[kind].below, NULL);
	g_autofree char *journal = g_strdup_printf(
	    "%s/%d-%" G_GINT64_FORMAT, restore->journals, (int)kind, restore->id);
	int result = access(path, F_OK) < 0 ?
	    0 : /* emptied */
	    restore_tree(restore, path, journal, from, to, err);
	return pool_view_leave(restore->view, result == 0 ? err : NULL) < 0 ? -1 : result;
}

static int restore_entry(Restore *restore, const json_t *entry, Error **err)
{
	const char *pool = json_string_value(json_object_get(entry, "pool")),
		   *name = json_string_value(json_object_get(entry, "name"));
	json_int_t kind = json_integer_value(json_object_get(entry, "kind"));
	g_autoptr(GArray) from = NULL, to = NULL;
	if (!pool || !name || kind < 0 || kind >= (json_int_t)G_N_ELEMENTS(kinds))
		return error_set(err, ERROR_INVALID, "The journal is damaged");
	restore->id = json_integer_value(json_object_get(entry, "id"));
	restore->sql = kinds[kind].now;
	if (db_read(restore->ours, read_now, restore, err) < 0 ||
	    id_map_parse(restore->now, &from, err) < 0 ||
	    id_map_parse(json_string_value(json_object_get(entry, "map")), &to, err) < 0)
		return -1;
	if (id_map_equal(from, to))
		return 0;
	return enter_pool(restore, pool, err) < 0 ?
	    -1 :
	    restore_volume(restore, entry, from, to, err);
}

static int restore_all(Restore *restore, const json_t *line, Error **err)
{
	size_t i;
	json_t *entry;
	g_autofree char *program = tool_helper("incus-spawner");
	if (file_mkdir_all(restore->journals, 0700, err) < 0 ||
	    spawner_new(program, &restore->spawner, err) < 0)
		return -1;
	int result = 0;
	json_array_foreach (json_object_get(line, "list"), i, entry)
		if (result == 0)
			result = restore_entry(restore, entry, err);
	if (leave_pool(restore, result == 0 ? err : NULL) < 0)
		result = -1;
	Daemon holder = { .spawner = restore->spawner };
	spawner_stop(&holder);
	return result;
}

/* SQLite maps a file into memory that it makes as long as it needs: on a full disk, writing there
 * ends the process (SIGBUS). */
static int check_room(const char *path, Error **err)
{
	enum { NEEDED = 1 << 20 };
	struct statvfs fs;
	return statvfs(path, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < NEEDED ?
	    error_set(err, ERROR_INTERNAL,
		"The disk of \"%s\" is full: make room of some MiB first", path) :
	    0;
}

int owners_restore(const Target *target, const json_t *line, Error **err)
{
	g_autofree char *folder = journal_folder(target->directory);
	Restore restore = { .target = target,
		.journals = g_build_filename(folder, "owners", NULL) };
	int result = check_room(target->directory, err);
	if (result == 0)
		result = db_open_existing(target->directory, &restore.ours, err);
	if (result == 0 && restore.ours)
		result = restore_all(&restore, line, err);
	db_close(restore.ours);
	g_free(restore.journals);
	g_free(restore.now);
	return result;
}
