#pragma once
/*
 * The user's terminal: raw mode and size.
 */
#include <stdbool.h>
#include <stdint.h>

/* False when standard input is no terminal. terminal_restore() undoes it, also at exit. */
bool terminal_raw(void);
void terminal_restore(void);
/* Columns and rows of standard output; zeros when it is no terminal. */
void terminal_size(uint32_t *ret_width, uint32_t *ret_height);
