#pragma once
/*
 * Virtual machines whose memory is on disk: the file "state" in the volume, which libvirt wrote and
 * we packed. It is whole or not there (checkpoint.h); while QEMU runs with it there, it was being
 * made or read, and vm_checkpoint_adopt() ends that. All are called under `change`.
 */
#include "server/instance/vm.h"

/* The row's. */
int vm_save(Instance *i, Runtime *r, Error **err);

/* The same, but it goes on: between these it stands still and its volume holds the state. */
int vm_hold(Instance *i, Error **err);
int vm_release(Instance *i, Error **err);

/* For a move: it stands still, and its state (*ret_fd) has no name yet. Either that gets it, so
 * that nothing else is the machine any more, and vm_end() ends what stands still; or vm_release().
 */
int vm_hold_unnamed(Instance *i, int *ret_fd, Error **err);
int vm_name_state(Instance *i, Error **err);
int vm_end(Instance *i, Runtime *r, Error **err);
/* State that comes from elsewhere: `write` writes to a file; it is whole then, or not there. */
int vm_receive_state(
    Instance *i, int (*write)(int fd, void *data, Error **err), void *data, Error **err);

/* Starts the domain of `xml` from the volume's state, which is gone when it runs. It waits
 * for the plan's gate, restored. */
int vm_restore(
    Instance *i, HypervisorLink *link, const StartPlan *plan, const char *xml, Error **err);

/* At the server's start, of one that runs (NULL afterwards: it does not): what a server that was
 * killed was about with its state is brought to an end. */
void vm_checkpoint_adopt(Instance *i, Runtime **runtime);
/* Of one that does not run: a state that libvirt finished alone gets its name. */
void vm_checkpoint_settle(Instance *i, int folder_fd);
