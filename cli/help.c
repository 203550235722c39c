/*
 * Help as text, made from the command table.
 */
#include "cli/command.h"
#include <string.h>

static void add_paragraph(GString *out, const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **l = lines; *l; l++)
		g_string_append_printf(out, **l ? "  %s\n" : "%s\n", *l);
}

static void add_flags(GString *out, const char *title, const Flag *flags, bool all)
{
	size_t width = 0;
	for (const Flag *f = flags; f && f->name; f++)
		if (!f->hidden || all)
			width = MAX(width, strlen(f->name));
	if (width == 0)
		return;
	g_string_append_printf(out, "\n%s:\n", title);
	for (const Flag *f = flags; f->name; f++) {
		if (f->hidden && !all)
			continue;
		char letter[] = "    ";
		if (f->letter)
			memcpy(letter, (char[]){ '-', f->letter, ',', ' ' }, 4);
		g_string_append_printf(
		    out, "  %s--%-*s   %s", letter, (int)width, f->name, f->help);
		if (f->fallback && f->kind == FLAG_STRING)
			g_string_append_printf(out, " (default \"%s\")", f->fallback);
		g_string_append_c(out, '\n');
	}
}

static bool shown(const Command *command, const char *parent, bool all, bool deep)
{
	size_t length = strlen(parent);
	bool below = length == 0 ||
	    (strncmp(command->path, parent, length) == 0 && command->path[length] == ' ');
	return below && (deep || command_is_child(command, parent)) &&
	    (all || !command_hidden(command));
}

static int by_path(const void *a, const void *b)
{
	const Command *const *x = a, *const *y = b;
	return strcmp((*x)->path, (*y)->path);
}

static void add_commands(GString *out, const char *parent, bool all, bool deep)
{
	g_autoptr(GPtrArray) found = g_ptr_array_new();
	size_t width = 0, skip = *parent ? strlen(parent) + 1 : 0;
	const Command *c;
	for (unsigned i = 0; (c = command_at(i)); i++) {
		if (!shown(c, parent, all, deep))
			continue;
		g_ptr_array_add(found, (void *)c);
		width = MAX(width, strlen(c->path) - skip);
	}
	if (found->len == 0)
		return;
	g_ptr_array_sort(found, by_path);
	g_string_append(out, "\nAvailable Commands:\n");
	for (guint i = 0; i < found->len; i++) {
		c = g_ptr_array_index(found, i);
		g_string_append_printf(out, "  %-*s  %s\n", (int)width, c->path + skip, c->summary);
	}
}

static void add_usage(GString *out, const Command *command)
{
	const char *path = command ? command->path : "";
	const char *space = command ? " " : "";
	g_string_append(out, "\nUsage:\n");
	if (command && command->run)
		g_string_append_printf(out, "  incus %s%s%s [flags]\n", path,
		    command->usage ? " " : "", command->usage ? command->usage : "");
	else
		g_string_append_printf(out, "  incus%s%s [command]\n", space, path);
	if (!command || !command->aliases)
		return;
	g_auto(GStrv) names = g_strsplit(command->aliases, ",", -1);
	g_autofree char *joined = g_strjoinv(", ", names);
	g_string_append_printf(out, "\nAliases:\n  %s, %s\n", command_word(command), joined);
}

char *help_text(const Command *command, bool all, bool deep)
{
	GString *out = g_string_new("Description:\n");
	const char *path = command ? command->path : "";
	add_paragraph(out, command ? command->summary : "The command line of Incus");
	if (!command) {
		g_string_append_c(out, '\n');
		add_paragraph(out,
		    "Run any command with --help to learn more about it. Aliases of your own "
		    "are kept with\n\"incus alias\".");
	} else if (command->help) {
		g_string_append_c(out, '\n');
		add_paragraph(out, command->help);
	}
	add_usage(out, command);
	if (command && command->examples) {
		g_string_append(out, "\nExamples:\n");
		add_paragraph(out, command->examples);
	}
	if (!command || !command->run)
		add_commands(out, path, all, deep);
	if (command)
		add_flags(out, "Flags", command->flags, all);
	add_flags(out, command ? "Global Flags" : "Flags", global_flags, all || !command);
	if (!command || !command->run)
		g_string_append_printf(out,
		    "\nUse \"incus%s%s [command] --help\" for more information about a command.\n",
		    command ? " " : "", path);
	return g_string_free(out, FALSE);
}
