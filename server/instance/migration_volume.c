#include "server/instance/migration_volume.h"
#include "sdk/base/units.h"
#include "server/instance/copy.h"
#include "server/instance/migration_source.h"
#include "server/instance/migration_target.h"
#include "server/operation/schedule.h"
#include "server/storage/custom_volume.h"
#include "server/storage/pool_config.h"
#include "server/storage/volume_block.h"
#include "server/sys/id_map.h"
#include <inttypes.h>

static InstanceSnapshot *snapshot_of(const SnapshotRow *row)
{
	InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
	s->id = row->id;
	s->name = g_strdup(row->name);
	s->description = g_strdup(row->description);
	s->created = row->created;
	s->expires = row->expires;
	s->config = config_new();
	s->devices = devices_new();
	return s;
}

static GPtrArray *list_of(const GPtrArray *rows)
{
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	for (guint n = 0; n < rows->len; n++)
		g_ptr_array_add(list, snapshot_of(rows->pdata[n]));
	return list;
}

static int list_snapshots(Pool *pool, const Volume *volume, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) rows = NULL;
	if (snapshot_row_list(pool, volume, &rows, err) < 0)
		return -1;
	*ret_list = list_of(rows);
	return 0;
}

/* ---- sending ---- */

static int find_owners(Pool *pool, const Volume *whole, const char *snapshot,
    const GPtrArray *rows, GArray **ret_owners, GPtrArray **ret_of_snapshots, Error **err)
{
	g_autoptr(SnapshotRow) row = NULL;
	if (custom_owners(pool, whole, rows, ret_owners, ret_of_snapshots, err) < 0)
		return -1;
	if (!snapshot)
		return 0;
	g_clear_pointer(ret_owners, g_array_unref);
	return snapshot_row_find(pool, whole, snapshot, &row, err) < 0 ?
	    -1 :
	    id_map_parse(row->config ? config_get(row->config, VOLUME_OWNERS) : NULL, ret_owners,
		err);
}

static int send_mounted(MigrationPeer *peer, Pool *pool, const Volume *whole,
    const char *snapshot, gboolean volume_only, Operation *op, Error **err)
{
	g_autoptr(GPtrArray) rows = NULL, snapshot_owners = NULL;
	g_autoptr(GArray) owners = NULL;
	if (volume_only || snapshot)
		rows = g_ptr_array_new();
	else if (snapshot_row_list(pool, whole, &rows, err) < 0)
		return -1;
	if (find_owners(pool, whole, snapshot, rows, &owners, &snapshot_owners, err) < 0)
		return -1;
	g_autoptr(GPtrArray) snapshots = list_of(rows);
	MigrationSource source = { .type = volume_type_name(VOLUME_CUSTOM),
		.name = whole->name,
		.pool = pool,
		.whole = whole,
		.snapshot = snapshot,
		.snapshots = snapshots,
		.owners = owners,
		.snapshot_owners = snapshot_owners,
		.op = op };
	gboolean files = whole->content == CONTENT_FILESYSTEM;
	g_autofree char *disk = files ? NULL : volume_block_path(pool, whole, PLACE_OWN);
	if (disk && volume_block_length(pool, whole, disk, &source.size, err) < 0)
		return -1;
	return migration_source_run(peer, &source, err);
}

/* It stays mounted, so that nobody deletes or moves it meanwhile. */
static int send_volume(MigrationPeer *peer, Pool *pool, const Volume *volume,
    gboolean volume_only, Operation *op, Error **err)
{
	g_autoptr(Volume) whole = volume_new(pool, volume->type, volume->project, volume->name);
	if (volume_load(pool, whole, NULL, NULL, err) < 0 ||
	    (volume->snapshot && snapshot_row_find(pool, whole, volume->snapshot, NULL, err) < 0) ||
	    volume_mount(pool, whole, err) < 0)
		return -1;
	int result = send_mounted(peer, pool, whole, volume->snapshot, volume_only, op, err);
	return volume_unmount(pool, whole, result == 0 ? err : NULL) < 0 ? -1 : result;
}

int migration_send_volume(MigrationPeer *peer, Pool *pool, const Volume *volume,
    gboolean volume_only, Operation *op, Error **err)
{
	Error *failure = NULL;
	int result = migration_peer_open(peer, &failure) < 0 ?
	    -1 :
	    send_volume(peer, pool, volume, volume_only, op, &failure);
	migration_peer_report(peer, failure);
	migration_peer_close(peer);
	return result < 0 ? error_propagate(err, failure) : 0;
}

/* ---- receiving ---- */

static int check_snapshot(const MigrationTarget *t, const InstanceSnapshot *s, Error **err)
{
	return 0; /* neither keys nor devices are taken from it */
}

/* What it may have: a disk as much as it says that it has, which then counts. */
static int plan_size(const MigrationTarget *t, Config *config, uint64_t *ret_limit, Error **err)
{
	int64_t bytes = 0;
	const char *size = config_get(config, "size");
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	*ret_limit = (uint64_t)bytes;
	if (t->content == CONTENT_FILESYSTEM)
		return 0;
	if (t->size == 0 || t->size > INT64_MAX)
		return error_set(err, ERROR_INVALID, "The other server sends a disk without size");
	*ret_limit = MAX(*ret_limit, t->size);
	g_autofree char *text = g_strdup_printf("%" PRIu64, *ret_limit);
	config_set(config, "size", text);
	return 0;
}

static int receive_new(
    MigrationTarget *t, const VolumeWish *wish, const Volume *volume, Error **err)
{
	uint64_t limit;
	g_autoptr(VolumeArrival) arrival = NULL;
	g_autoptr(Config) config = config_copy(wish->config);
	volume_config_adopt(pool_driver(wish->pool), config);
	if (plan_size(t, config, &limit, err) < 0 ||
	    custom_check_new(wish->pool, volume, config, err) < 0)
		return -1;
	if (migration_target_fill(t, wish->pool, volume, config, limit, &arrival, err) < 0 ||
	    volume_arrival_finish(
		arrival, wish->description, &(VolumeRows){ .snapshots = t->rows }, err) < 0)
		return -1;
	schedule_changed(operation_daemon(t->op));
	return 0;
}

static int receive_again(
    MigrationTarget *t, const VolumeWish *wish, Volume *volume, Error **err)
{
	g_autoptr(GPtrArray) there = NULL;
	g_autoptr(Config) config = NULL;
	uint64_t limit;
	if (volume_load(wish->pool, volume, NULL, &config, err) < 0 ||
	    list_snapshots(wish->pool, volume, &there, err) < 0)
		return -1;
	if (volume->content != t->content)
		return error_set(err, ERROR_INVALID,
		    "Volumes of different content types cannot be refreshed from each other");
	if (plan_size(t, config, &limit, err) < 0 ||
	    (t->content == CONTENT_FILESYSTEM &&
		custom_set_owners(wish->pool, volume, NULL, err) < 0))
		return -1;
	g_autoptr(GPtrArray) gone = t->alone ? g_ptr_array_new() : copy_stale(there, t->snapshots);
	g_autoptr(GPtrArray) fresh = copy_missing(there, t->snapshots);
	for (guint n = 0; n < gone->len; n++)
		if (snapshot_delete(wish->pool, volume, gone->pdata[n], err) < 0)
			return -1;
	return migration_target_renew(t, wish->pool, volume, fresh, limit, err);
}

static int receive(
    MigrationTarget *t, const VolumeWish *wish, gboolean *ret_made, Error **err)
{
	g_autoptr(Volume) volume = volume_new(
	    wish->pool, VOLUME_CUSTOM, wish->project, wish->name);
	volume->content = t->content;
	*ret_made = !wish->refresh || volume_row_find(wish->pool, volume, NULL, NULL, NULL) < 0;
	if (migration_peer_open(t->peer, err) < 0 || migration_target_offer(t, err) < 0)
		return -1;
	return *ret_made ? receive_new(t, wish, volume, err) : receive_again(t, wish, volume, err);
}

int migration_receive_volume(MigrationPeer *peer, const VolumeWish *wish, Operation *op,
    gboolean *ret_made, Error **err)
{
	MigrationTarget t = migration_target_new(peer, volume_type_name(VOLUME_CUSTOM), op);
	Error *failure = NULL;
	t.alone = wish->volume_only;
	t.check = check_snapshot;
	int result = volume_content_parse(wish->content_type, &t.content, &failure) < 0 ?
	    -1 :
	    receive(&t, wish, ret_made, &failure);
	return migration_target_end(&t, result, failure, err);
}
