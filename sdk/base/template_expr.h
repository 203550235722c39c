#pragma once
/*
 * Expressions of templates: values are JSON trees, evaluated against a stack of scopes. The inside
 * of template_render.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <jansson.h>

/* What one rendering may use up; shared by all of it. */
typedef struct TemplateBudget {
	unsigned steps;   /* left: expressions, filters, loop rounds */
	size_t bytes;     /* left: of values made and output written */
	unsigned depth;   /* of nested blocks and expressions */
} TemplateBudget;

enum { TEMPLATE_STEPS = 100000, TEMPLATE_BYTES = 4 * 1024 * 1024, TEMPLATE_DEPTH = 50 };

typedef struct TemplateScope {
	const json_t *context;
	GPtrArray *locals; /* json_t * objects, the innermost last; owned */
	TemplateBudget budget;
	unsigned line;     /* of what is being rendered: for errors */
} TemplateScope;

int template_fail(TemplateScope *scope, Error **err, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Takes from the budget; -1 when it is used up. */
int template_spend(TemplateScope *scope, size_t bytes, Error **err);

/* Evaluates text[0..length) whole; a new reference. */
int template_evaluate(
    TemplateScope *scope, const char *text, size_t length, json_t **ret_value, Error **err);
/* As pongo2 prints values: "" for null, True and False, numbers without an exponent. */
char *template_text(const json_t *value);
gboolean template_truth(const json_t *value);
/* One filter; argument may be NULL. */
int template_filter(TemplateScope *scope, const char *name, const json_t *value,
    const json_t *argument, json_t **ret_value, Error **err);
