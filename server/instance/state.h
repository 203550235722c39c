#pragma once
/*
 * What an instance uses now: read from its cgroup files and its network namespace, without asking
 * anything inside. Nothing here waits for a flow.
 */
#include "server/instance/instance.h"
#include "incus/v1/instance.pb-c.h"

/* Never fails: what cannot be read is -1 or absent. */
void instance_state(Instance *i, Arena *arena, Pb__InstanceState *out);
/* The instance with its state, snapshots and backups where recursion asks for them (2). */
void instance_render_full(Instance *i, Arena *arena, Pb__Instance *out);
