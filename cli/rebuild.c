/*
 * incus rebuild: a fresh root file system for an instance.
 */
#include "cli/image.h"
#include "cli/instance.h"
#include <string.h>

/* The image, unless --empty, and the instance. */
static int parse(Cli *cli, Object *ret_instance, const char **ret_image, Error **err)
{
	bool empty = flag_bool(cli, "empty");
	if (empty && cli->n_args > 1)
		return error_set(
		    err, ERROR_INVALID, "--empty cannot be combined with an image name");
	if (!empty && cli->n_args < 2)
		return error_set(err, ERROR_INVALID, "Missing image: give one, or --empty");
	*ret_image = empty ? NULL : cli->args[0];
	return object_parse_named(
	    cli, &instance_noun, cli->args[cli->n_args - 1], ret_instance, err);
}

/* With --force a running one is stopped; *ret_ran: it is to be started again. */
static int stop(Cli *cli, const Object *instance, bool *ret_ran, Error **err)
{
	json_t *data = object_get(instance, err);
	if (!data)
		return -1;
	int64_t status = json_get_int(data, "status_code");
	if (status == 0 || status == 102)
		return 0;
	if (!flag_bool(cli, "force"))
		return error_set(err, ERROR_INVALID,
		    "Instance must be stopped to be rebuilt: stop it, or use --force");
	if (json_is_true(json_object_get(data, "ephemeral")))
		return error_set(
		    err, ERROR_INVALID, "An ephemeral instance would be deleted by stopping it");
	*ret_ran = true;
	return instance_change_state(
	    instance, "stop", -1, true, false, "Stopping the instance", err);
}

static int rebuild(Cli *cli, const Object *instance, const char *image, Error **err)
{
	json_t *source = image ? image_source(cli, instance->server, image, err) :
				 json_pack("{s:s}", "type", "none");
	if (!source)
		return -1;
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "instance", json_pack("{s:o}", "source", source));
	return image_do(instance->server, "RebuildInstance", request, source, "Rebuilding instance",
		   err) ?
	    0 :
	    -1;
}

static int run(Cli *cli, Error **err)
{
	Object instance;
	const char *image = NULL;
	bool ran = false;
	if (parse(cli, &instance, &image, err) < 0 || stop(cli, &instance, &ran, err) < 0)
		return -1;
	int result = rebuild(cli, &instance, image, err);
	if (ran &&
	    instance_change_state(&instance, "start", -1, false, false, "Starting the instance",
		result == 0 ? err : NULL) < 0)
		return -1;
	return result;
}

static const Flag flags[] = {
	{ "empty", 0, FLAG_BOOL, NULL, "An empty root file system instead of an image's" },
	{ "force", 'f', FLAG_BOOL, NULL, "Stop a running instance, and start it again" },
	FLAG_END,
};

const Command rebuild_commands[] = {
	{ .path = "rebuild",
	    .usage = "[[<remote>:]<image>] [<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = flags,
	    .summary = "Rebuild instances",
	    .help =
		"Gives a stopped instance a fresh root file system. What was in it is lost; keys, devices and profiles stay.\n"
		"An instance with snapshots cannot be rebuilt.",
	    .examples = "incus rebuild images:debian/12 c1\n"
			"incus rebuild c1 --empty",
	    .run = run,
	    .complete = "image,instance" },
	{ 0 },
};
