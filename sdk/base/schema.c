#include "sdk/base/schema.h"
#include <glib.h>
#include <stdlib.h>
#include <string.h>

/* Open addressing over descriptor addresses; twice as many places as messages, a power of two. */
typedef struct Table {
	size_t mask;
	const JsonMessage **rows;
} Table;

static size_t place_of(const Table *table, const ProtobufCMessageDescriptor *descriptor)
{
	size_t place = ((uintptr_t)descriptor >> 5) & table->mask;

	while (table->rows[place] && table->rows[place]->descriptor != descriptor)
		place = (place + 1) & table->mask;
	return place;
}

static Table *table_new(void)
{
	Table *table = g_new0(Table, 1);
	size_t size = 16;

	while (size < 2 * (size_t)schema_n_messages)
		size *= 2;
	table->mask = size - 1;
	table->rows = g_new0(const JsonMessage *, size);
	for (unsigned i = 0; i < schema_n_messages; i++)
		table->rows[place_of(table, schema_messages[i].descriptor)] = &schema_messages[i];
	return table;
}

const JsonMessage *schema_json(const ProtobufCMessageDescriptor *descriptor)
{
	static Table *table; /* for the life of the program */

	if (g_once_init_enter(&table))
		g_once_init_leave(&table, table_new());
	return table->rows[place_of(table, descriptor)];
}

static int compare_path(const void *key, const void *row)
{
	return strcmp(key, ((const SchemaMethod *)row)->path);
}

const SchemaMethod *schema_method_by_path(const char *path)
{
	return bsearch(
	    path, schema_methods, schema_n_methods, sizeof(*schema_methods), compare_path);
}

int schema_field_by_json_name(const JsonMessage *message, const char *name, size_t length)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const char *json_name = message->fields[i].json_name;
		if (!strncmp(json_name, name, length) && !json_name[length])
			return (int)i;
	}
	return -1;
}

size_t schema_value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	default:
		return sizeof(uint32_t);
	}
}
