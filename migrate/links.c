#include "migrate/links.h"
#include "migrate/act.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

char *links_source(const Migration *m, const char *path)
{
	g_autofree char *target = g_file_read_link(path, NULL);
	return target ? source_path(&m->source, target) : NULL;
}

static int make_link(const char *link, const char *target, Error **err)
{
	return symlink(target, link) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Link \"%s\" cannot be made", link) :
	    0;
}

/* ---- instances ---- */

static int link_volume(const Migration *m, const char *folder, const char *pool,
    const char *project, const char *name, Error **err)
{
	gboolean plain = strcmp(project, "default") == 0;
	g_autofree char *on_disk = g_strconcat(plain ? "" : project, plain ? "" : "_", name, NULL);
	g_autofree char *target = g_build_filename(
	    m->target.directory, "storage-pools", pool, folder, on_disk, NULL);
	g_autofree char *link = g_build_filename(m->target.directory, folder, on_disk, NULL);
	return make_link(link, target, err);
}

static int take_volume(Rows *row, void *data, Error **err)
{
	gboolean machine = rows_int(row, 3) == 3;
	const char *pool = rows_text(row, 0), *project = rows_text(row, 1),
		   *name = rows_text(row, 2);
	const char *folder = machine ? "virtual-machines" : "containers";
	const char *snapshots = machine ? "virtual-machines-snapshots" : "containers-snapshots";
	return link_volume(data, folder, pool, project, name, err) < 0 ?
	    -1 :
	    link_volume(data, snapshots, pool, project, name, err);
}

static int link_instances(Migration *m, Error **err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} folders[] = { { "containers", 0711 }, { "containers-snapshots", 0700 },
		{ "virtual-machines", 0711 }, { "virtual-machines-snapshots", 0700 } };
	static const char sql[] =
	    "SELECT p.name, j.name, v.name, v.type FROM storage_volumes v JOIN storage_pools p"
	    " ON p.id = v.storage_pool_id JOIN projects j ON j.id = v.project_id WHERE v.type IN (0, 3)";
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_build_filename(
		    m->target.directory, folders[i].name, NULL);
		if (act_make(m->journal, path, err) < 0 ||
		    file_mkdir_all(path, folders[i].mode, err) < 0)
			return -1;
	}
	return lxd_database_each(m->lxd, sql, take_volume, m, err);
}

/* ---- the server's own files on a volume ---- */

static int take_store(Rows *row, void *data, Error **err)
{
	const Migration *m = data;
	g_auto(GStrv) place = g_strsplit(rows_text(row, 1), "/", 2); /* POOL/VOLUME */
	g_autofree char *link = g_build_filename(m->target.directory, rows_text(row, 0), NULL);
	g_autofree char *from = g_build_filename(m->source.directory, rows_text(row, 0), NULL);
	/* Where LXD had a folder all the same, that was moved. */
	if (g_strv_length(place) != 2 || !g_file_test(from, G_FILE_TEST_IS_SYMLINK))
		return 0;
	g_autofree char *volume = g_strconcat("default_", place[1], NULL);
	g_autofree char *target = g_build_filename(
	    m->target.directory, "storage-pools", place[0], "custom", volume, NULL);
	return act_make(m->journal, link, err) < 0 ? -1 : make_link(link, target, err);
}

int links_make(Migration *m, Error **err)
{
	static const char sql[] =
	    "SELECT substr(key, 9, length(key) - 15), value FROM config" /* storage.images_volume */
	    " WHERE key IN ('storage.images_volume', 'storage.backups_volume') AND value <> ''";
	return link_instances(m, err) < 0 ? -1 :
					    lxd_database_each_local(m->lxd, sql, take_store, m, err);
}
