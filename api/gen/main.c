/* protoc-gen-incus: what the schema says, in every form that the rest of the tree needs. */
#include "api/gen/model.h"
#include <stdio.h>

static GByteArray *read_all(FILE *in)
{
	GByteArray *bytes = g_byte_array_new();
	uint8_t chunk[65536];
	size_t n;

	while ((n = fread(chunk, 1, sizeof(chunk), in)) > 0)
		g_byte_array_append(bytes, chunk, (guint)n);
	return bytes;
}

static int reply(const Gen *gen)
{
	Google__Protobuf__Compiler__CodeGeneratorResponse response =
	    GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
	uint8_t *bytes;
	size_t size;

	response.has_supported_features = TRUE;
	response.supported_features =
	    GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;
	if (gen->errors->len) {
		response.error = gen->errors->str;
	} else {
		response.n_file = gen->outputs->len;
		response.file =
		    (Google__Protobuf__Compiler__CodeGeneratorResponse__File **)gen->outputs->pdata;
	}
	size = google__protobuf__compiler__code_generator_response__get_packed_size(&response);
	bytes = g_malloc(size);
	google__protobuf__compiler__code_generator_response__pack(&response, bytes);
	return fwrite(bytes, 1, size, stdout) == size && !fflush(stdout) ? 0 : 1;
}

int main(void)
{
	GByteArray *bytes = read_all(stdin);
	Google__Protobuf__Compiler__CodeGeneratorRequest *request =
	    google__protobuf__compiler__code_generator_request__unpack(
		NULL, bytes->len, bytes->data);
	Gen *gen;

	if (!request) {
		fputs("protoc-gen-incus: cannot read protoc's request\n", stderr);
		return 1;
	}
	gen = gen_new(request);
	gen_check(gen);
	if (!gen->errors->len) {
		emit_server(gen);
		emit_sdk(gen);
		emit_openapi(gen);
		emit_reference(gen);
		emit_schema(gen); /* last: it drops the comments */
	}
	return reply(gen);
}
