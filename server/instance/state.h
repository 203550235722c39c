#pragma once
/*
 * What an instance uses now: a container's is read from its cgroup files and its network
 * namespace, without asking anything inside; of a virtual machine the host sees a part, and its
 * agent tells the rest (inside.h). Nothing here waits for a flow.
 */
#include "server/instance/inside.h"
#include "incus/v1/instance.pb-c.h"

/* How much work a state is worth: a row of a list leaves out what takes longer than reading a few
 * files (the disk use on storage that keeps no counters). */
typedef enum StateDepth { STATE_ROW, STATE_WHOLE } StateDepth;

/* Never fails: what cannot be read is -1 or absent. What an agent says is taken from `insides`
 * (NULL: as the host sees it). */
void instance_state(
    Instance *i, StateDepth depth, const Insides *insides, Arena *arena, Pb__InstanceState *out);
/* All of it of this one: asks its agent, and waits for the answer. */
void instance_state_whole(Instance *i, Arena *arena, Pb__InstanceState *out);
/* The instance with its state, snapshots and backups where recursion asks for them (2). */
void instance_render_full(Instance *i, Arena *arena, Pb__Instance *out);
/* The same as a row of a list, with the parts that are wanted. */
void instance_render_row(
    Instance *i, RenderParts parts, const Insides *insides, Arena *arena, Pb__Instance *out);
