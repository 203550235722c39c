/* Whether everything that the rows name is there, and whether we can have it. */
#include "migrate/check.h"
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

static int check_pools(Tx *tx, void *data, Error **err)
{
	StorageCall *call = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT p.name, p.driver, c.value FROM storage_pools p LEFT JOIN storage_pools_config c"
		" ON c.storage_pool_id = p.id AND c.key = 'source'",
		"") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		CheckedPool *pool = check_pool(call->m, rows_text(rows, 0), rows_text(rows, 1),
		    rows_null(rows, 2) ? NULL : rows_text(rows, 2));
		g_hash_table_replace(call->pools, pool->name, pool);
	}
	return more;
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

static void check_volume(StorageCall *call, const char *pool_name, const char *project,
    const char *name, int64_t type, const char *snapshot)
{
	CheckedPool *pool = g_hash_table_lookup(call->pools, pool_name);
	if (!pool || type < 0 || type >= (int64_t)G_N_ELEMENTS(types) || (type == 1 && snapshot))
		return;
	if (!pool->folder) {
		if (pool->usable && type == 2 && !snapshot)
			check_unseen(call, pool, name);
		return;
	}
	g_autofree char *on_disk = disk_name(type, project, name);
	g_autofree char *folder = g_strconcat(
	    types[type].folder, snapshot ? "-snapshots" : "", NULL);
	g_autofree char *older = type == 2 && strcmp(project, "default") == 0 ?
	    older_custom_volume(pool->folder, folder, name) :
	    NULL;
	g_autofree char *path = older ?
	    g_build_filename(older, snapshot, NULL) :
	    g_build_filename(pool->folder, folder, on_disk, snapshot, NULL);
	if (access(path, F_OK) < 0)
		refuse(call->m, snapshot ? "snapshot" : types[type].what,
		    snapshot ? snapshot : name, "\"%s\" is not there", path);
}

static int check_volumes(Tx *tx, void *data, Error **err)
{
	static const char sql[] =
	    "SELECT p.name, j.name, v.name, v.type, NULL FROM storage_volumes v"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id JOIN projects j ON j.id = v.project_id"
	    " UNION ALL SELECT p.name, j.name, v.name, v.type, s.name FROM storage_volumes_snapshots s"
	    " JOIN storage_volumes v ON v.id = s.storage_volume_id"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id JOIN projects j ON j.id = v.project_id";
	StorageCall *call = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		check_volume(call, rows_text(rows, 0), rows_text(rows, 1), rows_text(rows, 2),
		    rows_int(rows, 3), rows_null(rows, 4) ? NULL : rows_text(rows, 4));
	return more;
}

/* ---- rows that need each other ---- */

static const struct {
	const char *what, *sql, *text;
} needs[] = {
	{ "instance",
	    "SELECT i.name FROM instances i WHERE (i.name, i.project_id, i.type * 3)"
	    " NOT IN (SELECT name, project_id, type FROM storage_volumes)",
	    "Its storage pool or root volume is gone" },
	{ "storage pool", "SELECT name FROM storage_pools WHERE state <> 1",
	    "Its creation was never finished" },
	{ "network", "SELECT name FROM networks WHERE state <> 1",
	    "Its creation was never finished" },
	{ "instance", "SELECT name FROM instances WHERE type NOT IN (0, 1)",
	    "It is of an unknown type" },
};

static int check_needs(Tx *tx, void *data, Error **err)
{
	StorageCall *call = data;
	for (size_t i = 0; i < G_N_ELEMENTS(needs); i++) {
		g_autoptr(Rows) rows = NULL;
		int more = tx_query(tx, &rows, err, needs[i].sql, "");
		while (more >= 0 && (more = rows_next(rows, err)) > 0)
			refuse(call->m, needs[i].what, rows_text(rows, 0), "%s", needs[i].text);
		if (more < 0)
			return -1;
	}
	return 0;
}

/* ---- snapshots whose volumes have no record, which older versions forgot to make ---- */

static void check_recordless(StorageCall *call, Rows *rows)
{
	const char *pool_name = rows_text(rows, 0), *project = rows_text(rows, 1),
		   *name = rows_text(rows, 2), *snapshot = rows_text(rows, 3);
	int64_t type = rows_int(rows, 4);
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
}

static int check_records(Tx *tx, void *data, Error **err)
{
	static const char sql[] =
	    "SELECT p.name, j.name, i.name, s.name, v.type FROM instances_snapshots s"
	    " JOIN instances i ON i.id = s.instance_id JOIN projects j ON j.id = i.project_id"
	    " JOIN storage_volumes v ON v.name = i.name AND v.project_id = i.project_id AND v.type = i.type * 3"
	    " JOIN storage_pools p ON p.id = v.storage_pool_id WHERE NOT EXISTS"
	    " (SELECT 1 FROM storage_volumes_snapshots w WHERE w.storage_volume_id = v.id AND w.name = s.name)";
	StorageCall *call = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		check_recordless(call, rows);
	return more;
}

/* ---- files that stand by themselves ---- */

static int check_images(Tx *tx, void *data, Error **err)
{
	StorageCall *call = data;
	g_autoptr(Rows) rows = NULL;
	g_autofree char *folder = g_build_filename(call->m->source.directory, "images", NULL);
	if (g_file_test(folder, G_FILE_TEST_IS_SYMLINK)) /* on a volume */
		return 0;
	if (tx_query(tx, &rows, err, "SELECT DISTINCT fingerprint FROM images", "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		g_autofree char *path = g_build_filename(folder, rows_text(rows, 0), NULL);
		if (access(path, F_OK) < 0)
			refuse(call->m, "image", rows_text(rows, 0), "\"%s\" is not there", path);
	}
	return more;
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

int check_storage(Migration *m, Error **err)
{
	static int (*const parts[])(Tx * tx, void *data, Error **err) = { check_pools,
		check_volumes, check_needs, check_records, check_images };
	g_autoptr(GHashTable) pools = g_hash_table_new_full(
	    g_str_hash, g_str_equal, NULL, pool_free);
	StorageCall call = { .m = m,
		.pools = pools,
		.renames = older_is_patched(m->lxd, "storage_rename_custom_volume_add_project"),
		.records = older_is_patched(m->lxd, "storage_missing_snapshot_records") };
	guint before = findings_count(m->findings, FINDING_REFUSED);
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
		if (db_read(m->lxd->db, parts[i], &call, err) < 0)
			return -1;
	check_links(m);
	if (findings_count(m->findings, FINDING_REFUSED) == before)
		findings_add(m->findings, FINDING_OK, "storage", "pools, volumes, images",
		    "All that the database names is there");
	return 0;
}
