#include "sdk/base/template_render.h"
#include "sdk/base/template_expr.h"
#include <string.h>

enum { SOURCE_MAX = 1024 * 1024 };

typedef enum PieceKind { PIECE_TEXT, PIECE_VALUE, PIECE_TAG } PieceKind;

/* The source cut into text, {{ values }} and {% tags %}; comments are gone. */
typedef struct Piece {
	PieceKind kind;
	const char *start;
	size_t length;
	unsigned line;
} Piece;

typedef struct Renderer {
	TemplateScope scope;
	GArray *pieces;
	GString *out;
	guint at;         /* next piece */
	gboolean skip;    /* branches not taken: nothing is evaluated or written */
} Renderer;

static int render_until(Renderer *r, const char *const *ends, char **ret_end, Error **err);

static void release(void *value)
{
	json_decref(value);
}

static const char *find_close(const char *p, const char *end, const char *close)
{
	char quote = 0;
	for (; p + 1 < end; p++) {
		if (quote) {
			if (*p == '\\')
				p++;
			else if (*p == quote)
				quote = 0;
		} else if (*close != '#' && (*p == '"' || *p == '\'')) {
			quote = *p;
		} else if (p[0] == close[0] && p[1] == close[1]) {
			return p;
		}
	}
	return NULL;
}

static void strip_left(const char **start, size_t *length)
{
	while (*length > 0 && g_ascii_isspace(**start)) {
		(*start)++;
		(*length)--;
	}
}

static void strip_right(const char *start, size_t *length)
{
	while (*length > 0 && g_ascii_isspace(start[*length - 1]))
		(*length)--;
}

static unsigned count_lines(const char *from, const char *to)
{
	unsigned lines = 0;
	for (; from < to; from++)
		lines += *from == '\n';
	return lines;
}

/* {{-, -}}, {%- and -%} take the blanks beside them. */
static void add_code(GArray *pieces, PieceKind kind, const char *start, size_t length,
    unsigned line, gboolean *ret_trim)
{
	*ret_trim = FALSE;
	if (length > 0 && *start == '-') {
		if (pieces->len > 0) {
			Piece *before = &g_array_index(pieces, Piece, pieces->len - 1);
			if (before->kind == PIECE_TEXT)
				strip_right(before->start, &before->length);
		}
		start++;
		length--;
	}
	if (length > 0 && start[length - 1] == '-') {
		*ret_trim = TRUE;
		length--;
	}
	strip_left(&start, &length);
	strip_right(start, &length);
	Piece piece = { kind, start, length, line };
	g_array_append_val(pieces, piece);
}

static int cut(Renderer *r, const char *source, size_t length, Error **err)
{
	const char *p = source, *end = source + length, *text = source;
	unsigned line = 1;
	gboolean trim = FALSE;
	for (;;) {
		const char *open = p;
		while (open < end && !(open + 1 < end && open[0] == '{' && strchr("{%#", open[1])))
			open++;
		Piece piece = { PIECE_TEXT, text, (size_t)(open - text), line };
		if (trim)
			strip_left(&piece.start, &piece.length);
		trim = FALSE;
		g_array_append_val(r->pieces, piece);
		if (open >= end)
			return 0;
		line += count_lines(text, open);
		r->scope.line = line;
		const char *close_mark = open[1] == '{' ? "}}" : open[1] == '%' ? "%}" : "#}";
		const char *close = find_close(open + 2, end, close_mark);
		if (!close)
			return template_fail(&r->scope, err, "\"%.2s\" is not closed", open);
		if (open[1] != '#')
			add_code(r->pieces, open[1] == '{' ? PIECE_VALUE : PIECE_TAG, open + 2,
			    (size_t)(close - open - 2), line, &trim);
		line += count_lines(open, close);
		p = text = close + 2;
	}
}

static int write_out(Renderer *r, const char *text, size_t length, Error **err)
{
	if (r->skip || length == 0)
		return 0;
	if (template_spend(&r->scope, length, err) < 0)
		return -1;
	g_string_append_len(r->out, text, (gssize)length);
	return 0;
}

static int render_value(Renderer *r, const Piece *piece, Error **err)
{
	json_t *value;
	if (r->skip)
		return 0;
	if (template_evaluate(&r->scope, piece->start, piece->length, &value, err) < 0)
		return -1;
	g_autofree char *text = template_text(value);
	json_decref(value);
	return write_out(r, text, strlen(text), err);
}

/* The first word of a tag; *ret_rest is what follows. */
static char *tag_name(const Piece *piece, const char **ret_rest, size_t *ret_length)
{
	size_t n = 0;
	while (n < piece->length && !g_ascii_isspace(piece->start[n]))
		n++;
	const char *rest = piece->start + n;
	size_t length = piece->length - n;
	strip_left(&rest, &length);
	*ret_rest = rest;
	*ret_length = length;
	return g_strndup(piece->start, n);
}

static int condition(Renderer *r, const char *text, size_t length, gboolean *ret, Error **err)
{
	json_t *value;
	if (template_evaluate(&r->scope, text, length, &value, err) < 0)
		return -1;
	*ret = template_truth(value);
	json_decref(value);
	return 0;
}

static int render_if(Renderer *r, const char *text, size_t length, Error **err)
{
	static const char *const ends[] = { "elif", "else", "endif", NULL };
	gboolean outer = r->skip, done = outer, hit = FALSE, last = FALSE;
	for (;;) {
		if (!done && !last && condition(r, text, length, &hit, err) < 0)
			return -1;
		r->skip = done || !hit;
		done = done || hit;
		g_autofree char *end = NULL;
		if (render_until(r, ends, &end, err) < 0)
			return -1;
		r->skip = outer;
		if (strcmp(end, "endif") == 0)
			return 0;
		if (last)
			return template_fail(&r->scope, err, "\"%s\" after else", end);
		last = strcmp(end, "else") == 0;
		hit = last && !done;
		g_autofree char *name = tag_name(
		    &g_array_index(r->pieces, Piece, r->at - 1), &text, &length);
	}
}

/* "x in list", "k, v in map" */
typedef struct ForHead {
	char *first, *second; /* second NULL */
	const char *list;
	size_t list_length;
} ForHead;

static gboolean is_name(const char *text)
{
	if (!g_ascii_isalpha(*text) && *text != '_')
		return FALSE;
	for (; *text; text++)
		if (!g_ascii_isalnum(*text) && *text != '_')
			return FALSE;
	return TRUE;
}

static int parse_for(Renderer *r, const char *text, size_t length, ForHead *head, Error **err)
{
	const char *in = g_strstr_len(text, (gssize)length, " in ");
	if (!in)
		return template_fail(&r->scope, err, "for without in");
	g_autofree char *names = g_strndup(text, (gsize)(in - text));
	g_auto(GStrv) parts = g_strsplit(names, ",", 3);
	guint n = g_strv_length(parts);
	for (guint i = 0; i < n; i++)
		if (!is_name(g_strstrip(parts[i])))
			return template_fail(&r->scope, err, "\"%s\" is not a name", parts[i]);
	if (n < 1 || n > 2)
		return template_fail(&r->scope, err, "for takes one or two names");
	head->first = g_strdup(parts[0]);
	head->second = n == 2 ? g_strdup(parts[1]) : NULL;
	head->list = in + 4;
	head->list_length = length - (size_t)(head->list - text);
	return 0;
}

static json_t *loop_state(size_t i, size_t n)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:b,s:b}", "Counter", (json_int_t)i + 1, "Counter0",
	    (json_int_t)i, "Revcounter", (json_int_t)(n - i), "Revcounter0",
	    (json_int_t)(n - i - 1), "First", i == 0, "Last", i + 1 == n);
}

/* One pass over the body, which begins at piece `body`. */
static int render_round(Renderer *r, guint body, json_t *locals, char **ret_end, Error **err)
{
	static const char *const ends[] = { "else", "empty", "endfor", NULL };
	g_clear_pointer(ret_end, g_free);
	r->at = body;
	if (template_spend(&r->scope, 0, err) < 0) {
		json_decref(locals);
		return -1;
	}
	g_ptr_array_add(r->scope.locals, locals);
	int rc = render_until(r, ends, ret_end, err);
	g_ptr_array_remove_index(r->scope.locals, r->scope.locals->len - 1);
	return rc;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int render_rounds(
    Renderer *r, guint body, const ForHead *head, const json_t *list, char **ret_end, Error **err)
{
	size_t n = json_is_object(list) ? json_object_size(list) : json_array_size(list), i = 0;
	if (json_is_object(list)) {
		/* In order of the keys, so that a template gives the same twice. */
		g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
		const char *key;
		json_t *item;
		json_object_foreach((json_t *)list, key, item)
			g_ptr_array_add(keys, g_strdup(key));
		g_ptr_array_sort(keys, compare_keys);
		for (; i < n; i++) {
			json_t *locals = json_object();
			json_object_set_new(locals, head->first, json_string(keys->pdata[i]));
			if (head->second)
				json_object_set(
				    locals, head->second, json_object_get(list, keys->pdata[i]));
			json_object_set_new(locals, "forloop", loop_state(i, n));
			if (render_round(r, body, locals, ret_end, err) < 0)
				return -1;
		}
		return 0;
	}
	for (; i < n; i++) {
		json_t *locals = json_object();
		json_object_set(locals, head->first, json_array_get(list, i));
		json_object_set_new(locals, "forloop", loop_state(i, n));
		if (render_round(r, body, locals, ret_end, err) < 0)
			return -1;
	}
	return 0;
}

static int render_for_list(Renderer *r, const ForHead *head, Error **err)
{
	guint body = r->at;
	json_t *list = NULL;
	g_autofree char *end = NULL;
	gboolean outer = r->skip;
	if (!outer && template_evaluate(&r->scope, head->list, head->list_length, &list, err) < 0)
		return -1;
	int rc = list ? render_rounds(r, body, head, list, &end, err) : 0;
	json_decref(list);
	gboolean none = !end && !outer;
	if (rc == 0 && !end) {
		/* Not once: find the end of the body without rendering it. */
		r->skip = TRUE;
		rc = render_round(r, body, json_object(), &end, err);
		r->skip = outer;
	}
	if (rc == 0 && strcmp(end, "endfor") != 0) {
		static const char *const ends[] = { "endfor", NULL };
		g_autofree char *last = NULL;
		r->skip = outer || !none;
		rc = render_until(r, ends, &last, err);
		r->skip = outer;
	}
	return rc;
}

static int render_for(Renderer *r, const char *text, size_t length, Error **err)
{
	ForHead head = { 0 };
	int rc = parse_for(r, text, length, &head, err);
	if (rc == 0)
		rc = render_for_list(r, &head, err);
	g_free(head.first);
	g_free(head.second);
	return rc;
}

/* "name = expression" into the innermost scope. */
static int assign(Renderer *r, const char *text, size_t length, json_t *scope, Error **err)
{
	const char *equals = memchr(text, '=', length);
	if (!equals)
		return template_fail(&r->scope, err, "an assignment has no =");
	g_autofree char *name = g_strndup(text, (gsize)(equals - text));
	if (!is_name(g_strstrip(name)))
		return template_fail(&r->scope, err, "\"%s\" is not a name", name);
	json_t *value;
	if (r->skip)
		return 0;
	if (template_evaluate(
		&r->scope, equals + 1, length - (size_t)(equals + 1 - text), &value, err) < 0)
		return -1;
	json_object_set_new(scope, name, value);
	return 0;
}

static int render_set(Renderer *r, const char *text, size_t length, Error **err)
{
	return assign(r, text, length, r->scope.locals->pdata[r->scope.locals->len - 1], err);
}

static int render_with(Renderer *r, const char *text, size_t length, Error **err)
{
	static const char *const ends[] = { "endwith", NULL };
	json_t *locals = json_object();
	g_autofree char *end = NULL;
	int rc = assign(r, text, length, locals, err);
	g_ptr_array_add(r->scope.locals, locals);
	if (rc == 0)
		rc = render_until(r, ends, &end, err);
	g_ptr_array_remove_index(r->scope.locals, r->scope.locals->len - 1);
	return rc;
}

static int render_firstof(Renderer *r, const char *text, size_t length, Error **err)
{
	g_autofree char *all = g_strndup(text, length);
	g_auto(GStrv) parts = g_strsplit_set(all, " \t\n", 100);
	for (int i = 0; parts[i] && !r->skip; i++) {
		json_t *value;
		if (!*parts[i])
			continue;
		if (template_evaluate(&r->scope, parts[i], strlen(parts[i]), &value, err) < 0)
			return -1;
		gboolean hit = template_truth(value);
		g_autofree char *out = template_text(value);
		json_decref(value);
		if (hit)
			return write_out(r, out, strlen(out), err);
	}
	return 0;
}

/* Escaping is off in Incus's templates; the tags that speak of it do nothing more. */
static int render_autoescape(Renderer *r, const char *text, size_t length, Error **err)
{
	static const char *const ends[] = { "endautoescape", NULL };
	g_autofree char *end = NULL;
	return render_until(r, ends, &end, err);
}

static int render_comment(Renderer *r, const char *text, size_t length, Error **err)
{
	static const char *const ends[] = { "endcomment", NULL };
	g_autofree char *end = NULL;
	gboolean outer = r->skip;
	r->skip = TRUE;
	int rc = render_until(r, ends, &end, err);
	r->skip = outer;
	return rc;
}

static int render_spaceless(Renderer *r, const char *text, size_t length, Error **err)
{
	static const char *const ends[] = { "endspaceless", NULL };
	g_autofree char *end = NULL;
	gsize from = r->out->len;
	if (render_until(r, ends, &end, err) < 0)
		return -1;
	/* Blanks between tags go. */
	g_autofree char *body = g_strdup(r->out->str + from);
	g_string_truncate(r->out, from);
	for (const char *p = body; *p; p++) {
		g_string_append_c(r->out, *p);
		size_t blank = *p == '>' ? strspn(p + 1, " \t\r\n") : 0;
		if (blank && p[1 + blank] == '<')
			p += blank;
	}
	return 0;
}

static const struct {
	const char *name;
	int (*render)(Renderer *r, const char *text, size_t length, Error **err);
} tags[] = {
	{ "if", render_if },
	{ "for", render_for },
	{ "set", render_set },
	{ "with", render_with },
	{ "firstof", render_firstof },
	{ "autoescape", render_autoescape },
	{ "comment", render_comment },
	{ "spaceless", render_spaceless },
};

static int render_tag(Renderer *r, const char *name, const char *rest, size_t length, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(tags); i++) {
		if (strcmp(tags[i].name, name) != 0)
			continue;
		if (++r->scope.budget.depth > TEMPLATE_DEPTH)
			return template_fail(&r->scope, err, "nested too deeply");
		int rc = tags[i].render(r, rest, length, err);
		r->scope.budget.depth--;
		return rc;
	}
	return template_fail(&r->scope, err, "tag \"%s\" is not supported", name);
}

/* Renders up to a tag whose name is one of ends (NULL: to the end of the template). */
static int render_until(Renderer *r, const char *const *ends, char **ret_end, Error **err)
{
	while (r->at < r->pieces->len) {
		const Piece *piece = &g_array_index(r->pieces, Piece, r->at++);
		r->scope.line = piece->line;
		const char *rest;
		size_t length;
		int rc;
		if (piece->kind == PIECE_TEXT) {
			rc = write_out(r, piece->start, piece->length, err);
		} else if (piece->kind == PIECE_VALUE) {
			rc = render_value(r, piece, err);
		} else {
			g_autofree char *name = tag_name(piece, &rest, &length);
			if (ends && g_strv_contains(ends, name)) {
				*ret_end = g_steal_pointer(&name);
				return 0;
			}
			rc = render_tag(r, name, rest, length, err);
		}
		if (rc < 0)
			return -1;
	}
	return ends ? template_fail(&r->scope, err, "a block is not closed") : 0;
}

int template_render(
    const char *source, size_t length, const json_t *context, GString *out, Error **err)
{
	if (length > SOURCE_MAX)
		return error_set(err, ERROR_INVALID, "The template is too long");
	if (!g_utf8_validate(source, (gssize)length, NULL))
		return error_set(err, ERROR_INVALID, "The template is not valid UTF-8");
	g_autoptr(GPtrArray) locals = g_ptr_array_new_with_free_func(release);
	g_autoptr(GArray) pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
	Renderer r = { .pieces = pieces, .out = out };
	r.scope = (TemplateScope){ .context = context, .locals = locals, .line = 1,
		.budget = { .steps = TEMPLATE_STEPS, .bytes = TEMPLATE_BYTES } };
	g_ptr_array_add(locals, json_object());
	gsize before = out->len;
	if (cut(&r, source, length, err) == 0 && render_until(&r, NULL, NULL, err) == 0)
		return 0;
	g_string_truncate(out, before);
	return -1;
}
