#include "cli/message.h"
#include "sdk/base/map.h"
#include "sdk/base/moment.h"
#include "sdk/base/schema.h"
#include "sdk/base/units.h"
#include <string.h>

#define NO_TIME "0001-01-01T00:00:00Z"

typedef const ProtobufCMessageDescriptor Descriptor;
typedef const ProtobufCFieldDescriptor Field;

static const void *member(const ProtobufCMessage *message, Field *field)
{
	return (const char *)message + field->offset;
}

static size_t count(const ProtobufCMessage *message, Field *field)
{
	return *(const size_t *)((const char *)message + field->quantifier_offset);
}

static const JsonMessage *json_rules(Descriptor *descriptor)
{
	const JsonMessage *rules = schema_json(descriptor);
	if (!rules)
		g_error("Message \"%s\" has no JSON table", descriptor->name);
	return rules;
}

/* ---- message to tree ---- */

static json_t *json_text(const char *text)
{
	json_t *value = json_string(text ? text : "");
	return value ? value : json_string("");
}

static json_t *timestamp_to_json(const ProtobufCMessage *message)
{
	g_autofree char *text = moment_message_text(message);
	return json_text(text);
}

static json_t *scalar_to_json(Field *field, const void *at, const JsonField *rule, bool deep)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_STRING: {
		const char *text = *(char *const *)at;
		if (!rule->json)
			return json_text(text);
		json_t *tree = text && *text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
		return tree ? tree : json_null();
	}
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *data = at;
		g_autofree char *text = g_base64_encode(data->data, data->len);
		return json_text(text);
	}
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *child = *(ProtobufCMessage *const *)at;
		Descriptor *type = field->descriptor;
		if (child)
			return message_to_json(child, deep);
		return json_rules(type)->well_known == JSON_TIMESTAMP ? json_string(NO_TIME) :
									json_null();
	}
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_integer(*(const int64_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)at);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real(*(const float *)at);
	default:
		return json_integer(*(const int32_t *)at);
	}
}

static int by_key(const void *a, const void *b)
{
	const ProtobufCMessage *const *x = a, *const *y = b;
	Field *key = &(*x)->descriptor->fields[0];
	return strcmp(*(char *const *)member(*x, key), *(char *const *)member(*y, key));
}

static json_t *map_to_json(const ProtobufCMessage *message, Field *field, bool deep)
{
	size_t n = count(message, field);
	json_t *object = json_object();
	if (n == 0)
		return object;
	g_autofree ProtobufCMessage **entries =
	    g_memdup2(*(ProtobufCMessage **const *)member(message, field), n * sizeof(void *));
	qsort(entries, n, sizeof(*entries), by_key);
	for (size_t i = 0; i < n; i++) {
		Field *key = &entries[i]->descriptor->fields[0],
		      *value = &entries[i]->descriptor->fields[1];
		static const JsonField plain;
		json_object_set_new(object, *(char *const *)member(entries[i], key),
		    scalar_to_json(value, member(entries[i], value), &plain, deep));
	}
	return object;
}

static json_t *field_to_json(
    const ProtobufCMessage *message, Field *field, const JsonField *rule, bool deep)
{
	if (rule->is_map)
		return map_to_json(message, field, deep);
	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return scalar_to_json(field, member(message, field), rule, deep);
	json_t *list = json_array();
	const char *items = *(const char *const *)member(message, field);
	for (size_t i = 0; i < count(message, field); i++)
		json_array_append_new(
		    list, scalar_to_json(field, items + i * schema_value_size(field->type), rule, deep));
	return list;
}

static bool is_empty(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return json_object_size(value) == 0;
	case JSON_ARRAY:
		return json_array_size(value) == 0;
	case JSON_STRING:
		return !*json_string_value(value) || strcmp(json_string_value(value), NO_TIME) == 0;
	case JSON_INTEGER:
		return json_integer_value(value) == 0;
	case JSON_REAL:
		return json_real_value(value) == 0;
	default:
		return !json_is_true(value);
	}
}

/* Unset members of a oneof hold nothing to show. */
static bool is_present(const ProtobufCMessage *message, Field *field)
{
	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return true;
	return *(const uint32_t *)((const char *)message + field->quantifier_offset) == field->id;
}

json_t *message_to_json(const ProtobufCMessage *message, bool deep)
{
	Descriptor *descriptor = message->descriptor;
	const JsonMessage *rules = json_rules(descriptor);
	if (rules->well_known == JSON_TIMESTAMP)
		return timestamp_to_json(message);
	json_t *object = json_object();
	for (unsigned k = 0; k < descriptor->n_fields; k++) {
		unsigned i = rules->json_order[k];
		Field *field = &descriptor->fields[i];
		const JsonField *rule = &rules->fields[i];
		if (rule->data || rule->header || !is_present(message, field))
			continue;
		json_t *value = field_to_json(message, field, rule, deep);
		if (rules->well_known == JSON_FLATTEN) {
			json_decref(object);
			return value;
		}
		if ((rule->omit_empty && is_empty(value)) || (rule->recursion && !deep))
			json_decref(value);
		else
			json_object_set_new(object, rule->json_name, value);
	}
	return object;
}

/* ---- tree to message ---- */

static int wrong_type(const char *name, const char *wanted, Error **err)
{
	return error_set(err, ERROR_INVALID, "Invalid value for \"%s\": %s expected", name, wanted);
}

static int read_bool(const char *name, const json_t *data, protobuf_c_boolean *ret, Error **err)
{
	static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "on", "1", NULL };
	static const char *const no[] = { "false", "False", "FALSE", "no", "No", "off", "0", "",
		NULL };
	const char *text = json_string_value(data);
	if (json_is_boolean(data))
		*ret = json_is_true(data);
	else if (text && g_strv_contains(yes, text))
		*ret = TRUE;
	else if (text && g_strv_contains(no, text))
		*ret = FALSE;
	else
		return wrong_type(name, "true or false", err);
	return 0;
}

static int read_integer(const char *name, const json_t *data, int64_t *ret, Error **err)
{
	const char *text = json_string_value(data);
	if (json_is_integer(data)) {
		*ret = json_integer_value(data);
		return 0;
	}
	char *end = NULL;
	*ret = text ? g_ascii_strtoll(text, &end, 10) : 0;
	if (!text || !*text || *end)
		return wrong_type(name, "a whole number", err);
	return 0;
}

static int read_text(const char *name, const JsonField *rule, const json_t *data, Arena *arena,
    char **ret, Error **err)
{
	if (json_is_string(data) && !rule->json) {
		*ret = arena_strdup(arena, json_string_value(data));
		return 0;
	}
	if (!rule->json && (json_is_object(data) || json_is_array(data)))
		return wrong_type(name, "text", err);
	char *dumped = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
	*ret = arena_strdup(arena, dumped);
	free(dumped);
	return 0;
}

static int read_timestamp(
    ProtobufCMessage *message, const char *name, const json_t *data, Error **err)
{
	return json_is_string(data) ? moment_message_parse(message, json_string_value(data), err) :
				      wrong_type(name, "a time like 2006-01-02T15:04:05Z", err);
}

/* The year 1 is a time too: it says "never", where nothing says "as the server thinks". */
static bool is_no_time(const json_t *data)
{
	const char *text = json_string_value(data);
	return text && !*text;
}

static int read_scalar(
    Field *field, const JsonField *rule, const json_t *data, void *at, Arena *arena, Error **err)
{
	const char *name = rule->json_name ? rule->json_name : field->name;
	int64_t number;
	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return read_bool(name, data, at, err);
	case PROTOBUF_C_TYPE_STRING:
		return read_text(name, rule, data, arena, at, err);
	case PROTOBUF_C_TYPE_MESSAGE: {
		Descriptor *type = field->descriptor;
		if (json_rules(type)->well_known == JSON_TIMESTAMP && is_no_time(data))
			return 0;
		*(ProtobufCMessage **)at = message_from_json(type, data, arena, err);
		return *(ProtobufCMessage **)at ? 0 : error_prefix(err, "In \"%s\"", name);
	}
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *bytes = at;
		const char *text = json_string_value(data);
		if (!text)
			return wrong_type(name, "text", err);
		bytes->len = strlen(text);
		bytes->data = arena_memdup(arena, text, bytes->len + 1);
		return 0;
	}
	default:
		if (read_integer(name, data, &number, err) < 0)
			return -1;
		if (schema_value_size(field->type) == 8)
			*(int64_t *)at = number;
		else
			*(int32_t *)at = (int32_t)number;
		return 0;
	}
}

static int read_map(
    Field *field, const json_t *data, ProtobufCMessage *message, Arena *arena, Error **err)
{
	static const JsonField plain;
	Descriptor *entry = field->descriptor;
	const char *name;
	json_t *value;
	size_t n = 0;
	if (!json_is_object(data))
		return wrong_type(field->name, "a map", err);
	ProtobufCMessage **entries = arena_alloc(
	    arena, (json_object_size(data) + 1) * sizeof(void *));
	json_object_foreach ((json_t *)data, name, value) {
		ProtobufCMessage *item = arena_alloc(arena, entry->sizeof_message);
		protobuf_c_message_init(entry, item);
		*(char **)((char *)item + entry->fields[0].offset) = arena_strdup(arena, name);
		JsonField rule = plain;
		rule.json_name = name;
		void *at = (char *)item + entry->fields[1].offset;
		if (json_is_null(value) && entry->fields[1].type == PROTOBUF_C_TYPE_STRING)
			*(char **)at = arena_strdup(arena, "");
		else if (!json_is_null(value) &&
		    read_scalar(&entry->fields[1], &rule, value, at, arena, err) < 0)
			return -1;
		entries[n++] = item;
	}
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	*(ProtobufCMessage ***)((char *)message + field->offset) = entries;
	return 0;
}

static int read_list(Field *field, const JsonField *rule, const json_t *data,
    ProtobufCMessage *message, Arena *arena, Error **err)
{
	size_t n = json_array_size(data), size = schema_value_size(field->type);
	if (!json_is_array(data))
		return wrong_type(rule->json_name, "a list", err);
	char *items = arena_alloc(arena, (n + 1) * size);
	for (size_t i = 0; i < n; i++)
		if (read_scalar(
			field, rule, json_array_get(data, i), items + i * size, arena, err) < 0)
			return -1;
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	*(char **)((char *)message + field->offset) = items;
	return 0;
}

static int read_field(Field *field, const JsonField *rule, const json_t *data,
    ProtobufCMessage *message, Arena *arena, Error **err)
{
	if (!data || (json_is_null(data) && !rule->json))
		return 0;
	if (rule->is_map)
		return read_map(field, data, message, arena, err);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return read_list(field, rule, data, message, arena, err);
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)((char *)message + field->quantifier_offset) = field->id;
	return read_scalar(field, rule, data, (char *)message + field->offset, arena, err);
}

ProtobufCMessage *message_from_json(
    Descriptor *descriptor, const json_t *data, Arena *arena, Error **err)
{
	const JsonMessage *rules = json_rules(descriptor);
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
	protobuf_c_message_init(descriptor, message);
	if (rules->well_known == JSON_TIMESTAMP)
		return read_timestamp(message, "time", data, err) < 0 ? NULL : message;
	if (rules->well_known != JSON_FLATTEN && !json_is_object(data)) {
		wrong_type(descriptor->short_name, "a map", err);
		return NULL;
	}
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const JsonField *rule = &rules->fields[i];
		const json_t *value = rules->well_known == JSON_FLATTEN && !rule->data &&
			!rule->header ?
		    data :
		    json_object_get(data, rule->json_name);
		if (read_field(&descriptor->fields[i], rule, value, message, arena, err) < 0)
			return NULL;
	}
	return message;
}

bool message_has_field(Descriptor *descriptor, const char *json_name)
{
	return schema_field_by_json_name(json_rules(descriptor), json_name, strlen(json_name)) >= 0;
}

json_t *message_writable(Descriptor *descriptor, const json_t *object)
{
	json_t *copy = json_object();
	const char *name;
	json_t *value;
	json_object_foreach ((json_t *)object, name, value)
		if (message_has_field(descriptor, name))
			json_object_set(copy, name, value);
	return copy;
}

json_t *message_coerce(Descriptor *descriptor, const char *name, const char *text, Error **err)
{
	const JsonMessage *rules = json_rules(descriptor);
	int index = schema_field_by_json_name(rules, name, strlen(name));
	Field *field = index >= 0 ? &descriptor->fields[index] : NULL;
	if (!field || field->label == PROTOBUF_C_LABEL_REPEATED) {
		error_set(err, ERROR_NOT_FOUND, "No such property \"%s\"", name);
		return NULL;
	}
	if (field->type == PROTOBUF_C_TYPE_BOOL) {
		g_autoptr(Arena) arena = arena_new();
		protobuf_c_boolean value;
		json_t *word = json_string(text);
		int result = read_bool(name, word, &value, err);
		json_decref(word);
		return result < 0 ? NULL : json_boolean(value);
	}
	return json_string(text);
}
