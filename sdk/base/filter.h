#pragma once
/*
 * The filter language of lists: `[not] FIELD OP VALUE [and|or ...]`, read from left to right
 * without precedence. OP is eq or ne. FIELD is a JSON name, with dots into messages and maps
 * (`config.image.os`, `devices.eth0.nictype`). VALUE is a case-insensitive regular expression,
 * anchored unless it holds ^ or $; one that does not compile is compared as text without case.
 * A value of several words stands between double quotes.
 */
#include "sdk/base/error.h"
#include <protobuf-c/protobuf-c.h>

typedef struct Filter Filter;

/* "" and NULL give a filter that fits everything. Errors are ERROR_INVALID with Incus's words
 * ("clause has no operator", ...). */
int filter_parse(const char *text, Filter **ret_filter, Error **err);
void filter_free(Filter *filter);
/* `message` is any generated message that the schema knows. Unknown fields read as "". */
gboolean filter_match(const Filter *filter, const void *message);
/* True when the filter names a field at or below `json_name`: expensive fields that nobody asks for
 * need not be filled. */
gboolean filter_uses(const Filter *filter, const char *json_name);

/* The text of the field at `path` ("config.user.foo", "snapshots.0.name"); NULL when there is none.
 * Free with g_free. */
char *filter_field(const void *message, const char *path);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Filter, filter_free)
