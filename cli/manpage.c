/*
 * incus manpage: one manual page (or Markdown file) a command, from the command table.
 */
#include "cli/command.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

/* Text for roff: backslashes and leading dots must not be read as requests. */
static void add_roff(GString *out, const char *text)
{
	bool line_start = true;
	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			g_string_append(out, "\\&");
		if (*text == '\\')
			g_string_append(out, "\\e");
		else if (*text == '-')
			g_string_append(out, "\\-");
		else
			g_string_append_c(out, *text);
		line_start = *text == '\n';
	}
}

static void add_verbatim(GString *out, const char *title, const char *text)
{
	if (!text)
		return;
	g_string_append_printf(out, ".SH %s\n.nf\n", title);
	add_roff(out, text);
	g_string_append(out, "\n.fi\n");
}

static void add_flags(GString *out, const char *title, const Flag *flags)
{
	if (!flags || !flags->name)
		return;
	g_string_append_printf(out, ".SH %s\n", title);
	for (const Flag *f = flags; f->name; f++) {
		if (f->hidden)
			continue;
		g_string_append(out, ".TP\n\\fB");
		if (f->letter)
			g_string_append_printf(out, "\\-%c\\fR, \\fB", f->letter);
		g_string_append(out, "\\-\\-");
		add_roff(out, f->name);
		g_string_append(out, f->kind == FLAG_BOOL ? "\\fR\n" : "\\fR \\fIVALUE\\fR\n");
		add_roff(out, f->help);
		g_string_append_c(out, '\n');
	}
}

static char *roff_page(const Command *c, const char *name)
{
	g_autofree char *upper = g_ascii_strup(name, -1);
	GString *out = g_string_new(NULL);
	g_string_append_printf(
	    out, ".TH \"%s\" 1 \"\" \"incus " INCUS_VERSION "\"\n.SH NAME\n", upper);
	add_roff(out, name);
	g_string_append(out, " \\- ");
	add_roff(out, c->summary);
	g_string_append(out, "\n.SH SYNOPSIS\n\\fBincus ");
	add_roff(out, c->path);
	g_string_append(out, "\\fR ");
	add_roff(out, c->run ? (c->usage ? c->usage : "") : "command");
	g_string_append(out, " [flags]\n");
	add_verbatim(out, "DESCRIPTION", c->help);
	add_flags(out, "OPTIONS", c->flags);
	add_flags(out, "GLOBAL OPTIONS", global_flags);
	add_verbatim(out, "EXAMPLES", c->examples);
	return g_string_free(out, FALSE);
}

static char *markdown_page(const Command *c, const char *name)
{
	g_autofree char *help = help_text(c, true, false);
	return g_strdup_printf(
	    "# %s\n\n%s\n\n```\n%s```\n", name, c ? c->summary : "The command line of Incus", help);
}

static int write_page(const Command *c, const char *directory, bool markdown, Error **err)
{
	g_autofree char *name = g_strdup_printf("incus.%s", c->path);
	g_strdelimit(name, " ", '.');
	g_autofree char *text = markdown ? markdown_page(c, name) : roff_page(c, name);
	g_autofree char *file = g_strconcat(name, markdown ? ".md" : ".1", NULL);
	g_autofree char *path = g_build_filename(directory, file, NULL);
	return file_write_plain(path, text, 0644, err);
}

static int manpage_run(Cli *cli, Error **err)
{
	static const Command root = { .path = "", .summary = "The command line of Incus" };
	const char *format = flag_string(cli, "format"), *directory = cli->args[0];
	bool markdown = strcmp(format, "md") == 0;
	const Command *c;
	if (!markdown && strcmp(format, "man") != 0)
		return error_set(
		    err, ERROR_INVALID, "Unknown format \"%s\": use man or md", format);
	if (g_mkdir_with_parents(directory, 0755) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", directory);
	g_autofree char *text = markdown ? markdown_page(NULL, "incus") : roff_page(&root, "incus");
	g_autofree char *path = g_build_filename(
	    directory, markdown ? "incus.md" : "incus.1", NULL);
	if (file_write_plain(path, text, 0644, err) < 0)
		return -1;
	for (unsigned i = 0; (c = command_at(i)); i++)
		if ((flag_bool(cli, "all") || !command_hidden(c)) && c->path[0] != '_' &&
		    write_page(c, directory, markdown, err) < 0)
			return -1;
	return 0;
}

static const Flag manpage_flags[] = {
	{ "format", 'f', FLAG_STRING, "man", "What to write: man or md" },
	{ "all", 0, FLAG_BOOL, NULL, "Write the pages of hidden commands too" },
	FLAG_END,
};

const Command manpage_commands[] = {
	{ .path = "manpage",
	    .usage = "<directory>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = manpage_flags,
	    .summary = "Write manual pages of all commands into a directory",
	    .run = manpage_run,
	    .hidden = true },
	{ 0 },
};
