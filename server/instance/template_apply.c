/* Renders the templates that an instance's metadata.yaml names into its (stopped) root file system.
 */
#include "server/image/metadata.h"
#include "server/instance/file.h"
#include "server/instance/metadata.h"
#include "server/instance/private.h"
#include "sdk/base/template_render.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int load(const char *directory, Arena *arena, Pb__ImageMetadata **ret_metadata, Error **err)
{
	Error *error = NULL;
	autofd int dir = file_open_directory(directory, err);
	if (dir < 0)
		return -1;
	if (metadata_load(dir, arena, ret_metadata, &error) == 0)
		return 0;
	if (error->kind != ERROR_NOT_FOUND)
		return error_propagate(err, error);
	error_free(error); /* an empty instance has none */
	*ret_metadata = arena_message(arena, Pb__ImageMetadata, pb__image_metadata);
	return 0;
}

static json_t *json_of_config(const Config *config)
{
	json_t *object = json_object();
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		json_object_set_new(object, key, json_string(value));
	return object;
}

static json_t *context_of(
    Instance *i, const char *trigger, const char *path, const Pb__ImageMetadataTemplate *t)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	json_t *instance = json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", i->name, "type",
	    instance_type_name(i->type), "architecture",
	    image_architecture_name((int)i->architecture), "privileged",
	    config_true(config, "security.privileged") ? "true" : "false", "ephemeral",
	    i->ephemeral ? "true" : "false");
	json_t *every = json_object(), *properties = json_object();
	GHashTableIter iter;
	void *name, *device;
	g_hash_table_iter_init(&iter, devices);
	while (g_hash_table_iter_next(&iter, &name, &device))
		json_object_set_new(every, name, json_of_config(device));
	for (size_t n = 0; n < t->n_properties; n++)
		json_object_set_new(
		    properties, t->properties[n]->key, json_string(t->properties[n]->value));
	return json_pack("{s:s,s:s,s:O,s:o,s:o,s:o,s:o}", "trigger", trigger, "path", path,
	    "container", instance, "instance", instance, "config", json_of_config(config),
	    "devices", every, "properties", properties);
}

static gboolean wanted(const Pb__ImageMetadataTemplate *t, const char *trigger)
{
	for (size_t n = 0; n < t->n_when; n++)
		if (strcmp(t->when[n], trigger) == 0)
			return TRUE;
	return FALSE;
}

static int render(Instance *i, int templates, const char *path, const char *trigger,
    const Pb__ImageMetadataTemplate *t, GString *out, Error **err)
{
	g_autofree char *source = NULL;
	size_t length = 0;
	if (file_read(
		templates, t->template_, FILE_LINKS_NONE, TEMPLATE_MAX, &source, &length, err) < 0)
		return error_prefix(err, "Cannot read template \"%s\"", t->template_);
	json_t *context = context_of(i, trigger, path, t);
	int result = template_render(source, length, context, out, err);
	json_decref(context);
	return result < 0 ? error_prefix(err, "Failed to render template \"%s\"", t->template_) : 0;
}

static int apply_one(Instance *i, FileSession *session, int templates, const char *path,
    const char *trigger, const Pb__ImageMetadataTemplate *t, Error **err)
{
	FileAttributes there;
	g_autofree char *absolute = *path == '/' ? g_strdup(path) : g_strconcat("/", path, NULL);
	if (t->create_only && file_stat(session, absolute, FALSE, &there, NULL) == 0)
		return 0;
	g_autoptr(GString) text = g_string_new(NULL);
	if (render(i, templates, path, trigger, t, text, err) < 0)
		return -1;
	FileOwner keep = { -1, -1, -1 };
	autofd int fd = -1;
	if (file_replace(session, absolute, &keep, &fd, err) < 0)
		return error_prefix(err, "Cannot write template \"%s\"", path);
	if (file_write_all(fd, text->str, text->len) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot write template \"%s\"", path);
	return 0;
}

int template_apply(Instance *i, const char *directory, const char *trigger, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__ImageMetadata *metadata;
	g_autoptr(FileSession) session = NULL;
	autofd int templates = -1;
	if (load(directory, arena, &metadata, err) < 0)
		return -1;
	for (size_t n = 0; n < metadata->n_templates; n++) {
		const Pb__ImageMetadataTemplate *t = metadata->templates[n]->value;
		if (!t || !wanted(t, trigger))
			continue;
		if (!session) {
			autofd int dir = file_open_directory(directory, err);
			templates = dir < 0 ? -1 :
					      file_open_beneath(dir, "templates",
						  O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, err);
			if (templates < 0 || file_session_open(i, &session, err) < 0)
				return -1;
		}
		if (apply_one(i, session, templates, metadata->templates[n]->key, trigger, t, err) <
		    0)
			return -1;
	}
	return 0;
}
