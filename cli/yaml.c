#include "cli/yaml.h"
#include <ctype.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#define YAML_MAX_DEPTH 100
#define YAML_MAX_SIZE (16 << 20)

/* ---- writing ---- */

static bool word_in(const char *const *words, const char *text)
{
	for (; *words; words++)
		if (g_ascii_strcasecmp(*words, text) == 0)
			return true;
	return false;
}

static bool looks_numeric(const char *text)
{
	const char *p = text + (*text == '-' || *text == '+');
	if (g_ascii_strcasecmp(p, ".inf") == 0 || g_ascii_strcasecmp(text, ".nan") == 0)
		return true;
	if (!isdigit((unsigned char)*p) && !(*p == '.' && isdigit((unsigned char)p[1])))
		return false;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b'))
		return p[2] && strspn(p + 2, "0123456789abcdefABCDEF_") == strlen(p + 2);
	size_t span = strspn(p, "0123456789_");
	if (p[span] == '.')
		span += 1 + strspn(p + span + 1, "0123456789_");
	if (p[span] == 'e' || p[span] == 'E') {
		const char *exponent = p + span + 1;
		exponent += *exponent == '-' || *exponent == '+';
		span = exponent - p;
		if (!isdigit((unsigned char)*exponent))
			return false;
		span += strspn(exponent, "0123456789");
	}
	if (p[span] == ':') /* base 60: 12:30:45 */
		span += strspn(p + span, "0123456789:.");
	return p[span] == 0;
}

/* A plain word that a reader of YAML 1.1 would take for something else than a string. */
static bool ambiguous(const char *text)
{
	static const char *const words[] = { "", "~", "null", "true", "false", "yes", "no", "on",
		"off", "y", "n", "<<", "=", NULL };
	return word_in(words, text) || looks_numeric(text);
}

static bool has_control(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if ((*p < ' ' && *p != '\n') || *p == 0x7f)
			return true;
	return !g_utf8_validate(text, -1, NULL);
}

/* True when the text cannot stand without quotes. */
static bool needs_quotes(const char *text)
{
	size_t length = strlen(text);
	if (strchr(",[]{}#&*!|>'\"%@`", *text) || *text == ' ' || text[length - 1] == ' ')
		return true;
	if (strchr("-?:", *text) && (!text[1] || text[1] == ' '))
		return true;
	if (strncmp(text, "---", 3) == 0 || strncmp(text, "...", 3) == 0)
		return true;
	return strstr(text, ": ") || strstr(text, " #") || text[length - 1] == ':';
}

static void add_double_quoted(GString *out, const char *text)
{
	g_string_append_c(out, '"');
	for (const char *p = text; *p; p++) {
		switch (*p) {
		case '"':
		case '\\':
			g_string_append_printf(out, "\\%c", *p);
			break;
		case '\n':
			g_string_append(out, "\\n");
			break;
		case '\t':
			g_string_append(out, "\\t");
			break;
		case '\r':
			g_string_append(out, "\\r");
			break;
		default:
			if ((unsigned char)*p < ' ' || *p == 0x7f)
				g_string_append_printf(out, "\\x%02X", (unsigned char)*p);
			else
				g_string_append_c(out, *p);
		}
	}
	g_string_append_c(out, '"');
}

static void add_single_quoted(GString *out, const char *text)
{
	g_string_append_c(out, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			g_string_append_c(out, '\'');
		g_string_append_c(out, *text);
	}
	g_string_append_c(out, '\'');
}

static void add_block(GString *out, const char *text, int indent)
{
	size_t length = strlen(text);
	g_string_append_c(out, '|');
	if (*text == ' ' || *text == '\n')
		g_string_append_c(out, '2');
	if (text[length - 1] != '\n')
		g_string_append_c(out, '-');
	else if (length > 1 && text[length - 2] == '\n')
		g_string_append_c(out, '+');
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **l = lines; *l; l++) {
		if (!l[1] && !**l)
			break; /* after the last newline */
		if (**l)
			g_string_append_printf(out, "\n%*s%s", indent, "", *l);
		else
			g_string_append_c(out, '\n');
	}
}

static void add_string(GString *out, const char *text, int indent)
{
	if (has_control(text))
		add_double_quoted(out, text);
	else if (strchr(text, '\n') && text[strlen(text) - 1] != ' ')
		add_block(out, text, indent + 2);
	else if (strchr(text, '\n') || ambiguous(text))
		add_double_quoted(out, text);
	else if (needs_quotes(text))
		add_single_quoted(out, text);
	else
		g_string_append(out, text);
}

static void add_value(GString *out, const json_t *value, int indent, bool in_list);

static void add_object(GString *out, const json_t *object, int indent, bool first_inline)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)object, key, value) {
		if (!first_inline)
			g_string_append_printf(out, "%*s", indent, "");
		first_inline = false;
		add_string(out, key, indent);
		g_string_append_c(out, ':');
		add_value(out, value, indent, false);
	}
}

static void add_list(GString *out, const json_t *list, int indent, bool first_inline)
{
	size_t i;
	json_t *value;
	json_array_foreach (list, i, value) {
		if (!first_inline)
			g_string_append_printf(out, "%*s", indent, "");
		first_inline = false;
		g_string_append_c(out, '-');
		add_value(out, value, indent, true);
	}
}

/* Follows "key:" or "-"; ends the line. */
static void add_value(GString *out, const json_t *value, int indent, bool in_list)
{
	bool filled = json_is_object(value) ? json_object_size(value) > 0 :
					      json_array_size(value) > 0;
	if (filled && json_is_object(value)) {
		g_string_append_c(out, in_list ? ' ' : '\n');
		add_object(out, value, indent + 2, in_list);
		return;
	}
	if (filled) {
		g_string_append_c(out, in_list ? ' ' : '\n');
		add_list(out, value, in_list ? indent + 2 : indent, in_list);
		return;
	}
	g_string_append_c(out, ' ');
	if (json_is_string(value)) {
		add_string(out, json_string_value(value), indent);
	} else if (json_is_null(value)) {
		g_string_append(out, "null");
	} else {
		char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		g_string_append(out, text);
		free(text);
	}
	g_string_append_c(out, '\n');
}

char *yaml_from_json(const json_t *data)
{
	GString *out = g_string_new(NULL);
	if (json_is_object(data) && json_object_size(data) > 0) {
		add_object(out, data, 0, false);
	} else if (json_is_array(data) && json_array_size(data) > 0) {
		add_list(out, data, 0, false);
	} else {
		add_value(out, data, 0, false);
		g_string_erase(out, 0, 1);
	}
	return g_string_free(out, FALSE);
}

/* ---- reading ---- */

typedef struct Reader {
	yaml_parser_t parser;
	int depth;
	Error **err;
} Reader;

static int next_event(Reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return 0;
	return error_set(reader->err, ERROR_INVALID, "Invalid YAML at line %zu: %s",
	    reader->parser.problem_mark.line + 1,
	    reader->parser.problem ? reader->parser.problem : "cannot be parsed");
}

static json_t *read_node(Reader *reader, yaml_event_t *event);

static json_t *read_scalar(const yaml_event_t *event)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	const char *text = (const char *)event->data.scalar.value;
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && g_strv_contains(nulls, text))
		return json_null();
	return json_stringn(text, event->data.scalar.length);
}

/* A key is a scalar; its text counts even where a value would be null. */
static int read_pair(Reader *reader, yaml_event_t *key, json_t *object)
{
	yaml_event_t event;
	if (key->type != YAML_SCALAR_EVENT)
		return error_set(reader->err, ERROR_INVALID,
		    "Invalid YAML at line %zu: a key must be a word", key->start_mark.line + 1);
	if (next_event(reader, &event) < 0)
		return -1;
	json_t *value = read_node(reader, &event);
	yaml_event_delete(&event);
	if (!value)
		return -1;
	return json_object_set_new(object, (const char *)key->data.scalar.value, value);
}

static json_t *read_collection(Reader *reader, json_t *into, yaml_event_type_t end)
{
	for (;;) {
		yaml_event_t event;
		int result = 0;
		if (next_event(reader, &event) < 0)
			break;
		if (event.type == end) {
			yaml_event_delete(&event);
			return into;
		}
		if (json_is_object(into)) {
			result = read_pair(reader, &event, into);
		} else {
			json_t *value = read_node(reader, &event);
			result = value ? json_array_append_new(into, value) : -1;
		}
		yaml_event_delete(&event);
		if (result < 0)
			break;
	}
	json_decref(into);
	return NULL;
}

static json_t *read_node(Reader *reader, yaml_event_t *event)
{
	json_t *node = NULL;
	if (++reader->depth > YAML_MAX_DEPTH) {
		error_set(reader->err, ERROR_INVALID, "Invalid YAML: nested more than %d levels",
		    YAML_MAX_DEPTH);
		return NULL;
	}
	if (event->type == YAML_SCALAR_EVENT)
		node = read_scalar(event);
	else if (event->type == YAML_MAPPING_START_EVENT)
		node = read_collection(reader, json_object(), YAML_MAPPING_END_EVENT);
	else if (event->type == YAML_SEQUENCE_START_EVENT)
		node = read_collection(reader, json_array(), YAML_SEQUENCE_END_EVENT);
	if (!node) /* aliases, and text that is not UTF-8 */
		error_set(reader->err, ERROR_INVALID, "Invalid YAML at line %zu",
		    event->start_mark.line + 1);
	reader->depth--;
	return node;
}

json_t *yaml_to_json(const char *text, size_t length, Error **err)
{
	Reader reader = { .err = err };
	json_t *document = NULL;
	if (length > YAML_MAX_SIZE) {
		error_set(err, ERROR_TOO_LARGE, "The YAML text is larger than 16 MiB");
		return NULL;
	}
	yaml_parser_initialize(&reader.parser);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
	for (bool done = false; !done;) {
		yaml_event_t event;
		if (next_event(&reader, &event) < 0)
			break;
		done = event.type == YAML_STREAM_END_EVENT || event.type == YAML_DOCUMENT_END_EVENT;
		if (event.type == YAML_STREAM_END_EVENT)
			document = json_null();
		else if (event.type != YAML_STREAM_START_EVENT &&
		    event.type != YAML_DOCUMENT_START_EVENT && !done) {
			document = read_node(&reader, &event);
			done = true;
		}
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&reader.parser);
	return document;
}
