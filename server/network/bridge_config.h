#pragma once
/*
 * Configuration of managed bridges: which keys exist, what they may hold, how they go together, and
 * the values that are chosen when the user does not. Not for applying it (bridge.h).
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

/* Every key and the whole. Keys of features that are not built are ERROR_UNSUPPORTED, removed ones
 * and unknown ones ERROR_INVALID; the message names the key. */
int bridge_config_check(const Config *config, Error **err);
/* A new network: sets ipv4.address and ipv6.address to "auto" and the nat keys to "true" where the
 * user said nothing. have_ipv6 FALSE: "none". */
void bridge_config_defaults(Config *config, gboolean have_ipv6);
/* Replaces "auto" by free subnets; taken: CIDR texts in use. */
int bridge_config_resolve(Config *config, const GPtrArray *taken, Error **err);
/* NULL when the family has no address ("none" or unset). family: "ipv4" or "ipv6". */
const char *bridge_config_address(const Config *config, const char *family);
/* 0 when not set. */
unsigned bridge_config_mtu(const Config *config);
