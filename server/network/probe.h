#pragma once
/* Whether somebody has an address already. */
#include "sdk/base/error.h"
#include <glib.h>

/* Asks each of `addresses` (one family) on the interface `link` for an echo, all at once, for half
 * a second. The first that answers is in *ret_taken (g_free), NULL: none. */
int probe_addresses(const char *link, char *const *addresses, char **ret_taken, Error **err);
