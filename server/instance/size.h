#pragma once
/*
 * Sizes of instances by a short word ("c2-m4": two CPUs, 4 GiB), as `incus launch -t` gives them.
 * Names of clouds' machines ("t2.micro") need a list from the network and are refused.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

/* Sets limits.cpu, limits.cpu.allowance and limits.memory where `config` has no value of its own.
 */
int instance_size_apply(const char *size, Config *config, Error **err);
