/* What standard input has, as for "incus launch": the instance's settings as YAML. */
#include "migrate/host/host.h"
#include "sdk/base/file.h"
#include "sdk/base/yaml.h"
#include <string.h>
#include <unistd.h>

enum { LIMIT = 1 << 20 };

static int invalid(const char *key, const char *what, Error **err)
{
	return error_set(
	    err, ERROR_INVALID, "\"%s\" on the standard input: %s is expected", key, what);
}

static int take_config(Migration *m, const char *key, json_t *value, Error **err)
{
	const char *name;
	json_t *text;
	json_object_foreach (value, name, text) {
		if (!json_is_string(text))
			return invalid(name, "a text", err);
		g_ptr_array_add(m->config, g_strconcat(name, "=", json_string_value(text), NULL));
	}
	return json_is_object(value) ? 0 : invalid(key, "a map", err);
}

static int take_devices(Migration *m, const char *key, json_t *value, Error **err)
{
	const char *name;
	json_t *device;
	json_object_foreach (value, name, device) {
		if (!json_is_object(device))
			return invalid(name, "a map", err);
		json_object_set(m->devices, name, device);
	}
	return json_is_object(value) ? 0 : invalid(key, "a map", err);
}

static int take_profiles(Migration *m, const char *key, json_t *value, Error **err)
{
	size_t n;
	json_t *name;
	json_array_foreach (value, n, name) {
		if (!json_is_string(name))
			return invalid(key, "a list of names", err);
		g_ptr_array_add(m->profiles, g_strdup(json_string_value(name)));
	}
	return json_is_array(value) ? 0 : invalid(key, "a list of names", err);
}

static int take_description(Migration *m, const char *key, json_t *value, Error **err)
{
	if (!json_is_string(value))
		return invalid(key, "a text", err);
	g_free(m->description);
	m->description = g_strdup(json_string_value(value));
	return 0;
}

static const struct {
	const char *key;
	int (*take)(Migration *m, const char *key, json_t *value, Error **err);
} parts[] = {
	{ "config", take_config },
	{ "devices", take_devices },
	{ "profiles", take_profiles },
	{ "description", take_description },
};

static int take(Migration *m, const char *key, json_t *value, Error **err)
{
	if (json_is_null(value))
		return 0;
	for (gsize n = 0; n < G_N_ELEMENTS(parts); n++)
		if (strcmp(parts[n].key, key) == 0)
			return parts[n].take(m, key, value, err);
	return error_set(err, ERROR_INVALID,
	    "Unknown key \"%s\" on the standard input: config, devices, profiles and description may be there",
	    key);
}

int settings_read(Migration *m, Error **err)
{
	g_autofree char *text = NULL;
	size_t length;
	json_t *document = NULL, *value;
	const char *key;
	if (isatty(STDIN_FILENO))
		return 0;
	if (file_read_fd(STDIN_FILENO, LIMIT, &text, &length, err) < 0 ||
	    yaml_parse(text, length, &document, err) < 0)
		return error_prefix(err, "Standard input");
	int result = json_is_object(document) || json_is_null(document) ?
	    0 :
	    error_set(err, ERROR_INVALID, "Standard input: a map is expected");
	json_object_foreach (document, key, value)
		if (result == 0)
			result = take(m, key, value, err);
	json_decref(document);
	return result;
}
