#include "cli/input.h"
#include "cli/terminal.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

struct Input {
	Stream *stream;
	InputRules rules;
	pthread_t thread;
	int wake_fd, signal_fd;
	int escaped;
	uint8_t buffer[CHUNK];
};

static sigset_t blocked;

void input_block_signals(bool signals)
{
	static const int forwarded[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
		SIGCONT, SIGALRM, SIGABRT };
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGWINCH);
	for (size_t i = 0; signals && i < G_N_ELEMENTS(forwarded); i++)
		sigaddset(&blocked, forwarded[i]);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static void take_signal(Input *input)
{
	struct signalfd_siginfo info;
	uint32_t width, height;
	if (read(input->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		terminal_size(&width, &height);
		if (input->rules.resize && width > 0)
			input->rules.resize(input->stream, width, height);
	} else if (input->rules.signal) {
		input->rules.signal(input->stream, (int)info.ssi_signo);
	}
}

/* False when no more is to be read. */
static bool take_data(Input *input)
{
	ssize_t n = read(STDIN_FILENO, input->buffer, sizeof(input->buffer));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		input->rules.end(input->stream, input->rules.user);
		return false;
	}
	int result = input->rules.data(input->stream, input->buffer, n, input->rules.user);
	if (result > 0)
		g_atomic_int_set(&input->escaped, 1);
	return result == 0;
}

static void *run(void *data)
{
	Input *input = data;
	struct pollfd fds[] = { { input->wake_fd, POLLIN, 0 }, { input->signal_fd, POLLIN, 0 },
		{ STDIN_FILENO, POLLIN, 0 } };
	if (input->rules.no_stdin) {
		input->rules.end(input->stream, input->rules.user);
		fds[2].fd = -1;
	}
	for (;;) {
		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents)
			return NULL;
		if (fds[1].revents & POLLIN)
			take_signal(input);
		if (fds[2].revents && !take_data(input))
			fds[2].fd = -1;
	}
}

Input *input_start(Stream *stream, const InputRules *rules)
{
	Input *input = g_new0(Input, 1);
	input->stream = stream;
	input->rules = *rules;
	input->wake_fd = eventfd(0, EFD_CLOEXEC);
	input->signal_fd = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	pthread_create(&input->thread, NULL, run, input);
	return input;
}

void input_stop(Input *input)
{
	if (!input)
		return;
	eventfd_write(input->wake_fd, 1);
	pthread_join(input->thread, NULL);
	close(input->wake_fd);
	close(input->signal_fd);
	g_free(input);
}

bool input_escaped(Input *input)
{
	return g_atomic_int_get(&input->escaped);
}
