#pragma once
/*
 * The text console of a running instance: its terminal, and what it has shown; and the screen of a
 * virtual machine.
 */
#include "server/instance/instance.h"

typedef struct Console {
	int terminal;   /* the pty's master, or a stream to who has it */
	int keep_alive; /* liblxc gives the console to somebody else once this is closed */
	int sized;      /* takes the window's size */
} Console;

/* ERROR_INVALID unless running; ERROR_BUSY while somebody else is attached. */
int console_open(Instance *instance, Console *ret_console, Error **err);
void console_close(Console *console);
void console_resize(Console *console, int columns, int rows);
/* A file with what was shown, from offset 0; for a stopped container the file that liblxc left. */
int console_log_open(Instance *instance, int *ret_fd, uint64_t *ret_size, Error **err);
int console_log_clear(Instance *instance, Error **err);

/* Any number of connections, SPICE each. ERROR_INVALID unless a running virtual machine;
 * ERROR_UNSUPPORTED where QEMU has no SPICE. */
int screen_check(Instance *instance, Error **err);
int screen_open(Instance *instance, Console *ret_console, Error **err);
/* A picture in PNG. */
int screen_shot(Instance *instance, int *ret_fd, uint64_t *ret_size, Error **err);
