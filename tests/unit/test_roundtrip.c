/*
 * Random messages of every type in the schema: packed, scanned and unpacked they are the same JSON
 * text, and that text reads back into itself.
 */
#include "sdk/base/json.h"
#include "sdk/base/schema.h"
#include "sdk/base/wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20, DEPTH_MAX = 4 };

typedef struct Maker {
	GRand *rand;
	Arena *arena;
} Maker;

static ProtobufCMessage *make(
    const Maker *m, const ProtobufCMessageDescriptor *descriptor, unsigned depth);

static char *make_text(const Maker *m)
{
	static const gunichar pool[] = {'a', 'Z', '0', ' ', '"', '\\', '/', '\n', '\t', 0x01, 0x1f,
	    0x7f, '<', '&', 0xe9, 0x20ac, 0x2028, 0xfffd, 0x1f600, 0x10ffff};
	g_autoptr(GString) text = g_string_new(NULL);

	for (int n = g_rand_int_range(m->rand, 0, 12); n > 0; n--)
		g_string_append_unichar(
		    text, pool[g_rand_int_range(m->rand, 0, G_N_ELEMENTS(pool))]);
	return arena_strdup(m->arena, text->str);
}

static int64_t make_number(const Maker *m, gboolean is_signed)
{
	int64_t value = (int64_t)(((uint64_t)g_rand_int(m->rand) << 32 | g_rand_int(m->rand)) >>
				  g_rand_int_range(m->rand, 1, 63));

	return is_signed && g_rand_boolean(m->rand) ? -value : value;
}

static void make_value(const Maker *m, const ProtobufCFieldDescriptor *field, const JsonField *json,
    void *at, unsigned depth)
{
	static const char *const embedded[] = {"", "{\"a\":[1,null]}", "\"x\"", "[]", "true"};

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at =
		    json->json ? arena_strdup(m->arena, embedded[g_rand_int_range(m->rand, 0, 5)])
			       : make_text(m);
		break;
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *data = at;
		char *text = make_text(m);
		data->data = (uint8_t *)text;
		data->len = strlen(text);
		break;
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)at = make(m, field->descriptor, depth + 1);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = g_rand_boolean(m->rand);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		*(int *)at = ((const ProtobufCEnumDescriptor *)field->descriptor)->values[0].value;
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		*(double *)at = g_rand_double_range(m->rand, -1e6, 1e6);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		*(float *)at = (float)g_rand_double(m->rand);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		*(int64_t *)at = make_number(m, TRUE);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		*(int64_t *)at = make_number(m, FALSE);
		break;
	default:
		*(uint32_t *)at = (uint32_t)make_number(m, TRUE) & 0x7fffffff;
	}
}

static void make_repeated(const Maker *m, ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const JsonField *json, unsigned depth)
{
	size_t n = depth < DEPTH_MAX ? (size_t)g_rand_int_range(m->rand, 0, 4) : 0;
	size_t size = schema_value_size(field->type);
	char *items = arena_alloc(m->arena, n * size + 1);

	for (size_t i = 0; i < n; i++) {
		make_value(m, field, json, items + i * size, depth);
		if (json->is_map) { /* keys are unique */
			ProtobufCMessage *entry = *(ProtobufCMessage **)(items + i * size);
			char **key = (char **)((char *)entry + entry->descriptor->fields[0].offset);
			*key = arena_printf(m->arena, "%zu%s", i, *key);
		}
	}
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	*(void **)((char *)message + field->offset) = items;
}

static void make_field(const Maker *m, ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const JsonField *json, unsigned depth)
{
	void *at = (char *)message + field->offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		make_repeated(m, message, field, json, depth);
	} else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		uint32_t *chosen = (uint32_t *)((char *)message + field->quantifier_offset);
		if (*chosen || depth >= DEPTH_MAX || g_rand_boolean(m->rand))
			return;
		make_value(m, field, json, at, depth);
		*chosen = field->id;
	} else if (field->type != PROTOBUF_C_TYPE_MESSAGE || depth < DEPTH_MAX) {
		make_value(m, field, json, at, depth);
	}
}

static ProtobufCMessage *make(
    const Maker *m, const ProtobufCMessageDescriptor *descriptor, unsigned depth)
{
	ProtobufCMessage *message = arena_alloc(m->arena, descriptor->sizeof_message);
	const JsonMessage *json = schema_json(descriptor);

	protobuf_c_message_init(descriptor, message);
	if (json->well_known == JSON_TIMESTAMP) {
		*(int64_t *)((char *)message + descriptor->fields[0].offset) = g_rand_int(m->rand);
		*(int32_t *)((char *)message + descriptor->fields[1].offset) =
		    g_rand_int_range(m->rand, 0, 1000000000);
		return message;
	}
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		make_field(m, message, &descriptor->fields[i], &json->fields[i], depth);
	return message;
}

static ProtobufCMessage *repack(const ProtobufCMessage *message, Arena *arena)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = arena_alloc(arena, size + 1);
	g_autoptr(Error) err = NULL;

	protobuf_c_message_pack(message, bytes);
	if (wire_check(message->descriptor, bytes, size, &err) < 0)
		fail_msg("%s: %s", message->descriptor->name, err->message);
	return protobuf_c_message_unpack(message->descriptor, arena_allocator(arena), size, bytes);
}

static void assert_same(
    const ProtobufCMessageDescriptor *descriptor, const GString *a, const GString *b)
{
	gsize at = 0;

	while (at < a->len && a->str[at] == b->str[at])
		at++;
	if (!g_string_equal(a, b))
		fail_msg("%s differs at byte %zu: %.40s | %.40s", descriptor->name, at,
		    a->str + (at > 20 ? at - 20 : 0), b->str + (at > 20 ? at - 20 : 0));
}

static void one_round(const Maker *m, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = make(m, descriptor, 0);
	ProtobufCMessage *unpacked = repack(message, m->arena);
	ProtobufCMessage *read = arena_alloc(m->arena, descriptor->sizeof_message);
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GString) again = g_string_new(NULL);
	g_autoptr(Error) err = NULL;

	assert_non_null(unpacked);
	json_write(text, message, JSON_RECURSION_ALL, 0);
	json_write(again, unpacked, JSON_RECURSION_ALL, 0);
	assert_same(descriptor, text, again);
	protobuf_c_message_init(descriptor, read);
	if (json_read(text->str, text->len, read, m->arena, &err) < 0)
		fail_msg("%s: %s in %s", descriptor->name, err->message, text->str);
	g_string_truncate(again, 0);
	json_write(again, read, JSON_RECURSION_ALL, 0);
	assert_same(descriptor, text, again);
}

static void random_messages(void **state)
{
	guint32 seed =
	    g_getenv("SEED") ? (guint32)strtoul(g_getenv("SEED"), NULL, 10) : g_random_int();
	GRand *rand = g_rand_new_with_seed(seed);

	print_message("SEED=%u\n", seed);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < schema_n_messages; i++) {
			g_autoptr(Arena) arena = arena_new();
			Maker maker = {rand, arena};
			one_round(&maker, schema_messages[i].descriptor);
		}
	g_rand_free(rand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_messages)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
