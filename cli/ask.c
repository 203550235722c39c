#include "cli/ask.h"
#include "cli/prompt.h"
#include <stdio.h>
#include <string.h>

char *ask(const char *question, const char *fallback, Error **err)
{
	if (fallback && *fallback)
		printf("%s [default=%s]: ", question, fallback);
	else
		printf("%s: ", question);
	char *answer = prompt_line();
	if (!answer) {
		error_set(err, ERROR_INVALID, "The input ended before all questions were answered");
		return NULL;
	}
	if (*answer || !fallback)
		return answer;
	g_free(answer);
	return g_strdup(fallback);
}

int ask_yes(const char *question, bool fallback, Error **err)
{
	g_autofree char *full = g_strconcat(question, " (yes/no)", NULL);
	for (;;) {
		g_autofree char *answer = ask(full, fallback ? "yes" : "no", err);
		if (!answer)
			return -1;
		if (g_ascii_strcasecmp(answer, "yes") == 0 || g_ascii_strcasecmp(answer, "y") == 0)
			return 1;
		if (g_ascii_strcasecmp(answer, "no") == 0 || g_ascii_strcasecmp(answer, "n") == 0)
			return 0;
		printf("Invalid input, try again.\n\n");
	}
}

char *ask_checked(
    const char *question, const char *fallback, int (*check)(const char *, Error **), Error **err)
{
	for (;;) {
		g_autoptr(Error) problem = NULL;
		g_autofree char *answer = ask(question, fallback, err);
		if (!answer)
			return NULL;
		if (check(answer, &problem) == 0)
			return g_steal_pointer(&answer);
		printf("Invalid input: %s\n\n", problem->message);
	}
}
