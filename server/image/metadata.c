#include "server/image/metadata.h"
#include "sdk/base/map.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "sdk/base/yaml.h"
#include <limits.h>
#include <string.h>

enum { PROPERTIES_MAX = 1000, TEMPLATES_MAX = 1000, TEXT_MAX = 64 * 1024 };

static const struct {
	int id;
	const char *name, *alias;
} architectures[] = {
	{ 1, "i686", "i386" },
	{ 2, "x86_64", "amd64" },
	{ 3, "armv7l", "armhf" },
	{ 4, "aarch64", "arm64" },
	{ 5, "ppc", "powerpc" },
	{ 6, "ppc64", "powerpc64" },
	{ 7, "ppc64le", "ppc64el" },
	{ 8, "s390x", "s390x" },
	{ 9, "mips", "mipsel" },
	{ 10, "mips64", "mips64el" },
	{ 11, "riscv32", "riscv32" },
	{ 12, "riscv64", "riscv64" },
	{ 13, "armv6l", "armel" },
	{ 14, "armv8l", "armv8l" },
	{ 15, "loongarch64", "loong64" },
};

int image_architecture_id(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(architectures); i++)
		if (strcmp(architectures[i].name, name) == 0 ||
		    strcmp(architectures[i].alias, name) == 0)
			return architectures[i].id;
	return 0;
}

const char *image_architecture_name(int id)
{
	for (size_t i = 0; i < G_N_ELEMENTS(architectures); i++)
		if (architectures[i].id == id)
			return architectures[i].name;
	return "unknown";
}

static int wrong(Error **err, const char *field)
{
	return error_set(err, ERROR_INVALID, "Invalid \"%s\" in the image's metadata.yaml", field);
}

static int read_text(const json_t *object, const char *field, Arena *arena, char **ret, Error **err)
{
	const json_t *value = json_object_get(object, field);
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) || json_string_length(value) > TEXT_MAX)
		return wrong(err, field);
	*ret = arena_strdup(arena, json_string_value(value));
	return 0;
}

static int read_number(const json_t *object, const char *field, int64_t *ret, Error **err)
{
	const json_t *value = json_object_get(object, field);
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) ||
	    units_parse_int(json_string_value(value), INT64_MIN, INT64_MAX, ret, NULL) < 0)
		return wrong(err, field);
	return 0;
}

static int read_properties(const json_t *object, Arena *arena,
    const ProtobufCMessageDescriptor *entry, size_t *ret_n, void *ret_entries, Error **err)
{
	json_t *value = json_object_get(object, "properties");
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_object(value) || json_object_size(value) > PROPERTIES_MAX)
		return wrong(err, "properties");
	g_autoptr(Config) config = config_new();
	const char *key;
	json_t *item;
	json_object_foreach(value, key, item) {
		if (json_is_null(item))
			continue;
		if (!json_is_string(item) || json_string_length(item) > TEXT_MAX)
			return wrong(err, "properties");
		config_set(config, key, json_string_value(item));
	}
	config_to_map(config, arena, entry, ret_n, ret_entries);
	return 0;
}

static int read_when(
    const json_t *object, Arena *arena, Pb__ImageMetadataTemplate *out, Error **err)
{
	const json_t *value = json_object_get(object, "when");
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_array(value))
		return wrong(err, "when");
	out->n_when = json_array_size(value);
	out->when = arena_alloc(arena, (out->n_when + 1) * sizeof(char *));
	for (size_t i = 0; i < out->n_when; i++) {
		const char *text = json_string_value(json_array_get(value, i));
		if (!text)
			return wrong(err, "when");
		out->when[i] = arena_strdup(arena, text);
	}
	return 0;
}

static int read_template(
    const json_t *object, Arena *arena, Pb__ImageMetadataTemplate *out, Error **err)
{
	char *create_only = NULL;
	if (!json_is_object(object))
		return wrong(err, "templates");
	if (read_when(object, arena, out, err) < 0 ||
	    read_text(object, "template", arena, &out->template_, err) < 0 ||
	    read_text(object, "create_only", arena, &create_only, err) < 0 ||
	    read_properties(object, arena,
		&pb__image_metadata_template__properties_entry__descriptor, &out->n_properties,
		&out->properties, err) < 0)
		return -1;
	out->create_only = create_only && g_ascii_strcasecmp(create_only, "true") == 0;
	return 0;
}

static int read_templates(const json_t *document, Arena *arena, Pb__ImageMetadata *out, Error **err)
{
	json_t *value = json_object_get(document, "templates");
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_object(value) || json_object_size(value) > TEMPLATES_MAX)
		return wrong(err, "templates");
	out->templates = arena_alloc(arena, (json_object_size(value) + 1) * sizeof(void *));
	const char *path;
	json_t *item;
	json_object_foreach(value, path, item) {
		Pb__ImageMetadata__TemplatesEntry *entry = arena_message(
		    arena, Pb__ImageMetadata__TemplatesEntry, pb__image_metadata__templates_entry);
		entry->key = arena_strdup(arena, path);
		entry->value = arena_message(
		    arena, Pb__ImageMetadataTemplate, pb__image_metadata_template);
		if (read_template(item, arena, entry->value, err) < 0)
			return -1;
		out->templates[out->n_templates++] = entry;
	}
	return 0;
}

static int check_path(const char *path, Error **err)
{
	if (name_check_absolute_path(path, err) < 0)
		return error_prefix(err, "Template path \"%s\"", path);
	g_auto(GStrv) parts = g_strsplit(path, "/", -1);
	for (int i = 0; parts[i]; i++)
		if (strcmp(parts[i], "..") == 0)
			return error_set(err, ERROR_INVALID,
			    "Template path \"%s\" leaves the root file system", path);
	return 0;
}

int image_metadata_check_file(const char *file, Error **err)
{
	if (!*file || *file == '.' || strlen(file) > NAME_MAX || strchr(file, '/') ||
	    name_check_line(file, NULL) < 0)
		return error_set(
		    err, ERROR_INVALID, "Template file name \"%s\" is not valid", file);
	return 0;
}

int image_metadata_check(const Pb__ImageMetadata *metadata, Error **err)
{
	for (size_t i = 0; i < metadata->n_templates; i++) {
		const Pb__ImageMetadata__TemplatesEntry *entry = metadata->templates[i];
		const char *file = entry->value ? entry->value->template_ : "";
		if (check_path(entry->key, err) < 0 || image_metadata_check_file(file, err) < 0)
			return -1;
	}
	return 0;
}

static int fill(const json_t *document, Arena *arena, Pb__ImageMetadata *out, Error **err)
{
	if (!json_is_object(document))
		return error_set(err, ERROR_INVALID, "The image's metadata.yaml is not a map");
	if (read_text(document, "architecture", arena, &out->architecture, err) < 0 ||
	    read_number(document, "creation_date", &out->creation_date, err) < 0 ||
	    read_number(document, "expiry_date", &out->expiry_date, err) < 0 ||
	    read_properties(document, arena, &pb__image_metadata__properties_entry__descriptor,
		&out->n_properties, &out->properties, err) < 0 ||
	    read_templates(document, arena, out, err) < 0)
		return -1;
	return image_metadata_check(out, err);
}

int image_metadata_parse(
    const char *yaml, size_t length, Arena *arena, Pb__ImageMetadata **ret_metadata, Error **err)
{
	json_t *document;
	if (length > IMAGE_METADATA_MAX)
		return error_set(err, ERROR_INVALID, "The image's metadata.yaml is too long");
	if (yaml_parse(yaml, length, &document, err) < 0)
		return error_prefix(err, "Cannot read the image's metadata.yaml");
	Pb__ImageMetadata *metadata = arena_message(arena, Pb__ImageMetadata, pb__image_metadata);
	int r = fill(document, arena, metadata, err);
	json_decref(document);
	if (r == 0)
		*ret_metadata = metadata;
	return r;
}

static json_t *map_to_json(size_t n, const void *entries)
{
	json_t *object = json_object();
	const MapEntry *const *e = entries;
	for (size_t i = 0; i < n; i++)
		json_object_set_new(object, e[i]->key, json_string(e[i]->value));
	return object;
}

static json_t *template_to_json(const Pb__ImageMetadataTemplate *t)
{
	json_t *object = json_object(), *when = json_array();
	for (size_t i = 0; i < t->n_when; i++)
		json_array_append_new(when, json_string(t->when[i]));
	json_object_set_new(object, "when", when);
	json_object_set_new(object, "create_only", json_boolean(t->create_only));
	json_object_set_new(object, "template", json_string(t->template_));
	json_object_set_new(object, "properties", map_to_json(t->n_properties, t->properties));
	return object;
}

char *image_metadata_write(const Pb__ImageMetadata *metadata)
{
	json_t *document = json_object(), *templates = json_object();
	json_object_set_new(document, "architecture", json_string(metadata->architecture));
	json_object_set_new(document, "creation_date", json_integer(metadata->creation_date));
	json_object_set_new(document, "expiry_date", json_integer(metadata->expiry_date));
	json_object_set_new(
	    document, "properties", map_to_json(metadata->n_properties, metadata->properties));
	for (size_t i = 0; i < metadata->n_templates; i++)
		if (metadata->templates[i]->value)
			json_object_set_new(templates, metadata->templates[i]->key,
			    template_to_json(metadata->templates[i]->value));
	json_object_set_new(document, "templates", templates);
	char *text = yaml_write(document);
	json_decref(document);
	return text;
}
