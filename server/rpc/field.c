#include "server/rpc/field.h"
#include "server/rpc/http.h"
#include <string.h>

const ProtobufCFieldDescriptor *field_find(
    const ProtobufCMessageDescriptor *descriptor, const char *name, size_t length)
{
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		if (!strncmp(field->name, name, length) && !field->name[length])
			return field;
	}
	return NULL;
}

ProtobufCMessage *field_new_message(Arena *arena, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
	protobuf_c_message_init(descriptor, message);
	return message;
}

/* Proto3 `optional` is a oneof of one field: its case says that it is there. */
static void mark_present(void *message, const ProtobufCFieldDescriptor *field)
{
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)((char *)message + field->quantifier_offset) = field->id;
	else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset)
		*(protobuf_c_boolean *)((char *)message + field->quantifier_offset) = TRUE;
}

static gboolean read_boolean(const char *text, gboolean *ret)
{
	static const char *const yes[] = { "true", "1", "yes", "on", NULL };
	static const char *const no[] = { "false", "0", "no", "off", "", NULL };
	g_autofree char *lower = g_ascii_strdown(text, -1);
	*ret = g_strv_contains(yes, lower);
	return *ret || g_strv_contains(no, lower);
}

static int set_number(
    void *at, const ProtobufCFieldDescriptor *field, const char *text, Error **err)
{
	gint64 number = 0;
	guint64 unsigned_number = 0;
	gboolean ok = TRUE;
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32: case PROTOBUF_C_TYPE_SINT32: case PROTOBUF_C_TYPE_SFIXED32:
		ok = g_ascii_string_to_signed(text, 10, G_MININT32, G_MAXINT32, &number, NULL);
		*(int32_t *)at = (int32_t)number;
		break;
	case PROTOBUF_C_TYPE_INT64: case PROTOBUF_C_TYPE_SINT64: case PROTOBUF_C_TYPE_SFIXED64:
		ok = g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &number, NULL);
		*(int64_t *)at = number;
		break;
	case PROTOBUF_C_TYPE_UINT32: case PROTOBUF_C_TYPE_FIXED32:
		ok = g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &unsigned_number, NULL);
		*(uint32_t *)at = (uint32_t)unsigned_number;
		break;
	default:
		ok = g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &unsigned_number, NULL);
		*(uint64_t *)at = unsigned_number;
		break;
	}
	return ok ?
	    0 :
	    error_set(err, ERROR_INVALID, "Invalid value \"%s\" for \"%s\"", text, field->name);
}

static void append_string(
    void *message, const ProtobufCFieldDescriptor *field, char *text, Arena *arena)
{
	size_t *n = (size_t *)((char *)message + field->quantifier_offset);
	char ***at = field_at(message, field);
	char **grown = arena_alloc(arena, sizeof(char *) * (*n + 1));
	if (*n)
		memcpy(grown, *at, sizeof(char *) * *n);
	grown[(*n)++] = text;
	*at = grown;
}

int field_set_text(
    void *message, const ProtobufCFieldDescriptor *field, char *text, Arena *arena, Error **err)
{
	void *at = field_at(message, field);
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		if (field->type == PROTOBUF_C_TYPE_STRING)
			append_string(message, field, text, arena);
		return 0;
	}
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = text;
		break;
	case PROTOBUF_C_TYPE_BOOL: {
		gboolean value;
		if (!read_boolean(text, &value))
			return error_set(err, ERROR_INVALID, "Invalid value \"%s\" for \"%s\"",
			    text, field->name);
		*(protobuf_c_boolean *)at = value;
		break;
	}
	case PROTOBUF_C_TYPE_MESSAGE: case PROTOBUF_C_TYPE_BYTES: case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_FLOAT: case PROTOBUF_C_TYPE_DOUBLE:
		return error_set(
		    err, ERROR_INVALID, "\"%s\" cannot be given in the URL", field->name);
	default:
		if (set_number(at, field, text, err) < 0)
			return -1;
	}
	mark_present(message, field);
	return 0;
}

const char *field_text(const void *message, const ProtobufCFieldDescriptor *field, Arena *arena)
{
	void *at = field_at(message, field);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return NULL;
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
	    *(uint32_t *)((char *)message + field->quantifier_offset) != field->id)
		return NULL;
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return *(char **)at ? *(char **)at : "";
	case PROTOBUF_C_TYPE_BOOL:
		return *(protobuf_c_boolean *)at ? "true" : "false";
	case PROTOBUF_C_TYPE_INT32: case PROTOBUF_C_TYPE_SINT32: case PROTOBUF_C_TYPE_SFIXED32:
		return arena_printf(arena, "%d", *(int32_t *)at);
	case PROTOBUF_C_TYPE_UINT32: case PROTOBUF_C_TYPE_FIXED32:
		return arena_printf(arena, "%u", *(uint32_t *)at);
	case PROTOBUF_C_TYPE_INT64: case PROTOBUF_C_TYPE_SINT64: case PROTOBUF_C_TYPE_SFIXED64:
		return arena_printf(arena, "%" G_GINT64_FORMAT, *(int64_t *)at);
	case PROTOBUF_C_TYPE_UINT64: case PROTOBUF_C_TYPE_FIXED64:
		return arena_printf(arena, "%" G_GUINT64_FORMAT, *(uint64_t *)at);
	default:
		return NULL;
	}
}

const char *field_string(const ProtobufCMessage *message, const char *name)
{
	const ProtobufCFieldDescriptor *field = field_find(message->descriptor, name, strlen(name));
	if (!field || field->type != PROTOBUF_C_TYPE_STRING ||
	    field->label == PROTOBUF_C_LABEL_REPEATED)
		return "";
	const char *text = *(char **)field_at(message, field);
	return text ? text : "";
}

ProtobufCMessage *field_message(
    ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, Arena *arena)
{
	if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED)
		return NULL;
	ProtobufCMessage **at = field_at(message, field);
	gboolean present = *at != NULL;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		present = present &&
		    *(uint32_t *)((char *)message + field->quantifier_offset) == field->id;
	if (!present) {
		*at = field_new_message(arena, field->descriptor);
		mark_present(message, field);
	}
	return *at;
}

const ProtobufCFieldDescriptor *field_repeated(const ProtobufCMessageDescriptor *descriptor)
{
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		if (descriptor->fields[i].label == PROTOBUF_C_LABEL_REPEATED)
			return &descriptor->fields[i];
	return NULL;
}

const ProtobufCFieldDescriptor *field_data(const ProtobufCMessageDescriptor *descriptor)
{
	const JsonMessage *json = schema_json(descriptor);
	for (unsigned i = 0; json && i < descriptor->n_fields; i++)
		if (json->fields[i].data)
			return &descriptor->fields[i];
	return NULL;
}

/* "name" or "profile.name". */
static const char *lookup(
    const ProtobufCMessage *message, const char *name, size_t length, Arena *arena)
{
	if (!message)
		return NULL;
	const char *dot = memchr(name, '.', length);
	size_t first = dot ? (size_t)(dot - name) : length;
	const ProtobufCFieldDescriptor *field = field_find(message->descriptor, name, first);
	if (!field)
		return NULL;
	if (!dot)
		return field_text(message, field, arena);
	if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED)
		return NULL;
	return lookup(
	    *(ProtobufCMessage **)field_at(message, field), dot + 1, length - first - 1, arena);
}

static void append_encoded(GString *url, const char *text, size_t length)
{
	g_autofree char *part = g_strndup(text, length);
	g_autofree char *encoded = http_percent_encode(part);
	g_string_append(url, encoded);
}

/* "between" is what {name/between} has: "v1/snap0" becomes "v1/between/snap0". Empty: none. */
static void append_value(GString *url, const char *value, const char *between, size_t length)
{
	const char *slash = length ? strchr(value, '/') : NULL;
	if (slash) {
		append_encoded(url, value, (size_t)(slash - value));
		g_string_append_printf(url, "/%.*s/", (int)length, between);
		value = slash + 1;
	}
	append_encoded(url, value, strlen(value));
}

char *field_fill_url(const char *template_, const ProtobufCMessage *first,
    const ProtobufCMessage *second, Arena *arena)
{
	g_autoptr(GString) url = g_string_new(NULL);
	for (const char *p = template_; *p;) {
		if (*p != '{') {
			g_string_append_c(url, *p++);
			continue;
		}
		size_t length = strcspn(++p, "}");
		const char *slash = memchr(p, '/', length);
		size_t name = slash ? (size_t)(slash - p) : length;
		const char *value = lookup(first, p, name, arena);
		if (!value)
			value = lookup(second, p, name, arena);
		append_value(url, value ? value : "", p + name + 1, slash ? length - name - 1 : 0);
		p += length + (p[length] == '}');
	}
	return arena_strndup(arena, url->str, url->len);
}
