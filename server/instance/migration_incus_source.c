#include "server/instance/copy.h"
#include "server/instance/migration_incus.h"
#include "server/storage/volume_block.h"
#include "server/storage/volume_stream.h"
#include "server/sys/id_map.h"
#include <string.h>

enum { NANOSECONDS = 1000000000 };

/* ---- the offer ---- */

static Pb__PeerConfig **configs_of(const Config *config, Arena *arena, size_t *ret_n)
{
	GHashTableIter iter;
	void *key, *value;
	Pb__PeerConfig **list = arena_alloc(
	    arena, (g_hash_table_size((GHashTable *)config) + 1) * sizeof(*list));
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	for (*ret_n = 0; g_hash_table_iter_next(&iter, &key, &value); ++*ret_n) {
		Pb__PeerConfig *one = arena_message(arena, Pb__PeerConfig, pb__peer_config);
		one->_key_case = PB__PEER_CONFIG___KEY_KEY;
		one->key = key;
		one->_value_case = PB__PEER_CONFIG___VALUE_VALUE;
		one->value = value;
		list[*ret_n] = one;
	}
	return list;
}

static Pb__PeerDevice **devices_of(const Devices *devices, Arena *arena, size_t *ret_n)
{
	GHashTableIter iter;
	void *name, *config;
	Pb__PeerDevice **list = arena_alloc(
	    arena, (g_hash_table_size((GHashTable *)devices) + 1) * sizeof(*list));
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	for (*ret_n = 0; g_hash_table_iter_next(&iter, &name, &config); ++*ret_n) {
		Pb__PeerDevice *one = arena_message(arena, Pb__PeerDevice, pb__peer_device);
		one->_name_case = PB__PEER_DEVICE___NAME_NAME;
		one->name = name;
		one->config = configs_of(config, arena, &one->n_config);
		list[*ret_n] = one;
	}
	return list;
}

static Pb__PeerSnapshot *snapshot_of(
    const MigrationSource *s, const InstanceSnapshot *from, Arena *arena)
{
	Pb__PeerSnapshot *out = arena_message(arena, Pb__PeerSnapshot, pb__peer_snapshot);
	int64_t unit = s->whole->type == VOLUME_CUSTOM ? NANOSECONDS : 1;
	out->_name_case = PB__PEER_SNAPSHOT___NAME_NAME;
	out->name = from->name;
	out->config = configs_of(from->config, arena, &out->n_config);
	out->devices = devices_of(from->devices, arena, &out->n_devices);
	out->_ephemeral_case = PB__PEER_SNAPSHOT___EPHEMERAL_EPHEMERAL;
	out->_architecture_case = PB__PEER_SNAPSHOT___ARCHITECTURE_ARCHITECTURE;
	out->architecture = s->architecture;
	out->_stateful_case = PB__PEER_SNAPSHOT___STATEFUL_STATEFUL;
	out->created = from->created * unit;
	out->expires = from->expires.seconds * unit;
	return out;
}

static int offer(MigrationPeer *peer, const MigrationSource *s, Error **err)
{
	/* rsync sends the owners as they are on disk, which are for this server alone. */
	if (id_maps_any(s->owners, s->snapshot_owners))
		return error_set(err, ERROR_UNSUPPORTED,
		    "The files have shifted owners: export it and import it there");
	g_autoptr(Arena) arena = arena_new();
	Pb__PeerHeader header = PB__PEER_HEADER__INIT;
	Pb__PeerRsync features;
	migration_incus_features(&features, NULL);
	header._fs_case = PB__PEER_HEADER___FS_FS;
	header.fs = s->whole->content == CONTENT_FILESYSTEM ? PB__PEER_METHOD__PEER_RSYNC :
							      PB__PEER_METHOD__PEER_BLOCK_AND_RSYNC;
	header.rsync = &features;
	header._predump_case = PB__PEER_HEADER___PREDUMP_PREDUMP;
	header._volume_size_case = PB__PEER_HEADER___VOLUME_SIZE_VOLUME_SIZE;
	header.volume_size = MAX(s->size, 0);
	size_t n = s->snapshots->len;
	header.snapshots = arena_alloc(arena, (n + 1) * sizeof(*header.snapshots));
	header.snapshot_names = arena_alloc(arena, (n + 1) * sizeof(*header.snapshot_names));
	for (; header.n_snapshots < n; header.n_snapshots++) {
		header.snapshots[header.n_snapshots] = snapshot_of(
		    s, s->snapshots->pdata[header.n_snapshots], arena);
		header.snapshot_names[header.n_snapshots] =
		    header.snapshots[header.n_snapshots]->name;
	}
	header.n_snapshot_names = n;
	return migration_incus_send_header(peer, &header, err);
}

/* ---- the data ---- */

typedef struct Sent {
	const MigrationSource *source;
	const Volume *volume;
	RsyncOptions options;
} Sent;

static int work_rsync(int socket, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_rsync(sent->source->pool, sent->volume, socket, &sent->options, err);
}

static int work_block(int socket, void *data, Error **err)
{
	const Sent *sent = data;
	return volume_stream_send_block(
	    sent->source->pool, sent->volume, socket, sent->source->op, err);
}

static int send_one(MigrationPeer *peer, Sent *sent, const char *name, Error **err)
{
	const MigrationSource *s = sent->source;
	gboolean still = s->still && !sent->volume->snapshot;
	if (still && s->still(s->data, TRUE, err) < 0)
		return -1;
	int result = s->whole->content == CONTENT_FILESYSTEM ?
	    migration_incus_object(peer, work_rsync, sent, 0, s->op, name, err) :
	    migration_incus_send(peer, work_block, sent, err);
	if (still && s->still(s->data, FALSE, result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

static int send_snapshot(MigrationPeer *peer, Sent *sent, const char *name, Error **err)
{
	const MigrationSource *s = sent->source;
	g_autoptr(Volume) snapshot = volume_snapshot(s->pool, s->whole, name);
	snapshot->content = s->whole->content;
	sent->volume = snapshot;
	return send_one(peer, sent, name, err);
}

/* Those that are wanted: what the target names when it refreshes, else all. */
static int send_snapshots(
    MigrationPeer *peer, const Pb__PeerHeader *answer, Sent *sent, Error **err)
{
	const GPtrArray *snapshots = sent->source->snapshots;
	if (!answer->_refresh_case || !answer->refresh) {
		for (guint n = 0; n < snapshots->len; n++)
			if (send_snapshot(peer, sent,
				((InstanceSnapshot *)snapshots->pdata[n])->name, err) < 0)
				return -1;
		return 0;
	}
	for (size_t n = 0; n < answer->n_snapshot_names; n++) {
		if (!copy_find_named(snapshots, answer->snapshot_names[n]))
			return error_set(err, ERROR_INVALID,
			    "The other server asks for a snapshot that was not offered");
		if (send_snapshot(peer, sent, answer->snapshot_names[n], err) < 0)
			return -1;
	}
	return 0;
}

static int send_data(
    MigrationPeer *peer, const MigrationSource *s, const Pb__PeerHeader *answer, Error **err)
{
	Sent sent = { .source = s, .options = migration_incus_rsync(answer, s->op) };
	sent.options.vanishing = !s->still;
	if (send_snapshots(peer, answer, &sent, err) < 0)
		return -1;
	if (s->snapshot)
		return send_snapshot(peer, &sent, s->snapshot, err);
	sent.volume = s->whole;
	return send_one(peer, &sent, s->name, err);
}

/* It has to take what was offered. */
static int check_answer(const MigrationSource *s, const Pb__PeerHeader *answer, Error **err)
{
	Pb__PeerMethod wanted = s->whole->content == CONTENT_FILESYSTEM ?
	    PB__PEER_METHOD__PEER_RSYNC :
	    PB__PEER_METHOD__PEER_BLOCK_AND_RSYNC;
	return answer->_fs_case && answer->fs == wanted ?
	    0 :
	    error_set(err, ERROR_UNSUPPORTED,
		"The other server wants the data in a way that was not offered");
}

int migration_incus_source(MigrationPeer *peer, const MigrationSource *source, Error **err)
{
	Pb__PeerHeader *answer;
	if (offer(peer, source, err) < 0 || migration_incus_receive_header(peer, &answer, err) < 0)
		return -1;
	int result = check_answer(source, answer, err) < 0 ||
		send_data(peer, source, answer, err) < 0 ||
		migration_incus_receive_control(peer, err) < 0 ?
	    -1 :
	    0;
	pb__peer_header__free_unpacked(answer, NULL);
	return result;
}
