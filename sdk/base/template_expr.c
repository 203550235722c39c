#include "sdk/base/template_expr.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum TokenKind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_STRING,
	TOKEN_NUMBER,
	TOKEN_SYMBOL
} TokenKind;

typedef struct Token {
	TokenKind kind;
	const char *start;
	size_t length;
} Token;

typedef struct Parser {
	TemplateScope *scope;
	const char *at, *end;
	Token token; /* not used up yet */
} Parser;

static int parse_or(Parser *p, json_t **ret, Error **err);

int template_fail(TemplateScope *scope, Error **err, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *text = g_strdup_vprintf(format, args);
	va_end(args);
	return error_set(err, ERROR_INVALID, "Template line %u: %s", scope->line, text);
}

int template_spend(TemplateScope *scope, size_t bytes, Error **err)
{
	if (scope->budget.steps == 0 || bytes > scope->budget.bytes)
		return template_fail(scope, err, "it does too much");
	scope->budget.steps--;
	scope->budget.bytes -= bytes;
	return 0;
}

static gboolean name_char(char c)
{
	return g_ascii_isalnum(c) || c == '_';
}

static int next(Parser *p, Error **err)
{
	static const char *const pairs[] = { "==", "!=", "<>", "<=", ">=", "&&", "||", NULL };
	while (p->at < p->end && g_ascii_isspace(*p->at))
		p->at++;
	p->token = (Token){ TOKEN_END, p->at, 0 };
	if (p->at == p->end)
		return 0;
	const char *start = p->at;
	if (g_ascii_isdigit(*p->at)) {
		p->token.kind = TOKEN_NUMBER;
		while (p->at < p->end && g_ascii_isdigit(*p->at))
			p->at++;
		if (p->at + 1 < p->end && *p->at == '.' && g_ascii_isdigit(p->at[1]))
			for (p->at++; p->at < p->end && g_ascii_isdigit(*p->at);)
				p->at++;
	} else if (name_char(*p->at)) {
		p->token.kind = TOKEN_NAME;
		while (p->at < p->end && name_char(*p->at))
			p->at++;
	} else if (*p->at == '"' || *p->at == '\'') {
		p->token.kind = TOKEN_STRING;
		for (p->at++; p->at < p->end && *p->at != *start; p->at++)
			if (*p->at == '\\' && p->at + 1 < p->end)
				p->at++;
		if (p->at >= p->end)
			return template_fail(p->scope, err, "a text is not closed");
		p->at++;
	} else {
		p->token.kind = TOKEN_SYMBOL;
		size_t length = 1;
		for (int i = 0; pairs[i]; i++)
			if (p->end - p->at >= 2 && memcmp(p->at, pairs[i], 2) == 0)
				length = 2;
		p->at += length;
	}
	p->token.length = (size_t)(p->at - start);
	return 0;
}

static gboolean token_is(const Parser *p, TokenKind kind, const char *text)
{
	return p->token.kind == kind && p->token.length == strlen(text) &&
	    memcmp(p->token.start, text, p->token.length) == 0;
}

static gboolean is_symbol(const Parser *p, const char *text)
{
	return token_is(p, TOKEN_SYMBOL, text);
}

static gboolean is_word(const Parser *p, const char *text)
{
	return token_is(p, TOKEN_NAME, text);
}

static char *token_text(const Parser *p)
{
	return g_strndup(p->token.start, p->token.length);
}

static int unexpected(Parser *p, Error **err)
{
	if (p->token.kind == TOKEN_END)
		return template_fail(p->scope, err, "an expression ends too early");
	return template_fail(p->scope, err, "\"%.*s\" is not expected",
	    (int)MIN(p->token.length, 40), p->token.start);
}

static int expect(Parser *p, const char *symbol, Error **err)
{
	return is_symbol(p, symbol) ? next(p, err) : unexpected(p, err);
}

char *template_text(const json_t *value)
{
	switch (value ? json_typeof(value) : JSON_NULL) {
	case JSON_STRING:
		return g_strndup(json_string_value(value), json_string_length(value));
	case JSON_INTEGER:
		return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_REAL:
		return g_strdup_printf("%f", json_real_value(value));
	case JSON_TRUE:
		return g_strdup("True");
	case JSON_FALSE:
		return g_strdup("False");
	case JSON_NULL:
		return g_strdup("");
	default: {
		char *dump = json_dumps(value, JSON_COMPACT);
		char *text = g_strdup(dump ? dump : "");
		free(dump);
		return text;
	}
	}
}

gboolean template_truth(const json_t *value)
{
	switch (value ? json_typeof(value) : JSON_NULL) {
	case JSON_STRING:
		return json_string_length(value) > 0;
	case JSON_INTEGER:
		return json_integer_value(value) != 0;
	case JSON_REAL:
		return json_real_value(value) != 0;
	case JSON_ARRAY:
		return json_array_size(value) > 0;
	case JSON_OBJECT:
		return json_object_size(value) > 0;
	case JSON_TRUE:
		return TRUE;
	default:
		return FALSE;
	}
}

static json_t *lookup(const TemplateScope *scope, const char *name)
{
	for (guint i = scope->locals->len; i-- > 0;) {
		json_t *value = json_object_get(scope->locals->pdata[i], name);
		if (value)
			return json_incref(value);
	}
	json_t *value = json_object_get(scope->context, name);
	return value ? json_incref(value) : json_null();
}

/* a.b and a["b"]: keys of objects, indices of arrays; what is not there is null. */
static json_t *member(const json_t *value, const char *key)
{
	json_t *found = NULL;
	if (json_is_object(value))
		found = json_object_get(value, key);
	else if (json_is_array(value) && g_ascii_isdigit(*key))
		found = json_array_get(value, (size_t)strtoul(key, NULL, 10));
	return found ? json_incref(found) : json_null();
}

/* Unset keys give the default; line ends at the end of a value go, as in Incus. */
static json_t *config_value(const TemplateScope *scope, const json_t *key, const json_t *fallback)
{
	g_autofree char *name = template_text(key);
	json_t *value = json_object_get(json_object_get(scope->context, "config"), name);
	if (json_is_string(value)) {
		size_t length = json_string_length(value);
		const char *text = json_string_value(value);
		while (length > 0 && strchr("\r\n", text[length - 1]))
			length--;
		return json_stringn(text, length);
	}
	return fallback ? json_incref((json_t *)fallback) : json_string("");
}

enum { ARGUMENTS_MAX = 8 };

static int parse_arguments(Parser *p, json_t **arguments, size_t *ret_n, Error **err)
{
	*ret_n = 0;
	if (next(p, err) < 0) /* "(" */
		return -1;
	while (!is_symbol(p, ")")) {
		if (*ret_n == ARGUMENTS_MAX)
			return template_fail(p->scope, err, "a function has too many arguments");
		if (parse_or(p, &arguments[*ret_n], err) < 0)
			return -1;
		++*ret_n;
		if (is_symbol(p, ",") && next(p, err) < 0)
			return -1;
		else if (!is_symbol(p, ")") && p->token.kind == TOKEN_END)
			return unexpected(p, err);
	}
	return next(p, err);
}

static int call(Parser *p, const char *name, json_t **ret, Error **err)
{
	json_t *arguments[ARGUMENTS_MAX] = { NULL };
	size_t n;
	int r = parse_arguments(p, arguments, &n, err);
	if (r == 0 && strcmp(name, "config_get") != 0)
		r = template_fail(p->scope, err, "function \"%s\" is unknown", name);
	else if (r == 0 && (n < 1 || n > 2))
		r = template_fail(p->scope, err, "config_get takes a key and a default");
	else if (r == 0)
		*ret = config_value(p->scope, arguments[0], n == 2 ? arguments[1] : NULL);
	for (size_t i = 0; i < ARGUMENTS_MAX; i++)
		json_decref(arguments[i]);
	return r;
}

static int parse_name(Parser *p, json_t **ret, Error **err)
{
	g_autofree char *name = token_text(p);
	if (next(p, err) < 0)
		return -1;
	if (is_symbol(p, "("))
		return call(p, name, ret, err);
	if (g_ascii_strcasecmp(name, "true") == 0)
		*ret = json_true();
	else if (g_ascii_strcasecmp(name, "false") == 0)
		*ret = json_false();
	else if (strcmp(name, "nil") == 0 || strcmp(name, "None") == 0)
		*ret = json_null();
	else
		*ret = lookup(p->scope, name);
	return 0;
}

static json_t *string_value(const Token *token)
{
	GString *text = g_string_new(NULL);
	for (size_t i = 1; i + 1 < token->length; i++) {
		char c = token->start[i];
		if (c == '\\' && i + 2 < token->length) {
			c = token->start[++i];
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
		}
		g_string_append_c(text, c);
	}
	json_t *value = json_stringn(text->str, text->len);
	g_string_free(text, TRUE);
	return value;
}

static int parse_primary(Parser *p, json_t **ret, Error **err)
{
	g_autofree char *text = NULL;
	switch (p->token.kind) {
	case TOKEN_NAME:
		return parse_name(p, ret, err);
	case TOKEN_NUMBER:
		text = token_text(p);
		*ret = strchr(text, '.') ? json_real(g_ascii_strtod(text, NULL)) :
					   json_integer(g_ascii_strtoll(text, NULL, 10));
		return next(p, err);
	case TOKEN_STRING:
		*ret = string_value(&p->token);
		if (!*ret)
			return template_fail(p->scope, err, "a text is not valid UTF-8");
		return next(p, err);
	default:
		if (!is_symbol(p, "("))
			return unexpected(p, err);
		if (next(p, err) < 0 || parse_or(p, ret, err) < 0)
			return -1;
		return expect(p, ")", err);
	}
}

static int parse_subscript(Parser *p, json_t **value, Error **err)
{
	json_t *index = NULL;
	if (next(p, err) < 0 || parse_or(p, &index, err) < 0 || expect(p, "]", err) < 0) {
		json_decref(index);
		return -1;
	}
	g_autofree char *key = template_text(index);
	json_t *found = member(*value, key);
	json_decref(index);
	json_decref(*value);
	*value = found;
	return 0;
}

static int parse_attribute(Parser *p, json_t **value, Error **err)
{
	if (next(p, err) < 0)
		return -1;
	if (p->token.kind != TOKEN_NAME && p->token.kind != TOKEN_NUMBER)
		return unexpected(p, err);
	g_autofree char *key = token_text(p);
	json_t *found = member(*value, key);
	json_decref(*value);
	*value = found;
	return next(p, err);
}

static int parse_filter(Parser *p, json_t **value, Error **err)
{
	if (next(p, err) < 0)
		return -1;
	if (p->token.kind != TOKEN_NAME)
		return unexpected(p, err);
	g_autofree char *name = token_text(p);
	json_t *argument = NULL, *result = NULL;
	int r = next(p, err);
	if (r == 0 && is_symbol(p, ":")) {
		r = next(p, err);
		if (r == 0)
			r = parse_primary(p, &argument, err);
	}
	if (r == 0)
		r = template_spend(p->scope, 0, err);
	if (r == 0)
		r = template_filter(p->scope, name, *value, argument, &result, err);
	json_decref(argument);
	if (r < 0)
		return -1;
	json_decref(*value);
	*value = result;
	return 0;
}

static int parse_postfix(Parser *p, json_t **ret, Error **err)
{
	json_t *value = NULL;
	int r = template_spend(p->scope, 0, err);
	if (r == 0)
		r = parse_primary(p, &value, err);
	while (r == 0) {
		if (is_symbol(p, "."))
			r = parse_attribute(p, &value, err);
		else if (is_symbol(p, "["))
			r = parse_subscript(p, &value, err);
		else if (is_symbol(p, "|"))
			r = parse_filter(p, &value, err);
		else
			break;
	}
	if (r < 0) {
		json_decref(value);
		return -1;
	}
	*ret = value;
	return 0;
}

static int parse_unary(Parser *p, json_t **ret, Error **err)
{
	if (!is_symbol(p, "-"))
		return parse_postfix(p, ret, err);
	json_t *value = NULL;
	if (next(p, err) < 0 || parse_postfix(p, &value, err) < 0)
		return -1;
	if (json_is_integer(value) && json_integer_value(value) != INT64_MIN)
		*ret = json_integer(-json_integer_value(value));
	else
		*ret = json_real(-json_number_value(value));
	json_decref(value);
	return *ret ? 0 : template_fail(p->scope, err, "a number is out of range");
}

static int add(TemplateScope *scope, const json_t *a, const json_t *b, json_t **ret, Error **err)
{
	g_autofree char *x = template_text(a), *y = template_text(b);
	if (template_spend(scope, strlen(x) + strlen(y), err) < 0)
		return -1;
	g_autofree char *both = g_strconcat(x, y, NULL);
	*ret = json_string(both);
	return *ret ? 0 : template_fail(scope, err, "a text is not valid UTF-8");
}

static int arithmetic(
    TemplateScope *scope, char op, const json_t *a, const json_t *b, json_t **ret, Error **err)
{
	if (op == '+' && !(json_is_number(a) && json_is_number(b)))
		return add(scope, a, b, ret, err);
	double x = json_number_value(a), y = json_number_value(b), z;
	if ((op == '/' || op == '%') && y == 0)
		return template_fail(scope, err, "division by zero");
	z = op == '+' ? x + y :
	    op == '-' ? x - y :
	    op == '*' ? x * y :
	    op == '/' ? x / y :
			fmod(x, y);
	gboolean whole = json_is_integer(a) && json_is_integer(b);
	if (whole && op == '/')
		z = trunc(z);
	*ret = whole && fabs(z) < 9007199254740992.0 ? json_integer((json_int_t)z) : json_real(z);
	return *ret ? 0 : template_fail(scope, err, "a number is out of range");
}

typedef int (*ParseLevel)(Parser *p, json_t **ret, Error **err);

/* Left-associative chains of one-character operators. */
static int parse_chain(
    Parser *p, const char *operators, ParseLevel below, json_t **ret, Error **err)
{
	json_t *left = NULL;
	int r = below(p, &left, err);
	while (r == 0 && p->token.kind == TOKEN_SYMBOL && p->token.length == 1 &&
	    strchr(operators, *p->token.start)) {
		char op = *p->token.start;
		json_t *right = NULL, *result = NULL;
		r = next(p, err);
		if (r == 0)
			r = below(p, &right, err);
		if (r == 0)
			r = arithmetic(p->scope, op, left, right, &result, err);
		json_decref(right);
		if (r == 0) {
			json_decref(left);
			left = result;
		}
	}
	if (r < 0) {
		json_decref(left);
		return -1;
	}
	*ret = left;
	return 0;
}

static int parse_product(Parser *p, json_t **ret, Error **err)
{
	return parse_chain(p, "*/%", parse_unary, ret, err);
}

static int parse_sum(Parser *p, json_t **ret, Error **err)
{
	return parse_chain(p, "+-", parse_product, ret, err);
}

static int compare(const json_t *a, const json_t *b)
{
	if (json_is_number(a) && json_is_number(b)) {
		double x = json_number_value(a), y = json_number_value(b);
		return (x > y) - (x < y);
	}
	g_autofree char *x = template_text(a), *y = template_text(b);
	return strcmp(x, y);
}

static gboolean equal(const json_t *a, const json_t *b)
{
	if (json_is_boolean(a) || json_is_boolean(b))
		return template_truth(a) == template_truth(b);
	if (json_is_array(a) || json_is_object(a))
		return json_equal(a, b);
	return compare(a, b) == 0;
}

static gboolean contains(const json_t *all, const json_t *one)
{
	g_autofree char *text = template_text(one);
	if (json_is_object(all))
		return json_object_get(all, text) != NULL;
	if (json_is_string(all))
		return strstr(json_string_value(all), text) != NULL;
	size_t i;
	json_t *item;
	json_array_foreach(all, i, item)
		if (equal(item, one))
			return TRUE;
	return FALSE;
}

static const char *const comparisons[] = { "==", "!=", "<>", "<=", ">=", "<", ">", NULL };

static gboolean compare_by(const char *op, const json_t *a, const json_t *b)
{
	if (strcmp(op, "in") == 0)
		return contains(b, a);
	if (strcmp(op, "not in") == 0)
		return !contains(b, a);
	if (strcmp(op, "==") == 0)
		return equal(a, b);
	if (strcmp(op, "!=") == 0 || strcmp(op, "<>") == 0)
		return !equal(a, b);
	int order = compare(a, b);
	if (op[1] == '=')
		return *op == '<' ? order <= 0 : order >= 0;
	return *op == '<' ? order < 0 : order > 0;
}

/* The comparison at hand, used up; NULL when there is none. */
static int take_comparison(Parser *p, const char **ret_op, Error **err)
{
	*ret_op = NULL;
	for (int i = 0; comparisons[i]; i++)
		if (is_symbol(p, comparisons[i])) {
			*ret_op = comparisons[i];
			return next(p, err);
		}
	if (is_word(p, "in")) {
		*ret_op = "in";
		return next(p, err);
	}
	if (is_word(p, "not")) {
		if (next(p, err) < 0)
			return -1;
		if (!is_word(p, "in"))
			return unexpected(p, err);
		*ret_op = "not in";
		return next(p, err);
	}
	return 0;
}

static int parse_comparison(Parser *p, json_t **ret, Error **err)
{
	json_t *left = NULL, *right = NULL;
	const char *op;
	if (parse_sum(p, &left, err) < 0)
		return -1;
	if (take_comparison(p, &op, err) < 0 || (op && parse_sum(p, &right, err) < 0)) {
		json_decref(left);
		return -1;
	}
	if (!op) {
		*ret = left;
		return 0;
	}
	*ret = json_boolean(compare_by(op, left, right));
	json_decref(left);
	json_decref(right);
	return 0;
}

static int parse_not(Parser *p, json_t **ret, Error **err)
{
	if (!is_word(p, "not") && !is_symbol(p, "!"))
		return parse_comparison(p, ret, err);
	json_t *value = NULL;
	if (++p->scope->budget.depth > TEMPLATE_DEPTH)
		return template_fail(p->scope, err, "nested too deeply");
	if (next(p, err) < 0 || parse_not(p, &value, err) < 0)
		return -1;
	p->scope->budget.depth--;
	*ret = json_boolean(!template_truth(value));
	json_decref(value);
	return 0;
}

static int parse_logic(
    Parser *p, const char *word, const char *symbol, ParseLevel below, json_t **ret, Error **err)
{
	json_t *left = NULL;
	if (below(p, &left, err) < 0)
		return -1;
	while (is_word(p, word) || is_symbol(p, symbol)) {
		json_t *right = NULL;
		if (next(p, err) < 0 || below(p, &right, err) < 0) {
			json_decref(left);
			return -1;
		}
		gboolean a = template_truth(left), b = template_truth(right);
		json_decref(left);
		json_decref(right);
		left = json_boolean(*word == 'a' ? a && b : a || b);
	}
	*ret = left;
	return 0;
}

static int parse_and(Parser *p, json_t **ret, Error **err)
{
	return parse_logic(p, "and", "&&", parse_not, ret, err);
}

static int parse_or(Parser *p, json_t **ret, Error **err)
{
	if (++p->scope->budget.depth > TEMPLATE_DEPTH)
		return template_fail(p->scope, err, "nested too deeply");
	int r = parse_logic(p, "or", "||", parse_and, ret, err);
	p->scope->budget.depth--;
	return r;
}

int template_evaluate(
    TemplateScope *scope, const char *text, size_t length, json_t **ret_value, Error **err)
{
	Parser p = { .scope = scope, .at = text, .end = text + length };
	json_t *value = NULL;
	if (next(&p, err) < 0 || parse_or(&p, &value, err) < 0)
		return -1;
	if (p.token.kind != TOKEN_END) {
		json_decref(value);
		return unexpected(&p, err);
	}
	*ret_value = value;
	return 0;
}
