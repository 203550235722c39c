#pragma once
/* Kernel settings below /proc/sys, by path: "net/ipv4/ip_forward". Of the caller's namespaces. */
#include <glib.h>

/* 0, also when it has the value already; -1 and errno. */
int sysctl_set(const char *value, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* FALSE also where the kernel has no such setting. */
gboolean sysctl_is(const char *value, const char *format, ...) G_GNUC_PRINTF(2, 3);
