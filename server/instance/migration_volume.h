#pragma once
/*
 * Custom volumes to and from other servers, as migration.h has instances.
 */
#include "server/instance/migration_peer.h"
#include "server/storage/volume.h"

/* Gives the other side what it asks for of the volume, or of one of its snapshots, which is then
 * all that it gets. The source is unchanged whatever happens. */
int migration_send_volume(MigrationPeer *peer, Pool *pool, const Volume *volume,
    gboolean volume_only, Operation *op, Error **err);

typedef struct VolumeWish {
	Pool *pool;
	const char *project, *name; /* the effective project */
	const char *description, *content_type;
	const Config *config; /* what the pool's driver does not know of it is left out */
	gboolean volume_only;
	gboolean refresh; /* one that exists is brought up to date */
} VolumeWish;
/* Makes the volume with the snapshots that come, or leaves nothing. Tells the other side how it
 * ended. *ret_made: it is a new one. */
int migration_receive_volume(MigrationPeer *peer, const VolumeWish *wish, Operation *op,
    gboolean *ret_made, Error **err);
