#include "server/storage/program.h"
#include "sdk/base/spawn.h"

enum { TOOL_MS = 600000 };

static void add(GPtrArray *words, const char *first, va_list rest)
{
	for (const char *word = first; word; word = va_arg(rest, const char *))
		g_ptr_array_add(words, g_strdup(word));
}

GPtrArray *program_words(const char *tool, ...)
{
	GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
	va_list rest;
	va_start(rest, tool);
	add(words, tool, rest);
	va_end(rest);
	return words;
}

void program_add(GPtrArray *words, const char *word, ...)
{
	va_list rest;
	va_start(rest, word);
	add(words, word, rest);
	va_end(rest);
}

int program_output(const char *const *argv, char **ret_output, Error **err)
{
	g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	Spawn spawn = {
		.argv = argv, .environment = (const char *const *)environment, .timeout_ms = TOOL_MS
	};
	return spawn_run(&spawn, ret_output, NULL, err);
}

int program_run_vector(const char *const *argv, Error **err)
{
	return program_output(argv, NULL, err);
}

int program_run_list(Error **err, const char *program, va_list words)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	for (const char *word = program; word; word = va_arg(words, const char *))
		g_ptr_array_add(argv, (void *)word);
	g_ptr_array_add(argv, NULL);
	return program_run_vector((const char *const *)argv->pdata, err);
}

int program_run(Error **err, const char *program, ...)
{
	va_list words;
	va_start(words, program);
	int result = program_run_list(err, program, words);
	va_end(words);
	return result;
}

int program_stream(const char *const *argv, int input, int output, Error **err)
{
	Spawn spawn = { .argv = argv, .stdin_fd = input, .stdout_fd = output };
	return spawn_run(&spawn, NULL, NULL, err);
}
