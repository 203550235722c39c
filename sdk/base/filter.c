#include "sdk/base/filter.h"
#include "sdk/base/map.h"
#include "sdk/base/moment.h"
#include "sdk/base/schema.h"
#include "sdk/base/units.h"
#include <string.h>

enum { CLAUSES_MAX = 100, VALUE_MAX = 1000, DEPTH_MAX = 16 };

typedef struct Clause {
	gboolean negate;
	gboolean equal;      /* eq, else ne */
	gboolean or_before;  /* joined to what stands before it by `or`, else by `and` */
	char *field, *value;
	GRegex *regex;       /* NULL: compare without case */
} Clause;

struct Filter {
	GArray *clauses;
};

static void clause_clear(void *data)
{
	Clause *clause = data;
	g_free(clause->field);
	g_free(clause->value);
	if (clause->regex)
		g_regex_unref(clause->regex);
}

/* Words between blanks. A value that begins with a quote goes on to the word that ends with one. */
static int split_words(const char *text, GPtrArray *words, Error **err)
{
	g_auto(GStrv) parts = g_strsplit_set(text, " \t\n", -1);
	GString *quoted = NULL;
	for (int i = 0; parts[i]; i++) {
		const char *word = parts[i];
		size_t length = strlen(word);
		if (quoted) {
			g_string_append_c(quoted, ' ');
			g_string_append(quoted, word);
			if (length == 0 || word[length - 1] != '"')
				continue;
			g_string_truncate(quoted, quoted->len - 1);
			g_ptr_array_add(words, g_string_free(g_steal_pointer(&quoted), FALSE));
		} else if (*word == '"' && length > 1 && word[length - 1] == '"') {
			g_ptr_array_add(words, g_strndup(word + 1, length - 2));
		} else if (*word == '"') {
			quoted = g_string_new(word + 1);
		} else if (*word) {
			g_ptr_array_add(words, g_strdup(word));
		}
	}
	if (!quoted)
		return 0;
	g_string_free(quoted, TRUE);
	return error_set(err, ERROR_INVALID, "unterminated quote");
}

static GRegex *compile(const char *value)
{
	g_autofree char *pattern = strpbrk(value, "^$") ? g_strdup(value) :
							  g_strdup_printf("^(?:%s)$", value);
	return g_regex_new(pattern, G_REGEX_CASELESS, 0, NULL);
}

static int parse_clause(char **words, guint n, guint *i, Clause *clause, Error **err)
{
	if (g_ascii_strcasecmp(words[*i], "not") == 0) {
		clause->negate = TRUE;
		if (++*i == n)
			return error_set(err, ERROR_INVALID, "incomplete not clause");
	}
	clause->field = g_strdup(words[(*i)++]);
	if (*i == n)
		return error_set(err, ERROR_INVALID, "clause has no operator");
	const char *op = words[(*i)++];
	clause->equal = strcmp(op, "eq") == 0;
	if (!clause->equal && strcmp(op, "ne") != 0)
		return error_set(
		    err, ERROR_INVALID, "Unsupported operator \"%s\" in the filter", op);
	if (*i == n)
		return error_set(err, ERROR_INVALID, "clause has no value");
	if (strlen(words[*i]) > VALUE_MAX)
		return error_set(err, ERROR_INVALID, "A value of the filter is too long");
	clause->value = g_strdup(words[(*i)++]);
	clause->regex = compile(clause->value);
	return 0;
}

static int parse_clauses(Filter *filter, char **words, guint n, Error **err)
{
	gboolean or_before = FALSE;
	for (guint i = 0; i < n;) {
		Clause empty = { .or_before = or_before };
		g_array_append_val(filter->clauses, empty);
		if (filter->clauses->len > CLAUSES_MAX)
			return error_set(err, ERROR_INVALID, "The filter has too many clauses");
		Clause *clause = &g_array_index(filter->clauses, Clause, filter->clauses->len - 1);
		if (parse_clause(words, n, &i, clause, err) < 0)
			return -1;
		if (i == n)
			break;
		or_before = strcmp(words[i], "or") == 0;
		if (!or_before && strcmp(words[i], "and") != 0)
			return error_set(err, ERROR_INVALID, "invalid clause composition");
		if (++i == n)
			return error_set(err, ERROR_INVALID, "unterminated compound clause");
	}
	return 0;
}

int filter_parse(const char *text, Filter **ret_filter, Error **err)
{
	g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(Filter) filter = g_new0(Filter, 1);
	filter->clauses = g_array_new(FALSE, TRUE, sizeof(Clause));
	g_array_set_clear_func(filter->clauses, clause_clear);
	if (!g_utf8_validate(text ? text : "", -1, NULL))
		return error_set(err, ERROR_INVALID, "The filter is not valid UTF-8");
	if (split_words(text ? text : "", words, err) < 0 ||
	    parse_clauses(filter, (char **)words->pdata, words->len, err) < 0)
		return -1;
	*ret_filter = g_steal_pointer(&filter);
	return 0;
}

void filter_free(Filter *filter)
{
	if (!filter)
		return;
	g_array_unref(filter->clauses);
	g_free(filter);
}

static char *message_field(const ProtobufCMessage *message, const char *path, unsigned depth);

static char *scalar_text(
    const ProtobufCFieldDescriptor *field, const void *at, const char *rest, unsigned depth)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return *rest ? NULL : g_strdup(*(char *const *)at ? *(char *const *)at : "");
	case PROTOBUF_C_TYPE_BOOL:
		return *rest ? NULL : g_strdup(*(const protobuf_c_boolean *)at ? "true" : "false");
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return *rest ? NULL : g_strdup_printf("%d", *(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return *rest ? NULL : g_strdup_printf("%u", *(const uint32_t *)at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return *rest ? NULL :
			       g_strdup_printf("%" G_GINT64_FORMAT, (gint64) * (const int64_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return *rest ?
		    NULL :
		    g_strdup_printf("%" G_GUINT64_FORMAT, (guint64) * (const uint64_t *)at);
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *below = *(const ProtobufCMessage *const *)at;
		return below ? message_field(below, rest, depth + 1) : NULL;
	}
	default:
		return NULL;
	}
}

/* Keys may hold dots themselves (config.image.os): the key that the rest begins with is taken, the
 * longest one. Entries have fields 0 key and 1 value. */
static char *map_text(
    const ProtobufCMessage *const *entries, size_t n, const char *rest, unsigned depth)
{
	const ProtobufCMessage *best = NULL;
	size_t best_length = 0;
	for (size_t i = 0; i < n; i++) {
		const ProtobufCMessageDescriptor *d = entries[i]->descriptor;
		const char *key = *(char *const *)((const char *)entries[i] + d->fields[0].offset);
		size_t length = strlen(key);
		if (strncmp(rest, key, length) == 0 &&
		    (rest[length] == '\0' || rest[length] == '.') &&
		    (!best || length > best_length)) {
			best = entries[i];
			best_length = length;
		}
	}
	if (!best)
		return NULL;
	rest += best_length;
	const ProtobufCFieldDescriptor *value = &best->descriptor->fields[1];
	return scalar_text(
	    value, (const char *)best + value->offset, *rest ? rest + 1 : rest, depth);
}

static char *repeated_text(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
    gboolean is_map, const char *rest, unsigned depth)
{
	size_t n = *(const size_t *)((const char *)message + field->quantifier_offset);
	const char *items = *(const char *const *)((const char *)message + field->offset);
	if (is_map)
		return map_text((const ProtobufCMessage *const *)items, n, rest, depth);
	char *end;
	guint64 index = g_ascii_strtoull(rest, &end, 10);
	if (end == rest || (*end && *end != '.') || index >= n)
		return NULL;
	return scalar_text(
	    field, items + index * schema_value_size(field->type), *end ? end + 1 : end, depth);
}

static gboolean is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return TRUE;
	return *(const uint32_t *)((const char *)message + field->quantifier_offset) == field->id;
}

static char *message_field(const ProtobufCMessage *message, const char *path, unsigned depth)
{
	const JsonMessage *json = schema_json(message->descriptor);
	if (!json || depth > DEPTH_MAX)
		return NULL;
	if (json->well_known == JSON_TIMESTAMP)
		return *path ? NULL : moment_message_text(message);
	size_t length = strcspn(path, ".");
	const char *rest = path[length] ? path + length + 1 : path + length;
	int index;
	if (json->well_known == JSON_FLATTEN) {
		index = 0; /* its one field stands for it */
		rest = path;
	} else {
		index = schema_field_by_json_name(json, path, length);
	}
	if (index < 0)
		return NULL;
	const ProtobufCFieldDescriptor *field = &message->descriptor->fields[index];
	if (!is_present(message, field))
		return NULL;
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return repeated_text(message, field, json->fields[index].is_map, rest, depth);
	return scalar_text(field, (const char *)message + field->offset, rest, depth);
}

char *filter_field(const void *message, const char *path)
{
	return message_field(message, path, 0);
}

static gboolean clause_match(const Clause *clause, const void *message)
{
	g_autofree char *text = filter_field(message, clause->field);
	const char *actual = text ? text : "";
	gboolean same = clause->regex ? g_regex_match(clause->regex, actual, 0, NULL)
				      : g_ascii_strcasecmp(actual, clause->value) == 0;
	return (same == clause->equal) != clause->negate;
}

gboolean filter_match(const Filter *filter, const void *message)
{
	gboolean result = TRUE;
	for (guint i = 0; i < filter->clauses->len; i++) {
		const Clause *clause = &g_array_index(filter->clauses, Clause, i);
		/* No precedence: what stands to the left is one value. */
		if (i == 0)
			result = clause_match(clause, message);
		else if (clause->or_before)
			result = result || clause_match(clause, message);
		else
			result = result && clause_match(clause, message);
	}
	return result;
}

gboolean filter_uses(const Filter *filter, const char *json_name)
{
	size_t length = strlen(json_name);
	for (guint i = 0; i < filter->clauses->len; i++) {
		const char *field = g_array_index(filter->clauses, Clause, i).field;
		if (strncmp(field, json_name, length) == 0 &&
		    (field[length] == '\0' || field[length] == '.'))
			return TRUE;
	}
	return FALSE;
}
