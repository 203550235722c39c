#include "server/instance/migration_target.h"
#include "sdk/base/fault.h"
#include "sdk/base/moment_message.h"
#include "sdk/base/names.h"
#include "server/instance/copy.h"
#include "server/instance/migration_data.h"
#include "server/instance/migration_incus.h"
#include "server/storage/pool_config.h"
#include "server/storage/volume_block.h"
#include <string.h>

enum {
	VERSION = 1,
	SNAPSHOTS_MAX = 100000,
	TREE_SIZE = 200 * 1024,
	ENTRY_SIZE = 32,
};

MigrationTarget migration_target_new(MigrationPeer *peer, const char *type, Operation *op)
{
	MigrationTarget t = { .peer = peer, .type = type, .op = op };
	t.snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	t.rows = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_row_free);
	t.row_of = g_hash_table_new(g_str_hash, g_str_equal);
	return t;
}

int migration_target_end(MigrationTarget *t, int result, Error *failure, Error **err)
{
	fault_point("migration report", NULL); /* a crash: the other side never hears of it */
	t->heard = migration_peer_report(t->peer, failure);
	migration_peer_close(t->peer);
	volume_arrival_free(t->last);
	g_clear_pointer(&t->last_had, g_ptr_array_unref);
	g_ptr_array_unref(t->snapshots);
	g_hash_table_unref(t->row_of);
	g_ptr_array_unref(t->rows);
	g_clear_pointer(&t->config, g_hash_table_unref);
	g_free(t->description);
	g_free(t->native);
	g_free(t->live_id);
	if (t->header)
		pb__peer_header__free_unpacked(t->header, NULL);
	return result < 0 ? error_propagate(err, failure) : 0;
}

static SnapshotRow *row_like(const InstanceSnapshot *s)
{
	SnapshotRow *row = g_new0(SnapshotRow, 1);
	row->description = g_strdup(s->description);
	row->expires = s->expires;
	row->config = config_new();
	return row;
}

const SnapshotRow *migration_target_row(const MigrationTarget *t, const InstanceSnapshot *s)
{
	return g_hash_table_lookup(t->row_of, s->name);
}

/* What a stranger says a volume's keys are, as this pool's volumes could have them. */
static int adopt(const MigrationTarget *t, Pool *pool, Config *config, Error **err)
{
	volume_config_adopt(pool_driver(pool), config);
	if (strcmp(t->type, volume_type_name(VOLUME_CUSTOM)) != 0)
		config_set(config, "size", NULL);
	return volume_config_check(pool_driver(pool), config, err) < 0 ?
	    error_prefix(err, "Volume of the other server") :
	    0;
}

int migration_target_config(const MigrationTarget *t, Pool *pool, Config **ret_config, Error **err)
{
	g_autoptr(Config) config = t->config ? config_copy(t->config) : config_new();
	if (adopt(t, pool, config, err) < 0)
		return -1;
	*ret_config = g_steal_pointer(&config);
	return 0;
}

static int adopt_rows(const MigrationTarget *t, Pool *pool, Error **err)
{
	for (guint n = 0; n < t->rows->len; n++)
		if (adopt(t, pool, ((SnapshotRow *)t->rows->pdata[n])->config, err) < 0)
			return -1;
	return 0;
}

/* Of any driver to any driver. */
static gboolean is_whole(const char *method)
{
	return strcmp(method, "tar") == 0 || strcmp(method, "block") == 0;
}

static int unexpected(Error **err)
{
	return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
}

/* ---- the offer ---- */

/* What a stranger says a snapshot is, as a row could be. */
static int check_snapshot(MigrationTarget *t, const InstanceSnapshot *s, Error **err)
{
	if (name_check_snapshot(s->name, err) < 0 ||
	    t->check(t, s, err) < 0)
		return error_prefix(err, "Snapshot of the other server");
	if (migration_target_row(t, s))
		return error_set(
		    err, ERROR_INVALID, "The other server offers snapshot \"%s\" twice", s->name);
	return 0;
}

int migration_target_add(MigrationTarget *t, InstanceSnapshot *s, SnapshotRow *row, Error **err)
{
	g_autoptr(InstanceSnapshot) own = s;
	g_autoptr(SnapshotRow) own_row = row ? row : row_like(s);
	if (check_snapshot(t, own, err) < 0)
		return -1;
	own_row->name = g_strdup(own->name);
	own_row->created = own->created;
	g_hash_table_insert(t->row_of, own_row->name, own_row);
	g_ptr_array_add(t->rows, g_steal_pointer(&own_row));
	g_ptr_array_add(t->snapshots, g_steal_pointer(&own));
	return 0;
}

static SnapshotRow *row_from(const Pb__MigrationVolume *from)
{
	if (!from)
		return NULL;
	SnapshotRow *row = g_new0(SnapshotRow, 1);
	row->description = g_strdup(from->description);
	row->expires = moment_from_message(from->expires);
	row->config = config_from_map(from->n_config, from->config);
	return row;
}

static int take_snapshot(MigrationTarget *t, const Pb__MigrationSnapshot *from, Error **err)
{
	InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
	s->name = g_strdup(from->name);
	s->description = g_strdup(from->description);
	s->created = MAX(from->created, 0);
	s->expires = moment_from_message(from->expires);
	s->config = config_from_map(from->n_config, from->config);
	if (t->content == CONTENT_FILESYSTEM) /* as the trees arrive */
		config_set(s->config, "volatile.last_state.idmap", "[]");
	s->devices = devices_from_map(from->n_devices, from->devices);
	return migration_target_add(t, s, row_from(from->volume), err);
}

static int take_live(MigrationTarget *t, const Pb__MigrationLive *live, Error **err)
{
	if (t->live_id || t->check_live(t, live, err) < 0)
		return t->live_id ? unexpected(err) : -1;
	t->live_id = g_strdup(live->id);
	t->live_stays = live->stays;
	return 0;
}

static int take_offer(MigrationTarget *t, const Pb__MigrationOffer *offer, Error **err)
{
	if (offer->version != VERSION)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The other server speaks version %u of migration streams, this one %d",
		    offer->version, VERSION);
	if (strcmp(offer->type, t->type) != 0)
		return error_set(err, ERROR_INVALID, "The other server sends a %s, not a %s",
		    name_check_line(offer->type, NULL) < 0 ? "stranger" : offer->type, t->type);
	VolumeContent content;
	if (volume_content_parse(offer->content_type, &content, err) < 0)
		return -1;
	if (content != t->content)
		return error_set(err, ERROR_INVALID,
		    "The other server sends a volume of content type \"%s\", not \"%s\"",
		    volume_content_name(content), volume_content_name(t->content));
	if (offer->live && t->check_live && take_live(t, offer->live, err) < 0)
		return -1;
	/* The driver's own form has no second part. */
	for (size_t n = 0; n < offer->n_methods && !t->native && !t->live_id; n++)
		if (!is_whole(offer->methods[n]))
			t->native = g_strdup(offer->methods[n]);
	t->size = offer->size;
	if (offer->volume && !t->config) {
		t->description = g_strdup(offer->volume->description);
		t->config = config_from_map(offer->volume->n_config, offer->volume->config);
	}
	t->offered += offer->n_snapshots;
	if (t->offered > SNAPSHOTS_MAX)
		return error_set(
		    err, ERROR_TOO_LARGE, "The other server offers too many snapshots");
	for (size_t n = 0; !t->alone && n < offer->n_snapshots; n++)
		if (take_snapshot(t, offer->snapshots[n], err) < 0)
			return -1;
	return 0;
}

int migration_target_offer(MigrationTarget *t, Error **err)
{
	if (migration_peer_is_incus(t->peer))
		return migration_incus_offer(t, err);
	if (fault_point("migration offer", err) < 0)
		return -1;
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(t->peer, &message, err) < 0)
			return -1;
		const Pb__MigrationOffer *offer = message->offer;
		/* One that brings nothing and is not the last could go on for ever. */
		gboolean useful = offer && (!offer->more || offer->n_snapshots);
		int result = useful ? take_offer(t, offer, err) : unexpected(err);
		more = result == 0 && offer->more;
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* ---- asking ---- */

static int send_request(MigrationTarget *t, Pb__MigrationRequest *ask, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	message.request = ask;
	return migration_peer_send(t->peer, &message, err);
}

static int request(
    MigrationTarget *t, const char *snapshot, const char *method, const char *parent, Error **err)
{
	Pb__MigrationRequest ask = PB__MIGRATION_REQUEST__INIT;
	ask.snapshot = (char *)snapshot;
	ask.method = (char *)method;
	ask.parent = (char *)parent;
	return send_request(t, &ask, err);
}

static Pb__MigrationEntry *entry_of(const TreeEntry *own, Arena *arena)
{
	Pb__MigrationEntry *entry = arena_message(arena, Pb__MigrationEntry, pb__migration_entry);
	entry->path = (ProtobufCBinaryData){ strlen(own->path), (uint8_t *)own->path };
	if (!own->directory)
		entry->digest = (ProtobufCBinaryData){ TREE_DIGEST, (uint8_t *)own->digest };
	return entry;
}

static int send_list(MigrationTarget *t, const GPtrArray *had, Error **err)
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

static int receive_kept(MigrationTarget *t, guint n_entries, GByteArray *bits, Error **err)
{
	guint wanted = (n_entries + 7) / 8;
	for (gboolean more = wanted > 0; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(t->peer, &message, err) < 0)
			return -1;
		const Pb__MigrationKept *part = message->kept;
		int result = part && part->bits.len && part->bits.len <= wanted - bits->len ?
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

static int read_block(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_block(taken->arrival, fd, taken->limit, err);
}

static int read_native(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_receive(taken->arrival, taken->snapshot, fd, err);
}

static const char *shown(const MigrationTarget *t, const char *otherwise)
{
	return t->shown ? t->shown : otherwise;
}

/* The disk becomes that of the snapshot ("": of the volume). */
static int take_block(MigrationTarget *t, VolumeArrival *arrival, const char *snapshot,
    uint64_t limit, Error **err)
{
	gboolean refused;
	Taken taken = { .arrival = arrival, .limit = limit };
	if (request(t, snapshot, "block", "", err) < 0 ||
	    migration_data_receive(t->peer, read_block, &taken, t->op,
		*snapshot ? snapshot : shown(t, "disk"), 0, &refused, err) < 0)
		return -1;
	return refused ?
	    error_set(err, ERROR_UNSUPPORTED, "The other server cannot send this volume") :
	    0;
}

/* had: what it has and was said to have. */
static int receive_tree(MigrationTarget *t, VolumeArrival *arrival, GPtrArray *had,
    const char *name, uint64_t limit, Error **err)
{
	g_autoptr(GByteArray) kept = g_byte_array_new();
	gboolean refused;
	if (receive_kept(t, had->len, kept, err) < 0)
		return -1;
	Taken taken = { .arrival = arrival, .had = had, .kept = kept, .limit = limit };
	if (migration_data_receive(t->peer, read_tree, &taken, t->op, name, 0, &refused, err) < 0)
		return -1;
	return refused ?
	    error_set(err, ERROR_UNSUPPORTED, "The other server cannot send this instance") :
	    0;
}

/* The tree becomes that of the snapshot ("": of the volume). */
static int take_tree(
    MigrationTarget *t, VolumeArrival *arrival, const char *snapshot, uint64_t limit, Error **err)
{
	g_autoptr(GPtrArray) had = NULL;
	const char *name = *snapshot ? snapshot : shown(t, "rootfs");
	return volume_arrival_list(arrival, &had, err) < 0 ||
		request(t, snapshot, "tar", "", err) < 0 || send_list(t, had, err) < 0 ?
	    -1 :
	    receive_tree(t, arrival, had, name, limit, err);
}

static int take_parts(
    MigrationTarget *t, VolumeArrival *arrival, const char *snapshot, uint64_t limit, Error **err)
{
	if (volume_has_tree(volume_arrival_volume(arrival)) &&
	    take_tree(t, arrival, snapshot, limit, err) < 0)
		return -1;
	if (!volume_has_disk(volume_arrival_volume(arrival)))
		return 0;
	if (t->live_carries && !*snapshot)
		return volume_arrival_size(arrival, t->size, err);
	return take_block(t, arrival, snapshot, limit, err);
}

/* snapshots: InstanceSnapshot *, to be laid down before the instance itself. */
static int take_whole(MigrationTarget *t, VolumeArrival *arrival, const GPtrArray *snapshots,
    uint64_t limit, Error **err)
{
	for (guint n = 0; n < snapshots->len; n++) {
		const SnapshotRow *row = migration_target_row(t, snapshots->pdata[n]);
		if (take_parts(t, arrival, row->name, limit, err) < 0 ||
		    volume_arrival_snapshot(arrival, row, err) < 0)
			return error_prefix(err, "Snapshot \"%s\"", row->name);
	}
	return take_parts(t, arrival, "", limit, err);
}

static int take_natives(MigrationTarget *t, VolumeArrival *arrival, uint64_t limit,
    gboolean *ret_refused, Error **err)
{
	const char *parent = "";
	uint64_t most = volume_stream_limit(limit);
	*ret_refused = FALSE;
	for (guint n = 0; n <= t->snapshots->len && !*ret_refused; n++) {
		const char *name = n < t->snapshots->len ?
		    ((InstanceSnapshot *)t->snapshots->pdata[n])->name :
		    "";
		Taken taken = { .arrival = arrival, .snapshot = *name ? name : NULL };
		if (request(t, name, t->native, parent, err) < 0 ||
		    migration_data_receive(t->peer, read_native, &taken, t->op,
			*name ? name : "rootfs", most, ret_refused, err) < 0)
			return -1;
		parent = name;
	}
	return *ret_refused ? 0 : volume_arrival_check(arrival, limit, err);
}

/* ---- a volume ---- */

int migration_target_fill(MigrationTarget *t, Pool *pool, const Volume *volume,
    const Config *config, uint64_t limit, VolumeArrival **ret, Error **err)
{
	gboolean refused = TRUE;
	VolumeArrivalOf of = { .config = config, .limit = limit, .native = TRUE };
	if ((t->header && migration_incus_answer(t, t->snapshots, FALSE, err) < 0) ||
	    adopt_rows(t, pool, err) < 0)
		return -1;
	if (t->native && g_strcmp0(t->native, volume_stream_method(pool)) == 0) {
		g_autoptr(VolumeArrival) native = NULL;
		if (volume_arrival_new(pool, volume, &of, &native, err) < 0 ||
		    take_natives(t, native, limit, &refused, err) < 0)
			return -1;
		if (!refused)
			*ret = g_steal_pointer(&native);
	}
	if (!refused)
		return 0;
	g_autoptr(VolumeArrival) arrival = NULL;
	of.native = FALSE;
	if (volume_arrival_new(pool, volume, &of, &arrival, err) < 0 ||
	    (t->header ? migration_incus_take(t, arrival, t->snapshots, limit, err) :
			 take_whole(t, arrival, t->snapshots, limit, err)) < 0)
		return -1;
	*ret = g_steal_pointer(&arrival);
	return 0;
}

int migration_target_renew(MigrationTarget *t, Pool *pool, const Volume *volume,
    const GPtrArray *fresh, uint64_t limit, Error **err)
{
	g_autoptr(VolumeArrival) arrival = NULL;
	if ((t->header && migration_incus_answer(t, fresh, TRUE, err) < 0) ||
	    adopt_rows(t, pool, err) < 0 ||
	    volume_arrival_existing(pool, volume, &arrival, err) < 0 ||
	    (t->header ? migration_incus_take(t, arrival, fresh, limit, err) :
			 take_whole(t, arrival, fresh, limit, err)) < 0)
		return -1;
	return volume_arrival_finish(arrival, "", &(VolumeRows){ 0 }, err);
}

int migration_target_ask_last(MigrationTarget *t, Pool *pool, const Volume *volume, Error **err)
{
	Pb__MigrationRequest ask = PB__MIGRATION_REQUEST__INIT;
	ask.method = (char *)"tar";
	ask.held = TRUE;
	return volume_arrival_existing(pool, volume, &t->last, err) < 0 ||
		volume_arrival_list(t->last, &t->last_had, err) < 0 ||
		send_request(t, &ask, err) < 0 ?
	    -1 :
	    send_list(t, t->last_had, err);
}

int migration_target_take_last(MigrationTarget *t, uint64_t limit, Error **err)
{
	g_autoptr(VolumeArrival) last = g_steal_pointer(&t->last);
	return receive_tree(t, last, t->last_had, "rest", limit, err) < 0 ?
	    -1 :
	    volume_arrival_finish(last, "", &(VolumeRows){ 0 }, err);
}
