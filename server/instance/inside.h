#pragma once
/*
 * What the agents in virtual machines say of them, for whoever shows many: all are asked at the
 * same time, before the list is made, and a guest that hangs costs the whole list one deadline and
 * no thread. state.h and metrics.h take the answers.
 */
#include "server/instance/instance.h"

typedef enum InsideKind {
	INSIDE_ROW,	/* Pb__InstanceState, soon */
	INSIDE_WHOLE,	/* Pb__InstanceState, for whom somebody waits */
	INSIDE_METRICS, /* Pb__AgentMetrics */
} InsideKind;

typedef struct Insides Insides;

/* Asks the running virtual machines among `instances` (Instance *) that may be asked
 * (security.agent.metrics). Never fails: who did not answer has no answer. */
Insides *insides_ask(const GPtrArray *instances, InsideKind kind);
/* NULL for what was not asked or did not answer; insides NULL: nobody was. */
const void *insides_answer(const Insides *insides, const Instance *instance);
void insides_free(Insides *insides);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Insides, insides_free)
