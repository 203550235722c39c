#include "server/rpc/decode.h"
#include "sdk/base/json.h"
#include "server/rpc/field.h"
#include <jansson.h>
#include <string.h>

/* Values that a query parameter has when it is absent, where that is not zero. */
static const struct { const char *method, *field, *value; } defaults[] = {
	{ "GetOperationWait", "timeout", "-1" },
};

static int set_path(Exchange *ex, const RouteMatch *match, ProtobufCMessage *in, Error **err)
{
	for (unsigned i = 0; i < match->n_params; i++) {
		size_t length = strcspn(match->names[i], "}=");
		const ProtobufCFieldDescriptor *field = field_find(
		    in->descriptor, match->names[i], length);
		g_autofree char *value = http_percent_decode(
		    match->values[i], match->lengths[i], FALSE);
		if (!value)
			return error_set(err, ERROR_INVALID, "Malformed path");
		if (field &&
		    field_set_text(in, field, request_strdup(&ex->rq, value), ex->rq.arena, err) <
			0)
			return -1;
	}
	return 0;
}

static gboolean names_path_param(const RouteMatch *match, const char *name)
{
	size_t length = strlen(name);
	for (unsigned i = 0; i < match->n_params; i++)
		if (strcspn(match->names[i], "}=") == length &&
		    !strncmp(match->names[i], name, length))
			return TRUE;
	return FALSE;
}

/* Unknown parameters are ignored; so are those that would reach the body or the path. */
static int set_query(Exchange *ex, const RouteMatch *match, ProtobufCMessage *in, Error **err)
{
	const JsonMessage *json = schema_json(in->descriptor);
	uint64_t seen = 0;
	for (const char *p = ex->head.query; *p;) {
		size_t length = strcspn(p, "&");
		const char *equals = memchr(p, '=', length);
		size_t key_length = equals ? (size_t)(equals - p) : length;
		g_autofree char *key = http_percent_decode(p, key_length, TRUE);
		g_autofree char *value = equals ?
		    http_percent_decode(equals + 1, length - key_length - 1, TRUE) :
		    g_strdup("");
		if (!key || !value)
			return error_set(err, ERROR_INVALID, "Malformed query");
		p += length + (p[length] == '&');
		int index = json ? schema_field_by_json_name(json, key, strlen(key)) : -1;
		if (index < 0 || index >= 64 || json->fields[index].data ||
		    json->fields[index].header)
			continue;
		const ProtobufCFieldDescriptor *field = &in->descriptor->fields[index];
		gboolean repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
		if (field->type == PROTOBUF_C_TYPE_MESSAGE ||
		    names_path_param(match, field->name) ||
		    (!repeated && (seen & (UINT64_C(1) << index))))
			continue; /* the first one counts */
		seen |= UINT64_C(1) << index;
		if (!*value && field->type != PROTOBUF_C_TYPE_STRING)
			continue;
		if (field_set_text(in, field, request_strdup(&ex->rq, value), ex->rq.arena, err) <
		    0)
			return -1;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++) {
		const ProtobufCFieldDescriptor *field;
		if (strcmp(match->method->schema->name, defaults[i].method))
			continue;
		field = field_find(in->descriptor, defaults[i].field, strlen(defaults[i].field));
		if (field && !(seen & (UINT64_C(1) << (field - in->descriptor->fields))))
			field_set_text(in, field, (char *)defaults[i].value, ex->rq.arena, NULL);
	}
	return 0;
}

const char *header_old_name(const char *name, char *buffer, size_t size)
{
	if (!g_str_has_prefix(name, "X-Incus-"))
		return NULL;
	g_snprintf(buffer, size, "X-LXD-%s", name + strlen("X-Incus-"));
	return buffer;
}

static const char *find_header(const HttpHead *head, const char *name)
{
	char buffer[64];
	const char *value = http_header(head, name);
	const char *old = value ? NULL : header_old_name(name, buffer, sizeof(buffer));
	return old ? http_header(head, old) : value;
}

static int set_headers(Exchange *ex, ProtobufCMessage *in, Error **err)
{
	const JsonMessage *json = schema_json(in->descriptor);
	for (unsigned i = 0; json && i < in->descriptor->n_fields; i++) {
		const char *value = json->fields[i].header ?
		    find_header(&ex->head, json->fields[i].header) :
		    NULL;
		if (!value)
			continue;
		if (!g_utf8_validate(value, -1, NULL))
			return error_set(
			    err, ERROR_INVALID, "Malformed header \"%s\"", json->fields[i].header);
		if (field_set_text(in, &in->descriptor->fields[i], request_strdup(&ex->rq, value),
			ex->rq.arena, err) < 0)
			return -1;
	}
	return 0;
}

void decode_request(Request *rq, ProtobufCMessage *in)
{
	const char *project = field_string(in, "project");
	/* Bidirectional calls say what they are about in the first message's own part. */
	const ProtobufCFieldDescriptor *start = field_find(
	    in->descriptor, "start", strlen("start"));
	if (!*project && start && start->type == PROTOBUF_C_TYPE_MESSAGE && field_at(in, start)) {
		const ProtobufCMessage *inner = *(ProtobufCMessage **)field_at(in, start);
		if (inner && *(uint32_t *)((char *)in + start->quantifier_offset) == start->id)
			project = field_string(inner, "project");
	}
	rq->project = *project ? project : "default";
	const ProtobufCFieldDescriptor *all = field_find(
	    in->descriptor, "all_projects", strlen("all_projects"));
	rq->all_projects = all && *(const protobuf_c_boolean *)field_at(in, all);
	rq->target = field_string(in, "target");
}

int decode_head(Exchange *ex, const RouteMatch *match, ProtobufCMessage **ret_in, Error **err)
{
	ProtobufCMessage *in = field_new_message(ex->rq.arena, match->method->schema->input);
	if (set_path(ex, match, in, err) < 0 || set_query(ex, match, in, err) < 0 ||
	    set_headers(ex, in, err) < 0)
		return -1;
	decode_request(&ex->rq, in);
	*ret_in = in;
	return 0;
}

ProtobufCMessage *decode_body_message(
    const SchemaMethod *schema, ProtobufCMessage *in, Arena *arena)
{
	if (!schema->http_body)
		return NULL;
	if (!strcmp(schema->http_body, "*"))
		return in;
	const ProtobufCFieldDescriptor *field = field_find(
	    in->descriptor, schema->http_body, strlen(schema->http_body));
	return field ? field_message(in, field, arena) : NULL;
}

/* PATCH: the top-level keys of the body say what to change; null is as good as not there. */
static void set_update_mask(ProtobufCMessage *in, const char *body, size_t length, Arena *arena)
{
	const ProtobufCFieldDescriptor *field = field_find(
	    in->descriptor, "update_mask", strlen("update_mask"));
	if (!field || field->type != PROTOBUF_C_TYPE_STRING)
		return;
	json_t *root = json_loadb(body, length, 0, NULL);
	const char *key;
	json_t *value;
	json_object_foreach(root, key, value)
		if (!json_is_null(value))
			field_set_text(in, field, arena_strdup(arena, key), arena, NULL);
	json_decref(root);
}

int decode_body(Exchange *ex, const SchemaMethod *schema, ProtobufCMessage *in, Error **err)
{
	char *body;
	size_t length;
	ProtobufCMessage *target = decode_body_message(schema, in, ex->rq.arena);
	if (!target)
		return 0;
	if (exchange_read_all(ex, DECODE_BODY_MAX, &body, &length, err) < 0)
		return -1;
	if (!length)
		return error_set(err, ERROR_INVALID, "Request body is empty");
	if (json_read(body, length, target, ex->rq.arena, err) < 0)
		return -1;
	set_update_mask(in, body, length, ex->rq.arena);
	return 0;
}
