#include "migrate/unlisted.h"
#include "migrate/act.h"
#include "migrate/links.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include <string.h>

static const char kept[] = "lxd-unlisted";

/* Where the daemon looks for them, and how many folders below. */
static const struct {
	const char *store, *folder;
	int depth;
} places[] = {
	{ "images", "", 0 },
	{ "backups", "instances", 1 },
	{ "backups", "custom", 2 },
};

/* Paths that rows name, in one column, and the schema that brought the table. */
static const struct {
	const char *sql;
	int since;
} listed[] = {
	{ "SELECT 'images/' || fingerprint FROM images"
	  " UNION ALL SELECT 'images/' || fingerprint || '.rootfs' FROM images",
	    0 },
	{ "SELECT 'backups/instances/' || CASE p.name WHEN 'default' THEN '' ELSE p.name || '_' END"
	  " || i.name || '/' || substr(b.name, instr(b.name, '/') + 1) FROM instances_backups b"
	  " JOIN instances i ON i.id = b.instance_id JOIN projects p ON p.id = i.project_id",
	    0 },
	{ "SELECT 'backups/custom/' || s.name || '/' || p.name || '_' || v.name || '/'"
	  " || substr(b.name, instr(b.name, '/') + 1) FROM storage_volumes_backups b"
	  " JOIN storage_volumes v ON v.id = b.storage_volume_id"
	  " JOIN storage_pools s ON s.id = v.storage_pool_id JOIN projects p ON p.id = v.project_id",
	    39 },
};

typedef struct Search {
	Migration *m;
	GHashTable *known; /* paths such as images/FINGERPRINT */
	/* `store` as it is on this side, which may be a link's target; `path` begins with its name.
	 */
	int (*take)(const struct Search *search, const char *path, Error **err);
} Search;

static int take_known(Rows *row, void *data, Error **err)
{
	g_hash_table_add(data, g_strdup(rows_text(row, 0)));
	return 0;
}

static int read_known(Migration *m, GHashTable *known, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(listed); i++)
		if (m->lxd->schema >= listed[i].since &&
		    lxd_database_each(m->lxd, listed[i].sql, take_known, known, err) < 0)
			return -1;
	return 0;
}

/* FINGERPRINT and FINGERPRINT.rootfs, and imports under way; other files there are nobody's. */
static gboolean is_image(const char *name)
{
	g_autofree char *fingerprint = g_strdup(name);
	if (g_str_has_suffix(fingerprint, ".rootfs"))
		fingerprint[strlen(fingerprint) - strlen(".rootfs")] = 0;
	return g_str_has_prefix(name, "import-") ||
	    (strlen(fingerprint) == 64 && name_check_fingerprint(fingerprint, NULL) == 0);
}

static int search_folder(
    const Search *search, const char *folder, const char *path, int depth, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		g_ptr_array_add(names, g_strdup(name));
	for (guint i = 0; i < names->len; i++) {
		g_autofree char *below = g_build_filename(folder, names->pdata[i], NULL);
		g_autofree char *there = g_build_filename(path, names->pdata[i], NULL);
		int result = 0;
		if (depth > 0)
			result = search_folder(search, below, there, depth - 1, err);
		else if (!g_hash_table_contains(search->known, there) &&
		    (strcmp(path, "images") != 0 || is_image(names->pdata[i])))
			result = search->take(search, there, err);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* `top` is LXD's directory, or Incus's. */
static int search_all(Migration *m, const char *top,
    int (*take)(const Search *search, const char *path, Error **err), Error **err)
{
	g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	const Search search = { m, known, take };
	if (read_known(m, known, err) < 0)
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
		g_autofree char *store = g_build_filename(top, places[i].store, NULL);
		g_autofree char *volume = links_source(m, store);
		g_autofree char *folder = g_build_filename(
		    volume ? volume : store, places[i].folder, NULL);
		g_autofree char *path = g_build_filename(places[i].store, places[i].folder, NULL);
		if (search_folder(&search, folder, path, places[i].depth, err) < 0)
			return -1;
	}
	return 0;
}

static int note_one(const Search *search, const char *path, Error **err)
{
	g_autofree char *where = g_strdup_printf("file \"%s\"", path);
	findings_add(search->m->findings, FINDING_NOTE, "files", where,
	    "LXD's database does not know it: it is moved to the folder \"%s\" beside", kept);
	return 0;
}

int unlisted_check(Migration *m, Error **err)
{
	return search_all(m, m->source.directory, note_one, err);
}

static int keep_one(const Search *search, const char *path, Error **err)
{
	Journal *journal = search->m->journal;
	const char *below = strchr(path, '/') + 1;
	g_autofree char *name = g_strndup(path, (gsize)(below - path - 1));
	g_autofree char *store = g_build_filename(search->m->target.directory, name, NULL);
	g_autofree char *from = g_build_filename(store, below, NULL);
	g_autofree char *to = g_build_filename(store, kept, below, NULL);
	log_info("LXD's database does not know this file", "path", from, "now", to);
	return act_watch(journal, store, err) < 0 ? -1 : act_rename(journal, from, to, err);
}

int unlisted_keep(Migration *m, Error **err)
{
	return search_all(m, m->target.directory, keep_one, err);
}
