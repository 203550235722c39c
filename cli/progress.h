#pragma once
/*
 * One line on a terminal's standard error that tells how far something is. Nothing is shown
 * elsewhere. What is shown never goes back: a smaller percentage of the same step is left out.
 */
#include "incus/v1/operation.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Progress {
	const char *label; /* NULL: show nothing */
	bool shown;
	int percent;       /* of the step shown last, -1: none */
	char step[64];     /* words before the percentage */
	int64_t last;      /* monotonic time of the last drawing, microseconds */
	unsigned width;    /* cells drawn last */
} Progress;

/* `label` (borrowed) stands before the text; NULL or no terminal: nothing is ever shown. */
void progress_start(Progress *progress, const char *label);
/* "rootfs: 45% (10.00MB/s)": free text, with a percentage when there is one. */
void progress_text(Progress *progress, const char *text);
/* `done` of `total` bytes (0: not known). */
void progress_bytes(Progress *progress, uint64_t done, uint64_t total);
/* What the operation says about itself. */
void progress_operation(Progress *progress, const Pb__Operation *operation);
/* Clears the line. */
void progress_end(Progress *progress);
