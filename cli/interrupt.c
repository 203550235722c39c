#include "cli/interrupt.h"
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const int numbers[] = { SIGINT, SIGTERM };
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static volatile sig_atomic_t count;
static volatile int event = -1;
static struct sigaction before[NUMBERS];

static void add(int number)
{
	int saved = errno;
	uint64_t one = 1;
	(void)number;
	count++;
	if (write(event, &one, sizeof(one)) < 0)
		errno = saved;
}

void interrupt_begin(void)
{
	struct sigaction own = { .sa_handler = add };
	count = 0;
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (size_t i = 0; i < NUMBERS; i++)
		sigaction(numbers[i], &own, &before[i]);
}

void interrupt_end(void)
{
	for (size_t i = 0; i < NUMBERS; i++)
		sigaction(numbers[i], &before[i], NULL);
	close(event);
	event = -1;
}

int interrupt_count(void)
{
	return count;
}

int interrupt_fd(void)
{
	return event;
}
