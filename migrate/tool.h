#pragma once
/*
 * Small things that several parts of lxd-to-incus need: its helper program, paths, and whether
 * somebody asked it to stop.
 */
#include "sdk/base/error.h"

/* The program beside this one, or where the package puts helpers. g_free. */
char *tool_helper(const char *name);
/* `path` with `from` at its start (a whole component) replaced by `to`; NULL when it does not begin
 * so. g_free. */
char *tool_moved_path(const char *path, const char *from, const char *to);
/* Whether `path` is `folder` or below it. */
gboolean tool_within(const char *path, const char *folder);
/* Whether somebody listens at that unix socket: a daemon, or systemd for one. */
gboolean tool_listens(const char *socket_path);
/* Whether systemd has a file of that unit. */
gboolean tool_has_unit(const char *name);
/* SIGINT, SIGTERM and SIGHUP from now on ask for a stop. */
void tool_watch_signals(void);
/* -1 with ERROR_CANCELLED when one came. */
int tool_check_stop(Error **err);
