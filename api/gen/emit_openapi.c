/* openapi.json: the REST side of the schema as an OpenAPI 3 document. */
#include "api/gen/model.h"
#include "api/gen/name.h"
#include <string.h>

static void append_string(GString *out, const char *text)
{
	g_string_append_c(out, '"');
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			g_string_append_printf(out, "\\%c", *c);
		else if (*c == '\n')
			g_string_append(out, "\\n");
		else if ((unsigned char)*c < 0x20)
			g_string_append_printf(out, "\\u%04x", *c);
		else
			g_string_append_c(out, *c);
	}
	g_string_append_c(out, '"');
}

static void append_pair(GString *out, const char *key, const char *value)
{
	append_string(out, key);
	g_string_append_c(out, ':');
	append_string(out, value);
}

static void append_type(GString *out, const GenField *field);

static const GenField *flattened(const GenMessage *message)
{
	for (guint i = 0; i < message->fields->len; i++) {
		const GenField *field = message->fields->pdata[i];
		if (field->options->flatten)
			return field;
	}
	return NULL;
}

static void append_reference(GString *out, const GenMessage *message)
{
	if (!strcmp(message->full_name, ".google.protobuf.Timestamp") ||
	    !strcmp(message->full_name, ".incus.v1.Time"))
		g_string_append(out, "\"type\":\"string\",\"format\":\"date-time\"");
	else if (!strcmp(message->full_name, ".google.protobuf.Empty"))
		g_string_append(out, "\"type\":\"object\"");
	else if (flattened(message))
		append_type(out, flattened(message));
	else
		g_string_append_printf(out, "\"$ref\":\"#/components/schemas/%s\"", message->name);
}

static void append_scalar(GString *out, const GenField *field)
{
	switch (field->proto->type) {
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BOOL:
		g_string_append(out, "\"type\":\"boolean\"");
		break;
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING:
		if (!field->options->json) /* any JSON value has no type */
			g_string_append(out, "\"type\":\"string\"");
		break;
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM:
		g_string_append(out, "\"type\":\"string\"");
		break;
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES:
		g_string_append(out, "\"type\":\"string\",\"format\":\"byte\"");
		break;
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_DOUBLE:
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FLOAT:
		g_string_append(out, "\"type\":\"number\"");
		break;
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT64:
	case GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT64:
		g_string_append(out, "\"type\":\"integer\",\"format\":\"int64\"");
		break;
	default:
		g_string_append(out, "\"type\":\"integer\"");
	}
}

static void append_one(GString *out, const GenField *field)
{
	if (field->message)
		append_reference(out, field->message);
	else
		append_scalar(out, field);
}

/* The members of a schema object, without its braces. */
static void append_type(GString *out, const GenField *field)
{
	if (field->is_map) {
		g_string_append(out, "\"type\":\"object\",\"additionalProperties\":{");
		append_one(out, gen_field(field->message, "value"));
		g_string_append_c(out, '}');
	} else if (field->repeated) {
		g_string_append(out, "\"type\":\"array\",\"items\":{");
		append_one(out, field);
		g_string_append_c(out, '}');
	} else {
		append_one(out, field);
	}
}

static void append_property(GString *out, const GenField *field)
{
	gsize start;

	append_string(out, field->json_name);
	g_string_append(out, ":{");
	start = out->len;
	append_type(out, field);
	/* Beside $ref nothing else counts. */
	if (*field->comment && strncmp(out->str + start, "\"$ref", 5)) {
		if (out->len > start)
			g_string_append_c(out, ',');
		append_pair(out, "description", field->comment);
	}
	g_string_append_c(out, '}');
}

static void append_schemas(GString *out, const Gen *gen)
{
	g_string_append(out,
	    "\"Envelope\":{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
	    "\"status\":{\"type\":\"string\"},\"status_code\":{\"type\":\"integer\"},"
	    "\"operation\":{\"type\":\"string\"},\"error_code\":{\"type\":\"integer\"},"
	    "\"error\":{\"type\":\"string\"}}}");
	for (guint i = 0; i < gen->messages->len; i++) {
		const GenMessage *message = gen->messages->pdata[i];
		gboolean first = TRUE;
		if (!g_str_has_prefix(message->full_name, ".incus.") || message->map_entry ||
		    message->file->guest || flattened(message))
			continue;
		g_string_append(out, ",\n");
		append_string(out, message->name);
		g_string_append(out, ":{\"type\":\"object\",");
		append_pair(out, "description", message->comment);
		g_string_append(out, ",\"properties\":{");
		for (guint k = 0; k < message->fields->len; k++) {
			const GenField *field = message->fields->pdata[k];
			if (field->options->data || *field->options->header)
				continue;
			g_string_append(out, first ? "" : ",");
			append_property(out, field);
			first = FALSE;
		}
		g_string_append(out, "}}");
	}
}

static const char *parameter_place(const GenMethod *method, const GenField *field)
{
	g_autofree char *braced = g_strdup_printf("{%s}", field->proto->name);

	if (strstr(method->http_path, braced))
		return "path";
	if (field->options->data || !strcmp(field->proto->name, "update_mask"))
		return NULL;
	if (*field->options->header)
		return "header";
	if (method->body || (field->message && !field->is_map))
		if (method->body &&
		    (!strcmp(method->body, "*") || !strcmp(method->body, field->proto->name)))
			return NULL;
	return field->message ? NULL : "query";
}

static void append_parameters(GString *out, const GenMethod *method)
{
	gboolean first = TRUE;

	g_string_append(out, "\"parameters\":[");
	for (guint i = 0; i < method->input->fields->len; i++) {
		const GenField *field = method->input->fields->pdata[i];
		const char *place = parameter_place(method, field);
		if (!place)
			continue;
		g_string_append(out, first ? "{" : ",{");
		first = FALSE;
		append_pair(out, "name",
		    !strcmp(place, "header") ? field->options->header
		    : !strcmp(place, "path") ? field->proto->name
					     : field->json_name);
		g_string_append_c(out, ',');
		append_pair(out, "in", place);
		g_string_append_printf(
		    out, ",\"required\":%s,", !strcmp(place, "path") ? "true" : "false");
		append_pair(out, "description", field->comment);
		g_string_append(out, ",\"schema\":{");
		append_type(out, field);
		g_string_append(out, "}}");
	}
	g_string_append_c(out, ']');
}

static void append_body(GString *out, const GenMethod *method, const GenMethod *other)
{
	const GenField *field = method->body ? gen_field(method->input, method->body) : NULL;

	if (method->proto->client_streaming && method->options->envelope != PB__ENVELOPE__WEBSOCKET)
		g_string_append(out, ",\"requestBody\":{\"content\":{\"application/octet-stream\":"
				     "{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}}}");
	else if (field || (method->body && *method->body == '*')) {
		g_string_append(
		    out, ",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{");
		if (field)
			append_type(out, field);
		else
			append_reference(out, method->input);
		g_string_append(out, "}}");
		if (other)
			g_string_append_printf(out,
			    ",\"%s\":{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}",
			    other->options->content_type);
		g_string_append(out, "}}");
	}
}

static void append_metadata(GString *out, const GenMethod *method)
{
	const GenField *items =
	    method->output->fields->len ? method->output->fields->pdata[0] : NULL;

	if (method->options->envelope != PB__ENVELOPE__LIST || !items) {
		append_reference(out, method->output);
	} else if (*method->options->group) {
		g_string_append(out, "\"type\":\"object\"");
	} else {
		g_string_append(
		    out, "\"type\":\"array\",\"items\":{\"oneOf\":[{\"type\":\"string\"},{");
		append_one(out, items);
		g_string_append(out, "}]}");
	}
}

static void append_responses(GString *out, const GenMethod *method)
{
	Pb__Envelope envelope = method->options->envelope;

	if (envelope == PB__ENVELOPE__WEBSOCKET)
		g_string_append(
		    out, ",\"responses\":{\"101\":{\"description\":\"Connection upgraded\"}");
	else if (envelope == PB__ENVELOPE__RAW && method->proto->server_streaming)
		g_string_append(out,
		    ",\"responses\":{\"200\":{\"description\":\"Content\",\"content\":"
		    "{\"application/"
		    "octet-stream\":{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}}}");
	else if (envelope == PB__ENVELOPE__BARE) {
		g_string_append(out,
		    ",\"responses\":{\"200\":{\"description\":\"The reply\",\"content\":"
		    "{\"application/json\":{\"schema\":{");
		append_reference(out, method->output);
		g_string_append(out, "}}}}");
	} else {
		const char *status = envelope == PB__ENVELOPE__CREATED	   ? "201"
				     : envelope == PB__ENVELOPE__OPERATION ? "202"
									   : "200";
		g_string_append_printf(out,
		    ",\"responses\":{\"%s\":{\"description\":\"Done\",\"content\":"
		    "{\"application/json\":{\"schema\":{\"allOf\":[{\"$ref\":\"#/components/"
		    "schemas/Envelope\"},"
		    "{\"type\":\"object\",\"properties\":{\"metadata\":{",
		    status);
		append_metadata(out, method);
		g_string_append(out, "}}}]}}}}");
	}
	g_string_append(out,
	    ",\"default\":{\"description\":\"An error\",\"content\":{\"application/json\":"
	    "{\"schema\":{\"$ref\":\"#/components/schemas/Envelope\"}}}}}");
}

static void append_operation(GString *out, const GenMethod *method, const GenMethod *other)
{
	g_autofree char *verb = g_ascii_strdown(method->verb, -1);
	g_autofree char *summary = gen_summary(method->comment);

	append_string(out, verb);
	g_string_append(out, ":{");
	append_pair(out, "operationId", method->proto->name);
	g_string_append(out, ",\"tags\":[");
	append_string(out, method->service->file->noun);
	g_string_append(out, "],");
	append_pair(out, "summary", summary);
	g_string_append_c(out, ',');
	append_pair(out, "description", method->comment);
	g_string_append_c(out, ',');
	append_parameters(out, method);
	append_body(out, method, other);
	append_responses(out, method);
	g_string_append_c(out, '}');
}

/* The rpc that takes another kind of body on the same route; NULL. */
static const GenMethod *other_body(const Gen *gen, const GenMethod *method)
{
	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *other = gen->methods->pdata[i];
		if (other != method && other->http_path && *other->options->content_type &&
		    !strcmp(other->http_path, method->http_path) &&
		    !strcmp(other->verb, method->verb))
			return other;
	}
	return NULL;
}

static gint by_route(gconstpointer a, gconstpointer b)
{
	const GenMethod *left = *(GenMethod *const *)a, *right = *(GenMethod *const *)b;
	int order = strcmp(left->http_path, right->http_path);

	return order ? order : strcmp(left->verb, right->verb);
}

void emit_openapi(Gen *gen)
{
	GString *out = g_string_new("{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"Incus REST API\","
				    "\"version\":\"1.0\"},\n\"paths\":{");
	g_autoptr(GPtrArray) routes = g_ptr_array_new();
	const char *path = "";

	for (guint i = 0; i < gen->methods->len; i++)
		if (((GenMethod *)gen->methods->pdata[i])->http_path &&
		    !*((GenMethod *)gen->methods->pdata[i])->options->content_type)
			g_ptr_array_add(routes, gen->methods->pdata[i]);
	g_ptr_array_sort(routes, by_route);
	for (guint i = 0; i < routes->len; i++) {
		const GenMethod *method = routes->pdata[i];
		if (strcmp(method->http_path, path)) {
			g_string_append(out, *path ? "},\n" : "\n");
			append_string(out, method->http_path);
			g_string_append(out, ":{");
		} else {
			g_string_append_c(out, ',');
		}
		path = method->http_path;
		append_operation(out, method, other_body(gen, method));
	}
	g_string_append(out, routes->len ? "}},\n\"components\":{\"schemas\":{\n"
					 : "},\n\"components\":{\"schemas\":{\n");
	append_schemas(out, gen);
	g_string_append(out, "\n}}}\n");
	gen_output(gen, "openapi.json", out);
}
