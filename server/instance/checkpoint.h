#pragma once
/*
 * Instances whose processes are on disk instead of in memory. The folder "state" beside a root file
 * system (the file, of a virtual machine: vm_checkpoint.h) is whole or not there at all, and while
 * it is there the instance does not run (helper/spawner/criu.h says how); so the row's `stateful`
 * only repeats what the disk says, and is set right when it was not. All are called under `change`.
 */
#include "server/instance/driver.h"
#include "server/instance/folder.h"

/* Writes the running container to disk and ends it; on failure it goes on running. */
int checkpoint_save(Instance *i, Runtime *r, Error **err);

/* The same, but it goes on: between these two it stands still, and its state has its name, so that
 * a snapshot of the volume has both. */
typedef struct CheckpointHold CheckpointHold;
int checkpoint_hold(Instance *i, DumpKind kind, CheckpointHold **ret_hold, Error **err);
int checkpoint_release(CheckpointHold *hold, Error **err);
/* Of DUMP_ASK: the state, which has no name yet and is still being written; whether all of it is
 * there (1; 0 after so many milliseconds, -1: as long as it may take); and that it gets its name,
 * and the processes end (once it is released), or not, and they go on. */
int checkpoint_folder(const CheckpointHold *hold, int *ret_fd, Error **err);
int checkpoint_written(CheckpointHold *hold, int timeout_ms, Error **err);
int checkpoint_end(CheckpointHold *hold, Error **err);
/* State that comes from elsewhere: `receive` fills an empty folder; it is whole then, or nothing of
 * it is left. */
int checkpoint_receive(
    Instance *i, int (*receive)(int folder, void *data, Error **err), void *data, Error **err);

/* For the drivers: the instance's folder, without what an earlier attempt left in it. */
int checkpoint_open(Instance *i, InstanceFolder **ret_folder, Error **err);
/* There is state, and nothing runs any more. */
void checkpoint_saved(Instance *i);
int checkpoint_received(Instance *i, Error **err);
/* Before a start without state: what came with a copy or an archive is not of this instance's
 * processes, and must never be taken for theirs. */
int checkpoint_clear(Instance *i, Error **err);

/* Settings for liblxc and a mount that let a container be saved later (migration.stateful). */
int checkpoint_config(Instance *i, const StartPlan *plan, GPtrArray *pairs, Error **err);
/* Adds to a SPAWN_START what it starts from: the state when there is one, or nothing. */
int checkpoint_request(Instance *i, const char *volume, Packet *request, Error **err);
/* It runs: what it was started from is spent. */
void checkpoint_spent(Instance *i);
/* CRIU's words in place of the spawner's. */
void checkpoint_explain(Instance *i, Error **err);
/* Of one that a daemon left behind in whatever moment: whether it has state now. */
void checkpoint_settle(Instance *i);
/* Whether state that comes from elsewhere may be started from: what CRIU reads it obeys as root, so
 * not in a project whose users are restricted. */
gboolean checkpoint_trusted(Instance *i);
/* Throws its state away. */
int checkpoint_drop(Instance *i, Error **err);
/* The volume has other content now (a snapshot's): keep its state, or throw it away. ERROR_INVALID
 * when there is none to be kept. */
int checkpoint_restored(Instance *i, gboolean keep, Error **err);
