#include "cli/interrupt.h"
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t count;
static struct sigaction before;

static void add(int number)
{
	(void)number;
	count++;
}

void interrupt_begin(void)
{
	struct sigaction own = { .sa_handler = add };
	count = 0;
	sigaction(SIGINT, &own, &before);
}

void interrupt_end(void)
{
	sigaction(SIGINT, &before, NULL);
}

int interrupt_count(void)
{
	return count;
}
