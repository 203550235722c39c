#include "sdk/base/yaml.h"
#include <glib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 32, NODES_MAX = 100000 };

typedef struct Reader {
	yaml_parser_t parser;
	unsigned nodes;
} Reader;

static int fail(Reader *r, const char *what, Error **err)
{
	return error_set(err, ERROR_INVALID, "YAML line %zu: %s", r->parser.mark.line + 1, what);
}

static int next_event(Reader *r, yaml_event_t *event, Error **err)
{
	if (yaml_parser_parse(&r->parser, event))
		return 0;
	return fail(r, r->parser.problem ? r->parser.problem : "cannot be read", err);
}

static json_t *scalar(const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (length == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
		return json_null();
	return memchr(text, 0, length) ? NULL : json_stringn(text, length);
}

static int read_node(Reader *r, yaml_event_t *event, unsigned depth, json_t **ret, Error **err);

static int read_sequence(Reader *r, unsigned depth, json_t *array, Error **err)
{
	for (;;) {
		yaml_event_t event;
		if (next_event(r, &event, err) < 0)
			return -1;
		gboolean end = event.type == YAML_SEQUENCE_END_EVENT;
		json_t *item = NULL;
		int rc = end ? 0 : read_node(r, &event, depth, &item, err);
		yaml_event_delete(&event);
		if (end || rc < 0)
			return rc;
		json_array_append_new(array, item);
	}
}

static int read_mapping(Reader *r, unsigned depth, json_t *object, Error **err)
{
	for (;;) {
		yaml_event_t event;
		if (next_event(r, &event, err) < 0)
			return -1;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		g_autofree char *key = event.type == YAML_SCALAR_EVENT &&
			!event.data.scalar.anchor ?
		    g_strndup((const char *)event.data.scalar.value, event.data.scalar.length) :
		    NULL;
		yaml_event_delete(&event);
		if (!key)
			return fail(r, "a key is not a plain text", err);
		if (json_object_get(object, key))
			return fail(r, "a key is there twice", err);
		if (next_event(r, &event, err) < 0)
			return -1;
		json_t *value = NULL;
		int rc = read_node(r, &event, depth, &value, err);
		yaml_event_delete(&event);
		if (rc < 0)
			return -1;
		if (json_object_set_new(object, key, value) < 0)
			return fail(r, "a key is not valid UTF-8", err);
	}
}

static int read_node(Reader *r, yaml_event_t *event, unsigned depth, json_t **ret, Error **err)
{
	if (depth > DEPTH_MAX)
		return fail(r, "nested too deeply", err);
	if (++r->nodes > NODES_MAX)
		return fail(r, "too many values", err);
	json_t *node = NULL;
	int rc = 0;
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		if (event->data.scalar.anchor)
			return fail(r, "anchors are not supported", err);
		node = scalar(event);
		if (!node)
			return fail(r, "a value is not valid text", err);
		break;
	case YAML_SEQUENCE_START_EVENT:
		if (event->data.sequence_start.anchor)
			return fail(r, "anchors are not supported", err);
		rc = read_sequence(r, depth + 1, node = json_array(), err);
		break;
	case YAML_MAPPING_START_EVENT:
		if (event->data.mapping_start.anchor)
			return fail(r, "anchors are not supported", err);
		rc = read_mapping(r, depth + 1, node = json_object(), err);
		break;
	default:
		return fail(r, "aliases are not supported", err);
	}
	if (rc < 0) {
		json_decref(node);
		return -1;
	}
	*ret = node;
	return 0;
}

/* Stream start, one document, stream end. */
static int read_stream(Reader *r, json_t **ret, Error **err)
{
	json_t *document = NULL;
	for (;;) {
		yaml_event_t event;
		if (next_event(r, &event, err) < 0)
			break;
		yaml_event_type_t type = event.type;
		int rc = 0;
		if (type == YAML_STREAM_END_EVENT) {
			yaml_event_delete(&event);
			*ret = document ? document : json_null();
			return 0;
		}
		if (type == YAML_DOCUMENT_START_EVENT && document)
			rc = fail(r, "there is more than one document", err);
		else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
		    type != YAML_DOCUMENT_END_EVENT)
			rc = read_node(r, &event, 0, &document, err);
		yaml_event_delete(&event);
		if (rc < 0)
			break;
	}
	json_decref(document);
	return -1;
}

int yaml_parse(const char *text, size_t length, json_t **ret_document, Error **err)
{
	Reader r = { .nodes = 0 };
	if (!yaml_parser_initialize(&r.parser))
		return error_set(err, ERROR_INTERNAL, "Cannot read YAML");
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	int rc = read_stream(&r, ret_document, err);
	yaml_parser_delete(&r.parser);
	return rc;
}

static int append(void *out, unsigned char *data, size_t size)
{
	g_string_append_len(out, (const char *)data, (gssize)size);
	return 1;
}

/* Would another reader take the plain text for something that is not a string? */
static gboolean reads_as_other(const char *text)
{
	static const char *const words[] = { "", "~", "null", "true", "false", "yes", "no", "on",
		"off", "y", "n", NULL };
	for (int i = 0; words[i]; i++)
		if (g_ascii_strcasecmp(text, words[i]) == 0)
			return TRUE;
	return strchr("0123456789+-.", *text) != NULL &&
	    text[strspn(text, "0123456789+-._:eExXabcdefABCDEFinfINFTZ")] == '\0';
}

static int emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
	yaml_event_t event;
	if (!yaml_scalar_event_initialize(
		&event, NULL, NULL, (yaml_char_t *)text, (int)strlen(text), 1, 1, style))
		return 0;
	return yaml_emitter_emit(emitter, &event);
}

static int emit_string(yaml_emitter_t *emitter, const char *text)
{
	yaml_scalar_style_t style = strchr(text, '\n') && !g_str_has_prefix(text, " ") ?
	    YAML_LITERAL_SCALAR_STYLE :
	    reads_as_other(text) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE :
				   YAML_ANY_SCALAR_STYLE;
	return emit_scalar(emitter, text, style);
}

static int emit_node(yaml_emitter_t *emitter, const json_t *node);

static int emit_object(yaml_emitter_t *emitter, const json_t *node)
{
	yaml_event_t event;
	const char *key;
	json_t *value;
	yaml_mapping_style_t style = json_object_size(node) ? YAML_BLOCK_MAPPING_STYLE :
							      YAML_FLOW_MAPPING_STYLE;
	yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style);
	if (!yaml_emitter_emit(emitter, &event))
		return 0;
	json_object_foreach((json_t *)node, key, value)
		if (!emit_string(emitter, key) || !emit_node(emitter, value))
			return 0;
	yaml_mapping_end_event_initialize(&event);
	return yaml_emitter_emit(emitter, &event);
}

static int emit_array(yaml_emitter_t *emitter, const json_t *node)
{
	yaml_event_t event;
	size_t i;
	json_t *value;
	yaml_sequence_style_t style = json_array_size(node) ? YAML_BLOCK_SEQUENCE_STYLE :
							      YAML_FLOW_SEQUENCE_STYLE;
	yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style);
	if (!yaml_emitter_emit(emitter, &event))
		return 0;
	json_array_foreach(node, i, value)
		if (!emit_node(emitter, value))
			return 0;
	yaml_sequence_end_event_initialize(&event);
	return yaml_emitter_emit(emitter, &event);
}

static int emit_node(yaml_emitter_t *emitter, const json_t *node)
{
	if (json_is_object(node))
		return emit_object(emitter, node);
	if (json_is_array(node))
		return emit_array(emitter, node);
	if (json_is_string(node))
		return emit_string(emitter, json_string_value(node));
	char *text = json_dumps(node, JSON_ENCODE_ANY);
	int ok = text && emit_scalar(emitter, text, YAML_PLAIN_SCALAR_STYLE);
	free(text);
	return ok;
}

char *yaml_write(const json_t *document)
{
	GString *out = g_string_new(NULL);
	yaml_emitter_t emitter;
	yaml_event_t event;
	yaml_emitter_initialize(&emitter);
	yaml_emitter_set_output(&emitter, append, out);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
	yaml_emitter_emit(&emitter, &event);
	yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
	yaml_emitter_emit(&emitter, &event);
	emit_node(&emitter, document);
	yaml_document_end_event_initialize(&event, 1);
	yaml_emitter_emit(&emitter, &event);
	yaml_stream_end_event_initialize(&event);
	yaml_emitter_emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
	return g_string_free(out, FALSE);
}
