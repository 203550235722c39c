#include "server/instance/publish.h"
#include "sdk/base/file.h"
#include "server/image/import.h"
#include "server/image/metadata.h"
#include "server/instance/flow.h"
#include "server/instance/metadata.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/storage/disk_image.h"
#include "server/storage/pack.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_block.h"
#include <fcntl.h>
#include <string.h>
#include <time.h>

#define STAGE "create_image_from_container_pack"

int instance_publish_check(Instance *i, const InstancePublish *publish, Error **err)
{
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	if (publish->snapshot)
		return instance_snapshot_find(i, publish->snapshot, &snapshot, err);
	return instance_running(i) ?
	    error_set(err, ERROR_INVALID, "Cannot export a running instance as an image") :
	    0;
}

/* ---- what goes into metadata.yaml ---- */

static int describe(const Instance *i, const InstancePublish *publish, int folder, Arena *arena,
    char **ret_yaml, Error **err)
{
	Pb__ImageMetadata *metadata;
	Error *missing = NULL;
	if (metadata_load(folder, arena, &metadata, &missing) < 0) {
		if (missing->kind != ERROR_NOT_FOUND)
			return error_propagate(err, missing);
		error_free(missing);
		metadata = arena_message(arena, Pb__ImageMetadata, pb__image_metadata);
		metadata->creation_date = time(NULL);
	}
	if (image_architecture_id(metadata->architecture) == 0)
		metadata->architecture = (char *)image_architecture_name((int)i->architecture);
	if (publish->properties && g_hash_table_size((GHashTable *)publish->properties) > 0)
		config_to_map(publish->properties, arena,
		    &pb__image_metadata__properties_entry__descriptor, &metadata->n_properties,
		    &metadata->properties);
	if (publish->expires_at)
		metadata->expiry_date = publish->expires_at;
	*ret_yaml = image_metadata_write(metadata);
	return 0;
}

/* ---- the archive ---- */

static int pack_part(Pack *pack, int folder, const char *name, gboolean needed, Error **err)
{
	Error *missing = NULL;
	autofd int fd = file_open_beneath(
	    folder, name, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, &missing);
	if (fd >= 0)
		return pack_tree(pack, name, fd, err);
	if (needed || missing->kind != ERROR_NOT_FOUND)
		return error_propagate(err, missing);
	error_free(missing);
	return 0;
}

static gboolean cancelled(void *op)
{
	return op && operation_cancelled(op);
}

/* "rootfs.img": the disk as qcow2, as everybody who knows such images expects it. */
static int pack_disk(
    Pack *pack, Instance *i, const char *snapshot, Operation *op, Error **err)
{
	autofd int disk = -1;
	g_autoptr(Pool) pool = NULL;
	if (instance_pool(i, &pool, err) < 0)
		return -1;
	g_autoptr(Volume) machine = volume_new(pool, VOLUME_MACHINE, i->project, i->name);
	g_autoptr(Volume) of = snapshot ? volume_snapshot(pool, machine, snapshot) : NULL;
	g_autofree char *raw = volume_block_path(pool, of ? of : machine, PLACE_OWN);
	g_autofree char *folder = g_build_filename(i->daemon->dir, "images", NULL);
	return disk_image_pack(raw, folder, cancelled, op, &disk, err) < 0 ?
	    -1 :
	    pack_file(pack, "rootfs.img", disk, 0, err);
}

static int pack_instance(Pack *pack, Instance *i, const char *snapshot, int folder,
    const char *metadata, const GArray *owners, Operation *op, Error **err)
{
	if (pack_text(pack, "metadata.yaml", metadata, err) < 0 ||
	    pack_part(pack, folder, "templates", FALSE, err) < 0)
		return -1;
	pack_owners(pack, owners);
	if ((i->type == INSTANCE_MACHINE ? pack_disk(pack, i, snapshot, op, err) :
					   pack_part(pack, folder, "rootfs", TRUE, err)) < 0)
		return -1;
	return pack_finish(pack, err);
}

static int store(void *import, const void *bytes, size_t length, Error **err)
{
	return image_import_write(import, bytes, length, err);
}

static int find_owners(
    Instance *i, const InstancePublish *publish, GArray **ret_owners, Error **err)
{
	g_autoptr(InstanceSnapshot) snapshot = NULL;
	if (!publish->snapshot)
		return owners_now(i, ret_owners, err);
	return instance_snapshot_find(i, publish->snapshot, &snapshot, err) < 0 ?
	    -1 :
	    owners_of(snapshot->config, ret_owners, err);
}

static int publish_folder(Instance *i, const InstancePublish *publish, const char *path,
    Operation *op, Arena *arena, Pb__Image **ret_image, Error **err)
{
	g_autoptr(ImageImport) import = NULL;
	g_autoptr(Pack) pack = NULL;
	g_autofree char *metadata = NULL;
	gboolean given = publish->compression && *publish->compression;
	g_autofree char *compression = given ? g_strdup(publish->compression) :
	    project_setting(i->daemon, publish->project, "images.compression_algorithm");
	g_autoptr(GArray) owners = NULL;
	autofd int folder = file_open_directory(path, err);
	if (folder < 0 || find_owners(i, publish, &owners, err) < 0 || describe(i, publish, folder, arena, &metadata, err) < 0 ||
	    image_import_new(i->daemon, &import, err) < 0 ||
	    image_import_limit(import, publish->project, err) < 0 ||
	    image_import_part(import, "", publish->filename, err) < 0)
		return -1;
	PackOptions options = { .compression = compression ? compression : "zstd",
		.sink = store,
		.data = import,
		.op = op,
		.stage = STAGE,
		.what = "Image pack" };
	if (pack_new(&options, &pack, err) < 0 || 
	    pack_instance(pack, i, publish->snapshot, folder, metadata, owners, op, err) < 0)
		return -1;
	ImageImportOptions stored = { .project = publish->project,
		.filename = publish->filename,
		.public = publish->public,
		.profiles = publish->profiles };
	return image_import_finish(import, &stored, arena, ret_image, err);
}

/* ---- where its files are ---- */

static int publish_snapshot(Instance *i, const InstancePublish *publish, Pool *pool, Operation *op,
    Arena *arena, Pb__Image **ret_image, Error **err)
{
	g_autoptr(Volume) volume = volume_new(pool,
	    i->type == INSTANCE_MACHINE ? VOLUME_MACHINE : VOLUME_CONTAINER, i->project, i->name);
	g_autofree char *path = NULL;
	if (snapshot_mount(pool, volume, publish->snapshot, &path, err) < 0)
		return -1;
	int result = publish_folder(i, publish, path, op, arena, ret_image, err);
	return snapshot_unmount(pool, volume, publish->snapshot, result == 0 ? err : NULL) < 0 ?
	    -1 :
	    result;
}

static int publish_locked(Instance *i, const InstancePublish *publish, Operation *op, Arena *arena,
    Pb__Image **ret_image, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_publish_check(i, publish, err) < 0 || instance_pool(i, &pool, err) < 0)
		return -1;
	if (publish->snapshot)
		return publish_snapshot(i, publish, pool, op, arena, ret_image, err);
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	return publish_folder(i, publish, instance_folder_path(folder), op, arena, ret_image, err);
}

int instance_publish(Instance *i, const InstancePublish *publish, Operation *op, Arena *arena,
    Pb__Image **ret_image, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = publish_locked(i, publish, op, arena, ret_image, err);
	instance_unlock(i);
	return result;
}
