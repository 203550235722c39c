#pragma once
/*
 * What LXD left when it was killed, or was stopped without it.
 */
#include "migrate/source.h"

/* Instances that run ("c1, c2"; g_free), NULL: none. What they write to must not move, and Incus
 * would start each a second time. */
char *left_running(const Source *source);
/* Ends name servers and forwarders: they have addresses that Incus's need. LXD starts its own again
 * when it starts. */
void left_helpers_end(const Source *source);
