#pragma once
/*
 * Virtual machines that go to another server while they run: QEMU sends the root disk and then the
 * memory to a QEMU that waits at the other side, and stands still once both are the same. It is
 * libvirt that has them do so, in the steps of its own migration; what the libvirts would tell each
 * other does not travel, and what the QEMUs do goes over the migration's stream
 * (migration_carry.h).
 *
 * From the first step until the last a note in the run directory says so. Then a machine that
 * stands still has either come, and may run once its record is made (live_private.h), or has gone,
 * and may never run unless its target says that it does not. All is called under `change`.
 */
#include "server/instance/migration_peer.h"
#include "server/instance/vm.h"

/* Whether this server's libvirt can. */
gboolean vm_carries(Daemon *d);

/* Until it stands still here, and all of it is at the other side. On failure it goes on. The
 * connection lives as long as it is not known how that ends. */
int vm_carry_out(
    Instance *i, MigrationPeer *peer, Operation *op, HypervisorLink *ret_link, Error **err);
/* It stands still: TRUE. */
gboolean vm_carried(Instance *i);
/* It runs at the other side, and ends here; or it does not, and goes on. */
int vm_carry_settle(Instance *i, gboolean arrived, Error **err);

/* Somebody lets it go on. */
void vm_carry_forget(Instance *i);

/* The domain of `xml` waits for what comes (the plan's gate has the stream), waits for the gate,
 * and runs. */
int vm_carry_in(Instance *i, const StartPlan *plan, const char *uri, const char *xml, Error **err);

/* At the server's start, of one that runs (NULL afterwards: it does not). TRUE: it was on its way,
 * and is what it is to be now. */
gboolean vm_carry_adopt(Instance *i, Runtime **runtime);
