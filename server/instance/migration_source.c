#include "server/instance/migration_source.h"
#include "sdk/base/fault.h"
#include "sdk/base/moment_message.h"
#include "server/instance/copy.h"
#include "server/instance/live_private.h"
#include "server/instance/migration_data.h"
#include "server/instance/migration_incus.h"
#include "server/instance/migration_tree.h"
#include "server/instance/snapshot.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_stream.h"
#include "server/sys/id_map.h"
#include <string.h>

enum {
	VERSION = 1,
	OFFER_SIZE = 200 * 1024, /* bytes of snapshots in one message, about */
};

typedef const MigrationSource Source;

/* ---- the rows ---- */

void migration_rows_clear(MigrationRows *rows)
{
	g_clear_pointer(&rows->description, g_free);
	g_clear_pointer(&rows->config, g_hash_table_unref);
	g_clear_pointer(&rows->snapshots, g_hash_table_unref);
}

int migration_rows_load(const MigrationSource *s, MigrationRows *ret_rows, Error **err)
{
	g_autoptr(SnapshotRow) sent = NULL;
	g_autoptr(GPtrArray) list = NULL;
	if (snapshot_row_list(s->pool, s->whole, &list, err) < 0)
		return -1;
	ret_rows->snapshots = g_hash_table_new_full(
	    g_str_hash, g_str_equal, NULL, (GDestroyNotify)snapshot_row_free);
	g_ptr_array_set_free_func(list, NULL); /* they are the table's from now on */
	for (guint n = 0; n < list->len; n++)
		g_hash_table_insert(
		    ret_rows->snapshots, ((SnapshotRow *)list->pdata[n])->name, list->pdata[n]);
	if (!s->snapshot)
		return volume_row_find(s->pool, s->whole, NULL, &ret_rows->config, err) < 0 ?
		    -1 :
		    volume_row_description(s->pool, s->whole, &ret_rows->description, err);
	if (snapshot_row_find(s->pool, s->whole, s->snapshot, &sent, err) < 0)
		return -1;
	ret_rows->description = g_steal_pointer(&sent->description);
	ret_rows->config = g_steal_pointer(&sent->config);
	return 0;
}

const SnapshotRow *migration_rows_find(const MigrationRows *rows, const char *name)
{
	return g_hash_table_lookup(rows->snapshots, name);
}

/* ---- the offer ---- */

static Pb__MigrationVolume *volume_message(
    const char *description, const Config *config, const Moment *expires, Arena *arena)
{
	Pb__MigrationVolume *out = arena_message(arena, Pb__MigrationVolume, pb__migration_volume);
	out->description = (char *)description;
	out->expires = expires ? moment_to_message(expires, arena) : NULL;
	config_to_map(config, arena, &pb__migration_volume__config_entry__descriptor,
	    &out->n_config, &out->config);
	return out;
}

static Pb__MigrationSnapshot *describe(
    const InstanceSnapshot *snapshot, const MigrationRows *rows, Arena *arena)
{
	const SnapshotRow *row = migration_rows_find(rows, snapshot->name);
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
	if (row)
		out->volume = volume_message(row->description, row->config, &row->expires, arena);
	return out;
}

/* A driver's own stream has the owners as they are on disk, which is for this server alone. */
static const char *native_method(Source *s)
{
	const char *method = volume_stream_method(s->pool);
	return !method || id_maps_any(s->owners, s->snapshot_owners) ||
		!volume_stream_is_portable(s->pool, s->whole) ?
	    NULL :
	    method;
}

static size_t methods_of(Source *s, char *ret_methods[3])
{
	size_t n = 0;
	if (volume_has_tree(s->whole))
		ret_methods[n++] = (char *)"tar";
	if (volume_has_disk(s->whole))
		ret_methods[n++] = (char *)"block";
	const char *native = native_method(s);
	if (native)
		ret_methods[n++] = (char *)native;
	return n;
}

/* From snapshot `*first` on as many as fit. */
static int offer_some(
    MigrationPeer *peer, Source *s, const MigrationRows *rows, guint *first, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	Pb__MigrationOffer offer = PB__MIGRATION_OFFER__INIT;
	char *methods[3];
	offer.version = VERSION;
	offer.type = (char *)s->type;
	offer.content_type = (char *)volume_content_name(s->whole->content);
	offer.size = (uint64_t)MAX(s->size, 0);
	if (*first == 0)
		offer.volume = volume_message(rows->description, rows->config, NULL, arena);
	if (s->live && *first == 0)
		live_source_offer(s->live, &offer, arena);
	offer.methods = methods;
	offer.n_methods = methods_of(s, methods);
	offer.snapshots = arena_alloc(
	    arena, (s->snapshots->len - *first + 1) * sizeof(*offer.snapshots));
	size_t size = 0;
	while (*first < s->snapshots->len && size < OFFER_SIZE) {
		Pb__MigrationSnapshot *snapshot = describe(
		    s->snapshots->pdata[(*first)++], rows, arena);
		size += pb__migration_snapshot__get_packed_size(snapshot);
		offer.snapshots[offer.n_snapshots++] = snapshot;
	}
	offer.more = *first < s->snapshots->len;
	message.offer = &offer;
	return migration_peer_send(peer, &message, err);
}

static int offer(MigrationPeer *peer, Source *s, Error **err)
{
	guint next = 0;
	g_auto(MigrationRows) rows = { 0 };
	if (migration_rows_load(s, &rows, err) < 0)
		return -1;
	do {
		if (offer_some(peer, s, &rows, &next, err) < 0)
			return -1;
	} while (next < s->snapshots->len);
	return 0;
}

/* ---- one volume or snapshot ---- */

typedef struct Sent {
	Source *source;
	const Volume *volume;
	const char *parent; /* of the driver's stream */
} Sent;

static int write_block(int fd, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_send_block(
	    sent->source->pool, sent->volume, fd, sent->source->op, err);
}

static int write_native(int fd, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_send(sent->source->pool, sent->volume, sent->parent, fd, err);
}

/* name: of one of the snapshots, or "". */
static const GArray *owners_of_part(Source *s, const char *name)
{
	for (guint n = 0; n < s->snapshots->len; n++)
		if (strcmp(((InstanceSnapshot *)s->snapshots->pdata[n])->name, name) == 0)
			return s->snapshot_owners->pdata[n];
	return s->owners;
}

/* Sends while nobody writes to it. */
int migration_source_send_still(MigrationPeer *peer, const MigrationSource *s,
    const MigrationPart *part, MigrationWork work, void *data, Error **err)
{
	gboolean still = s->still && !part->volume->snapshot;
	if (still && s->still(s->data, TRUE, err) < 0)
		return -1;
	int result = migration_data_send(peer, work, data, s->op, part->name, err);
	if (still && s->still(s->data, FALSE, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

/* It stays mounted between the list and the files, which is slow work where it is a device. */
static int serve_tree(
    MigrationPeer *peer, Source *s, const MigrationPart *part, gboolean held, Error **err)
{
	if (held)
		return live_source_last(s->live, peer, s, part, err);
	if (volume_mount(s->pool, part->volume, err) < 0)
		return -1;
	int result = migration_tree_send(peer, s, part, err);
	return volume_unmount(s->pool, part->volume, result == 0 ? err : NULL) < 0 ? -1 : result;
}

static gboolean offered(Source *s, const char *snapshot)
{
	return !*snapshot || copy_find_named(s->snapshots, snapshot);
}

static int serve(MigrationPeer *peer, Source *s, const Pb__MigrationRequest *request, Error **err)
{
	const char *name = request->snapshot;
	if (!offered(s, name) || !offered(s, request->parent) ||
	    (request->held && (*name || !s->live)))
		return error_set(err, ERROR_INVALID,
		    "The other server asks for a snapshot that was not offered");
	const char *of = *name ? name : s->snapshot;
	g_autoptr(Volume) snapshot = of ? volume_snapshot(s->pool, s->whole, of) : NULL;
	const Volume *volume = snapshot ? snapshot : s->whole;
	MigrationPart part = { volume, *name ? name : s->name, owners_of_part(s, name), 0 };
	if (snapshot)
		snapshot->content = s->whole->content;
	else if (s->live && live_source_begin(s->live, &part.since_ns, err) < 0)
		return -1;
	if (part.since_ns)
		part.name = "changes";
	gboolean block = volume_has_disk(s->whole) && strcmp(request->method, "block") == 0;
	if (volume_has_tree(s->whole) && strcmp(request->method, "tar") == 0)
		return serve_tree(peer, s, &part, request->held, err);
	if (!block && g_strcmp0(request->method, native_method(s)) != 0)
		return error_set(
		    err, ERROR_INVALID, "The other server asks for a method that was not offered");
	Sent sent = {
		.source = s, .volume = volume, .parent = *request->parent ? request->parent : NULL
	};
	return block ? migration_source_send_still(peer, s, &part, write_block, &sent, err) :
		       migration_data_send(peer, write_native, &sent, s->op, part.name, err);
}

static int serve_all(MigrationPeer *peer, Source *s, Error **err)
{
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(peer, &message, err) < 0)
			return -1;
		int result = 0;
		if (message->request)
			result = fault_point("migration send", err) < 0 ?
			    -1 :
			    serve(peer, s, message->request, err);
		else if (message->step && s->live)
			result = live_source_step(s->live, peer, message->step, err);
		else if (message->result)
			more = (result = fault_point("migration sent", err)) < 0;
		else
			result = error_set(
			    err, ERROR_INVALID, "Unexpected message in the migration stream");
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	return 0;
}

int migration_source_run(MigrationPeer *peer, const MigrationSource *source, Error **err)
{
	if (migration_peer_is_incus(peer))
		return migration_incus_source(peer, source, err);
	return fault_point("migration offer", err) < 0 || offer(peer, source, err) < 0 ?
	    -1 :
	    serve_all(peer, source, err);
}
