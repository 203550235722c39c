/*
 * incus copy, incus move between servers: the target's daemon fetches (pull), the source's sends
 * (push), or it goes through this program (relay).
 */
#include "cli/copy_remote.h"
#include "cli/copy.h"
#include "cli/interrupt.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/sdk_error.h"
#include <incus/operation.h>
#include <stdlib.h>
#include <string.h>

/* Keys, devices and profiles of the source: those that its snapshot has, or its own. */
static const json_t *state_of(const Ends *ends, Error **err)
{
	if (!ends->snapshot)
		return ends->data;
	return server_call(ends->source.server, "GetInstanceSnapshot",
	    json_pack("{s:s, s:s}", "instance", ends->source.name, "name", ends->snapshot), err);
}

static bool is_kept(const char *key, bool move)
{
	return move || !g_str_has_prefix(key, "volatile.") ||
	    strcmp(key, "volatile.base_image") == 0;
}

/* The InstancesPost: the source with the changes over it. */
static json_t *whole(Cli *cli, const Ends *ends, const json_t *changes, bool move, Error **err)
{
	const json_t *state = state_of(ends, err);
	const char *key;
	json_t *value;
	if (!state)
		return NULL;
	json_t *post = server_keep(cli, json_deep_copy(changes)), *config = json_object(),
	       *devices = json_object();
	json_object_foreach (json_object_get(state, "config"), key, value)
		if (is_kept(key, move))
			json_object_set(config, key, value);
	json_object_update(config, json_object_get(changes, "config"));
	json_object_update(devices, json_object_get(state, "devices"));
	json_object_update(devices, json_object_get(changes, "devices"));
	json_object_set_new(post, "config", config);
	json_object_set_new(post, "devices", devices);
	if (!json_object_get(post, "profiles"))
		json_object_set(post, "profiles", json_object_get(ends->data, "profiles"));
	json_object_del(post, "source");
	return post;
}

int copy_show(const Pb__Operation *operation, void *data)
{
	progress_operation(data, operation);
	return interrupt_count();
}

int copy_mode(Cli *cli, incus_copy_mode *ret_mode, Error **err)
{
	static const char *const names[] = { "pull", "push", "relay" };
	const char *mode = flag_string(cli, "mode");
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (strcmp(mode, names[i]) == 0) {
			*ret_mode = (incus_copy_mode)i;
			return 0;
		}
	return error_set(err, ERROR_INVALID, "Invalid mode \"%s\": use pull, push or relay", mode);
}

int copy_between(Cli *cli, const Ends *ends, const json_t *changes, bool move, Error **err)
{
	incus_copy copy = { .project = ends->project,
		.instance_only = flag_bool(cli, "instance-only"),
		.refresh = json_is_true(
		    json_object_get(json_object_get(changes, "source"), "refresh")),
		.allow_inconsistent = flag_bool(cli, "allow-inconsistent"),
		.stateless = flag_bool(cli, "stateless"),
		.progress = copy_show };
	incus_error *problem = NULL;
	Progress progress;
	json_t *post = copy_mode(cli, &copy.mode, err) < 0 ? NULL :
							       whole(cli, ends, changes, move, err);
	if (!post)
		return -1;
	copy.instance = (const Pb__InstancesPost *)message_from_json(
	    &pb__instances_post__descriptor, post, cli->arena, err);
	if (!copy.instance)
		return -1;
	const char *name = ends->snapshot ?
	    arena_printf(cli->arena, "%s/%s", ends->source.name, ends->snapshot) :
	    ends->source.name;
	progress_start(&progress,
	    cli->quiet ? NULL :
		move   ? "Transferring instance" :
			 "Copying the instance");
	copy.data = &progress;
	interrupt_begin();
	int result = (move ? incus_migrate_instance : incus_copy_instance)(
	    ends->source.server->client, name, ends->server->client, &copy, &problem);
	interrupt_end();
	progress_end(&progress);
	return result < 0 ? error_from_sdk(err, problem) : 0;
}
