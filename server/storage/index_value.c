#include "server/storage/index_value.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include <string.h>

int index_wrong(Error **err, const char *key)
{
	return error_set(err, ERROR_INVALID, "Backup index: \"%s\" is not as it should be", key);
}

int index_text(const json_t *object, const char *key, char **ret, Error **err)
{
	const json_t *value = json_object_get(object, key);
	if (value && !json_is_string(value) && !json_is_null(value))
		return index_wrong(err, key);
	const char *text = value && json_is_string(value) ? json_string_value(value) : "";
	if (name_check_text(text, err) < 0)
		return error_prefix(err, "Backup index: \"%s\"", key);
	g_free(*ret);
	*ret = g_strdup(text);
	return 0;
}

int index_bool(const json_t *object, const char *key, gboolean *ret, Error **err)
{
	g_autofree char *text = NULL;
	if (index_text(object, key, &text, err) < 0)
		return -1;
	*ret = strcmp(text, "true") == 0;
	return *ret || !*text || strcmp(text, "false") == 0 ? 0 : index_wrong(err, key);
}

int index_moment(const json_t *object, const char *key, Moment *ret, Error **err)
{
	g_autofree char *text = NULL;
	Moment moment = { 0 };
	if (index_text(object, key, &text, err) < 0)
		return -1;
	if (*text && moment_parse(text, &moment, err) < 0)
		return error_prefix(err, "Backup index: \"%s\"", key);
	*ret = moment.seconds > 0 ? moment : (Moment){ 0 };
	return 0;
}

int index_time(const json_t *object, const char *key, int64_t *ret, Error **err)
{
	Moment moment;
	if (index_moment(object, key, &moment, err) < 0)
		return -1;
	*ret = moment.seconds;
	return 0;
}

int index_config(const json_t *object, const char *key, Config **ret, Error **err)
{
	const json_t *map = json_object_get(object, key);
	g_autoptr(Config) config = config_new();
	const char *name;
	json_t *value;
	if (map && !json_is_object(map) && !json_is_null(map))
		return index_wrong(err, key);
	json_object_foreach((json_t *)map, name, value) {
		if (json_is_null(value))
			continue;
		if (!json_is_string(value) || name_check_config_key(name, NULL) < 0)
			return index_wrong(err, key);
		config_set(config, name, json_string_value(value));
	}
	*ret = g_steal_pointer(&config);
	return 0;
}
