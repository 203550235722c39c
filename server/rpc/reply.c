#include "server/rpc/reply.h"
#include "sdk/base/json.h"
#include "sdk/base/json_text.h"
#include "server/rpc/etag.h"
#include "server/rpc/field.h"
#include <string.h>

static const char json_type[] = "application/json";
static const char sync_head[] =
    "{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\"metadata\":";

static int send_json(Exchange *ex, int status, GString *json, Error **err)
{
	g_string_append(json, "}\n");
	return exchange_reply(ex, status, json_type, json->str, json->len, err);
}

static GString *sync_start(void)
{
	GString *json = g_string_sized_new(4096);
	g_string_append_len(json, sync_head, sizeof(sync_head) - 1);
	return json;
}

int reply_sync(Exchange *ex, const ProtobufCMessage *out, unsigned recursion, Error **err)
{
	g_autoptr(GString) json = sync_start();
	json_write(json, out, recursion, 0);
	return send_json(ex, 200, json, err);
}

static unsigned recursion_of(const ProtobufCMessage *in)
{
	const ProtobufCFieldDescriptor *field = field_find(
	    in->descriptor, "recursion", strlen("recursion"));
	return field && field->type == PROTOBUF_C_TYPE_UINT32 ? *(uint32_t *)field_at(in, field) :
								0;
}

/* URL of one item of a list; "?project=" where the item is not in the default project. */
static void append_url(GString *json, const SchemaMethod *schema, const ProtobufCMessage *item,
    const ProtobufCMessage *in, Arena *arena)
{
	char *url = field_fill_url(schema->location, item, in, arena);
	const char *project = field_string(item, "project");
	if (*project && strcmp(project, "default")) {
		g_autofree char *encoded = http_percent_encode(project);
		url = arena_printf(arena, "%s?project=%s", url, encoded);
	}
	json_text_append(json, url);
}

typedef struct List {
	const SchemaMethod *schema;
	const ProtobufCMessage *in;
	const ProtobufCFieldDescriptor *field;
	size_t n;
	void **items;
	unsigned recursion;
	Arena *arena;
} List;

static void append_item(GString *json, const List *list, size_t i)
{
	if (list->field->type == PROTOBUF_C_TYPE_STRING)
		json_text_append(json, list->items[i]);
	else if (list->recursion || !list->schema->location)
		json_write(json, list->items[i], list->recursion, 0);
	else
		append_url(json, list->schema, list->items[i], list->in, list->arena);
}

static void append_array(GString *json, const List *list)
{
	g_string_append_c(json, '[');
	for (size_t i = 0; i < list->n; i++) {
		if (i)
			g_string_append_c(json, ',');
		append_item(json, list, i);
	}
	g_string_append_c(json, ']');
}

/* {"running": [...], "success": [...]} in the order in which the keys appear. */
static void append_groups(GString *json, const List *list)
{
	g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
	for (size_t i = 0; i < list->n; i++) {
		g_autofree char *key = g_ascii_strdown(
		    field_string(list->items[i], list->schema->group), -1);
		if (!g_ptr_array_find_with_equal_func(keys, key, g_str_equal, NULL))
			g_ptr_array_add(keys, g_steal_pointer(&key));
	}
	g_string_append_c(json, '{');
	for (guint k = 0; k < keys->len; k++) {
		gboolean first = TRUE;
		if (k)
			g_string_append_c(json, ',');
		json_text_append(json, keys->pdata[k]);
		g_string_append(json, ":[");
		for (size_t i = 0; i < list->n; i++) {
			if (g_ascii_strcasecmp(
				field_string(list->items[i], list->schema->group), keys->pdata[k]))
				continue;
			if (!first)
				g_string_append_c(json, ',');
			first = FALSE;
			append_item(json, list, i);
		}
		g_string_append_c(json, ']');
	}
	g_string_append_c(json, '}');
}

static int reply_list(Exchange *ex, const SchemaMethod *schema, const ProtobufCMessage *in,
    const ProtobufCMessage *out, Error **err)
{
	List list = { .schema = schema,
		.in = in,
		.field = field_repeated(out->descriptor),
		.recursion = recursion_of(in),
		.arena = ex->rq.arena };
	if (!list.field)
		return reply_sync(ex, out, list.recursion, err);
	list.n = *(size_t *)((char *)out + list.field->quantifier_offset);
	list.items = *(void ***)field_at(out, list.field);
	g_autoptr(GString) json = sync_start();
	if (schema->group)
		append_groups(json, &list);
	else
		append_array(json, &list);
	return send_json(ex, 200, json, err);
}

static int reply_created(
    Exchange *ex, const SchemaMethod *schema, const ProtobufCMessage *in, Error **err)
{
	const char *url = ex->door.location;
	if (!url && schema->location) {
		url = field_fill_url(schema->location, in, NULL, ex->rq.arena);
		if (strcmp(ex->rq.project, "default") && *field_string(in, "project")) {
			g_autofree char *encoded = http_percent_encode(ex->rq.project);
			url = arena_printf(ex->rq.arena, "%s?project=%s", url, encoded);
		}
	}
	if (url)
		exchange_header(ex, "Location", url);
	g_autoptr(GString) json = sync_start();
	g_string_append(json, "{}");
	return send_json(ex, 201, json, err);
}

static int reply_operation(Exchange *ex, const ProtobufCMessage *out, const char *id, Error **err)
{
	g_autofree char *url = g_strdup_printf("/1.0/operations/%s", id);
	exchange_header(ex, "Location", url);
	g_autoptr(GString) json = g_string_sized_new(2048);
	g_string_append(json,
	    "{\"type\":\"async\",\"status\":\"Operation created\",\"status_code\":100,\"operation\":");
	json_text_append(json, url);
	g_string_append(json, ",\"error_code\":0,\"error\":\"\",\"metadata\":");
	json_write(json, out, 0, 0);
	return send_json(ex, 202, json, err);
}

static int reply_bare(Exchange *ex, const ProtobufCMessage *out, Error **err)
{
	g_autoptr(GString) json = g_string_sized_new(1024);
	json_write(json, out, G_MAXUINT, 0);
	g_string_append_c(json, '\n');
	return exchange_reply(ex, 200, json_type, json->str, json->len, err);
}

static void add_etag(Exchange *ex, const SchemaMethod *schema, const ProtobufCMessage *out)
{
	char hash[ETAG_LENGTH], quoted[ETAG_LENGTH + 2];
	etag_hash(schema->etag, out, hash);
	g_snprintf(quoted, sizeof(quoted), "\"%s\"", hash);
	exchange_header(ex, "ETag", quoted);
}

int reply_message(Exchange *ex, const SchemaMethod *schema, const ProtobufCMessage *in,
    const ProtobufCMessage *out, Error **err)
{
	if (schema->etag && !strcmp(schema->http_verb, "GET"))
		add_etag(ex, schema, out);
	switch (schema->envelope) {
	case ENVELOPE_CREATED:
	case ENVELOPE_OPERATION: {
		/* An Operation without id: done already, or there was nothing to wait for. */
		const char *id = field_string(out, "id");
		if (*id)
			return reply_operation(ex, out, id, err);
		if (schema->envelope == ENVELOPE_CREATED || ex->door.location)
			return reply_created(ex, schema, in, err);
		g_autoptr(GString) json = sync_start();
		g_string_append(json, "{}");
		return send_json(ex, 200, json, err);
	}
	case ENVELOPE_LIST:
		return reply_list(ex, schema, in, out, err);
	case ENVELOPE_BARE:
		return reply_bare(ex, out, err);
	default:
		/* What a list shows at recursion 2, one object shows at 1. */
		return reply_sync(ex, out, recursion_of(in) ? recursion_of(in) + 1 : 0, err);
	}
}

void reply_status(Exchange *ex, int http_status, const char *message)
{
	if (ex->begun) {
		ex->keep_alive = FALSE;
		return;
	}
	g_autoptr(GString) json = g_string_new(NULL);
	g_string_append_printf(json,
	    "{\"type\":\"error\",\"status\":\"\",\"status_code\":0,\"operation\":\"\",\"error_code\":%d,\"error\":",
	    http_status);
	json_text_append(json, message);
	g_string_append(json, ",\"metadata\":null}\n\n");
	exchange_header(ex, "X-Content-Type-Options", "nosniff");
	g_autoptr(Error) ignored = NULL;
	exchange_reply(ex, http_status, json_type, json->str, json->len, &ignored);
}

void reply_error(Exchange *ex, const Error *error)
{
	int status = error ? error_row(error->kind)->http_status : 500;
	reply_status(ex, status, error ? error->message : "Internal server error");
}
