/*
 * incus completion: thin scripts for the shells, and the hidden command they ask. What can follow
 * comes from the command table, so a new command is completed as soon as it exists.
 */
#include "cli/conf.h"
#include "cli/server.h"
#include <stdio.h>
#include <string.h>

/* Words come from the line, since bash splits them at colons too; it replaces what follows the
 * last. */
static const char bash_script[] =
    "# bash completion for incus\n"
    "_incus() {\n"
    "\tlocal IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} words word\n"
    "\tread -ra words <<<\"$line\"\n"
    "\t[[ $line != *[[:space:]] ]] || words+=(\"\")\n"
    "\tword=${words[-1]}\n"
    "\tIFS=$'\\n'\n"
    "\tCOMPREPLY=($(incus __complete -- \"${words[@]:1}\" 2>/dev/null))\n"
    "\t[ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$word\"))\n"
    "\t[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[:/=] ]] || compopt -o nospace 2>/dev/null\n"
    "\t[[ $word != *:* || $COMP_WORDBREAKS != *:* ]] || COMPREPLY=(\"${COMPREPLY[@]#\"${word%\"${word##*:}\"}\"}\")\n"
    "}\n"
    "complete -F _incus incus\n";

/* As a file of $fpath it is itself the body of _incus; sourced, it has to be registered. */
static const char zsh_script[] =
    "#compdef incus\n"
    "_incus() {\n"
    "\tlocal -a found\n"
    "\tfound=(${(f)\"$(incus __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
    "\tif (( ${#found} )); then compadd -- $found; else _files; fi\n"
    "}\n"
    "if [[ $funcstack[1] == _incus ]]; then _incus \"$@\"; else compdef _incus incus; fi\n";

static const char fish_script[] =
    "# fish completion for incus\n"
    "function __incus_complete\n"
    "\tset -l words (commandline -opc) (commandline -ct)\n"
    "\tincus __complete -- $words[2..-1] 2>/dev/null\n"
    "end\n"
    "complete -c incus -a '(__incus_complete)'\n";

static int completion_run(Cli *cli, Error **err)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = { { "bash", bash_script }, { "zsh", zsh_script }, { "fish", fish_script } };
	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++) {
		if (strcmp(scripts[i].shell, cli->args[0]) != 0)
			continue;
		fputs(scripts[i].script, stdout);
		return 0;
	}
	return error_set(
	    err, ERROR_INVALID, "Unknown shell \"%s\": use bash, zsh or fish", cli->args[0]);
}

static void offer(const char *candidate, const char *prefix)
{
	if (g_str_has_prefix(candidate, prefix))
		puts(candidate);
}

static void offer_flags(const Flag *flags, const char *prefix)
{
	for (const Flag *f = flags; f && f->name; f++) {
		g_autofree char *flag = g_strdup_printf("--%s", f->name);
		if (!f->hidden)
			offer(flag, prefix);
	}
}

/* ---- names on servers ---- */

static const struct {
	const char *kind, *method, *key;
} lists[] = { { "instance", "GetInstances", "name" }, { "profile", "GetProfiles", "name" },
	{ "project", "GetProjects", "name" }, { "network", "GetNetworks", "name" },
	{ "storage", "GetStoragePools", "name" }, { "image", "GetImageAliases", "name" } };

static void offer_remotes(Cli *cli, const char *prefix)
{
	const Conf *conf = conf_get(cli, NULL);
	GHashTableIter iter;
	gpointer name;
	if (!conf || strchr(prefix, ':'))
		return;
	g_hash_table_iter_init(&iter, conf->remotes);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		g_autofree char *candidate = g_strconcat(name, ":", NULL);
		offer(candidate, prefix);
	}
}

/* Names of one kind on the remote that the word names; a server that does not answer has none. */
static void offer_names(Cli *cli, const char *kind, const char *word)
{
	const char *colon = strchr(word, ':');
	const char *remote_prefix = arena_strndup(cli->arena, word, colon ? colon + 1 - word : 0);
	Target target;
	json_t *item;
	size_t k = 0, i;
	offer_remotes(cli, word);
	while (k < G_N_ELEMENTS(lists) && strcmp(lists[k].kind, kind) != 0)
		k++;
	if (k == G_N_ELEMENTS(lists) || target_parse(cli, word, &target, NULL) < 0)
		return;
	json_array_foreach (server_list(target.server, lists[k].method, NULL, NULL), i, item) {
		g_autofree char *candidate = g_strconcat(
		    remote_prefix, json_get_text(item, lists[k].key), NULL);
		offer(candidate, word);
	}
}

/* The command that the words before the last name, and how many arguments follow it. */
static const Command *find_context(Cli *cli, int *ret_arguments)
{
	const Command *command = NULL;
	*ret_arguments = 0;
	for (int i = 0; i + 1 < cli->n_args; i++) {
		const Command *child = *ret_arguments > 0 || cli->args[i][0] == '-' ?
		    NULL :
		    command_child(command ? command->path : "", cli->args[i]);
		if (child)
			command = child;
		else
			*ret_arguments += cli->args[i][0] != '-';
	}
	return command;
}

/* The kind of the nth argument; the last kind stands for all that follow. */
static char *kind_of(const Command *command, int argument)
{
	g_auto(GStrv) kinds = g_strsplit(command->complete, ",", -1);
	int n = (int)g_strv_length(kinds);
	return g_strdup(kinds[MIN(argument, n - 1)]);
}

static int complete_run(Cli *cli, Error **err)
{
	int arguments;
	const Command *command = find_context(cli, &arguments), *c;
	const char *last = cli->n_args > 0 ? cli->args[cli->n_args - 1] : "";
	if (*last == '-') {
		offer_flags(command ? command->flags : NULL, last);
		offer_flags(global_flags, last);
		return 0;
	}
	for (unsigned i = 0; arguments == 0 && (c = command_at(i)); i++)
		if (command_is_child(c, command ? command->path : "") && !command_hidden(c))
			offer(command_word(c), last);
	if (!command || !command->complete)
		return 0;
	g_autofree char *kind = kind_of(command, arguments);
	offer_names(cli, kind, last);
	return 0;
}

const Command completion_commands[] = {
	{ .path = "completion",
	    .usage = "<bash|zsh|fish>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Print a completion script for a shell",
	    .examples = "incus completion bash > /etc/bash_completion.d/incus\n"
			"incus completion zsh > /usr/share/zsh/vendor-completions/_incus\n"
			"incus completion fish > ~/.config/fish/completions/incus.fish",
	    .run = completion_run },
	{ .path = "__complete",
	    .usage = "[--] <words>...",
	    .max_args = -1,
	    .summary = "Print what may follow the words",
	    .run = complete_run,
	    .hidden = true },
	{ 0 },
};
