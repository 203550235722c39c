/* Whether everything that the rows name is there, and whether we can have it. */
#include "migrate/check.h"
#include "migrate/links.h"
#include "migrate/older.h"
#include "migrate/tool.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name, *tool; /* tool NULL: none is needed */
	gboolean refused;
} drivers[] = {
	{ "dir", NULL, FALSE },
	{ "btrfs", "btrfs", FALSE },
	{ "lvm", "lvs", FALSE },
	{ "zfs", "zpool", FALSE },
	{ "ceph", NULL, TRUE },
	{ "cephfs", NULL, TRUE },
	{ "cephobject", NULL, TRUE },
};

/* A pool, and where its volumes can be seen while LXD is stopped; NULL: on a device or in a loop
 * file, which only the pool's own mount shows. */
typedef struct CheckedPool {
	char *name, *driver, *folder;
	gboolean usable;
} CheckedPool;

typedef struct StorageCall {
	Migration *m;
	GHashTable *pools; /* name -> CheckedPool */
	gboolean renames, records; /* patches of LXD's that it had applied */
} StorageCall;

static void pool_free(void *data)
{
	CheckedPool *pool = data;
	g_free(pool->name);
	g_free(pool->driver);
	g_free(pool->folder);
	g_free(pool);
}

static void refuse(Migration *m, const char *what, const char *name, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
static void refuse(Migration *m, const char *what, const char *name, const char *format, ...)
{
	va_list list;
	g_autofree char *where = g_strdup_printf("%s \"%s\"", what, name);
	va_start(list, format);
	g_autofree char *text = g_strdup_vprintf(format, list);
	va_end(list);
	findings_add(m->findings, FINDING_REFUSED, "storage", where, "%s", text);
}

static gboolean check_driver(Migration *m, const char *pool, const char *driver)
{
	for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
		if (strcmp(drivers[i].name, driver) != 0)
			continue;
		g_autofree char *program = drivers[i].tool ?
		    g_find_program_in_path(drivers[i].tool) :
		    NULL;
		if (drivers[i].refused)
			refuse(m, "storage pool", pool, "Incus has no driver \"%s\" here", driver);
		else if (drivers[i].tool && !program)
			refuse(m, "storage pool", pool,
			    "The tool \"%s\" of driver \"%s\" is missing", drivers[i].tool, driver);
		return !drivers[i].refused;
	}
	refuse(m, "storage pool", pool, "Driver \"%s\" is unknown", driver);
	return FALSE;
}

/* Subvolumes do not survive being copied as plain trees. */
static void check_same_file_system(Migration *m, const char *pool, const char *folder)
{
	struct stat from, to;
	g_autofree char *up = g_path_get_dirname(m->target.directory);
	const char *target = m->target.exists ? m->target.directory : up;
	if (tool_within(folder, m->source.directory) && stat(folder, &from) == 0 &&
	    stat(target, &to) == 0 && from.st_dev != to.st_dev)
		refuse(m, "storage pool", pool,
		    "Its btrfs subvolumes in \"%s\" cannot move to another file system", folder);
}

static CheckedPool *check_pool(
    Migration *m, const char *name, const char *driver, const char *source)
{
	struct stat st;
	CheckedPool *pool = g_new0(CheckedPool, 1);
	pool->name = g_strdup(name);
	pool->driver = g_strdup(driver);
	pool->usable = check_driver(m, name, driver);
	gboolean trees = strcmp(driver, "dir") == 0 || strcmp(driver, "btrfs") == 0;
	g_autofree char *path = source ? source_path(&m->source, source) : NULL;
	if (!path || *path != '/') /* the name of something that only the driver finds */
		return pool;
	if (stat(path, &st) < 0) {
		refuse(m, "storage pool", name, "Its source \"%s\" is not there", path);
		pool->usable = FALSE;
	} else if (S_ISDIR(st.st_mode) && trees) {
		pool->folder = g_steal_pointer(&path);
		if (strcmp(driver, "btrfs") == 0)
			check_same_file_system(m, name, pool->folder);
	}
	return pool;
}

static const char pools_sql[] =
    "SELECT p.name, p.driver, c.value FROM storage_pools p LEFT JOIN storage_pools_config c"
    " ON c.storage_pool_id = p.id AND c.key = 'source'";

static int take_pool(Rows *row, void *data, Error **err)
{
	StorageCall *call = data;
	CheckedPool *pool = check_pool(call->m, rows_text(row, 0), rows_text(row, 1),
	    rows_null(row, 2) ? NULL : rows_text(row, 2));
	g_hash_table_replace(call->pools, pool->name, pool);
	return 0;
}

/* ---- volumes ---- */

/* storage_volumes.type: the folder, and whether the default project's have a prefix too. */
static const struct {
	const char *folder, *what;
	gboolean always_prefixed;
} types[] = {
	{ "containers", "container", FALSE },
	{ "images", "image", FALSE },
	{ "custom", "custom volume", TRUE },
	{ "virtual-machines", "virtual machine", FALSE },
};

static char *disk_name(int64_t type, const char *project, const char *name)
{
	gboolean plain = type == 1 ||
	    (!types[type].always_prefixed && strcmp(project, "default") == 0);
	return plain ? g_strdup(name) : g_strconcat(project, "_", name, NULL);
}

/* Their names on disk cannot be seen, and may be those that an older LXD gave. */
static void check_unseen(StorageCall *call, const CheckedPool *pool, const char *name)
{
	if (call->m->lxd->schema < 29 && !call->renames)
		refuse(call->m, "custom volume", name,
		    "LXD 4.0 names volumes on %s otherwise than later versions do: start LXD 5.0 "
		    "once, which renames them",
		    pool->driver);
}

typedef struct CheckedVolume {
	const char *pool, *project, *name, *snapshot; /* NULL: the volume itself */
	int64_t type;
	gboolean expired;
} CheckedVolume;

/* Where it is; NULL: in a pool that cannot be seen. g_free. */
static char *volume_path(const CheckedPool *pool, const CheckedVolume *volume)
{
	if (!pool->folder)
		return NULL;
	g_autofree char *on_disk = disk_name(volume->type, volume->project, volume->name);
	g_autofree char *folder = g_strconcat(
	    types[volume->type].folder, volume->snapshot ? "-snapshots" : "", NULL);
	g_autofree char *older = volume->type == 2 && strcmp(volume->project, "default") == 0 ?
	    older_custom_volume(pool->folder, folder, volume->name) :
	    NULL;
	return older ? g_build_filename(older, volume->snapshot, NULL) :
		       g_build_filename(pool->folder, folder, on_disk, volume->snapshot, NULL);
}

static void check_volume(StorageCall *call, const CheckedVolume *volume)
{
	const CheckedPool *pool = g_hash_table_lookup(call->pools, volume->pool);
	gboolean known = volume->type >= 0 && volume->type < (int64_t)G_N_ELEMENTS(types);
	if (!pool || !known || (volume->type == 1 && volume->snapshot))
		return;
	g_autofree char *path = volume_path(pool, volume);
	if (!path && pool->usable && volume->type == 2 && !volume->snapshot)
		check_unseen(call, pool, volume->name);
	if (!path || access(path, F_OK) == 0)
		return;
	/* An Incus that ran before a rollback has removed it, as LXD will. */
	if (volume->expired)
		findings_add(call->m->findings, FINDING_NOTE, "storage", path,
		    "This snapshot has expired, and is gone already");
	else
		refuse(call->m, volume->snapshot ? "snapshot" : types[volume->type].what,
		    volume->snapshot ? volume->snapshot : volume->name, "\"%s\" is not there",
		    path);
}

static const char volumes_sql[] =
    "SELECT p.name, j.name, v.name, v.type, NULL, NULL FROM storage_volumes v"
    " JOIN storage_pools p ON p.id = v.storage_pool_id JOIN projects j ON j.id = v.project_id"
    " UNION ALL SELECT p.name, j.name, v.name, v.type, s.name, coalesce((SELECT n.expiry_date FROM instances_snapshots n"
    " JOIN instances i ON i.id = n.instance_id WHERE i.name = v.name AND i.project_id = v.project_id"
    " AND i.type * 3 = v.type AND n.name = s.name), s.expiry_date) FROM storage_volumes_snapshots s"
    " JOIN storage_volumes v ON v.id = s.storage_volume_id"
    " JOIN storage_pools p ON p.id = v.storage_pool_id JOIN projects j ON j.id = v.project_id";

static int take_volume(Rows *row, void *data, Error **err)
{
	const CheckedVolume volume = { .pool = rows_text(row, 0),
		.project = rows_text(row, 1),
		.name = rows_text(row, 2),
		.type = rows_int(row, 3),
		.snapshot = rows_null(row, 4) ? NULL : rows_text(row, 4),
		.expired = check_is_expired(row, 5) };
	check_volume(data, &volume);
	return 0;
}

/* ---- rows that need each other ---- */

/* What it is, its name, what is wrong with it. */
static const char needs_sql[] =
    "SELECT 'instance', i.name, 'Its storage pool or root volume is gone' FROM instances i"
    " WHERE (i.name, i.project_id, i.type * 3) NOT IN (SELECT name, project_id, type FROM storage_volumes)"
    " UNION ALL SELECT 'storage pool', name, 'Its creation was never finished'"
    " FROM storage_pools WHERE state <> 1"
    " UNION ALL SELECT 'network', name, 'Its creation was never finished' FROM networks WHERE state <> 1"
    " UNION ALL SELECT 'instance', name, 'It is of an unknown type' FROM instances WHERE type NOT IN (0, 1)";

static int take_need(Rows *row, void *data, Error **err)
{
	const StorageCall *call = data;
	refuse(call->m, rows_text(row, 0), rows_text(row, 1), "%s", rows_text(row, 2));
	return 0;
}

/* ---- snapshots whose volumes have no record, which older versions forgot to make ---- */

static const char recordless_sql[] =
    "SELECT p.name, j.name, i.name, s.name, v.type FROM instances_snapshots s"
    " JOIN instances i ON i.id = s.instance_id JOIN projects j ON j.id = i.project_id"
    " JOIN storage_volumes v ON v.name = i.name AND v.project_id = i.project_id AND v.type = i.type * 3"
    " JOIN storage_pools p ON p.id = v.storage_pool_id WHERE NOT EXISTS"
    " (SELECT 1 FROM storage_volumes_snapshots w WHERE w.storage_volume_id = v.id AND w.name = s.name)";

static int take_recordless(Rows *row, void *data, Error **err)
{
	const StorageCall *call = data;
	const char *pool_name = rows_text(row, 0), *project = rows_text(row, 1),
		   *name = rows_text(row, 2), *snapshot = rows_text(row, 3);
	int64_t type = rows_int(row, 4);
	g_autofree char *what = g_strdup_printf("%s/%s", name, snapshot);
	g_autofree char *where = g_strdup_printf("snapshot \"%s\"", what);
	const CheckedPool *pool = g_hash_table_lookup(call->pools, pool_name);
	g_autofree char *on_disk = disk_name(type, project, name);
	g_autofree char *folder = g_strconcat(types[type].folder, "-snapshots", NULL);
	g_autofree char *path = pool && pool->folder ?
	    g_build_filename(pool->folder, folder, on_disk, snapshot, NULL) :
	    NULL;
	if (call->records || (path && access(path, F_OK) < 0))
		refuse(call->m, "snapshot", what, "Its volume's snapshot is gone");
	else
		findings_add(call->m->findings, FINDING_NOTE, "storage", where,
		    "Its volume has no record in LXD's database: one is made");
	return 0;
}

/* ---- files that stand by themselves ---- */

static const char images_sql[] = "SELECT DISTINCT fingerprint FROM images";

static int take_image(Rows *row, void *data, Error **err)
{
	const StorageCall *call = data;
	g_autofree char *folder = g_build_filename(call->m->source.directory, "images", NULL);
	g_autofree char *volume = links_source(call->m, folder);
	g_autofree char *path = g_build_filename(volume ? volume : folder, rows_text(row, 0), NULL);
	/* A volume may be one that only its pool's mount shows. */
	gboolean seen = !volume || access(volume, F_OK) == 0;
	if (seen && access(path, F_OK) < 0)
		refuse(call->m, "image", rows_text(row, 0), "\"%s\" is not there", path);
	return 0;
}

/* Into a pool that can be seen. Incus's own links are made from the database. */
static void check_dangling(Migration *m, const char *path, const char *target)
{
	g_autofree char *there = source_path(&m->source, target);
	g_autofree char *folder = g_path_get_dirname(there);
	g_autofree char *where = g_strdup_printf("link \"%s\"", path);
	if (access(folder, F_OK) == 0 && access(there, F_OK) < 0)
		findings_add(m->findings, FINDING_NOTE, "storage", where,
		    "It leads to \"%s\", which is not there; it is left", target);
}

/* The links of instances say where LXD thought that they are: a wrong one hides a mistake. */
static void check_link(Migration *m, const char *path)
{
	char target[4096];
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	if (length < 0) {
		if (errno == EINVAL)
			refuse(m, "link", path, "It is no link");
		return;
	}
	target[length] = 0;
	g_autofree char *canonical = g_canonicalize_filename(target, "/");
	if (*target != '/' ||
	    (!tool_within(canonical, m->source.recorded) &&
		!tool_within(canonical, m->source.named) &&
		!tool_within(canonical, m->source.directory)))
		refuse(m, "link", path, "It leaves LXD's directory: it leads to \"%s\"", target);
	else
		check_dangling(m, path, canonical);
}

static void check_links(Migration *m)
{
	static const char *const folders[] = { "containers", "snapshots", "containers-snapshots",
		"virtual-machines", "virtual-machines-snapshots" };
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *folder = g_build_filename(m->source.directory, folders[i], NULL);
		g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
		for (const char *name; dir && (name = g_dir_read_name(dir));) {
			g_autofree char *path = g_build_filename(folder, name, NULL);
			check_link(m, path);
		}
	}
}

/* Pools come first: the others look at what is known of them. */
static const struct {
	const char *sql;
	int (*take)(Rows *row, void *data, Error **err);
} parts[] = {
	{ pools_sql, take_pool },
	{ volumes_sql, take_volume },
	{ needs_sql, take_need },
	{ recordless_sql, take_recordless },
	{ images_sql, take_image },
};

int check_storage(Migration *m, Error **err)
{
	g_autoptr(GHashTable) pools = g_hash_table_new_full(
	    g_str_hash, g_str_equal, NULL, pool_free);
	StorageCall call = { .m = m,
		.pools = pools,
		.renames = older_is_patched(m->lxd, "storage_rename_custom_volume_add_project"),
		.records = older_is_patched(m->lxd, "storage_missing_snapshot_records") };
	guint before = findings_count(m->findings, FINDING_REFUSED);
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
		if (lxd_database_each(m->lxd, parts[i].sql, parts[i].take, &call, err) < 0)
			return -1;
	check_links(m);
	if (findings_count(m->findings, FINDING_REFUSED) == before)
		findings_add(m->findings, FINDING_OK, "storage", "pools, volumes, images",
		    "All that the database names is there");
	return 0;
}
