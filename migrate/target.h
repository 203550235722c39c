#pragma once
/*
 * Where Incus is to be: /var/lib/incus with its systemd units, or a directory and a daemon on it.
 */
#include "sdk/base/error.h"

typedef struct Target {
	gboolean systemd; /* its units start and stop it */
	char *directory, *logs, *cache;
	gboolean exists, running;
	gboolean was_running; /* before this program stopped it: it runs again at the end */
} Target;

int target_find(const char *directory, Target *ret_target, Error **err);
void target_clear(Target *target);
/* The command that undoes a migration there. g_free. */
char *target_way_back(const Target *target);
/* What an Incus there has already, for people; NULL: nothing that would be lost. g_free. */
int target_content(const Target *target, char **ret_content, Error **err);
/* Stops the daemon and its instances; of a daemon that was killed what it left: it is started once
 * more for that. Nothing is mounted there then. */
int target_stop(const Target *target, Error **err);
/* Returns when the daemon is ready; one that was started before and is alive is taken. */
int target_start(const Target *target, Error **err);
/* Stops the daemon that target_start() started and leaves its instances running. */
int target_leave(const Target *target, Error **err);
