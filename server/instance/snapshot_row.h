#pragma once
/* Writing the rows of instances' snapshots, for the files of this folder. Reading is in snapshot.h.
 */
#include "server/db/db.h"
#include "server/instance/snapshot.h"

int snapshot_insert(Daemon *d, InstanceSnapshot *snapshot, Error **err); /* sets id */
int snapshot_insert_in(Tx *tx, InstanceSnapshot *snapshot, Error **err);
int snapshot_forget(Daemon *d, int64_t id, Error **err);
int snapshot_set_name_in(Tx *tx, int64_t id, const char *name, Error **err);
int snapshot_set_expiry(Daemon *d, int64_t id, const Moment *expires, Error **err);
