#pragma once
/*
 * One validator per kind of name or address. Each gives ERROR_INVALID with a message that says
 * what is wrong; the caller adds which field with error_prefix(). NULL is invalid.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* 1-63 letters, digits and dashes; no dash at either end (a DNS label); not digits alone. */
int name_check_instance(const char *name, Error **err);
/* Snapshot part: no slash, no spaces or control characters, not "." or "..". */
int name_check_snapshot(const char *name, Error **err);
/* Projects: no '/', ' ', '_', quotes, '*', not "." or "..". */
int name_check_project(const char *name, Error **err);
int name_check_profile(const char *name, Error **err);
int name_check_device(
    const char *name, Error **err); /* 1-64 of [A-Za-z0-9_./-]..., no leading dash */
int name_check_pool(const char *name, Error **err);
int name_check_volume(const char *name, Error **err);
int name_check_bucket(const char *name, Error **err);
int name_check_network(const char *name,
    Error **err); /* managed networks: interface rules for bridges are checked there */
int name_check_acl(const char *name, Error **err);
int name_check_zone(const char *name, Error **err);        /* DNS zone name */
int name_check_image_alias(const char *name, Error **err);
int name_check_fingerprint(const char *text, Error **err); /* 1-64 lower-case hex digits */
int name_check_interface(const char *name, Error **err);   /* Linux interface name, 1-15 */
int name_check_hostname(const char *name, Error **err);
int name_check_cluster_member(const char *name, Error **err);
int name_check_config_key(const char *key, Error **err);

int name_check_mac(const char *text, Error **err);
int name_check_ipv4(const char *text, Error **err);
int name_check_ipv6(const char *text, Error **err);
int name_check_ip(const char *text, Error **err);
int name_check_ipv4_cidr(const char *text, Error **err); /* address/prefix, host bits allowed */
int name_check_ipv6_cidr(const char *text, Error **err);
int name_check_ipv4_network(const char *text, Error **err);     /* CIDR without host bits */
int name_check_ipv6_network(const char *text, Error **err);
int name_check_ipv4_range(const char *text, Error **err);       /* A-B, A <= B */
int name_check_ipv6_range(const char *text, Error **err);
int name_check_port(const char *text, Error **err);             /* 1-65535 */
int name_check_listen_address(
    const char *text, Error **err); /* host, host:port, [v6]:port, :port */
int name_check_uuid(const char *text, Error **err);
int name_check_pci(const char *text, Error **err);              /* [0000:]00:1f.2 */
int name_check_hex_id(const char *text, Error **err); /* 4 hex digits: USB/PCI vendor, product */
int name_check_url(const char *text, Error **err);              /* http or https */
int name_check_absolute_path(const char *text, Error **err);    /* no NUL, no control characters */
/* No control characters (newline, NUL, DEL); what goes into LXC lines, dnsmasq and nft. */
int name_check_line(const char *text, Error **err);
/* Valid UTF-8; of the control characters only line breaks and tabs. */
int name_check_text(const char *text, Error **err);
