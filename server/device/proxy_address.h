#pragma once
/*
 * Addresses of proxy devices: "tcp:10.0.0.1:80-90,100", "udp:[::1]:53", "unix:/run/x.sock",
 * "unix:@abstract".
 */
#include "sdk/base/error.h"
#include <glib.h>

enum { PROXY_PORTS_MAX = 2048 };

typedef enum ProxyKind { PROXY_TCP, PROXY_UDP, PROXY_UNIX } ProxyKind;

typedef struct ProxyAddress {
	ProxyKind kind;
	char *host; /* as written, without brackets; "" when there is none */
	gboolean ipv6;
	GArray *ports; /* guint */
	char *path;    /* of unix ones, without "@" */
	gboolean abstract;
} ProxyAddress;

int proxy_address_parse(const char *text, ProxyAddress *ret, Error **err);
void proxy_address_clear(ProxyAddress *address);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ProxyAddress, proxy_address_clear)
const char *proxy_kind_name(ProxyKind kind);
/* 0.0.0.0, :: or nothing. */
gboolean proxy_address_any(const ProxyAddress *address);
guint proxy_address_count(const ProxyAddress *address);
/* The n-th port; a single one is every one. */
guint proxy_address_port(const ProxyAddress *address, guint n);
/* The n-th as incus-spawner reads it (helper/spawner/proxy.h); `nowhere` stands for no host. */
char *proxy_address_text(const ProxyAddress *address, guint n, const char *nowhere);
