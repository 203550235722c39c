#include "migrate/options.h"
#include <string.h>

typedef struct Option {
	const char *name;
	char letter;
	const char *value; /* what it takes, for help; NULL: nothing */
	size_t offset;	   /* of the field in Options */
	const char *help;
} Option;

#define FIELD(name) G_STRUCT_OFFSET(Options, name)

static const Option table[] = {
	{ "source", 0, "DIR", FIELD(source),
	    "LXD's directory; without it a snap or a Debian package is looked for" },
	{ "target", 0, "DIR", FIELD(target),
	    "Incus's directory; without it /var/lib/incus with its systemd units" },
	{ "dry-run", 0, NULL, FIELD(dry_run), "show the checks and the plan, change nothing" },
	{ "json", 0, NULL, FIELD(json), "write checks, plan and report as JSON" },
	{ "yes", 'y', NULL, FIELD(yes), "do not ask" },
	{ "rollback", 0, NULL, FIELD(rollback),
	    "undo what a migration did, whether it ended or was interrupted" },
	{ "drop-obsolete", 0, NULL, FIELD(drop_obsolete),
	    "leave out settings that Incus does not have, and list them in the log" },
	{ "clients", 0, NULL, FIELD(clients),
	    "convert users' client configuration too (remotes, certificates, aliases)" },
	{ "ignore-version-check", 0, NULL, FIELD(ignore_version),
	    "try with an LXD that is older or newer than 4.0 to 5.18" },
	{ "log", 0, "FILE", FIELD(log), "write the log there" },
	{ "help", 'h', NULL, FIELD(help), "show this help" },
	{ "version", 0, NULL, FIELD(version), "show the version" },
};

static const Option *find(const char *argument, const char **ret_value)
{
	*ret_value = NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		size_t length = strlen(table[i].name);
		if (argument[0] == '-' && argument[1] == table[i].letter && table[i].letter &&
		    !argument[2])
			return &table[i];
		if (strncmp(argument, "--", 2) != 0 ||
		    strncmp(argument + 2, table[i].name, length) != 0)
			continue;
		if (argument[2 + length] == '=' && table[i].value)
			*ret_value = argument + 2 + length + 1;
		if (argument[2 + length] == 0 || *ret_value)
			return &table[i];
	}
	return NULL;
}

int options_parse(int argc, char **argv, Options *options, Error **err)
{
	*options = (Options){ 0 };
	for (int i = 1; i < argc; i++) {
		const char *value;
		const Option *option = find(argv[i], &value);
		if (!option)
			return error_set(err, ERROR_INVALID,
			    "Unknown argument \"%s\" (see lxd-to-incus --help)", argv[i]);
		if (!option->value) {
			*(gboolean *)G_STRUCT_MEMBER_P(options, option->offset) = TRUE;
			continue;
		}
		if (!value && i + 1 < argc)
			value = argv[++i];
		if (!value || !*value)
			return error_set(
			    err, ERROR_INVALID, "Option --%s needs a value", option->name);
		char **field = G_STRUCT_MEMBER_P(options, option->offset);
		g_free(*field);
		*field = g_canonicalize_filename(value, NULL);
	}
	return 0;
}

void options_clear(Options *options)
{
	g_free(options->source);
	g_free(options->target);
	g_free(options->log);
}

char *options_help(void)
{
	GString *out = g_string_new(
	    "Usage: lxd-to-incus [options]\n\n"
	    "Moves this host from LXD to Incus: projects, instances with their snapshots, images,\n"
	    "networks, storage and who is trusted. Everything is checked and shown before anything\n"
	    "is changed; what was done can be undone with --rollback. A run that was interrupted is\n"
	    "finished by another one. LXD's database is only read, and LXD is not removed.\n\nOptions:\n");
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autofree char *name = g_strconcat(
		    table[i].name, table[i].value ? " " : "", table[i].value, NULL);
		char letter[] = "    ";
		if (table[i].letter)
			memcpy(letter, (char[]){ '-', table[i].letter, ',', ' ' }, 4);
		g_string_append_printf(out, "  %s--%-22s %s\n", letter, name, table[i].help);
	}
	g_string_append(out,
	    "\nExit status: 0 when all is done, 1 when not (nothing was changed, or --rollback "
	    "undoes it),\n2 for a wrong command line.\n");
	return g_string_free(out, FALSE);
}
