#pragma once
/*
 * Whether a daemon whose socket a service manager holds has anything to do before somebody calls
 * it.
 */
#include "sdk/base/error.h"
#include <glib.h>

/* Looks into the databases of `directory` without changing them. ret_reason is a sentence (static),
 * or NULL when the daemon may stay down. */
int activate_reason(const char *directory, const char **ret_reason, Error **err);
