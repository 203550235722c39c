#include "cli/preseed.h"
#include "cli/message.h"
#include "cli/nouns.h"
#include <stdio.h>
#include <string.h>

/* How to take one step back. */
typedef struct Undo {
	Object object;
	json_t *before; /* NULL: it was not there */
} Undo;

typedef struct Apply {
	Server *server;
	GArray *undo;
} Apply;

static void take_back(Apply *apply)
{
	for (guint i = apply->undo->len; i-- > 0;) {
		Undo *step = &g_array_index(apply->undo, Undo, i);
		g_autoptr(Error) problem = NULL;
		if ((step->before ? object_put(&step->object, step->before, &problem) :
				    object_delete(&step->object, &problem)) < 0)
			fprintf(stderr, "Cannot undo the change of %s: %s\n", step->object.name,
			    problem->message);
	}
}

static void remember(Apply *apply, Object object, const json_t *before)
{
	Undo step = { .object = object,
		.before = before ? server_keep(apply->server->cli, json_deep_copy(before)) : NULL };
	g_array_append_val(apply->undo, step);
}

/* Keys of `given` put into the map `key` of `now`; a device is taken whole. */
static void merge_map(json_t *now, const json_t *given, const char *key)
{
	const json_t *map = json_object_get(given, key);
	if (json_is_object(map))
		json_object_update(json_member(now, key), (json_t *)map);
}

static int apply_config(Apply *apply, const json_t *config, Error **err)
{
	Object server = object_make(apply->server, &server_noun, "the server");
	json_object_clear(server.key);
	if (!json_is_object(config) || json_object_size(config) == 0)
		return 0;
	json_t *now = object_get(&server, err);
	if (!now)
		return -1;
	remember(apply, server, now);
	json_object_update(json_member(now, "config"), (json_t *)config);
	return object_put(&server, now, err);
}

/* What cannot be changed of something that is there: asking for another one is an error. */
static int check_same(
    const json_t *now, const json_t *given, const char *key, const char *title, Error **err)
{
	const char *wanted = json_get_text(given, key), *have = json_get_text(now, key);
	if (!*wanted || strcmp(wanted, have) == 0)
		return 0;
	return error_set(err, ERROR_INVALID, "%s \"%s\" exists with %s \"%s\", not \"%s\"", title,
	    json_get_text(given, "name"), key, have, wanted);
}

/* An empty value means the default, and so does no value. */
static void drop_empty(json_t *config)
{
	const char *key;
	json_t *value;
	void *next;
	json_object_foreach_safe (config, next, key, value)
		if (json_is_null(value) || (json_is_string(value) && !*json_string_value(value)))
			json_object_del(config, key);
}

static int apply_object(
    Apply *apply, const Noun *noun, const json_t *given, const char *fixed, Error **err)
{
	Object object = object_make(apply->server, noun, json_get_text(given, "name"));
	const char *project = json_get_text(given, "project");
	if (!*object.name)
		return error_set(err, ERROR_INVALID, "A %s without a name", noun->title);
	if (*project)
		json_object_set_new(object.key, "project", json_string(project));
	json_t *now = object_get(&object, NULL);
	if (!now) {
		json_t *data = server_keep(apply->server->cli, json_deep_copy(given));
		drop_empty(json_object_get(data, "config"));
		if (object_create(&object, data, err) < 0)
			return error_prefix(
			    err, "Failed to create %s \"%s\"", noun->title, object.name);
		remember(apply, object, NULL);
		return 0;
	}
	if (fixed && check_same(now, given, fixed, noun->title, err) < 0)
		return -1;
	remember(apply, object, now);
	merge_map(now, given, "config");
	merge_map(now, given, "devices");
	if (*json_get_text(given, "description"))
		json_object_set(now, "description", json_object_get(given, "description"));
	if (object_put(&object, now, err) < 0)
		return error_prefix(err, "Failed to update %s \"%s\"", noun->title, object.name);
	return 0;
}

static int apply_list(
    Apply *apply, const Noun *noun, const json_t *list, const char *fixed, Error **err)
{
	size_t i;
	json_t *given;
	if (list && !json_is_null(list) && !json_is_array(list))
		return error_set(err, ERROR_INVALID,
		    "Invalid preseed: a list is expected for every kind of object");
	json_array_foreach (list, i, given)
		if (apply_object(apply, noun, given, fixed, err) < 0)
			return -1;
	return 0;
}

int preseed_apply(Server *server, const json_t *preseed, Error **err)
{
	g_autoptr(GArray) undo = g_array_new(FALSE, FALSE, sizeof(Undo));
	Apply apply = { .server = server, .undo = undo };
	bool quiet = server->cli->quiet;
	if (json_object_get(preseed, "cluster") &&
	    !json_is_null(json_object_get(preseed, "cluster")))
		return error_set(
		    err, ERROR_UNSUPPORTED, "Clusters are not supported by this version");
	server->cli->quiet = true;
	int result = apply_config(&apply, json_object_get(preseed, "config"), err);
	if (result == 0)
		result = apply_list(
		    &apply, &project_noun, json_object_get(preseed, "projects"), NULL, err);
	if (result == 0)
		result = apply_list(&apply, &storage_noun,
		    json_object_get(preseed, "storage_pools"), "driver", err);
	if (result == 0)
		result = apply_list(
		    &apply, &network_noun, json_object_get(preseed, "networks"), "type", err);
	if (result == 0)
		result = apply_list(
		    &apply, &profile_noun, json_object_get(preseed, "profiles"), NULL, err);
	if (result < 0)
		take_back(&apply);
	server->cli->quiet = quiet;
	return result;
}

/* ---- dump ---- */

static json_t *with_keys(const json_t *object, const char *const *keys)
{
	json_t *copy = json_object();
	for (; *keys; keys++)
		if (json_object_get(object, *keys))
			json_object_set(copy, *keys, json_object_get(object, *keys));
	return copy;
}

static int dump_list(Server *server, const char *method, const char *const *keys, const char *skip,
    json_t *out, const char *name, Error **err)
{
	json_t *list = server_list(server, method, NULL, err), *item, *kept = json_array();
	size_t i;
	if (!list) {
		json_decref(kept);
		return -1;
	}
	json_array_foreach (list, i, item) {
		const json_t *managed = json_object_get(item, "managed");
		bool unmanaged = managed && !json_is_true(managed);
		if (!unmanaged && !(skip && strcmp(json_get_text(item, "name"), skip) == 0))
			json_array_append_new(kept, with_keys(item, keys));
	}
	if (json_array_size(kept) > 0)
		json_object_set(out, name, kept);
	json_decref(kept);
	return 0;
}

json_t *preseed_dump(Server *server, Error **err)
{
	static const char *const network[] = { "config", "description", "managed", "name", "type",
		NULL };
	static const char *const pool[] = { "config", "description", "name", "driver", NULL };
	static const char *const profile[] = { "config", "description", "devices", "name", NULL };
	static const char *const project[] = { "config", "description", "name", NULL };
	json_t *out = server_keep(server->cli, json_object());
	json_t *facts = server_call(server, "GetServer", NULL, err);
	if (!facts)
		return NULL;
	json_object_set(out, "config", json_object_get(facts, "config"));
	if (dump_list(server, "GetNetworks", network, NULL, out, "networks", err) < 0 ||
	    dump_list(server, "GetStoragePools", pool, NULL, out, "storage_pools", err) < 0 ||
	    dump_list(server, "GetProfiles", profile, NULL, out, "profiles", err) < 0 ||
	    dump_list(server, "GetProjects", project, "default", out, "projects", err) < 0)
		return NULL;
	return out;
}
