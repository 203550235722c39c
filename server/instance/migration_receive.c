#include "sdk/base/moment_message.h"
#include "server/instance/migration.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/instance/backup_index.h"
#include "server/instance/migration_data.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/instance/snapshot_row.h"
#include "server/key/key.h"
#include "server/project/project.h"
#include "server/storage/volume_stream.h"
#include <string.h>

enum { VERSION = 1, SNAPSHOTS_MAX = 100000, TREE_SIZE = 200 * 1024, ENTRY_SIZE = 32 };

typedef struct Target {
	MigrationPeer *peer;
	const MigrationWish *wish;
	const char *project;
	InstanceType type;
	Operation *op;
	GPtrArray *snapshots; /* InstanceSnapshot *: offered and wanted */
	char *native;	      /* method of the sender's driver; NULL: none */
} Target;

static int unexpected(Error **err)
{
	return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
}

/* ---- the offer ---- */

/* What a stranger says a snapshot is, as a row could be. */
static int check_snapshot(const Target *t, const InstanceSnapshot *s, Error **err)
{
	if (name_check_snapshot(s->name, err) < 0 ||
	    key_check_instance(instance_type_name(t->type), s->config, FALSE, err) < 0)
		return error_prefix(err, "Snapshot of the other server");
	GHashTableIter iter;
	void *name;
	g_hash_table_iter_init(&iter, s->devices);
	while (g_hash_table_iter_next(&iter, &name, NULL))
		if (name_check_device(name, err) < 0)
			return error_prefix(err, "Snapshot \"%s\" of the other server", s->name);
	if (copy_find_named(t->snapshots, s->name))
		return error_set(
		    err, ERROR_INVALID, "The other server offers snapshot \"%s\" twice", s->name);
	return 0;
}

static int take_snapshot(Target *t, const Pb__MigrationSnapshot *from, Error **err)
{
	g_autoptr(InstanceSnapshot) s = g_new0(InstanceSnapshot, 1);
	s->name = g_strdup(from->name);
	s->description = g_strdup(from->description);
	s->created = MAX(from->created, 0);
	s->expires = moment_from_message(from->expires);
	s->config = config_from_map(from->n_config, from->config);
	s->devices = devices_from_map(from->n_devices, from->devices);
	if (t->snapshots->len >= SNAPSHOTS_MAX)
		return error_set(
		    err, ERROR_TOO_LARGE, "The other server offers too many snapshots");
	if (check_snapshot(t, s, err) < 0)
		return -1;
	g_ptr_array_add(t->snapshots, g_steal_pointer(&s));
	return 0;
}

static int take_offer(Target *t, const Pb__MigrationOffer *offer, Error **err)
{
	if (offer->version != VERSION)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The other server speaks version %u of migration streams, this one %d",
		    offer->version, VERSION);
	if (strcmp(offer->type, instance_type_name(t->type)) != 0)
		return error_set(err, ERROR_INVALID, "The other server sends a %s, not a %s",
		    offer->type, instance_type_name(t->type));
	for (size_t n = 0; n < offer->n_methods && !t->native; n++)
		if (strcmp(offer->methods[n], "tar") != 0)
			t->native = g_strdup(offer->methods[n]);
	for (size_t n = 0; !t->wish->instance_only && n < offer->n_snapshots; n++)
		if (take_snapshot(t, offer->snapshots[n], err) < 0)
			return -1;
	return 0;
}

static int receive_offer(Target *t, Error **err)
{
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(t->peer, &message, err) < 0)
			return -1;
		int result = message->offer ? take_offer(t, message->offer, err) : unexpected(err);
		more = result == 0 && message->offer->more;
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* ---- asking ---- */

static int request(
    Target *t, const char *snapshot, const char *method, const char *parent, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	Pb__MigrationRequest ask = PB__MIGRATION_REQUEST__INIT;
	ask.snapshot = (char *)snapshot;
	ask.method = (char *)method;
	ask.parent = (char *)parent;
	message.request = &ask;
	return migration_peer_send(t->peer, &message, err);
}

static Pb__MigrationEntry *entry_of(const TreeEntry *own, Arena *arena)
{
	Pb__MigrationEntry *entry = arena_message(arena, Pb__MigrationEntry, pb__migration_entry);
	entry->path = (ProtobufCBinaryData){ strlen(own->path), (uint8_t *)own->path };
	if (!own->directory)
		entry->digest = (ProtobufCBinaryData){ TREE_DIGEST, (uint8_t *)own->digest };
	return entry;
}

static int send_list(Target *t, const GPtrArray *had, Error **err)
{
	guint next = 0;
	do {
		g_autoptr(Arena) arena = arena_new();
		Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
		Pb__MigrationTree tree = PB__MIGRATION_TREE__INIT;
		tree.entries = arena_alloc(
		    arena, (TREE_SIZE / ENTRY_SIZE + 1) * sizeof(*tree.entries));
		for (size_t size = 0; next < had->len && size < TREE_SIZE; next++) {
			tree.entries[tree.n_entries] = entry_of(had->pdata[next], arena);
			size += ENTRY_SIZE + tree.entries[tree.n_entries++]->path.len;
		}
		tree.more = next < had->len;
		message.tree = &tree;
		if (migration_peer_send(t->peer, &message, err) < 0)
			return -1;
	} while (next < had->len);
	return 0;
}

static int receive_kept(Target *t, guint n_entries, GByteArray *bits, Error **err)
{
	guint wanted = (n_entries + 7) / 8;
	for (gboolean more = wanted > 0; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(t->peer, &message, err) < 0)
			return -1;
		int result = message->kept && message->kept->bits.len <= wanted - bits->len ?
		    0 :
		    unexpected(err);
		if (result == 0)
			g_byte_array_append(
			    bits, message->kept->bits.data, (guint)message->kept->bits.len);
		more = result == 0 && message->kept->more;
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return bits->len == wanted ? 0 : unexpected(err);
}

/* ---- taking ---- */

typedef struct Taken {
	VolumeArrival *arrival;
	GPtrArray *had;
	GByteArray *kept;
	const char *snapshot;
	uint64_t limit;
} Taken;

static int read_tree(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_unpack(
	    taken->arrival, taken->had, taken->kept, fd, taken->limit, err);
}

static int read_native(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_receive(taken->arrival, taken->snapshot, fd, err);
}

/* The tree becomes that of the snapshot ("": of the instance). */
static int take_tree(
    Target *t, VolumeArrival *arrival, const char *snapshot, uint64_t limit, Error **err)
{
	g_autoptr(GPtrArray) had = NULL;
	g_autoptr(GByteArray) kept = g_byte_array_new();
	gboolean refused;
	if (volume_arrival_list(arrival, &had, err) < 0 ||
	    request(t, snapshot, "tar", "", err) < 0 || send_list(t, had, err) < 0 ||
	    receive_kept(t, had->len, kept, err) < 0)
		return -1;
	Taken taken = { .arrival = arrival, .had = had, .kept = kept, .limit = limit };
	if (migration_data_receive(t->peer, read_tree, &taken, t->op,
		*snapshot ? snapshot : "rootfs", &refused, err) < 0)
		return -1;
	return refused ?
	    error_set(err, ERROR_UNSUPPORTED, "The other server cannot send this instance") :
	    0;
}

static SnapshotRow *row_of(const InstanceSnapshot *s)
{
	SnapshotRow *row = g_new0(SnapshotRow, 1);
	row->name = g_strdup(s->name);
	row->description = g_strdup(s->description);
	row->created = s->created;
	row->expires = s->expires;
	return row;
}

/* snapshots: InstanceSnapshot *, to be laid down before the instance itself. */
static int take_trees(
    Target *t, VolumeArrival *arrival, const GPtrArray *snapshots, uint64_t limit, Error **err)
{
	for (guint n = 0; n < snapshots->len; n++) {
		g_autoptr(SnapshotRow) row = row_of(snapshots->pdata[n]);
		if (take_tree(t, arrival, row->name, limit, err) < 0 ||
		    volume_arrival_snapshot(arrival, row, err) < 0)
			return error_prefix(err, "Snapshot \"%s\"", row->name);
	}
	return take_tree(t, arrival, "", limit, err);
}

static int take_natives(Target *t, VolumeArrival *arrival, gboolean *ret_refused, Error **err)
{
	const char *parent = "";
	*ret_refused = FALSE;
	for (guint n = 0; n <= t->snapshots->len && !*ret_refused; n++) {
		const char *name = n < t->snapshots->len ?
		    ((InstanceSnapshot *)t->snapshots->pdata[n])->name :
		    "";
		Taken taken = { .arrival = arrival, .snapshot = *name ? name : NULL };
		if (request(t, name, t->native, parent, err) < 0 ||
		    migration_data_receive(t->peer, read_native, &taken, t->op,
			*name ? name : "rootfs", ret_refused, err) < 0)
			return -1;
		parent = name;
	}
	return 0;
}

/* ---- a new instance ---- */

static int root_limit(Instance *i, uint64_t *ret_limit, Error **err)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	Config *root;
	int64_t bytes = 0;
	if (device_root_disk(devices, NULL, &root, err) < 0)
		return -1;
	const char *size = config_get(root, "size");
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	*ret_limit = (uint64_t)bytes;
	return 0;
}

/* The volume's data, in its unfinished place. */
static int take_data(
    Target *t, Instance *i, Pool *pool, const Volume *volume, VolumeArrival **ret, Error **err)
{
	gboolean refused = TRUE;
	uint64_t limit;
	if (root_limit(i, &limit, err) < 0)
		return -1;
	if (t->native && g_strcmp0(t->native, volume_stream_method(pool)) == 0) {
		g_autoptr(VolumeArrival) native = NULL;
		if (volume_arrival_new(pool, volume, NULL, TRUE, &native, err) < 0 ||
		    take_natives(t, native, &refused, err) < 0)
			return -1;
		if (!refused)
			*ret = g_steal_pointer(&native);
	}
	if (!refused)
		return 0;
	g_autoptr(VolumeArrival) arrival = NULL;
	if (volume_arrival_new(pool, volume, NULL, FALSE, &arrival, err) < 0 ||
	    take_trees(t, arrival, t->snapshots, limit, err) < 0)
		return -1;
	*ret = g_steal_pointer(&arrival);
	return 0;
}

static int insert_rows(Target *t, Instance *i, Pool *pool, const GPtrArray *snapshots, Error **err)
{
	for (guint n = 0; n < snapshots->len; n++)
		if (copy_insert_snapshot(i, pool, snapshots->pdata[n], err) < 0)
			return -1;
	return 0;
}

static int arrive(Instance *i, Pool *pool, void *data, Operation *op, Error **err)
{
	Target *t = data;
	g_autoptr(VolumeArrival) arrival = NULL;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)snapshot_row_free);
	for (guint n = 0; n < t->snapshots->len; n++)
		g_ptr_array_add(rows, row_of(t->snapshots->pdata[n]));
	if (take_data(t, i, pool, volume, &arrival, err) < 0 ||
	    volume_arrival_finish(arrival, rows, err) < 0)
		return -1;
	g_clear_pointer(&arrival, volume_arrival_free);
	if (insert_rows(t, i, pool, t->snapshots, err) == 0)
		return 0;
	pool_instance_delete(pool, i->project, i->name, instance_type_name(i->type), NULL);
	return -1;
}

static Target target_new(MigrationPeer *peer, const MigrationWish *wish, const char *project,
    InstanceType type, Operation *op)
{
	Target t = { .peer = peer, .wish = wish, .project = project, .type = type, .op = op };
	t.snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	return t;
}

static int target_end(Target *t, int result, Error *failure, Error **err)
{
	migration_peer_report(t->peer, failure);
	migration_peer_close(t->peer);
	g_ptr_array_unref(t->snapshots);
	g_free(t->native);
	return result < 0 ? error_propagate(err, failure) : 0;
}

int migration_receive(MigrationPeer *peer, Daemon *d, const InstanceSpec *spec,
    const MigrationWish *wish, Operation *op, Error **err)
{
	Target t = target_new(peer, wish, spec->project, spec->type, op);
	InstanceSpec with = *spec;
	Error *failure = NULL;
	with.arrive = arrive;
	with.arrival = &t;
	int result = migration_peer_open(peer, &failure) < 0 || receive_offer(&t, &failure) < 0 ||
		instance_create(d, &with, op, NULL, &failure) < 0 ?
	    -1 :
	    0;
	return target_end(&t, result, failure, err);
}

/* ---- one that is there ---- */

static int drop_stale(Instance *i, Pool *pool, const Volume *volume, const GPtrArray *there,
    const GPtrArray *gone, Error **err)
{
	for (guint n = 0; n < gone->len; n++)
		if (snapshot_delete(pool, volume, gone->pdata[n], err) < 0 ||
		    snapshot_forget(i->daemon, copy_find_named(there, gone->pdata[n])->id, err) < 0)
			return -1;
	return 0;
}

static int refresh_locked(Target *t, Instance *i, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) there = NULL;
	g_autoptr(VolumeArrival) arrival = NULL;
	g_autoptr(GPtrArray) none = g_ptr_array_new();
	uint64_t limit;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Cannot refresh a running instance");
	if (instance_pool(i, &pool, err) < 0 || instance_snapshot_list(i, &there, err) < 0 ||
	    root_limit(i, &limit, err) < 0)
		return -1;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	g_autoptr(GPtrArray) gone = t->wish->instance_only ? g_ptr_array_new() :
							     copy_stale(there, t->snapshots);
	g_autoptr(GPtrArray) fresh = copy_missing(there, t->snapshots);
	if (drop_stale(i, pool, volume, there, gone, err) < 0 ||
	    volume_arrival_existing(pool, volume, &arrival, err) < 0 ||
	    take_trees(t, arrival, fresh, limit, err) < 0 ||
	    volume_arrival_finish(arrival, none, err) < 0)
		return -1;
	return insert_rows(t, i, pool, fresh, err);
}

int migration_refresh(
    MigrationPeer *peer, Instance *target, const MigrationWish *wish, Operation *op, Error **err)
{
	Target t = target_new(peer, wish, instance_project(target), instance_type(target), op);
	Error *failure = NULL;
	int result = migration_peer_open(peer, &failure) < 0 || receive_offer(&t, &failure) < 0 ||
		instance_lock(target, &failure) < 0 ?
	    -1 :
	    0;
	if (result == 0) {
		result = refresh_locked(&t, target, &failure);
		if (result == 0)
			backup_file_update(target);
		instance_unlock(target);
	}
	if (result == 0)
		instance_event(target, "instance-updated", NULL, operation_caller(op));
	return target_end(&t, result, failure, err);
}
