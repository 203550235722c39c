#pragma once
/*
 * Questions to the user on standard input.
 */
#include <stdbool.h>

/* One line without its end, for g_free(); NULL at the end of input. */
char *prompt_line(void);
