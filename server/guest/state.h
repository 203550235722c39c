#pragma once
/* Figures of a guest, checked: what it says about itself is shown to others. */
#include "sdk/base/arena.h"
#include "server/guest/guest.h"
#include "server/instance/metrics.h"
#include "incus/v1/instance.pb-c.h"

enum {
	GUEST_STATE_ROW_MS = 250,    /* what one guest may cost a list; asked side by side */
	GUEST_STATE_WHOLE_MS = 3000, /* what somebody waits for who asks for this one */
};

/* Fills in what the guest knows: memory, swap, CPU time, processes, networks, and of the disk
 * "root" what its file system holds. The rest of `out` is left as it is, all of it on failure.
 * After a question that it did not answer in time, a guest is not asked again for ten seconds
 * (ERROR_TIMEOUT at once). */
int guest_state(Guest *guest, int timeout_ms, Arena *arena, Pb__InstanceState *out, Error **err);
/* Adds its samples, each with `labels` (as metrics_label() writes them) behind its own. */
int guest_measure(Guest *guest, const char *labels, Metrics *metrics, Error **err);
