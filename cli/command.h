#pragma once
/*
 * The command table of `incus` and the state of one run. A row holds all that is known of a
 * command: parsing, help, completion and manual pages read the same row. A family of commands is
 * one array, ended by an empty row, listed in commands.c.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include <stdbool.h>

typedef enum FlagKind {
	FLAG_BOOL,
	FLAG_STRING,
	FLAG_INT,
	FLAG_UINT,
	FLAG_LIST,     /* may be given several times */
	FLAG_OPTIONAL, /* --name alone means `fallback`; --name=value gives another */
} FlagKind;

typedef struct Flag {
	const char *name;
	char letter; /* 0: long form only */
	FlagKind kind;
	const char *fallback; /* the value when not given (FLAG_OPTIONAL: when bare); NULL is "" */
	const char *help;
	bool hidden;
} Flag;

typedef struct Cli Cli;

typedef struct Command {
	const char *path;    /* "config device add" */
	const char *aliases; /* of the last word, separated by commas */
	const char *usage;   /* arguments, as help shows them */
	int min_args, max_args; /* max_args -1: no limit */
	const Flag *flags;      /* ended by an empty row; NULL: none */
	const char *summary;    /* one line */
	const char *help;       /* further paragraphs */
	const char *examples;
	int (*run)(Cli *cli, Error **err); /* NULL: a group */
	bool hidden;
	const char *
	    complete; /* what each argument names: "instance", "profile", ...; comma for the next */
} Command;

struct Cli {
	Arena *arena; /* lives as long as the run; what commands make need not be freed */
	const Command *command;
	char **args; /* positional, NULL-terminated */
	int n_args;
	GHashTable *values;  /* flag name -> GPtrArray of strings, given flags only */
	struct Conf *conf;   /* conf_get() loads it */
	GHashTable *clients; /* "remote" -> connected client */
	int exit_code;       /* when run() succeeds */
	bool quiet, debug, verbose, force_local;
};

#define FLAG_END { 0 }
#define FLAG_FORMAT                                                                                \
	{ "format", 'f', FLAG_STRING, "table", "Output format (csv|json|table|yaml|compact)" }
#define FLAG_PROPERTY                                                                              \
	{ "property", 'p', FLAG_BOOL, NULL, "Treat the key as a property instead of configuration" }
#define FLAG_TARGET { "target", 0, FLAG_STRING, NULL, "Cluster member to address" }
#define FLAG_ALL_PROJECTS                                                                          \
	{ "all-projects", 0, FLAG_BOOL, NULL, "Cover every project, not only the current one" }

extern const Flag global_flags[];

/* Rows in table order; NULL after the last. */
const Command *command_at(unsigned index);
/* The command called `word` (name or alias) beneath `parent` ("" is the top); NULL: none. */
const Command *command_child(const char *parent, const char *word);
/* "list" of "image alias list". */
const char *command_word(const Command *command);
bool command_is_child(const Command *command, const char *parent);
/* A command is hidden when its own row or that of a group above it says so. */
bool command_hidden(const Command *command);
/* Of the command's own flags, then of the global ones. command may be NULL. */
const Flag *flag_find(const Command *command, const char *name, size_t length);
const Flag *flag_find_letter(const Command *command, char letter);

/* Values of flags; `name` must be a flag of the command or a global one. Strings belong to the run.
 */
bool flag_given(const Cli *cli, const char *name);
bool flag_bool(const Cli *cli, const char *name);
const char *flag_string(const Cli *cli, const char *name);
long flag_int(const Cli *cli, const char *name);
/* NULL-terminated; ret_n may be NULL. */
const char *const *flag_list(const Cli *cli, const char *name, unsigned *ret_n);

/* --project, else INCUS_PROJECT; NULL when neither names one. */
const char *cli_project(const Cli *cli);

typedef enum ParseResult { PARSE_RUN, PARSE_HELP, PARSE_VERSION, PARSE_ERROR } ParseResult;
/* Finds the command and fills command, args and values. argv may be permuted, never written. */
ParseResult parse_arguments(Cli *cli, int argc, char **argv, Error **err);

/* Help of a command or group; NULL is the program. `all` shows hidden ones, `deep` every level. */
char *help_text(const Command *command, bool all, bool deep);
