#pragma once
/*
 * Renders the text templates of images (`{{ container.name }}`, `{% if %}`) and of names of
 * snapshots: the part of the pongo2/Django language that images use. It reads nothing but the
 * context it is given: no files, no environment, no include, import or extends. Rendering is
 * bounded in depth, steps and output, so a hostile template costs a bounded time and then fails.
 *
 * The language: {{ expression|filter:argument }}, {# comments #}, {%- -%} whitespace control;
 * if/elif/else/endif, for x in y / for k, v in y / else / endfor (forloop.Counter, Counter0,
 * Revcounter, Revcounter0, First, Last), set x = ..., with x=... / endwith, firstof, comment,
 * autoescape, spaceless; and or not in == != < > <= >= + - * / %; a.b, a["b"], f(x).
 * Filters: those of Django that make text, and date:"2006-01-02 15:04:05" (a layout of Go's time
 * package). Functions: config_get(key, default), which reads the context's "config" object.
 */
#include "sdk/base/error.h"
#include <glib.h>
#include <jansson.h>

/* context is a JSON object: "trigger", "path", "container" and "instance" {name, type,
 * architecture, ephemeral, privileged}, "config", "devices", "properties". Values that are absent
 * render as "". Appends to `out`; on failure (ERROR_INVALID, with the line) `out` is as it was. */
int template_render(const char *source, size_t length, const json_t *context, GString *out,
    Error **err);
