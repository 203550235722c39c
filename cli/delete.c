/*
 * incus delete, incus rename.
 */
#include "cli/instance.h"
#include "cli/prompt.h"
#include <stdio.h>
#include <string.h>

static bool confirm(const char *name)
{
	printf("Remove %s (yes/no): ", name);
	g_autofree char *answer = prompt_line();
	return answer &&
	    (g_ascii_strcasecmp(answer, "yes") == 0 || g_ascii_strcasecmp(answer, "y") == 0);
}

static bool is_running(const json_t *data)
{
	int64_t status = json_get_int(data, "status_code");
	return status != 102 && status != 0 && status != 112;
}

static int delete_one(Cli *cli, const Object *instance, Error **err)
{
	bool force = flag_bool(cli, "force"), ignore_move = flag_bool(cli, "ignore-move");
	json_t *data = object_get(instance, err);
	if (!data)
		return -1;
	if (flag_bool(cli, "interactive") && !confirm(instance->name))
		return error_set(err, ERROR_CANCELLED, "User aborted delete operation");
	if (is_running(data) && !force && !ignore_move)
		return error_set(err, ERROR_INVALID,
		    "The instance is currently running, stop it first or pass --force");
	if (is_running(data) && !ignore_move) {
		const char *label = arena_printf(cli->arena, "Stopping %s", instance->name);
		if (instance_change_state(instance, "stop", -1, true, false, label, err) < 0)
			return error_prefix(err, "Stopping the instance failed");
		if (json_is_true(json_object_get(data, "ephemeral")))
			return 0;
	}
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "ignore_move", json_boolean(ignore_move));
	return server_do(instance->server, "DeleteInstance", request,
		   arena_printf(cli->arena, "Deleting %s", instance->name), err) ?
	    0 :
	    -1;
}

/* Every one is tried; the first problem of a single one is the problem, several are listed. */
static int delete(Cli *cli, Error **err)
{
	int failed = 0;
	Object instance;
	if (cli->n_args == 1)
		return object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0 ?
		    -1 :
		    delete_one(cli, &instance, err);
	for (int i = 0; i < cli->n_args; i++) {
		g_autoptr(Error) problem = NULL;
		if (object_parse_named(cli, &instance_noun, cli->args[i], &instance, &problem) ==
			0 &&
		    delete_one(cli, &instance, &problem) == 0)
			continue;
		fprintf(stderr, "error: %s: %s\n", cli->args[i], problem->message);
		failed++;
	}
	return failed ? error_set(err, ERROR_INTERNAL, "Some instances failed to delete") : 0;
}

static int rename_run(Cli *cli, Error **err)
{
	Object instance;
	Target to;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	target_split(cli, cli->args[1], &to.remote, &to.name);
	if (*to.remote && strcmp(to.remote, instance.server->remote->name) != 0)
		return error_set(err, ERROR_INVALID, "Can't specify a different remote for rename");
	cli->quiet = true;
	return object_rename(&instance, to.name, err);
}

static const Flag delete_flags[] = {
	{ "force", 'f', FLAG_BOOL, NULL, "Stop and delete running instances too" },
	{ "interactive", 'i', FLAG_BOOL, NULL, "Ask before each one" },
	{ "ignore-move", 0, FLAG_BOOL, NULL,
	    "Delete one that was being moved when the other server went out of reach" },
	FLAG_END,
};

const Command delete_commands[] = {
	{ .path = "delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<instance> [[<remote>:]<instance>...]",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = delete_flags,
	    .summary = "Delete instances",
	    .run = delete,
	    .complete = "instance" },
	{ .path = "rename",
	    .usage = "[<remote>:]<instance> <instance>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Rename an instance",
	    .run = rename_run,
	    .complete = "instance" },
	{ 0 },
};
