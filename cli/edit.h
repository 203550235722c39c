#pragma once
/*
 * Texts in the user's editor.
 */
#include "sdk/base/error.h"
#include <stddef.h>

/* Runs $VISUAL, $EDITOR or a common editor on `text`; the result is NUL-terminated and for
 * g_free(). */
int edit_text(const char *text, size_t length, const char *suffix, char **ret_text,
    size_t *ret_length, Error **err);
/* Asks whether to edit again after `problem`; false when the user gives up. */
int edit_again(const char *problem);
