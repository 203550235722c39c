#include "server/instance/copy.h"
#include "server/instance/migration_incus.h"
#include "server/storage/volume_stream.h"
#include <string.h>

enum { NANOSECONDS = 1000000000 };

/* ---- the offer ---- */

static const char *text_of(int given, const char *text)
{
	return given && text ? text : "";
}

static Config *config_of(size_t n, Pb__PeerConfig **list)
{
	Config *config = config_new();
	for (size_t i = 0; i < n; i++)
		config_set(config, text_of(list[i]->_key_case, list[i]->key),
		    text_of(list[i]->_value_case, list[i]->value));
	return config;
}

static InstanceSnapshot *snapshot_of(const MigrationTarget *t, const Pb__PeerSnapshot *from)
{
	InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
	int64_t unit = strcmp(t->type, "custom") == 0 ? NANOSECONDS : 1;
	s->name = g_strdup(text_of(from->_name_case, from->name));
	s->description = g_strdup("");
	s->created = MAX(from->created / unit, 0);
	if (strcmp(t->type, "custom") != 0)
		s->expires.seconds = MAX(from->expires, 0);
	s->config = config_of(from->n_config, from->config);
	s->devices = devices_new();
	for (size_t i = 0; i < from->n_devices; i++) {
		const Pb__PeerDevice *device = from->devices[i];
		g_autoptr(Config) config = config_of(device->n_config, device->config);
		devices_set(s->devices, text_of(device->_name_case, device->name), config);
	}
	return s;
}

/* Names alone are what the oldest servers send. */
static int take_snapshots(MigrationTarget *t, const Pb__PeerHeader *header, Error **err)
{
	if (t->alone)
		return 0;
	if (header->n_snapshots != header->n_snapshot_names)
		return error_set(err, ERROR_INVALID,
		    "The other server names %zu snapshots and describes %zu",
		    header->n_snapshot_names, header->n_snapshots);
	for (size_t n = 0; n < header->n_snapshots; n++)
		if (migration_target_add(t, snapshot_of(t, header->snapshots[n]), NULL, err) < 0)
			return -1;
	return 0;
}

/* Files that are shifted on disk would arrive with the wrong owners. */
static int check_owners(const Pb__PeerHeader *header, Error **err)
{
	for (size_t n = 0; n < header->n_idmap; n++)
		if (header->idmap[n]->host_id != header->idmap[n]->ns_id)
			return error_set(err, ERROR_UNSUPPORTED,
			    "The other server keeps the files of this instance shifted: export it "
			    "there and import it here");
	return 0;
}

static int check_method(const MigrationTarget *t, const Pb__PeerHeader *header, Error **err)
{
	gboolean block = header->_fs_case && header->fs == PB__PEER_METHOD__PEER_BLOCK_AND_RSYNC;
	if (!header->rsync && (!header->_fs_case || header->fs != PB__PEER_METHOD__PEER_RSYNC))
		return error_set(
		    err, ERROR_UNSUPPORTED, "The other server cannot send by way of rsync");
	if (t->content == CONTENT_FILESYSTEM && block)
		return error_set(
		    err, ERROR_INVALID, "The other server sends a disk, not a file system");
	if (header->_state_case && header->state != PB__PEER_STATE__PEER_STATE_NONE)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Moving the running state is not available in this version: stop the instance, "
		    "or make a stateless copy");
	return check_owners(header, err);
}

int migration_incus_offer(MigrationTarget *t, Error **err)
{
	if (migration_incus_receive_header(t->peer, &t->header, err) < 0 ||
	    check_method(t, t->header, err) < 0)
		return -1;
	t->size = t->header->_volume_size_case ? (uint64_t)MAX(t->header->volume_size, 0) : 0;
	return take_snapshots(t, t->header, err);
}

/* ---- the answer ---- */

/* What of the offer is to be sent. */
static int answer(MigrationTarget *t, const GPtrArray *snapshots, gboolean refresh,
    const Pb__PeerRsync *features, Error **err)
{
	Pb__PeerHeader out = PB__PEER_HEADER__INIT;
	g_autofree Pb__PeerSnapshot **list = g_new0(Pb__PeerSnapshot *, t->header->n_snapshots + 1);
	g_autofree char **names = g_new0(char *, t->header->n_snapshots + 1);
	out._fs_case = PB__PEER_HEADER___FS_FS;
	out.fs = t->content == CONTENT_FILESYSTEM ? PB__PEER_METHOD__PEER_RSYNC :
						    PB__PEER_METHOD__PEER_BLOCK_AND_RSYNC;
	out.rsync = (Pb__PeerRsync *)features;
	out._predump_case = PB__PEER_HEADER___PREDUMP_PREDUMP;
	out._refresh_case = PB__PEER_HEADER___REFRESH_REFRESH;
	out.refresh = refresh;
	out._volume_size_case = PB__PEER_HEADER___VOLUME_SIZE_VOLUME_SIZE;
	out.volume_size = (int64_t)t->size;
	for (size_t n = 0; n < t->header->n_snapshots; n++) {
		Pb__PeerSnapshot *s = t->header->snapshots[n];
		if (!copy_find_named(snapshots, text_of(s->_name_case, s->name)))
			continue;
		list[out.n_snapshots] = s;
		names[out.n_snapshots++] = s->name;
	}
	out.snapshots = list;
	out.n_snapshot_names = out.n_snapshots;
	out.snapshot_names = names;
	return migration_incus_send_header(t->peer, &out, err);
}

/* ---- the data ---- */

typedef struct Taken {
	VolumeArrival *arrival;
	RsyncOptions options;
	uint64_t limit;
} Taken;

static int work_rsync(int socket, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_rsync(taken->arrival, socket, &taken->options, taken->limit, err);
}

static int work_block(int socket, void *data, Error **err)
{
	const Taken *taken = data;
	return volume_arrival_block(taken->arrival, socket, taken->limit, err);
}

static int take_one(MigrationTarget *t, Taken *taken, const char *name, Error **err)
{
	if (t->content != CONTENT_FILESYSTEM)
		return migration_incus_receive(
		    t->peer, work_block, taken, taken->limit, t->op, name, err);
	/* Names and attributes come on top of the content. */
	uint64_t limit = volume_stream_limit(taken->limit);
	return migration_incus_object(t->peer, work_rsync, taken, limit, t->op, name, err);
}

int migration_incus_take(MigrationTarget *t, VolumeArrival *arrival, const GPtrArray *snapshots,
    gboolean refresh, uint64_t limit, Error **err)
{
	Pb__PeerRsync features;
	Pb__PeerHeader agreed = PB__PEER_HEADER__INIT;
	migration_incus_features(&features, t->header->rsync);
	if (answer(t, snapshots, refresh, &features, err) < 0)
		return -1;
	agreed.rsync = &features;
	Taken taken = {
		.arrival = arrival, .options = migration_incus_rsync(&agreed, t->op), .limit = limit
	};
	for (guint n = 0; n < snapshots->len; n++) {
		const SnapshotRow *row = migration_target_row(t, snapshots->pdata[n]);
		if (take_one(t, &taken, row->name, err) < 0 ||
		    volume_arrival_snapshot(arrival, row, err) < 0)
			return error_prefix(err, "Snapshot \"%s\"", row->name);
	}
	return take_one(t, &taken, "rootfs", err);
}
