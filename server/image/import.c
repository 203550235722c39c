#include "server/image/import.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/moment_message.h"
#include "sdk/base/own.h"
#include "server/image/hasher.h"
#include "server/image/metadata.h"
#include "server/project/usage.h"
#include "server/storage/disk_image.h"
#include "server/storage/store.h"
#include "server/storage/unpack.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

typedef enum PartKind { PART_NONE, PART_UNIFIED, PART_METADATA, PART_ROOTFS, PART_DISK } PartKind;

struct ImageImport {
	Daemon *daemon;
	char *folder; /* images/import-XXXXXX */
	Hasher *hasher;
	PartKind part; /* the last begun */
	int first_fd, second_fd;
	char *filename;
	uint64_t size;
	int64_t budget; /* bytes; -1: no limit */
};

int image_import_new(Daemon *d, ImageImport **ret_import, Error **err)
{
	g_autofree char *folder = g_build_filename(d->dir, "images", "import-XXXXXX", NULL);
	if (store_hold(d, STORE_IMAGES, err) < 0)
		return -1;
	if (!mkdtemp(folder)) {
		error_errno(err, ERROR_INTERNAL, errno, "Cannot create a folder for the image");
		store_release(d, STORE_IMAGES);
		return -1;
	}
	ImageImport *import = g_new0(ImageImport, 1);
	import->daemon = d;
	import->folder = g_steal_pointer(&folder);
	import->hasher = hasher_new();
	import->first_fd = import->second_fd = -1;
	import->budget = -1;
	*ret_import = import;
	return 0;
}

int image_import_limit(ImageImport *import, const char *project, Error **err)
{
	return project_image_budget(import->daemon, project, &import->budget, err);
}

static int check_budget(const ImageImport *import, uint64_t size, Error **err)
{
	if (import->budget >= 0 && size > (uint64_t)import->budget)
		return error_set(err, ERROR_FORBIDDEN,
		    "The image is larger than what the project's \"limits.disk\" leaves");
	return 0;
}

void image_import_free(ImageImport *import)
{
	if (!import)
		return;
	own_close_fd(&import->first_fd);
	own_close_fd(&import->second_fd);
	hasher_free(import->hasher);
	Error *err = NULL;
	if (file_remove_all(AT_FDCWD, import->folder, &err) < 0) {
		log_warn("Temporary image files stay", "path", import->folder, "err", err->message);
		error_free(err);
	}
	store_release(import->daemon, STORE_IMAGES);
	g_free(import->folder);
	g_free(import->filename);
	g_free(import);
}

static int part_kind(const ImageImport *import, const char *part, PartKind *ret, Error **err)
{
	if (import->part == PART_NONE && !*part)
		*ret = PART_UNIFIED;
	else if (import->part == PART_NONE && strcmp(part, "metadata") == 0)
		*ret = PART_METADATA;
	else if (import->part == PART_METADATA && strcmp(part, "rootfs") == 0)
		*ret = PART_ROOTFS;
	else if (import->part == PART_METADATA && strcmp(part, "rootfs.img") == 0)
		*ret = PART_DISK;
	else
		return error_set(err, ERROR_INVALID,
		    "Invalid multipart image: part \"%s\" is not expected here", part);
	return 0;
}

int image_import_part(ImageImport *import, const char *part, const char *filename, Error **err)
{
	PartKind kind = PART_NONE;
	if (part_kind(import, part, &kind, err) < 0)
		return -1;
	gboolean second = kind == PART_ROOTFS || kind == PART_DISK;
	g_autofree char *path = g_build_filename(import->folder, second ? "rootfs" : "image", NULL);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create the image file");
	*(second ? &import->second_fd : &import->first_fd) = fd;
	import->part = kind;
	/* The name that people know is the root file system's. */
	if (filename && *filename) {
		g_free(import->filename);
		import->filename = g_path_get_basename(filename);
	}
	return 0;
}

int image_import_write(ImageImport *import, const void *data, size_t length, Error **err)
{
	int fd = import->second_fd >= 0 ? import->second_fd : import->first_fd;
	if (fd < 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid image: content before its first part");
	if (check_budget(import, import->size + length, err) < 0)
		return -1;
	hasher_update(import->hasher, data, length);
	if (file_write_all(fd, data, length) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot write the image file");
	import->size += length;
	return 0;
}

static int read_metadata(ImageImport *import, Arena *arena, Pb__ImageMetadata **ret, Error **err)
{
	g_autofree char *yaml = NULL;
	size_t length;
	Error *inner = NULL;
	if (unpack_read_file(import->first_fd, "metadata.yaml", IMAGE_METADATA_MAX, &yaml, &length,
		&inner) < 0) {
		/* What the uploader sent is wrong, not the path he asked for. */
		if (inner->kind == ERROR_NOT_FOUND)
			inner->kind = ERROR_INVALID;
		error_propagate(err, inner);
		return error_prefix(err, "Invalid image");
	}
	if (image_metadata_parse(yaml, length, arena, ret, err) < 0)
		return -1;
	if (image_architecture_id((*ret)->architecture) == 0)
		return error_set(err, ERROR_INVALID, "Architecture \"%s\" of the image is unknown",
		    (*ret)->architecture);
	return 0;
}

void image_import_apply(Pb__Image *image, const ImageImportOptions *options, Arena *arena)
{
	g_autoptr(Config) properties = config_from_map(image->n_properties, image->properties);
	config_merge(properties, options->properties);
	config_to_map(properties, arena, &pb__image__properties_entry__descriptor,
	    &image->n_properties, &image->properties);
	if (options->filename && *options->filename)
		image->filename = arena_strdup(arena, options->filename);
	if (options->expires_at)
		image->expires_at = seconds_to_message(options->expires_at, arena);
	image->public_ = options->public;
	image->auto_update = options->auto_update;
	image->cached = options->cached;
	image->update_source = (Pb__ImageSource *)options->source;
	image->n_profiles = options->profiles ? g_strv_length(options->profiles) : 0;
	image->profiles = options->profiles;
}

static int describe(ImageImport *import, const ImageImportOptions *options, const char *fingerprint,
    Arena *arena, Pb__Image **ret, Error **err)
{
	Pb__ImageMetadata *metadata;
	ImageContent content = IMAGE_CONTENT_CONTAINER;
	if (read_metadata(import, arena, &metadata, err) < 0)
		return -1;
	DiskImage disk = { 0 };
	if (import->part == PART_DISK && disk_image_check(import->second_fd, &disk, err) < 0)
		return -1;
	if (import->part == PART_UNIFIED &&
	    unpack_image_content(import->first_fd, &content, err) < 0)
		return error_prefix(err, "Invalid image");
	Pb__Image *image = arena_message(arena, Pb__Image, pb__image);
	g_autoptr(Config) properties = config_from_map(
	    metadata->n_properties, metadata->properties);
	gboolean machine = import->part == PART_DISK || content == IMAGE_CONTENT_MACHINE;
	image->type = arena_strdup(arena, machine ? "virtual-machine" : "container");
	image->fingerprint = arena_strdup(arena, fingerprint);
	image->filename = arena_strdup(arena, import->filename ? import->filename : "");
	image->size = (int64_t)import->size;
	image->architecture = arena_strdup(
	    arena, image_architecture_name(image_architecture_id(metadata->architecture)));
	image->created_at = seconds_to_message(metadata->creation_date, arena);
	image->expires_at = seconds_to_message(metadata->expiry_date, arena);
	config_to_map(properties, arena, &pb__image__properties_entry__descriptor,
	    &image->n_properties, &image->properties);
	image_import_apply(image, options, arena);
	*ret = image;
	return 0;
}

static int move_file(
    ImageImport *import, const char *name, const char *fingerprint, gboolean rootfs, Error **err)
{
	g_autofree char *from = g_build_filename(import->folder, name, NULL);
	g_autofree char *to = image_path(import->daemon, fingerprint, rootfs);
	if (rename(from, to) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot store the image file");
	return 0;
}

/* Whether any project has it: then its files are in use and equal to ours. */
static int is_stored(Daemon *d, const char *fingerprint, Arena *arena, gboolean *ret, Error **err)
{
	ImageQuery query = { .fingerprint = fingerprint };
	Pb__Image **images;
	size_t n;
	if (image_list(d, &query, arena, &n, &images, err) < 0)
		return -1;
	*ret = n > 0;
	return 0;
}

static int store_locked(
    ImageImport *import, const char *project, const Pb__Image *image, Arena *arena, Error **err)
{
	gboolean stored;
	if (is_stored(import->daemon, image->fingerprint, arena, &stored, err) < 0)
		return -1;
	if (!stored &&
	    (move_file(import, "image", image->fingerprint, FALSE, err) < 0 ||
		(import->second_fd >= 0 &&
		    move_file(import, "rootfs", image->fingerprint, TRUE, err) < 0)))
		goto undo;
	if (image_insert(import->daemon, project, image, err) == 0)
		return 0;
undo:
	if (!stored) {
		g_autofree char *file = image_path(import->daemon, image->fingerprint, FALSE);
		g_autofree char *rootfs = image_path(import->daemon, image->fingerprint, TRUE);
		unlink(file);
		unlink(rootfs);
	}
	return -1;
}

int image_import_finish(ImageImport *import, const ImageImportOptions *options, Arena *arena,
    Pb__Image **ret_image, Error **err)
{
	if (import->part == PART_NONE || import->part == PART_METADATA || import->size == 0)
		return error_set(err, ERROR_INVALID, "Invalid image: %s",
		    import->part == PART_METADATA ? "it has no root file system" : "it is empty");
	if (image_import_limit(import, options->project, err) < 0 ||
	    check_budget(import, import->size, err) < 0)
		return -1;
	g_autofree char *fingerprint = hasher_finish(import->hasher);
	if (options->fingerprint && *options->fingerprint &&
	    strcmp(options->fingerprint, fingerprint) != 0)
		return error_set(err, ERROR_INVALID,
		    "Fingerprints don't match, got \"%s\" expected \"%s\"", fingerprint,
		    options->fingerprint);
	Pb__Image *image = NULL;
	if (describe(import, options, fingerprint, arena, &image, err) < 0)
		return -1;
	image_files_lock();
	int r = store_locked(import, options->project, image, arena, err);
	image_files_unlock();
	if (r == 0)
		*ret_image = image;
	return r;
}
