#pragma once
/*
 * Tap interfaces: the host's end of a virtual machine's network card. They stay until
 * netlink_delete(), whoever opens them meanwhile.
 */
#include "sdk/base/error.h"

/* ERROR_EXISTS when an interface of that name is there. */
int tap_create(const char *name, Error **err);
