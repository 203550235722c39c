#pragma once
/* Figures of a guest, checked: what it says about itself is shown to others. */
#include "sdk/base/arena.h"
#include "server/guest/guest.h"
#include "server/instance/metrics.h"
#include "incus/v1/agent.pb-c.h"
#include "incus/v1/instance.pb-c.h"

enum {
	GUEST_STATE_ROW_MS = 250,    /* what all guests together may cost a list */
	GUEST_STATE_WHOLE_MS = 3000, /* what somebody waits for who asks for this one */
};

/* One of several guests that are asked at the same time. */
typedef struct GuestQuestion {
	Guest *guest;
	void *answer; /* as the guest gave it; NULL: it did not */
	Error *error; /* and why not */
} GuestQuestion;

/* Asks all of them and returns when the last has answered, or at the one deadline. No threads.
 * After a question that it did not answer in time, a guest is not asked again for ten seconds
 * (ERROR_TIMEOUT at once). */
void guest_ask_states(GuestQuestion *questions, size_t n, int timeout_ms);  /* Pb__InstanceState */
void guest_ask_metrics(GuestQuestion *questions, size_t n, int timeout_ms); /* Pb__AgentMetrics */
void guest_question_clear(GuestQuestion *question); /* the answer and the error */

/* Fills in what the guest knows: memory, swap, CPU time, processes, networks, and of the disk
 * "root" what its file system holds. The rest of `out` is left as it is. */
void guest_state_take(const Pb__InstanceState *answer, Arena *arena, Pb__InstanceState *out);
/* Adds its samples, each with `labels` (as metrics_label() writes them) behind its own. */
void guest_metrics_take(const Pb__AgentMetrics *answer, const char *labels, Metrics *metrics);
