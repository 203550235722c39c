#include "server/storage/driver_zfs_private.h"
#include "server/storage/pool_source.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Marks what a server made: what it did not make it does not destroy. */
#define MADE "incus:made"
enum { MINIMUM = 64 << 20 };

const char *zfs_pool_dataset(const DriverPool *pool)
{
	const char *name = config_get(pool->config, "zfs.pool_name");
	return name ? name : pool->name;
}

static int prepare_dataset(const DriverPool *pool, Error **err)
{
	const char *name = zfs_pool_dataset(pool);
	g_autoptr(GPtrArray) children = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *zpool = g_strndup(name, strcspn(name, "/")), *type = NULL;
	if (!zfs_pool_exists(zpool))
		return error_set(err, ERROR_INVALID, "ZFS pool \"%s\" does not exist", zpool);
	if (!zfs_exists(name)) /* it will be made */
		return 0;
	if (zfs_get(name, "type", &type, err) < 0 || zfs_children(name, children, err) < 0 ||
	    zfs_snapshots(name, children, err) < 0)
		return -1;
	if (strcmp(type, "filesystem") != 0)
		return error_set(
		    err, ERROR_INVALID, "ZFS dataset \"%s\" is a %s, not a filesystem", name, type);
	return children->len == 0 ? 0 :
				    error_set(err, ERROR_INVALID,
					"Provided ZFS pool (or dataset) \"%s\" isn't empty", name);
}

int zfs_pool_prepare(DriverPool *pool, Error **err)
{
	SourceKind kind = source_kind(pool);
	const char *source = config_get(pool->config, "source"),
		   *named = config_get(pool->config, "zfs.pool_name");
	if (kind == SOURCE_DIRECTORY)
		return error_set(err, ERROR_INVALID,
		    "Source \"%s\" is neither a block device nor a ZFS dataset", source);
	if (kind == SOURCE_NAME && named && strcmp(named, source) != 0)
		return error_set(err, ERROR_INVALID,
		    "zfs.pool_name \"%s\" and source \"%s\" are not the same", named, source);
	config_set(
	    pool->config, "zfs.pool_name", kind == SOURCE_NAME ? source : zfs_pool_dataset(pool));
	if (zfs_name_check(zfs_pool_dataset(pool), err) < 0 ||
	    source_prepare(pool, MINIMUM, err) < 0)
		return -1;
	if (kind == SOURCE_NAME)
		return prepare_dataset(pool, err);
	if (strchr(zfs_pool_dataset(pool), '/'))
		return error_set(err, ERROR_INVALID, "A new ZFS pool cannot be called \"%s\"",
		    zfs_pool_dataset(pool));
	return zfs_pool_exists(zfs_pool_dataset(pool)) ?
	    error_set(err, ERROR_EXISTS, "ZFS pool \"%s\" already exists", zfs_pool_dataset(pool)) :
	    0;
}

/* ---- the datasets around volumes: made when something is to go there ---- */

static struct {
	GMutex lock;
	GHashTable *set; /* of names that are known to be there */
} parents;

static void parents_forget(void)
{
	g_mutex_lock(&parents.lock);
	g_clear_pointer(&parents.set, g_hash_table_unref);
	g_mutex_unlock(&parents.lock);
}

int zfs_make_parent(const char *dataset, Error **err)
{
	g_autofree char *parent = g_path_get_dirname(dataset);
	g_mutex_lock(&parents.lock);
	gboolean there = parents.set && g_hash_table_contains(parents.set, parent);
	g_mutex_unlock(&parents.lock);
	if (there)
		return 0;
	if (zfs_run(err, "zfs", "create", "-p", "-o", "mountpoint=legacy", parent, NULL) < 0)
		return -1;
	g_mutex_lock(&parents.lock);
	if (!parents.set)
		parents.set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_hash_table_add(parents.set, g_steal_pointer(&parent));
	g_mutex_unlock(&parents.lock);
	return 0;
}

int zfs_pool_create(DriverPool *pool, Error **err)
{
	const char *name = zfs_pool_dataset(pool);
	if (source_create(pool, err) < 0)
		return -1;
	parents_forget();
	if (source_kind(pool) != SOURCE_NAME) {
		if (zfs_run(err, "zpool", "create", "-f", "-m", "none", "-O", "compression=on",
			"-O", MADE "=yes", name, config_get(pool->config, "source"), NULL) < 0)
			return -1;
	} else if (!zfs_exists(name) &&
	    zfs_run(err, "zfs", "create", "-p", "-o", "mountpoint=legacy", "-o", MADE "=yes", name,
		NULL) < 0) {
		return -1;
	}
	return zfs_run(err, "zfs", "set", "mountpoint=legacy", "setuid=on", "exec=on", "devices=on",
	    "acltype=posixacl", "xattr=sa", name, NULL);
}

/* Its own pool, and not a part of somebody's. */
static gboolean is_whole(const DriverPool *pool)
{
	return !strchr(zfs_pool_dataset(pool), '/');
}

/* What was in use when it was deleted, and may not be any more. */
static guint sweep_ghosts(const char *root)
{
	g_autofree char *folder = g_strdup_printf("%s/deleted/ghosts", root);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	zfs_children(folder, names, NULL);
	for (guint i = names->len; i > 0; i--) { /* younger ones may be copies of older ones */
		g_autofree char *ghost = g_strdup_printf(
		    "%s/%s", folder, (const char *)names->pdata[i - 1]);
		zfs_run(NULL, "zfs", "destroy", "-r", ghost, NULL);
	}
	return names->len;
}

/* Snapshots that a crash left of sending. */
static guint sweep_streams(void)
{
	g_auto(GStrv) left = zfs_seen("@" ZFS_MIGRATION "-");
	for (size_t i = 0; left[i]; i++)
		zfs_run(NULL, "zfs", "destroy", left[i], NULL);
	return g_strv_length(left);
}

/* What a copy is made of goes with the last copy, unless a crash came before that was said. */
static guint sweep_origins(void)
{
	enum { AT_ONCE = 500 };
	guint swept = 0;
	g_auto(GStrv) origins = zfs_seen("@" ZFS_COPY "-");
	for (size_t i = 0; origins[i];) {
		g_autofree char *output = NULL;
		g_autoptr(GPtrArray) words = program_words(
		    "zfs", "get", "-Hp", "-o", "value,name", "defer_destroy", NULL);
		for (size_t n = 0; origins[i] && n < AT_ONCE; n++)
			program_add(words, origins[i++], NULL);
		g_ptr_array_add(words, NULL);
		if (program_output((const char *const *)words->pdata, &output, NULL) < 0)
			continue;
		g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
		for (size_t n = 0; lines[n]; n++)
			if (g_str_has_prefix(lines[n], "off\t") && ++swept)
				zfs_run(
				    NULL, "zfs", "destroy", "-d", lines[n] + strlen("off\t"), NULL);
	}
	return swept;
}

int zfs_pool_mount(DriverPool *pool, Error **err)
{
	const char *name = zfs_pool_dataset(pool);
	g_autofree char *zpool = g_strndup(name, strcspn(name, "/")),
			*disks = g_path_get_dirname(pool->loop_file);
	if (!zfs_pool_exists(zpool)) {
		int result = source_kind(pool) == SOURCE_LOOP ?
		    zfs_run(err, "zpool", "import", "-f", "-d", disks, zpool, NULL) :
		    zfs_run(err, "zpool", "import", zpool, NULL);
		if (result < 0)
			return -1;
	}
	if (zfs_look(name, NULL) < 0)
		return error_set(err, ERROR_NOT_FOUND, "ZFS dataset \"%s\" does not exist", name);
	guint swept = sweep_streams() + sweep_origins();
	return sweep_ghosts(name) + swept > 0 ? zfs_look(name, err) : 0;
}

int zfs_pool_unmount(DriverPool *pool, Error **err)
{
	if (config_false(pool->config, "zfs.export") || !is_whole(pool) ||
	    !zfs_pool_exists(zfs_pool_dataset(pool)))
		return 0;
	/* In use while containers outlive the server: the next start finds it imported. */
	zfs_run(NULL, "zpool", "export", zfs_pool_dataset(pool), NULL);
	return 0;
}

/* What is below somebody else's dataset; only our folders are there, for it was empty. */
static int empty_dataset(const char *name, Error **err)
{
	static const char *const tops[] = { "containers", "custom", "virtual-machines", "images",
		"buckets", "unfinished", "deleted" };
	for (size_t i = 0; i < G_N_ELEMENTS(tops); i++) {
		g_autofree char *dataset = g_strdup_printf("%s/%s", name, tops[i]);
		if (zfs_exists(dataset) && zfs_run(err, "zfs", "destroy", "-r", dataset, NULL) < 0)
			return -1;
	}
	return 0;
}

int zfs_pool_delete(DriverPool *pool, Error **err)
{
	const char *name = zfs_pool_dataset(pool);
	SourceKind kind = source_kind(pool);
	parents_forget();
	if (zfs_exists(name)) {
		int result = !zfs_is_set(name, MADE, "yes") ? empty_dataset(name, err)
		    : is_whole(pool)    ? zfs_run(err, "zpool", "destroy", "-f", name, NULL)
					: zfs_run(err, "zfs", "destroy", "-r", name, NULL);
		if (result < 0)
			return -1;
	}
	if (kind == SOURCE_LOOP && unlink(pool->loop_file) < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot remove the loop file \"%s\"",
		    pool->loop_file);
	return 0;
}

int zfs_pool_update(DriverPool *pool, const Config *before, Error **err)
{
	gboolean grown;
	if (source_grow(pool, before, &grown, err) < 0)
		return -1;
	return grown ?
	    zfs_run(err, "zpool", "online", "-e", zfs_pool_dataset(pool), pool->loop_file, NULL) :
	    0;
}

int zfs_pool_resources(DriverPool *pool, DriverResources *ret, Error **err)
{
	g_autofree char *used = NULL, *available = NULL;
	if (zfs_get(zfs_pool_dataset(pool), "used", &used, err) < 0 ||
	    zfs_get(zfs_pool_dataset(pool), "available", &available, err) < 0)
		return -1;
	*ret = (DriverResources){ .space_used = g_ascii_strtoull(used, NULL, 10) };
	ret->space_total = ret->space_used + g_ascii_strtoull(available, NULL, 10);
	return 0;
}
