#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "sdk/base/units.h"
#include "server/storage/driver_lvm_private.h"
#include "server/storage/filesystem.h"
#include "server/storage/loop.h"
#include "server/storage/pool_source.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Marks groups and thin pools that a server made: what it did not make it does not remove. */
#define POOL_TAG "incus_pool"
enum { MINIMUM = 64 << 20 };

const char *lvm_pool_group(const DriverPool *pool)
{
	const char *name = config_get(pool->config, "lvm.vg_name");
	return name ? name : pool->name;
}

const char *lvm_pool_thin(const DriverPool *pool)
{
	const char *name = config_get(pool->config, "lvm.thinpool_name");
	return config_false(pool->config, "lvm.use_thinpool") ? NULL :
	    name					      ? name :
								"IncusThinPool";
}

int lvm_add_size(
    GPtrArray *words, const char *option, const Config *config, const char *key, Error **err)
{
	int64_t bytes;
	const char *value = config_get(config, key);
	if (!value)
		return 0;
	if (units_parse_bytes(value, &bytes, err) < 0)
		return -1;
	g_autofree char *size = g_strdup_printf("%" PRId64 "b", bytes);
	if (bytes > 0)
		program_add(words, option, size, NULL);
	return 0;
}

int lvm_add_stripes(GPtrArray *words, const Config *config, const char *prefix, Error **err)
{
	g_autofree char *count = g_strconcat(prefix, "lvm.stripes", NULL),
			*size = g_strconcat(prefix, "lvm.stripes.size", NULL);
	const char *stripes = config_get(config, count);
	if (!stripes)
		return 0;
	program_add(words, "--stripes", stripes, NULL);
	return lvm_add_size(words, "--stripesize", config, size, err);
}

static gboolean has_tag(const char *tags, const char *tag)
{
	g_auto(GStrv) list = g_strsplit(tags ? tags : "", ",", -1);
	return g_strv_contains((const char *const *)list, tag);
}

/* Pools may share a group (lvm.vg.force_reuse): each has its own mark beside the common one. */
#define OWN_TAG POOL_TAG ":"
static char *own_tag(const DriverPool *pool)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	g_autofree char *name = g_strcanon(g_strdup(pool->name), allowed, '_');
	return g_strconcat(OWN_TAG, name, NULL);
}

static int mark_group(const DriverPool *pool, Error **err)
{
	g_autofree char *own = own_tag(pool);
	return lvm_run(
	    err, "vgchange", "--addtag", POOL_TAG, "--addtag", own, lvm_pool_group(pool), NULL);
}

/* The common mark goes with the last pool. */
static int unmark_group(const DriverPool *pool, const char *tags, Error **err)
{
	const char *group = lvm_pool_group(pool);
	g_autofree char *own = own_tag(pool);
	g_auto(GStrv) list = g_strsplit(tags ? tags : "", ",", -1);
	gboolean shared = FALSE;
	for (size_t i = 0; list[i]; i++)
		shared |= g_str_has_prefix(list[i], OWN_TAG) && strcmp(list[i], own) != 0;
	return shared ?
	    lvm_run(err, "vgchange", "--deltag", own, group, NULL) :
	    lvm_run(err, "vgchange", "--deltag", own, "--deltag", POOL_TAG, group, NULL);
}

static int prepare_group(DriverPool *pool, Error **err)
{
	g_auto(LvmGroup) group = { 0 };
	g_autoptr(LvmVolume) thin = NULL;
	const char *name = lvm_pool_group(pool);
	if (lvm_group_find(name, &group, err) < 0)
		return -1;
	if (lvm_pool_thin(pool))
		lvm_volume_find(name, lvm_pool_thin(pool), &thin, NULL);
	/* It goes with the pool that made it, and all that is in it. */
	if (thin && has_tag(thin->tags, POOL_TAG))
		return error_set(err, ERROR_INVALID,
		    "Thin pool \"%s\" of volume group \"%s\" is already used by Incus",
		    lvm_pool_thin(pool), name);
	if (config_true(pool->config, "lvm.vg.force_reuse"))
		return 0;
	if (has_tag(group.tags, POOL_TAG))
		return error_set(
		    err, ERROR_INVALID, "Volume group \"%s\" is already used by Incus", name);
	/* A thin pool that waits to be used is no obstacle. */
	if (group.volumes > (thin ? 1 : 0))
		return error_set(err, ERROR_INVALID,
		    "Volume group \"%s\" is not empty: set lvm.vg.force_reuse=true to use it",
		    name);
	return 0;
}

static int prepare_new(DriverPool *pool, Error **err)
{
	g_auto(LvmGroup) group = { 0 };
	Error *inner = NULL;
	if (lvm_group_find(lvm_pool_group(pool), &group, &inner) == 0)
		return error_set(
		    err, ERROR_EXISTS, "Volume group \"%s\" already exists", lvm_pool_group(pool));
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return 0;
}

int lvm_pool_prepare(DriverPool *pool, Error **err)
{
	SourceKind kind = source_kind(pool);
	const char *source = config_get(pool->config, "source"),
		   *named = config_get(pool->config, "lvm.vg_name");
	if (kind == SOURCE_DIRECTORY)
		return error_set(err, ERROR_INVALID,
		    "Source \"%s\" is neither a block device nor a volume group", source);
	if (config_false(pool->config, "lvm.use_thinpool") &&
	    config_get(pool->config, "lvm.thinpool_name"))
		return error_set(err, ERROR_INVALID,
		    "lvm.thinpool_name cannot be used with lvm.use_thinpool=false");
	if (kind == SOURCE_NAME && named && strcmp(named, source) != 0)
		return error_set(err, ERROR_INVALID,
		    "lvm.vg_name \"%s\" and source \"%s\" are not the same volume group", named,
		    source);
	config_set(
	    pool->config, "lvm.vg_name", kind == SOURCE_NAME ? source : lvm_pool_group(pool));
	if (lvm_pool_thin(pool))
		config_set(pool->config, "lvm.thinpool_name", lvm_pool_thin(pool));
	if (kind == SOURCE_NAME)
		return source_prepare(pool, MINIMUM, err) < 0 ? -1 : prepare_group(pool, err);
	return source_prepare(pool, MINIMUM, err) < 0 ? -1 : prepare_new(pool, err);
}

/* Made by this pool on a loop file or device, so that it goes with it. */
static gboolean group_is_ours(const DriverPool *pool)
{
	return source_kind(pool) != SOURCE_NAME;
}

static int attach(const DriverPool *pool, char **ret_device, Error **err)
{
	if (source_kind(pool) != SOURCE_LOOP) {
		*ret_device = g_strdup(config_get(pool->config, "source"));
		return 0;
	}
	autofd int fd = loop_attach(pool->loop_file, LOOP_UNTIL_DETACHED, ret_device, err);
	return fd < 0 ? -1 : 0;
}

static int make_thin(const DriverPool *pool, Error **err)
{
	g_autofree char *name = g_strdup_printf("%s/%s", lvm_pool_group(pool), lvm_pool_thin(pool));
	g_autoptr(GPtrArray) words = program_words("lvcreate", "-y", "-Wy", "--addtag", POOL_TAG,
	    "--extents", "100%FREE", "--thinpool", name, NULL);
	return lvm_add_size(words, "--poolmetadatasize", pool->config, "lvm.thinpool_metadata_size",
		   err) < 0 ||
		lvm_add_stripes(words, pool->config, "volume.", err) < 0 ?
	    -1 :
	    lvm_run_words(words, err);
}

int lvm_pool_create(DriverPool *pool, Error **err)
{
	const char *group = lvm_pool_group(pool);
	if (group_is_ours(pool)) {
		g_autofree char *device = NULL;
		if (source_create(pool, err) < 0 || attach(pool, &device, err) < 0 ||
		    lvm_run(err, "pvcreate", "-y", "-f", device, NULL) < 0 ||
		    lvm_run(err, "vgcreate", "-y", "--addtag", POOL_TAG, group, device, NULL) < 0)
			return -1;
	} else if (mark_group(pool, err) < 0) {
		return -1;
	}
	return !lvm_pool_thin(pool) || lvm_volume_exists(group, lvm_pool_thin(pool)) ?
	    0 :
	    make_thin(pool, err);
}

int lvm_pool_mount(DriverPool *pool, Error **err)
{
	g_auto(LvmGroup) group = { 0 };
	g_autofree char *device = NULL;
	if (attach(pool, &device, err) < 0)
		return -1;
	/* udev may still be looking at a device that has just come. */
	spawn_simple(NULL, "udevadm", "settle", "--timeout=10", NULL);
	return lvm_group_find(lvm_pool_group(pool), &group, err);
}

int lvm_pool_unmount(DriverPool *pool, Error **err)
{
	if (source_kind(pool) != SOURCE_LOOP || access(pool->loop_file, F_OK) < 0)
		return 0;
	/* In use while containers outlive the server: the next start finds the device by its file.
	 */
	if (lvm_run(NULL, "vgchange", "-an", lvm_pool_group(pool), NULL) < 0)
		return 0;
	return loop_detach(pool->loop_file, err);
}

/* Of a group that somebody else made: the thin pool if we made it, and our mark. */
static int leave_group(const DriverPool *pool, const char *name, const LvmGroup *group, Error **err)
{
	g_autoptr(LvmVolume) thin = NULL;
	if (lvm_pool_thin(pool) && lvm_volume_find(name, lvm_pool_thin(pool), &thin, NULL) == 0 &&
	    has_tag(thin->tags, POOL_TAG)) {
		g_autofree char *lv = g_strdup_printf("%s/%s", name, thin->name);
		if (lvm_run(err, "lvremove", "-f", "-y", lv, NULL) < 0)
			return -1;
	}
	return has_tag(group->tags, POOL_TAG) ? unmark_group(pool, group->tags, err) : 0;
}

static int remove_group(const char *name, Error **err)
{
	g_autoptr(GPtrArray) devices = NULL;
	if (lvm_group_devices(name, &devices, err) < 0 ||
	    lvm_run(err, "vgremove", "-f", "-y", name, NULL) < 0)
		return -1;
	for (guint i = 0; i < devices->len; i++)
		if (lvm_run(err, "pvremove", "-f", "-y", devices->pdata[i], NULL) < 0)
			return -1;
	return 0;
}

int lvm_pool_delete(DriverPool *pool, Error **err)
{
	g_auto(LvmGroup) group = { 0 };
	const char *name = lvm_pool_group(pool);
	Error *inner = NULL;
	int result = lvm_group_find(name, &group, &inner);
	if (result < 0 && inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	g_clear_pointer(&inner, error_free);
	gboolean ours = group_is_ours(pool) && has_tag(group.tags, POOL_TAG);
	if (result == 0 &&
	    (ours ? remove_group(name, err) : leave_group(pool, name, &group, err)) < 0)
		return -1;
	if (source_kind(pool) != SOURCE_LOOP)
		return 0;
	if (loop_detach(pool->loop_file, err) < 0)
		return -1;
	if (unlink(pool->loop_file) < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot remove the loop file \"%s\"",
		    pool->loop_file);
	return 0;
}

static int refuse_change(const DriverPool *pool, const Config *before, const char *key, Error **err)
{
	if (g_strcmp0(config_get(pool->config, key), config_get(before, key)) == 0)
		return 0;
	return error_set(err, ERROR_INVALID, "Storage pool option \"%s\" cannot be changed", key);
}

int lvm_pool_update(DriverPool *pool, const Config *before, Error **err)
{
	gboolean grown;
	g_autofree char *device = NULL;
	if (refuse_change(pool, before, "lvm.use_thinpool", err) < 0 ||
	    refuse_change(pool, before, "lvm.thinpool_metadata_size", err) < 0 ||
	    source_grow(pool, before, &grown, err) < 0)
		return -1;
	if (!grown)
		return 0;
	if (attach(pool, &device, err) < 0 || lvm_run(err, "pvresize", device, NULL) < 0)
		return -1;
	if (!lvm_pool_thin(pool))
		return 0;
	g_autofree char *thin = g_strdup_printf("%s/%s", lvm_pool_group(pool), lvm_pool_thin(pool));
	return lvm_run(err, "lvextend", "-l", "+100%FREE", thin, NULL);
}

int lvm_pool_resources(DriverPool *pool, DriverResources *ret, Error **err)
{
	g_autoptr(LvmVolume) thin = NULL;
	g_auto(LvmGroup) group = { 0 };
	*ret = (DriverResources){ 0 };
	if (lvm_pool_thin(pool)) {
		if (lvm_volume_find(lvm_pool_group(pool), lvm_pool_thin(pool), &thin, err) < 0)
			return -1;
		ret->space_total = (uint64_t)thin->bytes;
		ret->space_used = (uint64_t)((double)thin->bytes * MAX(thin->used, 0) / 100);
		return 0;
	}
	if (lvm_group_find(lvm_pool_group(pool), &group, err) < 0)
		return -1;
	ret->space_total = (uint64_t)group.bytes;
	ret->space_used = (uint64_t)(group.bytes - group.free);
	return 0;
}
