#include "migrate/older.h"
#include "migrate/act.h"
#include "sdk/base/file.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct PatchQuery {
	const char *name;
	int64_t found;
} PatchQuery;

static int find_patch(Tx *tx, void *data, Error **err)
{
	PatchQuery *query = data;
	return tx_int(tx, &query->found, err, "SELECT count(*) FROM patches WHERE name = ?", "s",
	    query->name);
}

gboolean older_is_patched(LxdDatabase *lxd, const char *patch)
{
	PatchQuery query = { .name = patch };
	return db_local_read(lxd->db, find_patch, &query, NULL) == 0 && query.found > 0;
}

/* ---- custom volumes had no project in their names ---- */

static char *later_name(const char *name)
{
	return g_strconcat("default_", name, NULL);
}

char *older_custom_volume(const char *pool_folder, const char *folder, const char *name)
{
	g_autofree char *later = later_name(name);
	g_autofree char *now = g_build_filename(pool_folder, folder, later, NULL);
	g_autofree char *before = g_build_filename(pool_folder, folder, name, NULL);
	return access(now, F_OK) < 0 && access(before, F_OK) == 0 ? g_steal_pointer(&before) : NULL;
}

static int rename_volume(
    Migration *m, const char *pool, const char *folder, const char *name, Error **err)
{
	g_autofree char *top = g_build_filename(m->target.directory, "storage-pools", pool, NULL);
	g_autofree char *before = older_custom_volume(top, folder, name);
	g_autofree char *later = later_name(name);
	g_autofree char *to = g_build_filename(top, folder, later, NULL);
	return before ? act_rename(m->journal, before, to, err) : 0;
}

static int take_volume(Rows *row, void *data, Error **err)
{
	for (int i = 0; i < 2; i++) /* pool, name, pool, name ... */
		g_ptr_array_add(data, g_strdup(rows_text(row, i)));
	return 0;
}

static int rename_volumes(Migration *m, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
	if (lxd_database_each(m->lxd,
		"SELECT p.name, v.name FROM storage_volumes v JOIN storage_pools p ON p.id = v.storage_pool_id"
		" JOIN projects j ON j.id = v.project_id WHERE v.type = 2 AND j.name = 'default'",
		take_volume, list, err) < 0)
		return -1;
	for (guint i = 0; i + 1 < list->len; i += 2)
		if (rename_volume(m, list->pdata[i], "custom", list->pdata[i + 1], err) < 0 ||
		    rename_volume(m, list->pdata[i], "custom-snapshots", list->pdata[i + 1], err) <
			0)
			return -1;
	return 0;
}

/* ---- instances' backups were not in a folder of their own ---- */

static GPtrArray *names_in(const char *path)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		g_ptr_array_add(names, g_strdup(name));
	return names;
}

static int rename_backups(Migration *m, Error **err)
{
	g_autofree char *backups = g_build_filename(m->target.directory, "backups", NULL);
	g_autofree char *folder = g_build_filename(backups, "instances", NULL);
	g_autoptr(GPtrArray) names = names_in(backups);
	if (names->len == 0 || access(folder, F_OK) == 0)
		return 0;
	if (act_watch(m->journal, backups, err) < 0)
		return -1;
	for (guint i = 0; i < names->len; i++) {
		const char *name = names->pdata[i];
		g_autofree char *from = g_build_filename(backups, name, NULL);
		g_autofree char *to = g_build_filename(folder, name, NULL);
		if (strcmp(name, "custom") != 0 && act_rename(m->journal, from, to, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- addresses were noted by instance, not by card: the server notes them anew ---- */

static void remove_hosts(const Migration *m)
{
	g_autofree char *networks = g_build_filename(m->target.directory, "networks", NULL);
	g_autoptr(GPtrArray) list = names_in(networks);
	for (guint i = 0; i < list->len; i++) {
		g_autofree char *folder = g_build_filename(
		    networks, list->pdata[i], "dnsmasq.hosts", NULL);
		g_autoptr(GPtrArray) hosts = names_in(folder);
		for (guint n = 0; n < hosts->len; n++) {
			g_autofree char *path = g_build_filename(folder, hosts->pdata[n], NULL);
			if (!strchr(hosts->pdata[n], '.'))
				unlink(path);
		}
	}
}

int older_rename(Migration *m, Error **err)
{
	remove_hosts(m); /* of our copy: LXD keeps its own */
	return rename_volumes(m, err) < 0 ? -1 : rename_backups(m, err);
}
