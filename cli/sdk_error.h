#pragma once
/*
 * Errors of the SDK as errors of this program.
 */
#include "sdk/base/error.h"
#include <incus/client.h>

/* Takes `error`; returns -1. */
int error_from_sdk(Error **err, incus_error *error);
