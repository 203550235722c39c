/*
 * The list of command families, and lookups in it. Rows are few enough that a scan beats an index.
 */
#include "cli/command.h"
#include "cli/families.h"
#include <string.h>

static const Command *const families[] = {
#define FAMILY(name) name##_commands,
	COMMAND_FAMILIES(FAMILY)
#undef FAMILY
};

const Flag global_flags[] = {
	{ "all", 0, FLAG_BOOL, NULL, "Show hidden commands too", true },
	{ "debug", 0, FLAG_BOOL, NULL, "Show debug messages" },
	{ "force-local", 0, FLAG_BOOL, NULL, "Use the local unix socket whatever remote is named" },
	{ "help", 'h', FLAG_BOOL, NULL, "Print help" },
	{ "project", 0, FLAG_STRING, NULL,
	    "Act in this project instead of the remote's current one" },
	{ "quiet", 'q', FLAG_BOOL, NULL, "Leave out progress and messages" },
	{ "sub-commands", 0, FLAG_BOOL, NULL, "With --help or help: list commands of every level" },
	{ "verbose", 'v', FLAG_BOOL, NULL, "Show informative messages" },
	{ "version", 0, FLAG_BOOL, NULL, "Print the version" },
	FLAG_END,
};

const Command *command_at(unsigned index)
{
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
		for (const Command *c = families[i]; c->path; c++)
			if (index-- == 0)
				return c;
	return NULL;
}

const char *command_word(const Command *command)
{
	const char *space = strrchr(command->path, ' ');
	return space ? space + 1 : command->path;
}

bool command_is_child(const Command *command, const char *parent)
{
	size_t length = strlen(parent);
	if (length == 0)
		return !strchr(command->path, ' ');
	return strncmp(command->path, parent, length) == 0 && command->path[length] == ' ' &&
	    !strchr(command->path + length + 1, ' ');
}

/* True when `word` is one of the comma-separated names. */
static bool name_in(const char *names, const char *word)
{
	size_t length = strlen(word);
	for (const char *p = names; p && *p;) {
		size_t span = strcspn(p, ",");
		if (span == length && strncmp(p, word, span) == 0)
			return true;
		p += span + (p[span] == ',');
	}
	return false;
}

const Command *command_child(const char *parent, const char *word)
{
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
		for (const Command *c = families[i]; c->path; c++)
			if (command_is_child(c, parent) &&
			    (strcmp(command_word(c), word) == 0 || name_in(c->aliases, word)))
				return c;
	return NULL;
}

bool command_hidden(const Command *command)
{
	g_autofree char *path = g_strdup(command->path);
	for (;;) {
		if (command->hidden)
			return true;
		char *space = strrchr(path, ' ');
		if (!space)
			return false;
		*space = 0;
		char *above = strrchr(path, ' ');
		g_autofree char *parent = above ? g_strndup(path, above - path) : g_strdup("");
		command = command_child(parent, above ? above + 1 : path);
		if (!command)
			return false;
	}
}

const Flag *flag_find(const Command *command, const char *name, size_t length)
{
	for (const Flag *f = command ? command->flags : NULL; f && f->name; f++)
		if (strlen(f->name) == length && strncmp(f->name, name, length) == 0)
			return f;
	for (const Flag *f = global_flags; f->name; f++)
		if (strlen(f->name) == length && strncmp(f->name, name, length) == 0)
			return f;
	return NULL;
}

const Flag *flag_find_letter(const Command *command, char letter)
{
	for (const Flag *f = command ? command->flags : NULL; f && f->name; f++)
		if (f->letter == letter)
			return f;
	for (const Flag *f = global_flags; f->name; f++)
		if (f->letter == letter)
			return f;
	return NULL;
}
