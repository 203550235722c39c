#pragma once
/* What requests for storage volumes leave to operations: copies and moves. */
#include "incus/v1/storage.pb-c.h"
#include "server/rpc/request.h"
#include "server/storage/volume.h"

/* A new volume of `pool` from its source, or an existing one refreshed; `out` is the operation. */
int volume_copy_start(
    Request *rq, Pool *pool, const Pb__StorageVolumesPost *post, Pb__Operation *out, Error **err);
/* Another name at once, where `out` stays empty; another pool or project in an operation. */
int volume_move_start(Request *rq, Pool *pool, const Volume *volume,
    const Pb__StorageVolumePost *post, Pb__Operation *out, Error **err);
