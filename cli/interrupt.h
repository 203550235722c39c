#pragma once
/*
 * Ctrl+C (or SIGTERM) while something runs on a server: the first one has it cancelled, instead of
 * leaving it there. Not nested.
 */

/* From here on Ctrl+C is counted, until interrupt_end(). */
void interrupt_begin(void);
void interrupt_end(void);
/* How often it was pressed since. */
int interrupt_count(void);
/* Readable from the first one on; for poll(). */
int interrupt_fd(void);
