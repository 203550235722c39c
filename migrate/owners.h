#pragma once
/*
 * Owners on disk. LXD may keep the files of a container with the host's ids, Incus gives them those
 * of inside when it starts the container. LXD would not look again: so a rollback of a migration
 * whose instances ran gives the files the owners that LXD's records say.
 */
#include "migrate/migration.h"

/* Before the daemon runs: what LXD's records say, into the journal. */
int owners_note(Migration *m, Error **err);
/* After it was stopped. May be interrupted and called again. */
int owners_restore(const Target *target, const json_t *line, Error **err);
