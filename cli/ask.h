#pragma once
/*
 * Questions of `incus admin init` and `recover`, as scripts that answer them expect: one line each.
 */
#include "sdk/base/error.h"
#include <stdbool.h>

/* The answer (g_free), or `fallback` to an empty line; NULL (with an error) at the end of input. */
char *ask(const char *question, const char *fallback, Error **err);
/* 1, 0 or -1. */
int ask_yes(const char *question, bool fallback, Error **err);
/* Asks again until `check` has no objection. */
char *ask_checked(
    const char *question, const char *fallback, int (*check)(const char *, Error **), Error **err);
