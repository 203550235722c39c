#include "cli/noun.h"
#include "cli/edit.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/yaml.h"
#include "sdk/base/schema.h"
#include "sdk/base/moment.h"
#include "sdk/base/units.h"
#include <incus/client.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *method_of(const Object *object, const char *verb)
{
	return arena_printf(object->server->cli->arena, "%s%s", verb, object->noun->method);
}

/* The message that Update takes. */
static const ProtobufCMessageDescriptor *put_descriptor(const Object *object)
{
	const SchemaMethod *method = server_method(method_of(object, "Update"));
	const ProtobufCFieldDescriptor *field = method ?
	    protobuf_c_message_descriptor_get_field_by_name(method->input, object->noun->body) :
	    NULL;
	return field ? field->descriptor : NULL;
}

Object object_make(Server *server, const Noun *noun, const char *name)
{
	json_t *key = server_keep(server->cli, json_object());
	if (name && *name)
		json_object_set_new(key, "name", json_string(name));
	const char **etag = arena_alloc(server->cli->arena, sizeof(*etag));
	return (Object){ .noun = noun, .server = server, .name = name, .key = key, .etag = etag };
}

int object_parse(Cli *cli, const Noun *noun, const char *argument, Object *ret, Error **err)
{
	Target target;
	if (target_parse(cli, argument, &target, err) < 0)
		return -1;
	*ret = object_make(target.server, noun, target.name);
	return 0;
}

/* "storage pool": the title within a sentence. */
static const char *title_in_sentence(const Object *object)
{
	g_autofree char *lower = g_ascii_strdown(object->noun->title, -1);
	return arena_strdup(object->server->cli->arena, lower);
}

int object_parse_named(Cli *cli, const Noun *noun, const char *argument, Object *ret, Error **err)
{
	if (object_parse(cli, noun, argument, ret, err) < 0)
		return -1;
	if (*ret->name)
		return 0;
	return error_set(err, ERROR_INVALID, "Missing %s name", title_in_sentence(ret));
}

json_t *object_get(const Object *object, Error **err)
{
	json_t *data = server_call(
	    object->server, method_of(object, "Get"), json_copy(object->key), err);
	*object->etag = data ? object->server->etag : NULL;
	return data;
}

json_t *object_writable(const Object *object, const json_t *data)
{
	return server_keep(object->server->cli, message_writable(put_descriptor(object), data));
}

json_t *object_put_raw(const Object *object, const json_t *data, Error **err)
{
	json_t *request = json_copy(object->key);
	json_object_set(request, object->noun->body, object_writable(object, data));
	/* Somebody may have changed it since: that is not undone unseen. */
	incus_client_set_if_match(object->server->client, *object->etag);
	json_t *done = server_do(
	    object->server, method_of(object, "Update"), request, NULL, err);
	incus_client_set_if_match(object->server->client, NULL);
	*object->etag = NULL; /* it is another one now */
	return done;
}

int object_put(const Object *object, const json_t *data, Error **err)
{
	return object_put_raw(object, data, err) ? 0 : -1;
}

int object_show(const Object *object, Error **err)
{
	json_t *data = object_get(object, err);
	if (!data)
		return -1;
	output_yaml(data);
	return 0;
}

/* ---- edit ---- */

static int put_yaml(const Object *object, const char *text, size_t length, Error **err)
{
	json_t *data = yaml_to_json(text, length, err);
	if (!data)
		return -1;
	server_keep(object->server->cli, data);
	if (json_is_null(data))
		data = server_keep(object->server->cli, json_object());
	if (!json_is_object(data))
		return error_set(err, ERROR_INVALID, "Invalid YAML: the %s must be a map",
		    title_in_sentence(object));
	return object_put(object, data, err);
}

/* What others say of the object is no part of the text to edit. */
static void drop_derived(json_t *data)
{
	static const char *const derived[] = { "expanded_config", "expanded_devices", "state",
		"snapshots", "backups", "environment", "api_extensions" };
	for (size_t i = 0; i < G_N_ELEMENTS(derived); i++)
		json_object_del(data, derived[i]);
}

int object_edit(const Object *object, Error **err)
{
	Cli *cli = object->server->cli;
	if (!isatty(STDIN_FILENO)) {
		const char *text;
		size_t length;
		if (read_stdin(cli, &text, &length, err) < 0)
			return -1;
		return put_yaml(object, text, length, err);
	}
	json_t *data = object_get(object, err);
	if (!data)
		return -1;
	drop_derived(data);
	g_autofree char *yaml = yaml_from_json(data);
	g_autofree char *text =
	    g_strconcat(object->noun->edit_help ? object->noun->edit_help : "", yaml, NULL);
	for (;;) {
		g_autoptr(Error) problem = NULL;
		char *edited = NULL;
		size_t length;
		if (edit_text(text, strlen(text), ".yaml", &edited, &length, err) < 0)
			return -1;
		g_free(text);
		text = edited;
		if (put_yaml(object, text, length, &problem) == 0)
			return 0;
		if (!edit_again(problem->message))
			return error_propagate(err, g_steal_pointer(&problem));
	}
}

/* ---- keys and properties ---- */

/* A value as the property view prints it: lists as [a b], maps as map[k:v], times with a blank. */
static void add_plain(GString *out, const json_t *value)
{
	size_t i;
	const char *key;
	json_t *item;
	if (json_is_string(value)) {
		g_string_append(out, json_string_value(value));
	} else if (json_is_array(value)) {
		g_string_append_c(out, '[');
		json_array_foreach (value, i, item) {
			g_string_append(out, i ? " " : "");
			add_plain(out, item);
		}
		g_string_append_c(out, ']');
	} else if (json_is_object(value)) {
		g_string_append(out, "map[");
		json_object_foreach ((json_t *)value, key, item) {
			g_string_append_printf(
			    out, "%s%s:", out->str[out->len - 1] == '[' ? "" : " ", key);
			add_plain(out, item);
		}
		g_string_append_c(out, ']');
	} else {
		char *text = json_dumps(value, JSON_ENCODE_ANY);
		g_string_append(out, text);
		free(text);
	}
}

/* "2024-01-02T03:04:05Z" as "2024-01-02 03:04:05 +0000 UTC", "...-04:00" as "... -0400 -0400";
 * other text unchanged. */
static void spell_time(GString *text)
{
	Moment moment;
	if (text->len < 20 || text->str[10] != 'T' || !isdigit((unsigned char)text->str[0]) ||
	    moment_parse(text->str, &moment, NULL) < 0)
		return;
	int minutes = abs(moment.offset);
	g_autofree char *zone = g_strdup_printf(
	    "%c%02d%02d", moment.offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
	text->str[10] = ' ';
	g_string_truncate(text, 19 + strspn(text->str + 19, ".0123456789"));
	g_string_append_printf(text, " %s %s", zone, moment.offset ? zone : "UTC");
}

static int print_property(const Object *object, const json_t *data, const char *key, Error **err)
{
	const json_t *value = json_object_get(data, key);
	if (!value)
		return error_set(err, ERROR_NOT_FOUND,
		    "The property \"%s\" does not exist on the %s \"%s\"", key,
		    title_in_sentence(object), object->name);
	g_autoptr(GString) text = g_string_new(NULL);
	add_plain(text, value);
	if (json_is_string(value))
		spell_time(text);
	puts(text->str);
	return 0;
}

int object_print_key(const Object *object, const char *key, Error **err)
{
	Cli *cli = object->server->cli;
	json_t *data = object_get(object, err);
	if (!data)
		return -1;
	if (flag_bool(cli, "property"))
		return print_property(object, data, key, err);
	const char *map = flag_find(cli->command, "expanded", 8) && flag_bool(cli, "expanded") ?
	    "expanded_config" :
	    "config";
	puts(json_get_text(json_object_get(data, map), key));
	return 0;
}

json_t *json_member(json_t *object, const char *key)
{
	json_t *member = json_object_get(object, key);
	if (json_is_object(member))
		return member;
	json_object_set_new(object, key, json_object());
	return json_object_get(object, key);
}

static int set_property(
    const Object *object, json_t *data, const char *key, const char *text, Error **err)
{
	json_t *value = message_coerce(put_descriptor(object), key, text, err);
	if (!value)
		return error_prefix(
		    err, "Cannot set a property of the %s", title_in_sentence(object));
	return json_object_set_new(data, key, value);
}

int object_set(const Object *object, int first, Error **err)
{
	Cli *cli = object->server->cli;
	json_t *pairs = server_keep(cli, json_object());
	if (read_pairs(cli, first, true, pairs, err) < 0)
		return -1;
	json_t *data = object_get(object, err);
	if (!data)
		return -1;
	const char *key;
	json_t *value;
	if (!flag_bool(cli, "property")) {
		json_object_update(json_member(data, "config"), pairs);
		return object_put(object, data, err);
	}
	json_object_foreach (pairs, key, value)
		if (set_property(object, data, key, json_string_value(value), err) < 0)
			return -1;
	return object_put(object, data, err);
}

static int unset_property(const Object *object, json_t *data, const char *key, Error **err)
{
	if (!message_has_field(put_descriptor(object), key))
		return error_set(err, ERROR_NOT_FOUND,
		    "The property \"%s\" does not exist on the %s \"%s\"", key,
		    title_in_sentence(object), object->name);
	json_object_del(data, key);
	return object_put(object, data, err);
}

int object_unset(const Object *object, const char *key, Error **err)
{
	json_t *data = object_get(object, err);
	if (!data)
		return -1;
	if (flag_bool(object->server->cli, "property"))
		return unset_property(object, data, key, err);
	if (json_object_del(json_member(data, "config"), key) < 0)
		return error_set(
		    err, ERROR_NOT_FOUND, "Can't unset key '%s', it's not currently set", key);
	return object_put(object, data, err);
}

/* ---- the other verbs ---- */

static void say(const Object *object, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void say(const Object *object, const char *format, ...)
{
	va_list list;
	if (object->server->cli->quiet)
		return;
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
}

int object_rename(const Object *object, const char *name, Error **err)
{
	json_t *request = json_copy(object->key);
	json_t *body = json_object();
	json_object_set_new(body, "name", json_string(name));
	json_object_set_new(request, object->noun->body, body);
	if (!server_do(object->server, method_of(object, "Rename"), request, NULL, err))
		return -1;
	say(object, "%s %s renamed to %s\n", object->noun->title, object->name, name);
	return 0;
}

int object_delete(const Object *object, Error **err)
{
	if (!server_do(
		object->server, method_of(object, "Delete"), json_copy(object->key), NULL, err))
		return -1;
	say(object, "%s %s deleted\n", object->noun->title, object->name);
	return 0;
}

int object_create(const Object *object, json_t *data, Error **err)
{
	json_t *request = json_copy(object->key);
	json_object_del(request, "name");
	json_object_set_new(data, "name", json_string(object->name));
	json_object_set(request, object->noun->body, data);
	if (!server_do(object->server, method_of(object, "Create"), request, NULL, err))
		return -1;
	say(object, "%s %s created\n", object->noun->title, object->name);
	return 0;
}

#define PARSE_OBJECT(cli, noun)                                                                    \
	Object object;                                                                             \
	if (object_parse_named(cli, noun, (cli)->args[0], &object, err) < 0)                       \
		return -1

int noun_show(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_show(&object, err);
}

int noun_edit(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_edit(&object, err);
}

int noun_get(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_print_key(&object, cli->args[1], err);
}

int noun_set(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_set(&object, 1, err);
}

int noun_unset(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_unset(&object, cli->args[1], err);
}

int noun_rename(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_rename(&object, cli->args[1], err);
}

int noun_delete(Cli *cli, const Noun *noun, Error **err)
{
	PARSE_OBJECT(cli, noun);
	return object_delete(&object, err);
}

/* ---- arguments and input ---- */

int read_stdin(Cli *cli, const char **ret_text, size_t *ret_length, Error **err)
{
	g_autoptr(GString) text = g_string_new(NULL);
	char buffer[65536];
	size_t n;
	while ((n = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
		g_string_append_len(text, buffer, n);
	if (ferror(stdin))
		return error_set(err, ERROR_INTERNAL, "Cannot read the standard input");
	*ret_text = arena_memdup(cli->arena, text->str, text->len + 1);
	if (ret_length)
		*ret_length = text->len;
	return 0;
}

json_t *read_stdin_yaml(Cli *cli, Error **err)
{
	const char *text;
	size_t length;
	if (isatty(STDIN_FILENO))
		return NULL;
	if (read_stdin(cli, &text, &length, err) < 0)
		return NULL;
	json_t *data = yaml_to_json(text, length, err);
	if (!data)
		return NULL;
	server_keep(cli, data);
	if (json_is_null(data))
		return server_keep(cli, json_object());
	if (json_is_object(data))
		return data;
	error_set(err, ERROR_INVALID, "Invalid YAML on the standard input: a map is expected");
	return NULL;
}

int read_pair(const char *argument, json_t *config, Error **err)
{
	const char *equals = strchr(argument, '=');
	if (!equals)
		return error_set(
		    err, ERROR_INVALID, "Invalid key=value configuration: %s", argument);
	g_autofree char *key = g_strndup(argument, equals - argument);
	if (json_object_set_new(config, key, json_string(equals + 1)) < 0)
		return error_set(err, ERROR_INVALID, "The value of \"%s\" is not valid UTF-8", key);
	return 0;
}

static int fill_from_stdin(Cli *cli, json_t *config, Error **err)
{
	const char *key, *text;
	json_t *value;
	json_object_foreach (config, key, value) {
		if (!json_is_string(value) || strcmp(json_string_value(value), "-") != 0)
			continue;
		if (read_stdin(cli, &text, NULL, err) < 0)
			return -1;
		json_string_set(value, text);
	}
	return 0;
}

int read_pairs(Cli *cli, int first, bool legacy, json_t *config, Error **err)
{
	char **args = cli->args + first;
	int n = cli->n_args - first;
	if (n <= 0 && legacy)
		return error_set(err, ERROR_INVALID, "Missing key=value");
	if (legacy && n == 2 && !strchr(args[0], '=')) {
		json_object_set_new(config, args[0], json_string(args[1]));
		return fill_from_stdin(cli, config, err);
	}
	for (int i = 0; i < n; i++)
		if (read_pair(args[i], config, err) < 0)
			return -1;
	return fill_from_stdin(cli, config, err);
}

json_t *find_item(const json_t *list, const char *key, const char *value)
{
	size_t i;
	json_t *item;
	json_array_foreach (list, i, item)
		if (strcmp(json_get_text(item, key), value) == 0)
			return item;
	return NULL;
}
