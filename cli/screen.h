#pragma once
/*
 * The screen of a virtual machine: a SPICE viewer of the user's, which finds it behind a socket.
 */
#include "cli/nouns.h"

/* Until the viewer ends; where there is none, until ctrl+c. */
int screen_attach(const Object *instance, Error **err);
/* A picture (PNG) to standard output, which must not be a terminal. */
int screen_shot(const Object *instance, Error **err);
