#pragma once
/*
 * The value of raw.lxc: lines of "key = value" for liblxc, comments and empty lines between them.
 */
#include "sdk/base/error.h"
#include <glib.h>

/* Adds key, value, key, value, ... to pairs (owned by it). What would take the container out of the
 * daemon's hands is refused; whether liblxc knows a key only liblxc can tell. */
int raw_lxc_parse(const char *raw, GPtrArray *pairs, Error **err);
/* The same for the key's row: only whether it is right. */
int raw_lxc_check(const char *raw, Error **err);
