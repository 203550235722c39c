#include "server/rpc/etag.h"
#include "sdk/base/json.h"
#include "server/rpc/field.h"
#include <string.h>

/* "[value,value]" of the named fields, each as its field is written in JSON. */
static void append_list(GString *json, const char *fields, const ProtobufCMessage *object)
{
	g_auto(GStrv) names = g_strsplit(fields, ",", -1);
	g_string_append_c(json, '[');
	for (guint i = 0; names[i]; i++) {
		const ProtobufCFieldDescriptor *field = field_find(
		    object->descriptor, names[i], strlen(names[i]));
		if (i)
			g_string_append_c(json, ',');
		if (field)
			json_write_field(json, object,
			    (unsigned)(field - object->descriptor->fields), JSON_HTML);
		else
			g_string_append(json, "null");
	}
	g_string_append_c(json, ']');
}

void etag_hash(const char *fields, const ProtobufCMessage *object, char ret_hash[ETAG_LENGTH])
{
	g_autoptr(GString) json = g_string_sized_new(1024);
	if (!strcmp(fields, "*"))
		json_write(json, object, G_MAXUINT, JSON_HTML);
	else
		append_list(json, fields, object);
	g_string_append_c(json, '\n');
	g_autofree char *hash = g_compute_checksum_for_data(
	    G_CHECKSUM_SHA256, (const guchar *)json->str, json->len);
	memcpy(ret_hash, hash, ETAG_LENGTH);
}

int etag_check(
    const char *fields, const ProtobufCMessage *object, const char *if_match, Error **err)
{
	size_t length = strlen(if_match);
	while (length && if_match[length - 1] == '"')
		length--;
	while (length && *if_match == '"') {
		if_match++;
		length--;
	}
	char actual[ETAG_LENGTH];
	etag_hash(fields, object, actual);
	if (strlen(actual) == length && !memcmp(actual, if_match, length))
		return 0;
	return error_set(err, ERROR_PRECONDITION, "ETag doesn't match: %s vs %.*s", actual,
	    (int)length, if_match);
}
