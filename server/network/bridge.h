#pragma once
/*
 * The host side of a managed bridge: interface, addresses, routes, kernel settings, firewall and
 * dnsmasq, made to look like a configuration. Applying is idempotent, so it serves creation,
 * change, start of the daemon and repair alike. The caller holds the table's change lock.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"

typedef struct BridgeSetup {
	const char *name;       /* of network and interface */
	const char *directory;  /* INCUS_DIR/networks/NAME */
	const char *hwaddr;     /* when bridge.hwaddr is not set */
	const Config *config;
	const Config *old_config; /* what was applied before; NULL: nothing, or unknown */
} BridgeSetup;

gboolean bridge_have_ipv6(void); /* this kernel */
int bridge_apply(const BridgeSetup *setup, Error **err);
/* Takes everything away; goes on past failures. */
void bridge_remove(const BridgeSetup *setup);
