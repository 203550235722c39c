#include "sdk/base/json.h"
#include "sdk/base/moment.h"
#include "sdk/base/schema.h"
#include <jansson.h>
#include <string.h>

typedef struct Reader {
	Arena *arena;
	Error **err;
} Reader;

typedef struct Place { /* one field of a message */
	const ProtobufCFieldDescriptor *field;
	const JsonField *json;
	const char *name; /* for messages about it */
} Place;

static int read_message(
    const Reader *r, const json_t *tree, ProtobufCMessage *message, const char *name);

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_NULL:
		return "null";
	default:
		return "a boolean";
	}
}

static int wrong_type(const Reader *r, const json_t *value, const char *name, const char *wanted)
{
	return error_set(r->err, ERROR_INVALID, "Cannot use %s for \"%s\": it takes %s",
	    type_name(value), name, wanted);
}

static int read_integer(const Reader *r, const json_t *value, const Place *place, int64_t minimum,
    int64_t maximum, int64_t *ret)
{
	if (!json_is_integer(value))
		return wrong_type(r, value, place->name, "a whole number");
	*ret = json_integer_value(value);
	if (*ret < minimum || *ret > maximum)
		return error_set(r->err, ERROR_INVALID,
		    "Number %" JSON_INTEGER_FORMAT " is out of range for \"%s\"",
		    json_integer_value(value), place->name);
	return 0;
}

static int read_text(const Reader *r, const json_t *value, const Place *place, char **ret)
{
	char *text;

	if (place->json->json) {
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		*ret = arena_strdup(r->arena, text);
		free(text);
		return 0;
	}
	if (!json_is_string(value))
		return wrong_type(r, value, place->name, "a string");
	*ret = arena_strndup(r->arena, json_string_value(value), json_string_length(value));
	return 0;
}

static int read_bytes(
    const Reader *r, const json_t *value, const Place *place, ProtobufCBinaryData *ret)
{
	g_autofree guchar *data = NULL;
	gsize size;

	if (!json_is_string(value))
		return wrong_type(r, value, place->name, "a string in base64");
	data = g_base64_decode(json_string_value(value), &size);
	ret->data = arena_memdup(r->arena, data, size);
	ret->len = size;
	return 0;
}

static int read_enum(const Reader *r, const json_t *value, const Place *place, int *ret)
{
	const ProtobufCEnumValue *row = NULL;

	if (json_is_string(value))
		row = protobuf_c_enum_descriptor_get_value_by_name(
		    place->field->descriptor, json_string_value(value));
	else if (json_is_integer(value))
		row = protobuf_c_enum_descriptor_get_value(
		    place->field->descriptor, (int)json_integer_value(value));
	if (!row)
		return error_set(r->err, ERROR_INVALID, "Unknown value for \"%s\"", place->name);
	*ret = row->value;
	return 0;
}

static int read_child(
    const Reader *r, const json_t *value, const Place *place, ProtobufCMessage **ret)
{
	const ProtobufCMessageDescriptor *descriptor = place->field->descriptor;
	ProtobufCMessage *child = *ret;

	if (!child) {
		child = arena_alloc(r->arena, descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, child);
	}
	if (read_message(r, value, child, place->name) < 0)
		return -1;
	*ret = child;
	return 0;
}

static int read_number(const Reader *r, const json_t *value, const Place *place, void *at)
{
	int64_t number = 0;
	int64_t minimum = G_MININT32, maximum = G_MAXINT32;
	gboolean wide = FALSE;

	switch (place->field->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		minimum = 0, maximum = G_MAXUINT32;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		wide = TRUE, minimum = 0, maximum = G_MAXINT64;
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		wide = TRUE, minimum = G_MININT64, maximum = G_MAXINT64;
		break;
	default:
		break;
	}
	if (read_integer(r, value, place, minimum, maximum, &number) < 0)
		return -1;
	if (wide)
		*(int64_t *)at = number;
	else
		*(uint32_t *)at = (uint32_t)number;
	return 0;
}

static int read_value(const Reader *r, const json_t *value, const Place *place, void *at)
{
	switch (place->field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return read_text(r, value, place, at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_child(r, value, place, at);
	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(r, value, place, at);
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(r, value, place, at);
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(value))
			return wrong_type(r, value, place->name, "true or false");
		*(protobuf_c_boolean *)at = json_is_true(value);
		return 0;
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_FLOAT:
		if (!json_is_number(value))
			return wrong_type(r, value, place->name, "a number");
		if (place->field->type == PROTOBUF_C_TYPE_DOUBLE)
			*(double *)at = json_number_value(value);
		else
			*(float *)at = (float)json_number_value(value);
		return 0;
	default:
		return read_number(r, value, place, at);
	}
}

static ProtobufCMessage *read_entry(
    const Reader *r, const Place *place, const char *key, const json_t *value)
{
	static const JsonField plain;
	const ProtobufCMessageDescriptor *descriptor = place->field->descriptor;
	ProtobufCMessage *entry = arena_alloc(r->arena, descriptor->sizeof_message);
	g_autofree char *name = g_strconcat(place->name, ".", key, NULL);
	Place inner = {&descriptor->fields[1], &plain, name};

	protobuf_c_message_init(descriptor, entry);
	*(char **)((char *)entry + descriptor->fields[0].offset) = arena_strdup(r->arena, key);
	if (json_is_null(value)) /* as an empty one */
		return entry;
	if (read_value(r, value, &inner, (char *)entry + inner.field->offset) < 0)
		return NULL;
	return entry;
}

static int read_map(
    const Reader *r, const json_t *value, const Place *place, ProtobufCMessage *message)
{
	ProtobufCMessage **entries;
	size_t n = 0;
	const char *key;
	json_t *item;

	if (!json_is_object(value))
		return wrong_type(r, value, place->name, "an object");
	entries = arena_alloc(r->arena, json_object_size(value) * sizeof(*entries));
	json_object_foreach((json_t *)value, key, item)
	{
		entries[n] = read_entry(r, place, key, item);
		if (!entries[n++])
			return -1;
	}
	*(size_t *)((char *)message + place->field->quantifier_offset) = n;
	*(void **)((char *)message + place->field->offset) = entries;
	return 0;
}

static int read_item(const Reader *r, const json_t *item, const Place *place, void *at)
{
	static char empty[] = "";

	if (place->field->type == PROTOBUF_C_TYPE_STRING)
		*(char **)at = empty;
	if (json_is_null(item)) {
		if (place->field->type != PROTOBUF_C_TYPE_MESSAGE)
			return 0;
		return error_set(
		    r->err, ERROR_INVALID, "Cannot use null in list \"%s\"", place->name);
	}
	return read_value(r, item, place, at);
}

static int read_list(
    const Reader *r, const json_t *value, const Place *place, ProtobufCMessage *message)
{
	size_t size = schema_value_size(place->field->type), n = json_array_size(value);
	char *items;

	if (!json_is_array(value))
		return wrong_type(r, value, place->name, "a list");
	items = arena_alloc(r->arena, n * size);
	for (size_t i = 0; i < n; i++)
		if (read_item(r, json_array_get(value, i), place, items + i * size) < 0)
			return -1;
	*(size_t *)((char *)message + place->field->quantifier_offset) = n;
	*(void **)((char *)message + place->field->offset) = items;
	return 0;
}

static int read_field(
    const Reader *r, const json_t *value, const Place *place, ProtobufCMessage *message)
{
	char *at = (char *)message + place->field->offset;
	uint32_t *chosen = (uint32_t *)((char *)message + place->field->quantifier_offset);

	if (json_is_null(value))
		return 0;
	if (place->json->is_map)
		return read_map(r, value, place, message);
	if (place->field->label == PROTOBUF_C_LABEL_REPEATED)
		return read_list(r, value, place, message);
	if (place->field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		/* The last one given counts; what another member left behind is no pointer of ours.
		 */
		memset(at, 0, schema_value_size(place->field->type));
		*chosen = 0;
		if (read_value(r, value, place, at) < 0)
			return -1;
		*chosen = place->field->id;
		return 0;
	}
	return read_value(r, value, place, at);
}

/* The exact name, else one that differs only in case, as Go takes it. */
static int find_field(const JsonMessage *json, const char *key)
{
	int index = schema_field_by_json_name(json, key, strlen(key));

	for (unsigned i = 0; index < 0 && i < json->descriptor->n_fields; i++)
		if (!g_ascii_strcasecmp(json->fields[i].json_name, key))
			index = (int)i;
	return index;
}

static int read_object(const Reader *r, const json_t *tree, const JsonMessage *json,
    ProtobufCMessage *message, const char *name)
{
	const char *key;
	json_t *value;

	if (!json_is_object(tree))
		return wrong_type(r, tree, name, "an object");
	json_object_foreach((json_t *)tree, key, value)
	{
		int index = find_field(json, key);
		if (index < 0 || json->fields[index].data || json->fields[index].header)
			continue;
		Place place = {&json->descriptor->fields[index], &json->fields[index],
		    json->fields[index].json_name};
		if (read_field(r, value, &place, message) < 0)
			return -1;
	}
	return 0;
}

static int read_timestamp(
    const Reader *r, const json_t *tree, ProtobufCMessage *message, const char *name)
{
	if (!json_is_string(tree))
		return wrong_type(r, tree, name, "a time");
	if (moment_message_parse(message, json_string_value(tree), r->err) < 0)
		return error_prefix(r->err, "Bad value for \"%s\"", name);
	return 0;
}

static int read_flattened(const Reader *r, const json_t *tree, const JsonMessage *json,
    ProtobufCMessage *message, const char *name)
{
	for (unsigned i = 0; i < json->descriptor->n_fields; i++) {
		Place place = {&json->descriptor->fields[i], &json->fields[i], name};
		if (!place.json->data && !place.json->header)
			return read_field(r, tree, &place, message);
	}
	return 0;
}

static int read_message(
    const Reader *r, const json_t *tree, ProtobufCMessage *message, const char *name)
{
	const JsonMessage *json = schema_json(message->descriptor);

	switch (json ? json->well_known : JSON_EMPTY) {
	case JSON_TIMESTAMP:
		return read_timestamp(r, tree, message, name);
	case JSON_FLATTEN:
		return read_flattened(r, tree, json, message, name);
	case JSON_EMPTY:
		return json_is_object(tree) ? 0 : wrong_type(r, tree, name, "an object");
	default:
		return read_object(r, tree, json, message, name);
	}
}

int json_read_tree(const struct json_t *tree, void *message, Arena *arena, Error **err)
{
	Reader reader = {.arena = arena, .err = err};

	return read_message(&reader, tree, message, "request body");
}

/* jansson recurses some 2,000 deep: refuse much earlier, before it starts. */
static gboolean is_too_deep(const char *text, size_t length)
{
	unsigned depth = 0;
	gboolean quoted = FALSE;

	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '[')) {
			if (++depth > JSON_DEPTH_MAX)
				return TRUE;
		} else if (!quoted && (c == '}' || c == ']') && depth)
			depth--;
	}
	return FALSE;
}

int json_read(const char *text, size_t length, void *message, Arena *arena, Error **err)
{
	json_error_t why;
	json_t *tree;
	int result;

	if (is_too_deep(text, length))
		return error_set(
		    err, ERROR_INVALID, "JSON is nested deeper than %d levels", JSON_DEPTH_MAX);
	tree = json_loadb(text, length, JSON_DECODE_ANY, &why);
	if (!tree)
		return error_set(
		    err, ERROR_INVALID, "Invalid JSON in line %d: %s", why.line, why.text);
	result = json_read_tree(tree, message, arena, err);
	json_decref(tree);
	return result;
}
