#include "api/gen/model.h"
#include "api/gen/name.h"
#include <string.h>

enum { TAG_HTTP = 72295728, TAG_OURS = 50701, TAG_PROTOBUF_C = 1019 };
enum { C_PACKAGE = 6 };					       /* ProtobufCFileOptions.c_package */
enum { PATH_MESSAGE = 4, PATH_SERVICE = 6, PATH_SYNTAX = 12 }; /* FileDescriptorProto */
enum { PATH_FIELD = 2, PATH_NESTED = 3, PATH_METHOD = 2, PATH_JSON_NAME = 10 };

void gen_error(Gen *gen, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_string_append_vprintf(gen->errors, format, args);
	va_end(args);
	g_string_append_c(gen->errors, '\n');
}

/* Skips the varint at *at; SIZE_MAX when there is none. */
static size_t read_varint(const uint8_t *data, size_t size, size_t *at)
{
	size_t value = 0;

	for (unsigned shift = 0; *at < size && shift < 35; shift += 7) {
		uint8_t byte = data[(*at)++];
		value |= (size_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	return SIZE_MAX;
}

/*
 * Options that protobuf-c does not know are unknown fields. One option set piece by piece comes as
 * several fields whose concatenation is the message.
 */
static GByteArray *option_bytes(const ProtobufCMessage *options, uint32_t tag)
{
	GByteArray *bytes = g_byte_array_new();

	for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
		const ProtobufCMessageUnknownField *field = &options->unknown_fields[i];
		size_t at = 0;
		if (field->tag != tag || field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
			continue;
		size_t length = read_varint(field->data, field->len, &at);
		if (length <= field->len - at)
			g_byte_array_append(bytes, field->data + at, (guint)length);
	}
	return bytes;
}

static void *option_message(Gen *gen, const ProtobufCMessage *options, uint32_t tag,
    const ProtobufCMessageDescriptor *descriptor, const char *owner)
{
	GByteArray *bytes = option_bytes(options, tag);
	void *message = protobuf_c_message_unpack(descriptor, NULL, bytes->len, bytes->data);

	if (!message) {
		gen_error(gen, "%s: option %s cannot be read", owner, descriptor->name);
		message = g_malloc0(descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, message);
	}
	return message;
}

static char *path_key(const int32_t *path, size_t n)
{
	GString *key = g_string_new(NULL);

	for (size_t i = 0; i < n; i++)
		g_string_append_printf(key, i ? ",%d" : "%d", path[i]);
	return g_string_free(key, FALSE);
}

static char *clean_comment(const char *raw)
{
	g_auto(GStrv) lines = g_strsplit(raw, "\n", -1);

	for (char **line = lines; *line; line++) {
		if (**line == ' ')
			memmove(*line, *line + 1, strlen(*line));
		g_strchomp(*line);
	}
	return g_strstrip(g_strjoinv("\n", lines));
}

static void read_comments(GenFile *file)
{
	const Google__Protobuf__SourceCodeInfo *info = file->proto->source_code_info;

	file->comments = g_hash_table_new(g_str_hash, g_str_equal);
	file->places = g_hash_table_new(g_str_hash, g_str_equal);
	for (size_t i = 0; info && i < info->n_location; i++) {
		const Google__Protobuf__SourceCodeInfo__Location *place = info->location[i];
		char *key = path_key(place->path, place->n_path);
		const char *text = place->leading_comments && *place->leading_comments
				       ? place->leading_comments
				       : place->trailing_comments;
		g_hash_table_add(file->places, key);
		if (text)
			g_hash_table_insert(file->comments, key, clean_comment(text));
	}
}

static const char *comment_at(const GenFile *file, const char *key)
{
	const char *text = g_hash_table_lookup(file->comments, key);

	return text ? text : "";
}

static GenField *field_new(Gen *gen, GenMessage *message,
    const Google__Protobuf__FieldDescriptorProto *proto, const char *message_key, unsigned index)
{
	GenField *field = g_new0(GenField, 1);
	char *key = g_strdup_printf("%s,%d,%u", message_key, PATH_FIELD, index);
	char *json_key = g_strdup_printf("%s,%d", key, PATH_JSON_NAME);

	field->proto = proto;
	field->declared = index;
	field->c_name = name_field(proto->name);
	field->comment = comment_at(message->file, key);
	/* protoc always fills json_name; only one that somebody wrote has a place in the source. */
	field->json_name =
	    g_hash_table_contains(message->file->places, json_key) ? proto->json_name : proto->name;
	field->repeated =
	    proto->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
	field->options = option_message(gen, proto->options ? &proto->options->base : NULL,
	    TAG_OURS, &pb__field_options__descriptor, message->full_name);
	return field;
}

static gint by_number(gconstpointer a, gconstpointer b)
{
	const GenField *left = *(GenField *const *)a, *right = *(GenField *const *)b;

	return left->proto->number - right->proto->number;
}

static void add_message(Gen *gen, GenFile *file, const char *parent,
    const Google__Protobuf__DescriptorProto *proto, const char *key)
{
	GenMessage *message = g_new0(GenMessage, 1);

	message->file = file;
	message->name = *parent ? g_strconcat(parent, ".", proto->name, NULL) : proto->name;
	message->full_name = g_strconcat(".", file->proto->package, ".", message->name, NULL);
	message->c_type = name_type(file->c_package, message->name);
	message->c_lower = name_lower(file->c_package, message->name);
	message->comment = comment_at(file, key);
	message->map_entry = proto->options && proto->options->map_entry;
	message->fields = g_ptr_array_new();
	message->by_number = g_ptr_array_new();
	for (unsigned i = 0; i < proto->n_field; i++) {
		GenField *field = field_new(gen, message, proto->field[i], key, i);
		g_ptr_array_add(message->fields, field);
		g_ptr_array_add(message->by_number, field);
	}
	g_ptr_array_sort(message->by_number, by_number);
	g_hash_table_insert(gen->by_name, (char *)message->full_name, message);
	if (file->needed)
		g_ptr_array_add(gen->messages, message);
	for (unsigned i = 0; i < proto->n_nested_type; i++) {
		char *nested = g_strdup_printf("%s,%d,%u", key, PATH_NESTED, i);
		add_message(gen, file, message->name, proto->nested_type[i], nested);
	}
}

static void read_http(Gen *gen, GenMethod *method)
{
	const Google__Api__HttpRule *rule =
	    option_message(gen, method->proto->options ? &method->proto->options->base : NULL,
		TAG_HTTP, &google__api__http_rule__descriptor, method->path);

	switch (rule->pattern_case) {
	case GOOGLE__API__HTTP_RULE__PATTERN_GET:
		method->verb = "GET", method->http_path = rule->get;
		break;
	case GOOGLE__API__HTTP_RULE__PATTERN_PUT:
		method->verb = "PUT", method->http_path = rule->put;
		break;
	case GOOGLE__API__HTTP_RULE__PATTERN_POST:
		method->verb = "POST", method->http_path = rule->post;
		break;
	case GOOGLE__API__HTTP_RULE__PATTERN_DELETE:
		method->verb = "DELETE", method->http_path = rule->delete_;
		break;
	case GOOGLE__API__HTTP_RULE__PATTERN_PATCH:
		method->verb = "PATCH", method->http_path = rule->patch;
		break;
	case GOOGLE__API__HTTP_RULE__PATTERN_CUSTOM:
		method->verb = rule->custom->kind, method->http_path = rule->custom->path;
		break;
	default:
		break;
	}
	if (rule->n_additional_bindings)
		gen_error(gen, "%s: a method has one REST route", method->path);
	method->body = *rule->body ? rule->body : NULL;
}

static void add_service(Gen *gen, GenFile *file, unsigned index)
{
	const Google__Protobuf__ServiceDescriptorProto *proto = file->proto->service[index];
	GenService *service = g_new0(GenService, 1);
	g_autofree char *key = g_strdup_printf("%d,%u", PATH_SERVICE, index);

	service->proto = proto;
	service->file = file;
	service->comment = comment_at(file, key);
	service->methods = g_ptr_array_new();
	for (unsigned i = 0; i < proto->n_method; i++) {
		GenMethod *method = g_new0(GenMethod, 1);
		g_autofree char *method_key = g_strdup_printf("%s,%d,%u", key, PATH_METHOD, i);
		method->proto = proto->method[i];
		method->service = service;
		method->snake = name_snake(method->proto->name);
		method->path = g_strdup_printf(
		    "/%s.%s/%s", file->proto->package, proto->name, method->proto->name);
		method->comment = comment_at(file, method_key);
		method->options = option_message(gen,
		    method->proto->options ? &method->proto->options->base : NULL, TAG_OURS,
		    &pb__method_options__descriptor, method->path);
		read_http(gen, method);
		g_ptr_array_add(service->methods, method);
		g_ptr_array_add(file->guest ? gen->guest_methods : gen->methods, method);
	}
	g_ptr_array_add(file->services, service);
}

/* The package that C names begin with: that of (pb_c_file).c_package if given. */
static const char *c_package(const Google__Protobuf__FileDescriptorProto *proto)
{
	GByteArray *bytes =
	    option_bytes(proto->options ? &proto->options->base : NULL, TAG_PROTOBUF_C);

	for (size_t at = 0; at < bytes->len;) {
		size_t key = read_varint(bytes->data, bytes->len, &at);
		size_t length = read_varint(bytes->data, bytes->len, &at);
		if (key >> 3 == C_PACKAGE && length <= bytes->len - at)
			return g_strndup((const char *)bytes->data + at, length);
		if ((key & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
			at += length;
	}
	return proto->package ? proto->package : "";
}

static gboolean is_ours(const Gen *gen, const char *name)
{
	for (size_t i = 0; i < gen->request->n_file_to_generate; i++)
		if (!strcmp(gen->request->file_to_generate[i], name))
			return TRUE;
	return FALSE;
}

/* Messages about the schema itself never travel. */
static gboolean is_about_schema(const char *name)
{
	return !strcmp(name, "google/protobuf/descriptor.proto") ||
	       !strcmp(name, "incus/v1/options.proto") || g_str_has_prefix(name, "google/api/") ||
	       g_str_has_prefix(name, "protobuf-c/");
}

static gboolean is_guest(Gen *gen, const Google__Protobuf__FileDescriptorProto *proto)
{
	const Pb__PartOptions *options =
	    option_message(gen, proto->options ? &proto->options->base : NULL, TAG_OURS,
		&pb__part_options__descriptor, proto->name);

	return options->guest;
}

static void add_file(Gen *gen, const Google__Protobuf__FileDescriptorProto *proto)
{
	GenFile *file = g_new0(GenFile, 1);
	g_autofree char *syntax_key = g_strdup_printf("%d", PATH_SYNTAX);

	file->proto = proto;
	file->base = g_strndup(proto->name, strlen(proto->name) - strlen(".proto"));
	file->noun = g_path_get_basename(file->base);
	file->c_package = c_package(proto);
	file->ours = is_ours(gen, proto->name);
	file->needed = !is_about_schema(proto->name);
	file->guest = is_guest(gen, proto);
	file->services = g_ptr_array_new();
	read_comments(file);
	file->comment = comment_at(file, syntax_key);
	g_ptr_array_add(gen->files, file);
	for (unsigned i = 0; i < proto->n_message_type; i++) {
		g_autofree char *key = g_strdup_printf("%d,%u", PATH_MESSAGE, i);
		add_message(gen, file, "", proto->message_type[i], g_strdup(key));
	}
	for (unsigned i = 0; i < proto->n_service; i++)
		add_service(gen, file, i);
}

static void resolve_fields(Gen *gen)
{
	for (guint i = 0; i < gen->messages->len; i++) {
		GenMessage *message = gen->messages->pdata[i];
		for (guint k = 0; k < message->fields->len; k++) {
			GenField *field = message->fields->pdata[k];
			const char *type = field->proto->type_name;
			field->message = type ? g_hash_table_lookup(gen->by_name, type) : NULL;
			field->is_map = field->message && field->message->map_entry;
		}
	}
}

static gint message_by_name(gconstpointer a, gconstpointer b)
{
	return strcmp((*(GenMessage *const *)a)->full_name, (*(GenMessage *const *)b)->full_name);
}

static gint method_by_path(gconstpointer a, gconstpointer b)
{
	return strcmp((*(GenMethod *const *)a)->path, (*(GenMethod *const *)b)->path);
}

static void resolve_methods(Gen *gen, GPtrArray *methods)
{
	for (guint i = 0; i < methods->len; i++) {
		GenMethod *method = methods->pdata[i];
		method->input = g_hash_table_lookup(gen->by_name, method->proto->input_type);
		method->output = g_hash_table_lookup(gen->by_name, method->proto->output_type);
	}
	g_ptr_array_sort(methods, method_by_path);
}

Gen *gen_new(const Google__Protobuf__Compiler__CodeGeneratorRequest *request)
{
	Gen *gen = g_new0(Gen, 1);

	gen->request = request;
	gen->files = g_ptr_array_new();
	gen->messages = g_ptr_array_new();
	gen->methods = g_ptr_array_new();
	gen->guest_methods = g_ptr_array_new();
	gen->outputs = g_ptr_array_new();
	gen->errors = g_string_new(NULL);
	gen->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	for (size_t i = 0; i < request->n_proto_file; i++)
		add_file(gen, request->proto_file[i]);
	resolve_fields(gen);
	resolve_methods(gen, gen->methods);
	resolve_methods(gen, gen->guest_methods);
	g_ptr_array_sort(gen->messages, message_by_name);
	return gen;
}

GenField *gen_field(const GenMessage *message, const char *name)
{
	for (guint i = 0; i < message->fields->len; i++) {
		GenField *field = message->fields->pdata[i];
		if (!strcmp(field->proto->name, name))
			return field;
	}
	return NULL;
}

gboolean gen_streams(const GenMethod *method)
{
	return method->proto->client_streaming || method->proto->server_streaming;
}

char **gen_template_names(const char *template_text)
{
	GPtrArray *names = g_ptr_array_new();

	for (const char *open = strchr(template_text, '{'); open; open = strchr(open + 1, '{')) {
		const char *close = strchr(open, '}');
		if (!close)
			break;
		g_ptr_array_add(names, g_strndup(open + 1, strcspn(open + 1, "/}")));
	}
	g_ptr_array_add(names, NULL);
	return (char **)g_ptr_array_free(names, FALSE);
}

const char *gen_kind(const GenMethod *method)
{
	if (method->proto->client_streaming)
		return method->proto->server_streaming ? "METHOD_BIDI" : "METHOD_CLIENT_STREAM";
	return method->proto->server_streaming ? "METHOD_SERVER_STREAM" : "METHOD_UNARY";
}

const char *gen_envelope(const GenMethod *method)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
	    &pb__envelope__descriptor, method->options->envelope);

	return value ? g_strconcat("ENVELOPE_", value->name, NULL) : "ENVELOPE_SYNC";
}
