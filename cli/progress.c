#include "cli/progress.h"
#include "sdk/base/units.h"
#include <glib.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REDRAW_US 100000

void progress_start(Progress *progress, const char *label)
{
	*progress = (Progress){ .label = label && isatty(STDERR_FILENO) ? label : NULL,
		.percent = -1 };
}

/* The percentage in a text and the words before it; -1 when there is none. */
static int percent_in(const char *text, char *step, size_t size)
{
	const char *sign = strchr(text, '%'), *digits = sign;
	if (!sign)
		return -1;
	while (digits > text && digits[-1] >= '0' && digits[-1] <= '9')
		digits--;
	g_strlcpy(step, text, MIN((size_t)(digits - text) + 1, size));
	return digits < sign ? atoi(digits) : -1;
}

static void draw(Progress *progress, const char *text)
{
	int64_t now = g_get_monotonic_time();
	if (progress->shown && now - progress->last < REDRAW_US)
		return;
	g_autofree char *line = g_strdup_printf("%s: %s", progress->label, text);
	unsigned width = g_utf8_strlen(line, -1);
	fprintf(stderr, "\r%s%*s", line,
	    progress->width > width ? (int)(progress->width - width) : 0, "");
	fflush(stderr);
	progress->width = width;
	progress->shown = true;
	progress->last = now;
}

void progress_text(Progress *progress, const char *text)
{
	char step[sizeof(progress->step)] = "";
	if (!progress->label)
		return;
	int percent = percent_in(text, step, sizeof(step));
	if (percent >= 0 && strcmp(step, progress->step) == 0 && percent < progress->percent)
		return;
	g_strlcpy(progress->step, step, sizeof(progress->step));
	progress->percent = percent;
	draw(progress, text);
}

void progress_bytes(Progress *progress, uint64_t done, uint64_t total)
{
	g_autofree char *text = NULL;
	if (!progress->label)
		return;
	g_autofree char *amount = units_format_bytes_decimal(done, 2);
	if (total > 0)
		text = g_strdup_printf(
		    "%d%% (%s)", (int)(MIN(done, total) * 100.0 / total), amount);
	else
		text = g_steal_pointer(&amount);
	progress_text(progress, text);
}

void progress_end(Progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r%*s\r", (int)progress->width, "");
	progress->shown = false;
}

/* What the operation says about its progress, in one line. */
static char *progress_of(const json_t *metadata)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)metadata, key, value)
		if (g_str_has_suffix(key, "_progress") && json_is_string(value))
			return g_strdup(json_string_value(value));
	return NULL;
}

void progress_operation(Progress *progress, const Pb__Operation *operation)
{
	if (!operation->metadata || !*operation->metadata)
		return;
	json_t *metadata = json_loads(operation->metadata, JSON_DECODE_ANY, NULL);
	g_autofree char *text = progress_of(metadata);
	if (text)
		progress_text(progress, text);
	json_decref(metadata);
}
