#include "cli/terminal.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static bool is_raw;

bool terminal_raw(void)
{
	static bool registered;
	struct termios raw;
	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return false;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return false;
	is_raw = true;
	if (!registered)
		atexit(terminal_restore);
	registered = true;
	return true;
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	is_raw = false;
}

void terminal_size(uint32_t *ret_width, uint32_t *ret_height)
{
	struct winsize size = { 0 };
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*ret_width = size.ws_col;
	*ret_height = size.ws_row;
}
