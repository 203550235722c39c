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

/* Starts the domain of `xml` from the volume's state, which is gone when it runs. */
int vm_restore(Instance *i, HypervisorLink *link, const char *volume, const char *xml, Error **err);

/* At the server's start, of one that runs (NULL afterwards: it does not): what a server that was
 * killed was about with its state is brought to an end. */
void vm_checkpoint_adopt(Instance *i, Runtime **runtime);
/* Of one that does not run: a state that libvirt finished alone gets its name. */
void vm_checkpoint_settle(Instance *i, int folder_fd);
