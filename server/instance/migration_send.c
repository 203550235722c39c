#include "sdk/base/moment_message.h"
#include "server/instance/migration.h"
#include "server/instance/migration_data.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/storage/volume_stream.h"
#include <string.h>

enum {
	VERSION = 1,
	OFFER_SIZE = 200 * 1024, /* bytes of snapshots in one message, about */
	KEPT_SIZE = 64 * 1024,	 /* bytes of bits in one message */
	ENTRIES_MAX = 16 << 20,
};

typedef struct Source {
	MigrationPeer *peer;
	const InstanceOrigin *origin;
	Operation *op;
	Pool *pool;
	Volume *whole;
	GPtrArray *snapshots; /* InstanceSnapshot * */
} Source;

/* ---- the offer ---- */

static Pb__MigrationSnapshot *describe(const InstanceSnapshot *snapshot, Arena *arena)
{
	Pb__MigrationSnapshot *out = arena_message(
	    arena, Pb__MigrationSnapshot, pb__migration_snapshot);
	out->name = snapshot->name;
	out->description = snapshot->description;
	out->created = snapshot->created;
	out->expires = moment_to_message(&snapshot->expires, arena);
	config_to_map(snapshot->config, arena, &pb__migration_snapshot__config_entry__descriptor,
	    &out->n_config, &out->config);
	devices_to_map(snapshot->devices, arena, &pb__migration_snapshot__devices_entry__descriptor,
	    &out->n_devices, &out->devices);
	return out;
}

/* From snapshot `*first` on as many as fit. */
static int offer_some(Source *s, guint *first, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	Pb__MigrationOffer offer = PB__MIGRATION_OFFER__INIT;
	char *methods[] = { (char *)"tar", (char *)volume_stream_method(s->pool) };
	offer.version = VERSION;
	offer.type = (char *)instance_type_name(instance_type(s->origin->source));
	offer.methods = methods;
	offer.n_methods = methods[1] ? 2 : 1;
	offer.snapshots = arena_alloc(
	    arena, (s->snapshots->len - *first + 1) * sizeof(*offer.snapshots));
	size_t size = 0;
	while (*first < s->snapshots->len && size < OFFER_SIZE) {
		Pb__MigrationSnapshot *snapshot = describe(s->snapshots->pdata[(*first)++], arena);
		size += pb__migration_snapshot__get_packed_size(snapshot);
		offer.snapshots[offer.n_snapshots++] = snapshot;
	}
	offer.more = *first < s->snapshots->len;
	message.offer = &offer;
	return migration_peer_send(s->peer, &message, err);
}

static int offer(Source *s, Error **err)
{
	guint next = 0;
	do {
		if (offer_some(s, &next, err) < 0)
			return -1;
	} while (next < s->snapshots->len);
	return 0;
}

/* ---- what the other side has ---- */

static int add_entry(GPtrArray *list, const Pb__MigrationEntry *entry, Error **err)
{
	if (!entry->path.len || memchr(entry->path.data, '\0', entry->path.len) ||
	    (entry->digest.len && entry->digest.len != TREE_DIGEST))
		return error_set(err, ERROR_INVALID, "The other server's list of files is damaged");
	TreeEntry *own = g_new0(TreeEntry, 1);
	own->path = g_strndup((char *)entry->path.data, entry->path.len);
	own->directory = !entry->digest.len;
	if (!own->directory)
		memcpy(own->digest, entry->digest.data, TREE_DIGEST);
	g_ptr_array_add(list, own);
	return 0;
}

static int receive_list(Source *s, GPtrArray *list, Error **err)
{
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(s->peer, &message, err) < 0)
			return -1;
		int result = message->tree ?
		    0 :
		    error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
		for (size_t n = 0; result == 0 && n < message->tree->n_entries; n++)
			result = list->len < ENTRIES_MAX ?
			    add_entry(list, message->tree->entries[n], err) :
			    error_set(err, ERROR_TOO_LARGE,
				"The other server's list of files is too long");
		more = result == 0 && message->tree->more;
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int send_kept(Source *s, const GByteArray *bits, Error **err)
{
	for (guint at = 0; at < bits->len; at += KEPT_SIZE) {
		Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
		Pb__MigrationKept kept = PB__MIGRATION_KEPT__INIT;
		kept.bits = (ProtobufCBinaryData){ MIN(bits->len - at, KEPT_SIZE),
			bits->data + at };
		kept.more = at + KEPT_SIZE < bits->len;
		message.kept = &kept;
		if (migration_peer_send(s->peer, &message, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- one volume or snapshot ---- */

typedef struct Sent {
	Source *source;
	const Volume *volume;
	const char *parent; /* of the driver's stream */
	GHashTable *kept;
} Sent;

static int write_tree(int fd, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_send_tree(
	    sent->source->pool, sent->volume, sent->kept, fd, sent->source->op, err);
}

static int write_native(int fd, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_send(sent->source->pool, sent->volume, sent->parent, fd, err);
}

/* The paths (borrowed) of the files that stay. */
static GHashTable *kept_paths(const GPtrArray *list, const GByteArray *bits)
{
	GHashTable *kept = g_hash_table_new(g_str_hash, g_str_equal);
	for (guint n = 0; n < list->len; n++)
		if (tree_bit(bits, n))
			g_hash_table_add(kept, ((TreeEntry *)list->pdata[n])->path);
	return kept;
}

/* Drivers that clone at once did not make it stand still, but this reads its tree. */
static gboolean must_freeze(const Source *s, const Volume *volume)
{
	return !volume->snapshot && !s->origin->allow_inconsistent &&
	    instance_status(s->origin->source) == INSTANCE_RUNNING;
}

static int send_tree(Source *s, const Volume *volume, const char *name, Error **err)
{
	g_autoptr(GPtrArray) theirs = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)tree_entry_free);
	g_autoptr(GPtrArray) ours = NULL;
	g_autoptr(GByteArray) bits = NULL;
	g_autoptr(GHashTable) kept = NULL;
	if (receive_list(s, theirs, err) < 0)
		return -1;
	if (theirs->len) {
		if (volume_stream_list(s->pool, volume, &ours, err) < 0)
			return -1;
		bits = tree_same(ours, theirs);
		kept = kept_paths(theirs, bits);
		if (send_kept(s, bits, err) < 0)
			return -1;
	}
	Sent sent = { .source = s, .volume = volume, .kept = kept };
	gboolean freeze = must_freeze(s, volume);
	if (freeze && power_freeze_locked(s->origin->source, TRUE, err) < 0)
		return -1;
	int result = migration_data_send(s->peer, write_tree, &sent, s->op, name, err);
	if (freeze && power_freeze_locked(s->origin->source, FALSE, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

static gboolean offered(const Source *s, const char *snapshot)
{
	return !*snapshot || copy_find_named(s->snapshots, snapshot);
}

static int serve(Source *s, const Pb__MigrationRequest *request, Error **err)
{
	const char *method = volume_stream_method(s->pool), *name = request->snapshot;
	if (!offered(s, name) || !offered(s, request->parent))
		return error_set(err, ERROR_INVALID,
		    "The other server asks for a snapshot that was not offered");
	const char *of = *name ? name : s->origin->snapshot;
	g_autoptr(Volume) snapshot = of ? volume_snapshot(s->pool, s->whole, of) : NULL;
	const Volume *volume = snapshot ? snapshot : s->whole;
	const char *shown = *name ? name : instance_name(s->origin->source);
	if (strcmp(request->method, "tar") == 0)
		return send_tree(s, volume, shown, err);
	if (g_strcmp0(request->method, method) != 0)
		return error_set(
		    err, ERROR_INVALID, "The other server asks for a method that was not offered");
	Sent sent = {
		.source = s, .volume = volume, .parent = *request->parent ? request->parent : NULL
	};
	return migration_data_send(s->peer, write_native, &sent, s->op, shown, err);
}

static int serve_all(Source *s, Error **err)
{
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(s->peer, &message, err) < 0)
			return -1;
		int result = 0;
		if (message->request)
			result = serve(s, message->request, err);
		else if (message->result)
			more = FALSE;
		else
			result = error_set(
			    err, ERROR_INVALID, "Unexpected message in the migration stream");
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* ---- all of it ---- */

static int send_held(Source *s, Error **err)
{
	if (instance_pool(s->origin->source, &s->pool, err) < 0 ||
	    copy_snapshots_of(s->origin, &s->snapshots, err) < 0)
		return -1;
	s->whole = copy_root_volume(s->origin->source, s->pool);
	return offer(s, err) < 0 ? -1 : serve_all(s, err);
}

static int send_all(MigrationPeer *peer, const InstanceOrigin *origin, Operation *op, Error **err)
{
	Source s = { .peer = peer, .origin = origin, .op = op };
	gboolean frozen;
	if (copy_hold(origin, &frozen, err) < 0)
		return -1;
	int result = send_held(&s, err);
	copy_release(origin, frozen);
	volume_free(s.whole);
	g_clear_pointer(&s.snapshots, g_ptr_array_unref);
	pool_unref(s.pool);
	return result;
}

int migration_send(MigrationPeer *peer, const InstanceOrigin *origin, Operation *op, Error **err)
{
	Error *failure = NULL;
	int result = migration_peer_open(peer, &failure) < 0 ? -1 :
							       send_all(peer, origin, op, &failure);
	migration_peer_report(peer, failure);
	migration_peer_close(peer);
	return result < 0 ? error_propagate(err, failure) : 0;
}
