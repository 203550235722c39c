#pragma once
/*
 * The schema as the emitters see it: files, messages, fields, services and methods with their
 * options and comments resolved. Built once from protoc's CodeGeneratorRequest; nothing is freed,
 * since the generator lives for one request.
 */
#include <glib.h>
#include "google/protobuf/compiler/plugin.pb-c.h"
#include "incus/v1/options.pb-c.h"
#include "google/api/http.pb-c.h"

typedef struct GenMessage GenMessage;

typedef struct GenField {
	const Google__Protobuf__FieldDescriptorProto *proto;
	const char *json_name;
	const char *c_name;
	const char *comment;         /* "" when none */
	const Pb__FieldOptions *options; /* never NULL */
	GenMessage *message;         /* of message fields, else NULL */
	gboolean repeated, is_map;
	unsigned declared;           /* place in the message */
} GenField;

struct GenMessage {
	const char *name;            /* "incus.v1.Profile.ConfigEntry" without the package */
	const char *full_name;       /* ".incus.v1.Profile.ConfigEntry" */
	const char *c_type;          /* "Pb__Profile__ConfigEntry" */
	const char *c_lower;         /* "pb__profile__config_entry" */
	const char *comment;
	GPtrArray *fields;           /* GenField, as declared */
	GPtrArray *by_number;        /* GenField, as protobuf-c orders them */
	gboolean map_entry;
	struct GenFile *file;
};

typedef struct GenMethod {
	const Google__Protobuf__MethodDescriptorProto *proto;
	const char *snake;           /* "get_profile" */
	const char *path;            /* "/incus.v1.ProfileService/GetProfile" */
	const char *comment;
	const char *verb, *http_path, *body; /* NULL when not given */
	const Pb__MethodOptions *options;    /* never NULL */
	GenMessage *input, *output;
	struct GenService *service;
} GenMethod;

typedef struct GenService {
	const Google__Protobuf__ServiceDescriptorProto *proto;
	const char *comment;
	GPtrArray *methods;          /* GenMethod, as declared */
	struct GenFile *file;
} GenService;

typedef struct GenFile {
	const Google__Protobuf__FileDescriptorProto *proto;
	const char *base;            /* "incus/v1/profile" */
	const char *noun;            /* "profile" */
	const char *c_package;       /* "pb", else "google.protobuf" */
	const char *comment;
	GPtrArray *services;
	gboolean ours;               /* asked to generate, not only imported */
	gboolean needed;             /* its messages travel: they have JSON tables */
	gboolean guest;              /* incus-agent's: nobody else sees its services */
	GHashTable *comments;        /* "4,0,2,1" -> text */
	GHashTable *places;          /* every path that SourceCodeInfo lists */
} GenFile;

typedef struct Gen {
	const Google__Protobuf__Compiler__CodeGeneratorRequest *request;
	GPtrArray *files;            /* GenFile */
	GPtrArray *messages;         /* GenMessage of needed files, sorted by full name */
	GPtrArray *methods;          /* GenMethod, sorted by path */
	GPtrArray *guest_methods;    /* the same of incus-agent */
	GHashTable *by_name;         /* ".pkg.Message" -> GenMessage */
	GString *errors;             /* one line each; empty when the schema is good */
	GPtrArray *outputs;          /* Google__Protobuf__Compiler__CodeGeneratorResponse__File */
} Gen;

Gen *gen_new(const Google__Protobuf__Compiler__CodeGeneratorRequest *request);
/* Reports what is wrong with the schema; the generator then writes nothing. */
void gen_error(Gen *gen, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Checks what the emitters rely on: paths, bodies, envelopes, ETag and location fields. */
void gen_check(Gen *gen);
/* Adds an output file; takes `text`. */
void gen_output(Gen *gen, const char *name, GString *text);
GenField *gen_field(const GenMessage *message, const char *name);
gboolean gen_streams(const GenMethod *method);
/* Names of "{name}" parts in a template, in order; NULL-terminated. */
char **gen_template_names(const char *template_text);
/* "MethodKind", "Envelope" and friends as C constants. */
const char *gen_kind(const GenMethod *method);
const char *gen_envelope(const GenMethod *method);
/* A C string literal, or NULL for NULL and "". */
char *gen_literal(const char *text);
/* The first sentence of a comment on one line, and the comment indented as a C block comment. */
char *gen_summary(const char *comment);
void gen_c_comment(GString *out, const char *comment);

void emit_schema(Gen *gen);
void emit_server(Gen *gen);
void emit_sdk(Gen *gen);
void emit_openapi(Gen *gen);
void emit_reference(Gen *gen);
