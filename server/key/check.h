#pragma once
/* Checks of single values that rows name, beside those of sdk/base/names.h. All give ERROR_INVALID. */
#include "sdk/base/error.h"
#include "sdk/base/names.h"

int check_cpus(const char *value, Error **err);          /* a count or a set: "2", "0-3,5" */
int check_cpuset(const char *value, Error **err);
int check_cpu_allowance(const char *value, Error **err); /* "50%", "25ms/100ms" */
int check_memory(const char *value, Error **err);        /* size or percentage */
int check_size(const char *value, Error **err);
int check_rlimit(const char *value, Error **err);        /* "SOFT:HARD", "N", "unlimited" */
int check_expiry(const char *value, Error **err);
int check_schedule(const char *value, Error **err);      /* cron lines or @aliases, with commas between */
int check_stream_compression(const char *value, Error **err); /* auto, none, a level of zstd */
int check_compression(const char *value, Error **err);   /* program and its options, or "none" */
int check_architecture(const char *value, Error **err);
int check_pool_volume(const char *value, Error **err);   /* POOL/VOLUME */
int check_modules(const char *value, Error **err);       /* kernel modules, with commas between */
int check_odd(const char *value, Error **err);
int check_mode(const char *value, Error **err);          /* octal file mode */
int check_member_address(const char *value, Error **err);
int check_ip_list(const char *value, Error **err);
int check_ipv4_or_auto(const char *value, Error **err);  /* "none", "auto", CIDR */
int check_ipv6_or_auto(const char *value, Error **err);
int check_ipv4_or_none(const char *value, Error **err);
int check_ipv6_or_none(const char *value, Error **err);
int check_ipv4_list(const char *value, Error **err);
int check_ipv6_list(const char *value, Error **err);
int check_ipv4_networks(const char *value, Error **err);
int check_ipv6_networks(const char *value, Error **err);
int check_ipv4_ranges(const char *value, Error **err);
int check_ipv6_ranges(const char *value, Error **err);
int check_vlan(const char *value, Error **err);          /* 0-4094 or "none" */
int check_vlan_list(const char *value, Error **err);
int check_interfaces(const char *value, Error **err);
int check_uplinks(const char *value, Error **err);       /* "block", or networks with commas between */
int check_uplink_subnets(const char *value, Error **err); /* "block", or NETWORK:SUBNET with commas between */
int check_zones(const char *value, Error **err);         /* "block", or DNS zones with commas between */
int check_libvirt_uri(const char *value, Error **err);       /* a local one */
int check_paths(const char *value, Error **err);         /* absolute, with commas between */
