#pragma once
/*
 * Instances of LXD's that run although LXD does not: it was killed, or stopped without them. What
 * they write to must not move, and Incus would start each a second time.
 */
#include "migrate/source.h"

/* Their names ("c1, c2"; g_free); NULL: none. */
char *left_running(const Source *source);
