#pragma once
/*
 * What the commands about instances share: starting, stopping and naming them.
 */
#include "cli/nouns.h"

/* Changes the state ("start", "stop", ...) and waits. timeout in seconds, -1: never give up. */
int instance_change_state(const Object *instance, const char *action, long timeout, bool force,
    bool stateful, const char *label, Error **err);
/* Attaches the terminal to the console until it ends or ctrl+a q is typed. */
int console_attach(const Object *instance, const char *type, Error **err);
