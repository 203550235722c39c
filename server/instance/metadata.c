#include "server/instance/metadata.h"
#include "server/image/metadata.h"
#include "server/instance/private.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define METADATA "metadata.yaml"
#define TEMPLATES "templates"

int metadata_load(int folder_fd, Arena *arena, Pb__ImageMetadata **ret_metadata, Error **err)
{
	g_autofree char *yaml = NULL;
	size_t length = 0;
	Error *error = NULL;
	if (file_read(folder_fd, METADATA, FILE_LINKS_NONE, IMAGE_METADATA_MAX, &yaml, &length,
		&error) == 0)
		return image_metadata_parse(yaml, length, arena, ret_metadata, err);
	if (error->kind != ERROR_NOT_FOUND)
		return error_propagate(err, error);
	error_free(error);
	return error_set(err, ERROR_NOT_FOUND, "metadata not found");
}

int metadata_store(int folder_fd, const Pb__ImageMetadata *metadata, Error **err)
{
	if (image_metadata_check(metadata, err) < 0)
		return -1;
	g_autofree char *yaml = image_metadata_write(metadata);
	size_t length = strlen(yaml);
	if (length > IMAGE_METADATA_MAX)
		return error_set(
		    err, ERROR_TOO_LARGE, "More than %d bytes of metadata", IMAGE_METADATA_MAX);
	return file_write_atomic(folder_fd, METADATA, yaml, length, 0644, err);
}

static int change_locked(Instance *i, MetadataChange change, void *data, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(InstanceFolder) folder = NULL;
	Pb__ImageMetadata *now;
	Error *error = NULL;
	gboolean found = TRUE;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	if (metadata_load(fd, arena, &now, &error) < 0) {
		if (error->kind == ERROR_INTERNAL)
			return error_propagate(err, error);
		error_free(error); /* one that cannot be read may be replaced */
		found = FALSE;
		now = arena_message(arena, Pb__ImageMetadata, pb__image_metadata);
	}
	return change(now, found, data, err) < 0 ? -1 : metadata_store(fd, now, err);
}

int metadata_change(Instance *i, MetadataChange change, void *data, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = change_locked(i, change, data, err);
	instance_unlock(i);
	return result;
}

/* The folder templates/, or -1; with `make`, made when it is missing. */
static int templates_open(int folder_fd, gboolean make, Error **err)
{
	if (make && file_mkdir_beneath(folder_fd, TEMPLATES, 0755, FALSE, err) < 0)
		return -1;
	return file_open_beneath(
	    folder_fd, TEMPLATES, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, err);
}

int template_list(int folder_fd, GPtrArray **ret_names, Error **err)
{
	Error *error = NULL;
	autofd int templates = templates_open(folder_fd, FALSE, &error);
	if (templates >= 0)
		return file_names(templates, ret_names, err);
	if (error->kind != ERROR_NOT_FOUND)
		return error_propagate(err, error);
	error_free(error);
	*ret_names = g_ptr_array_new_with_free_func(g_free);
	return 0;
}

/* Turns "no such file" into the words that clients know. */
static int name_missing(const char *name, Error *error, Error **err)
{
	if (error->kind != ERROR_NOT_FOUND)
		return error_propagate(err, error);
	error_free(error);
	return error_set(err, ERROR_NOT_FOUND, "template \"%s\" not found", name);
}

int template_open(int folder_fd, const char *name, int *ret_fd, uint64_t *ret_size, Error **err)
{
	struct stat st;
	Error *error = NULL;
	if (image_metadata_check_file(name, err) < 0)
		return -1;
	autofd int templates = templates_open(folder_fd, FALSE, &error);
	/* O_NONBLOCK: a FIFO that an image brought must not hang us. */
	autofd int fd = templates < 0 ?
	    -1 :
	    file_open_beneath(
		templates, name, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, FILE_LINKS_NONE, &error);
	if (fd < 0)
		return name_missing(name, error, err);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, ERROR_INVALID, "Template \"%s\" is no regular file", name);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

static int write_locked(Instance *i, const char *name, const void *text, size_t length, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	autofd int templates = templates_open(instance_folder_fd(folder), TRUE, err);
	return templates < 0 ? -1 : file_write_atomic(templates, name, text, length, 0644, err);
}

int template_write(Instance *i, const char *name, const void *text, size_t length, Error **err)
{
	if (image_metadata_check_file(name, err) < 0 || instance_lock(i, err) < 0)
		return -1;
	int result = write_locked(i, name, text, length, err);
	instance_unlock(i);
	return result;
}

static int delete_locked(Instance *i, const char *name, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	Error *error = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	autofd int templates = templates_open(instance_folder_fd(folder), FALSE, &error);
	if (templates < 0)
		return name_missing(name, error, err);
	if (unlinkat(templates, name, 0) == 0)
		return 0;
	return errno == ENOENT ?
	    error_set(err, ERROR_NOT_FOUND, "template \"%s\" not found", name) :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot delete template \"%s\"", name);
}

int template_delete(Instance *i, const char *name, Error **err)
{
	if (image_metadata_check_file(name, err) < 0 || instance_lock(i, err) < 0)
		return -1;
	int result = delete_locked(i, name, err);
	instance_unlock(i);
	return result;
}
