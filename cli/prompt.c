#include "cli/prompt.h"
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

char *prompt_line(void)
{
	char *line = NULL;
	size_t size = 0;
	fflush(stdout);
	if (getline(&line, &size, stdin) < 0) {
		free(line);
		return NULL;
	}
	char *copy = g_strdup(g_strstrip(line));
	free(line);
	return copy;
}
