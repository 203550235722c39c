/*
 * What every gRPC tool asks a server: reflection (v1 and v1alpha, the same messages) and health.
 * The messages are few and fixed, so they are read and written field by field.
 */
#include "server/rpc/grpc_call.h"
#include "server/rpc/wire_out.h"
#include "server/rpc/worker.h"
#include <grpc/byte_buffer_reader.h>
#include <string.h>

/* --- the schema's files, by symbol --- */

typedef struct File {
	const uint8_t *data;      /* a FileDescriptorProto */
	size_t length;
	char *name;
	GPtrArray *dependencies;  /* names */
} File;

static GPtrArray *files;
static GHashTable *files_by_name, *files_by_symbol;
static GPtrArray *services;

enum { /* field numbers of descriptor.proto */
	FILE_NAME = 1,
	FILE_PACKAGE = 2,
	FILE_DEPENDENCY = 3,
	FILE_MESSAGE = 4,
	FILE_ENUM = 5,
	FILE_SERVICE = 6,
	FILE_EXTENSION = 7,
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
	MESSAGE_EXTENSION = 6,
	SERVICE_METHOD = 2,
	ANY_NAME = 1,
};

static char *text_of(const WireField *field)
{
	return g_strndup((const char *)field->data, field->length);
}

static char *name_in(const WireField *message)
{
	const uint8_t *p = message->data, *end = p + message->length;
	for (WireField field; wire_in_next(&p, end, &field);)
		if (field.number == ANY_NAME && field.data)
			return text_of(&field);
	return g_strdup("");
}

static char *qualify(const char *scope, const WireField *message)
{
	g_autofree char *name = name_in(message);
	return *scope ? g_strconcat(scope, ".", name, NULL) : g_strdup(name);
}

static void add_symbol(File *file, const char *scope, const WireField *message)
{
	g_hash_table_replace(files_by_symbol, qualify(scope, message), file);
}

static void add_message(File *file, const char *scope, const WireField *message)
{
	g_autofree char *name = qualify(scope, message);
	const uint8_t *p = message->data, *end = p + message->length;
	add_symbol(file, scope, message);
	for (WireField field; wire_in_next(&p, end, &field);) {
		if (field.number == MESSAGE_NESTED && field.data)
			add_message(file, name, &field);
		else if ((field.number == MESSAGE_ENUM || field.number == MESSAGE_EXTENSION) &&
		    field.data)
			add_symbol(file, name, &field);
	}
}

static void add_service(File *file, const char *scope, const WireField *service)
{
	g_autofree char *name = qualify(scope, service);
	const uint8_t *p = service->data, *end = p + service->length;
	add_symbol(file, scope, service);
	for (WireField field; wire_in_next(&p, end, &field);)
		if (field.number == SERVICE_METHOD && field.data)
			add_symbol(file, name, &field);
	g_ptr_array_add(services, g_steal_pointer(&name));
}

static void add_file(const WireField *whole)
{
	File *file = g_new0(File, 1);
	g_autofree char *package = g_strdup("");
	const uint8_t *p = whole->data, *end = p + whole->length;
	file->data = whole->data;
	file->length = whole->length;
	file->name = g_strdup("");
	file->dependencies = g_ptr_array_new();
	for (WireField field; wire_in_next(&p, end, &field);) {
		if (!field.data)
			continue;
		if (field.number == FILE_NAME) {
			g_free(file->name);
			file->name = text_of(&field);
		} else if (field.number == FILE_PACKAGE) {
			g_free(package);
			package = text_of(&field);
		} else if (field.number == FILE_DEPENDENCY) {
			g_ptr_array_add(file->dependencies, text_of(&field));
		}
	}
	p = whole->data;
	for (WireField field; wire_in_next(&p, end, &field);) {
		if (field.number == FILE_MESSAGE && field.data)
			add_message(file, package, &field);
		else if (field.number == FILE_SERVICE && field.data)
			add_service(file, package, &field);
		else if ((field.number == FILE_ENUM || field.number == FILE_EXTENSION) &&
		    field.data)
			add_symbol(file, package, &field);
	}
	g_ptr_array_add(files, file);
	g_hash_table_replace(files_by_name, file->name, file);
}

static gpointer index_files(gpointer data)
{
	const uint8_t *p = schema_descriptor_set, *end = p + schema_descriptor_set_size;
	files = g_ptr_array_new();
	services = g_ptr_array_new();
	files_by_name = g_hash_table_new(g_str_hash, g_str_equal);
	files_by_symbol = g_hash_table_new(g_str_hash, g_str_equal);
	for (WireField field; wire_in_next(&p, end, &field);)
		if (field.number == 1 && field.data)
			add_file(&field);
	static const char *const own[] = { "grpc.health.v1.Health",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection" };
	for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
		g_ptr_array_add(services, (gpointer)own[i]);
	return files;
}

/* --- reflection --- */

enum { /* ServerReflectionRequest and -Response */
	ASK_FILE = 3,
	ASK_SYMBOL = 4,
	ASK_EXTENSION = 5,
	ASK_EXTENSION_NUMBERS = 6,
	ASK_SERVICES = 7,
	TELL_HOST = 1,
	TELL_REQUEST = 2,
	TELL_FILES = 4,
	TELL_EXTENSION_NUMBERS = 5,
	TELL_SERVICES = 6,
	TELL_ERROR = 7,
};

/* The file and all it needs, each once. */
static void put_files(GByteArray *out, const File *file, GHashTable *seen)
{
	if (!g_hash_table_add(seen, file->name))
		return;
	wire_out_bytes(out, 1, file->data, file->length);
	for (guint i = 0; i < file->dependencies->len; i++) {
		const File *other = g_hash_table_lookup(
		    files_by_name, file->dependencies->pdata[i]);
		if (other)
			put_files(out, other, seen);
	}
}

static void tell_error(GByteArray *out, grpc_status_code code, const char *text)
{
	g_autoptr(GByteArray) error = g_byte_array_new();
	wire_out_varint_field(error, 1, code);
	wire_out_string(error, 2, text);
	wire_out_bytes(out, TELL_ERROR, error->data, error->len);
}

static void tell_missing(GByteArray *out, const char *what)
{
	g_autofree char *text = g_strdup_printf("\"%s\" not found", what);
	tell_error(out, GRPC_STATUS_NOT_FOUND, text);
}

static void tell_files(GByteArray *out, const File *file, const char *asked)
{
	if (!file) {
		tell_missing(out, asked);
		return;
	}
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GByteArray) list = g_byte_array_new();
	put_files(list, file, seen);
	wire_out_bytes(out, TELL_FILES, list->data, list->len);
}

static void tell_services(GByteArray *out)
{
	g_autoptr(GByteArray) list = g_byte_array_new();
	for (guint i = 0; i < services->len; i++) {
		g_autoptr(GByteArray) one = g_byte_array_new();
		wire_out_string(one, 1, services->pdata[i]);
		wire_out_bytes(list, 1, one->data, one->len);
	}
	wire_out_bytes(out, TELL_SERVICES, list->data, list->len);
}

static void answer_question(GByteArray *out, const WireField *field)
{
	g_autofree char *asked = field->data ? text_of(field) : g_strdup("");
	switch (field->number) {
	case ASK_FILE:
		tell_files(out, g_hash_table_lookup(files_by_name, asked), asked);
		break;
	case ASK_SYMBOL:
		tell_files(out, g_hash_table_lookup(files_by_symbol, asked), asked);
		break;
	case ASK_SERVICES:
		tell_services(out);
		break;
	case ASK_EXTENSION:
		tell_missing(out, "extension");
		break;
	case ASK_EXTENSION_NUMBERS: {
		g_autoptr(GByteArray) none = g_byte_array_new();
		wire_out_string(none, 1, asked);
		wire_out_bytes(out, TELL_EXTENSION_NUMBERS, none->data, none->len);
		break;
	}
	default:
		break;
	}
}

static grpc_slice to_slice(const GByteArray *bytes)
{
	return grpc_slice_from_copied_buffer((const char *)bytes->data, bytes->len);
}

static grpc_slice read_whole(grpc_byte_buffer *bytes)
{
	grpc_byte_buffer_reader reader;
	if (!grpc_byte_buffer_reader_init(&reader, bytes))
		return grpc_empty_slice();
	grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	return slice;
}

static int serve_reflection(GrpcCall *call, Error **err)
{
	static GOnce once = G_ONCE_INIT;
	g_once(&once, index_files, NULL);
	if (call->rq.caller->kind == CALLER_UNTRUSTED)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	for (;;) {
		grpc_byte_buffer *bytes;
		int got = grpc_call_receive(call, -1, &bytes, err);
		if (got <= 0)
			return got;
		grpc_slice slice = read_whole(bytes);
		g_autoptr(GByteArray) out = g_byte_array_new();
		const uint8_t *p = GRPC_SLICE_START_PTR(slice), *end = GRPC_SLICE_END_PTR(slice);
		wire_out_bytes(out, TELL_REQUEST, p, (size_t)(end - p));
		guint echoed = out->len;
		for (WireField field; wire_in_next(&p, end, &field);)
			answer_question(out, &field);
		if (out->len == echoed)
			tell_error(out, GRPC_STATUS_UNIMPLEMENTED, "No known question was asked");
		grpc_slice_unref(slice);
		grpc_byte_buffer_destroy(bytes);
		if (grpc_call_send(call, to_slice(out), err) < 0)
			return -1;
	}
}

/* --- health --- */

static grpc_slice serving(void)
{
	static const uint8_t message[] = { 1 << 3, 1 }; /* status: SERVING */
	return grpc_slice_from_copied_buffer((const char *)message, sizeof(message));
}

/* Says "serving" and then waits for the client to go: there is no other state to tell. */
static int watch_health(GrpcCall *call, Error **err)
{
	grpc_byte_buffer *bytes;
	if (call->rq.caller->kind == CALLER_UNTRUSTED)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (grpc_call_send(call, serving(), err) < 0)
		return -1;
	while (!request_cancelled(&call->rq)) {
		int got = grpc_call_receive(call, 1000, &bytes, NULL);
		if (got > 0)
			grpc_byte_buffer_destroy(bytes);
		else if (got == 0)
			g_usleep(200000);
	}
	return error_set(err, ERROR_CANCELLED, "Cancelled by the client");
}

gboolean grpc_builtin_serve(GrpcCall *call, const char *path)
{
	g_autoptr(Error) err = NULL;
	gboolean reflection = !strcmp(path,
				  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo") ||
	    !strcmp(path, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
	gboolean watch = !strcmp(path, "/grpc.health.v1.Health/Watch");
	if (!strcmp(path, "/grpc.health.v1.Health/Check")) {
		grpc_slice reply = serving();
		grpc_call_finish(call, &reply, NULL);
		grpc_slice_unref(reply);
		return TRUE;
	}
	if (!reflection && !watch)
		return FALSE;
	int result = worker_stream_begin(&err);
	if (result == 0) {
		result = reflection ? serve_reflection(call, &err) : watch_health(call, &err);
		worker_stream_end();
	}
	grpc_call_finish(call, NULL, result < 0 ? err : NULL);
	return TRUE;
}
