/* What the emitters and the front doors rely on, checked where the schema's author sees it. */
#include "api/gen/model.h"
#include <string.h>

/* "name" or, in the body of a request, "profile.name". */
static gboolean has_path(const GenMessage *message, const char *path)
{
	g_auto(GStrv) parts = g_strsplit(path, ".", -1);

	for (char **part = parts; *part; part++) {
		const GenField *field = message ? gen_field(message, *part) : NULL;
		if (!field)
			return FALSE;
		message = field->message;
	}
	return TRUE;
}

static void check_names(Gen *gen, const GenMethod *method, const char *what,
    const char *template_text, const GenMessage *message)
{
	g_auto(GStrv) names = gen_template_names(template_text);

	for (char **name = names; *name; name++)
		if (!has_path(message, *name) && !has_path(method->input, *name))
			gen_error(gen, "%s: %s names \"%s\", which %s does not have", method->path,
			    what, *name, message->name);
}

static void check_location(Gen *gen, const GenMethod *method)
{
	const GenMessage *item = method->input;

	if (method->options->envelope == PB__ENVELOPE__LIST) {
		const GenField *field =
		    method->output->fields->len == 1 ? method->output->fields->pdata[0] : NULL;
		if (!field || !field->repeated || !field->message) {
			gen_error(gen, "%s: a LIST reply has one field, a repeated message",
			    method->path);
			return;
		}
		item = field->message;
		if (*method->options->group && !gen_field(item, method->options->group))
			gen_error(gen, "%s: group is no field of %s", method->path, item->name);
	}
	check_names(gen, method, "location", method->options->location, item);
}

static void check_etag(Gen *gen, const GenMethod *method)
{
	g_auto(GStrv) fields = g_strsplit(method->options->etag, ",", -1);

	if (!*method->options->etag || !strcmp(method->options->etag, "*") ||
	    strcmp(method->verb ? method->verb : "", "GET"))
		return;
	for (char **field = fields; *field; field++)
		if (!gen_field(method->output, *field))
			gen_error(gen, "%s: etag names \"%s\", which %s does not have",
			    method->path, *field, method->output->name);
}

static void check_method(Gen *gen, const GenMethod *method)
{
	if (method->http_path)
		check_names(gen, method, "its path", method->http_path, method->input);
	if (method->body && strcmp(method->body, "*") && !gen_field(method->input, method->body))
		gen_error(gen, "%s: the body \"%s\" is no field of %s", method->path, method->body,
		    method->input->name);
	if (!*method->options->object)
		gen_error(gen, "%s: no object: say what access is checked on", method->path);
	check_location(gen, method);
	check_etag(gen, method);
}

static void check_routes(Gen *gen)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (guint i = 0; i < gen->methods->len; i++) {
		const GenMethod *method = gen->methods->pdata[i];
		char *route;
		if (!method->verb)
			continue;
		route = g_strconcat(
		    method->verb, " ", method->http_path, " ", method->options->content_type, NULL);
		if (g_hash_table_contains(seen, route))
			gen_error(gen, "%s: route %s is taken", method->path, route);
		g_hash_table_add(seen, route);
	}
}

/* A flattened field stands for its message; beside it only what never shows in JSON. */
static void check_flatten(Gen *gen, const GenMessage *message)
{
	unsigned flattened = 0, others = 0;

	for (guint i = 0; i < message->fields->len; i++) {
		const GenField *field = message->fields->pdata[i];
		if (field->options->flatten)
			flattened++;
		else if (!*field->options->header && !field->options->data)
			others++;
	}
	if (flattened && (flattened > 1 || others))
		gen_error(gen, "%s: a flattened message has one field", message->name);
}

void gen_check(Gen *gen)
{
	for (guint i = 0; i < gen->methods->len; i++)
		check_method(gen, gen->methods->pdata[i]);
	for (guint i = 0; i < gen->messages->len; i++) {
		check_flatten(gen, gen->messages->pdata[i]);
	}
	check_routes(gen);
}
