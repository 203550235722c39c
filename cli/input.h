#pragma once
/*
 * The sending half of exec and console: a thread that reads standard input and signals while the
 * main thread receives. Signals must have been blocked before the connection was made, so that no
 * other thread takes them: input_block_signals().
 */
#include "cli/stream.h"

typedef struct Input Input;

typedef struct InputRules {
	/* Sends bytes that were read; 0 to go on, 1 to stop reading (escape typed), -1 on failure.
	 */
	int (*data)(Stream *stream, const uint8_t *bytes, size_t length, void *user);
	void (*end)(Stream *stream, void *user);                 /* standard input has ended */
	void (*resize)(Stream *stream, uint32_t width, uint32_t height); /* NULL: not told */
	void (*signal)(Stream *stream, int number); /* NULL: signals keep their meaning */
	void *user;
	bool no_stdin; /* end at once */
} InputRules;

/* `signals`: also those that are forwarded to a command; else SIGWINCH only. */
void input_block_signals(bool signals);
Input *input_start(Stream *stream, const InputRules *rules);
/* Stops the thread and frees. */
void input_stop(Input *input);
/* True when the data rule asked to stop. */
bool input_escaped(Input *input);
