/*
 * The `incus` program: aliases, the command line, one command, its exit code.
 */
#include "cli/alias.h"
#include "cli/command.h"
#include "cli/conf.h"
#include "cli/server.h"
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

static int fail(const Error *error)
{
	fflush(stdout);
	fprintf(stderr, "Error: %s\n", error->message);
	return 1;
}

static int show_help(Cli *cli, const Error *error)
{
	g_autofree char *text =
	    help_text(cli->command, flag_bool(cli, "all"), flag_bool(cli, "sub-commands"));
	fputs(text, stdout);
	return error ? fail(error) : 0;
}

static int run(Cli *cli, int argc, char **argv)
{
	g_autoptr(Error) err = NULL;
	switch (parse_arguments(cli, argc, argv, &err)) {
	case PARSE_VERSION:
		puts(INCUS_VERSION);
		return 0;
	case PARSE_HELP:
		return show_help(cli, err);
	case PARSE_ERROR:
		return fail(err);
	case PARSE_RUN:
		break;
	}
	if (cli->command->run(cli, &err) < 0)
		return fail(err);
	if (fflush(stdout) != 0) {
		perror("Error: Cannot write the output");
		return 1;
	}
	return cli->exit_code;
}

/* A command lives shortly and its buffers come and go: memory that is free again is kept for the
 * next. */
static void tune_memory(void)
{
	enum { KEPT = 32 * 1024 * 1024 };
	mallopt(M_MMAP_THRESHOLD, KEPT);
	mallopt(M_TRIM_THRESHOLD, KEPT);
}

int main(int argc, char **argv)
{
	tune_memory();
	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_DFL);
	Cli cli = { .arena = arena_new(),
		.values = g_hash_table_new_full(
		    g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref) };
	argv = alias_expand(&cli, &argc, argv);
	int code = argv ? run(&cli, argc, argv) : 1;
	server_close_all(&cli);
	conf_free(cli.conf);
	g_hash_table_unref(cli.values);
	arena_free(cli.arena);
	return code;
}
