#include "server/instance/backup.h"
#include "incus/v1/instance.pb-c.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "server/instance/backup_index.h"
#include "server/instance/backup_row.h"
#include "server/instance/flow.h"
#include "server/instance/private.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include "server/storage/pack.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume_archive.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void tell(
    Instance *i, const char *action, const char *name, const char *old_name, const Caller *caller)
{
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s/backups/%s", i->name, name);
	g_autofree char *context = old_name ? g_strdup_printf("{\"old_name\":\"%s\"}", old_name) :
					      NULL;
	event_lifecycle(i->daemon->events, i->project, action, url, context, caller);
}

/* ---- places ---- */

static char *folder_of(const Daemon *d, const char *file_name)
{
	return g_build_filename(d->dir, "backups", "instances", file_name, NULL);
}

static char *folder(Instance *i)
{
	g_autofree char *name = instance_file_name(i);
	return folder_of(i->daemon, name);
}

static int check_name(const char *name, Error **err)
{
	return name_check_snapshot(name, err) < 0 ? error_prefix(err, "Invalid backup name") : 0;
}

static int path_of(Instance *i, const char *name, char **ret_path, Error **err)
{
	g_autofree char *directory = folder(i);
	if (check_name(name, err) < 0)
		return -1;
	*ret_path = g_build_filename(directory, name, NULL);
	return 0;
}

/* ---- create ---- */

static gboolean is_taken(const GPtrArray *list, const char *name)
{
	for (guint n = 0; n < list->len; n++)
		if (strcmp(((InstanceBackup *)list->pdata[n])->name, name) == 0)
			return TRUE;
	return FALSE;
}

int instance_backup_next_name(Instance *i, char **ret_name, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	if (instance_backup_list(i, &list, err) < 0)
		return -1;
	for (unsigned n = 0;; n++) {
		g_autofree char *name = g_strdup_printf("backup%u", n);
		if (is_taken(list, name))
			continue;
		*ret_name = g_steal_pointer(&name);
		return 0;
	}
}

static char *choose_compression(Instance *i, const InstanceBackupSpec *spec)
{
	return spec->compression && *spec->compression ?
	    g_strdup(spec->compression) :
	    project_setting(i->daemon, i->project, "backups.compression_algorithm");
}

static int list_snapshots(
    Instance *i, const InstanceBackupSpec *spec, GPtrArray **ret_list, Error **err)
{
	if (!spec->instance_only)
		return instance_snapshot_list(i, ret_list, err);
	*ret_list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	return 0;
}

static int owners_of_snapshots(const GPtrArray *snapshots, GPtrArray **ret_maps, Error **err)
{
	g_autoptr(GPtrArray) maps = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
	for (guint n = 0; n < snapshots->len; n++) {
		GArray *map;
		if (owners_of(((InstanceSnapshot *)snapshots->pdata[n])->config, &map, err) < 0)
			return -1;
		g_ptr_array_add(maps, map);
	}
	*ret_maps = g_steal_pointer(&maps);
	return 0;
}

static int pack_volume(Instance *i, Pool *pool, const GPtrArray *snapshots, Pack *sink,
    struct Operation *op, Error **err)
{
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CONTAINER, i->project, i->name);
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)snapshot_row_free);
	for (guint n = 0; n < snapshots->len; n++) {
		SnapshotRow *row = NULL;
		if (snapshot_row_find(pool, volume, ((InstanceSnapshot *)snapshots->pdata[n])->name,
			&row, err) < 0)
			return -1;
		g_ptr_array_add(rows, row);
	}
	g_autoptr(GArray) owners = NULL;
	g_autoptr(GPtrArray) snapshot_owners = NULL;
	if (owners_now(i, &owners, err) < 0 ||
	    owners_of_snapshots(snapshots, &snapshot_owners, err) < 0)
		return -1;
	VolumeArchive archive = { .pool = pool,
		.owners = owners,
		.snapshot_owners = snapshot_owners,
		.volume = volume,
		.snapshots = rows,
		.prefix = "backup/container",
		.snapshots_prefix = "backup/snapshots",
		.root = TRUE,
		.op = op };
	return volume_archive_pack(&archive, sink, err);
}

static int write_to_file(void *data, const void *bytes, size_t length, Error **err)
{
	return file_write_all(*(int *)data, bytes, length) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write the backup");
}

static int pack(
    Instance *i, const InstanceBackupSpec *spec, int fd, struct Operation *op, Error **err)
{
	g_autoptr(Pack) sink = NULL;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GPtrArray) snapshots = NULL;
	g_autofree char *compression = choose_compression(i, spec);
	g_autofree char *index = NULL;
	PackOptions options = { .compression = compression,
		.sink = write_to_file,
		.data = &fd,
		.op = op,
		.stage = "create_backup",
		.what = "Packing" };
	if (instance_pool(i, &pool, err) < 0 || list_snapshots(i, spec, &snapshots, err) < 0 ||
	    backup_index_write(i, pool, snapshots, &index, err) < 0 ||
	    pack_new(&options, &sink, err) < 0)
		return -1;
	if (pack_text(sink, "backup/index.yaml", index, err) < 0 ||
	    pack_volume(i, pool, snapshots, sink, op, err) < 0)
		return -1;
	return pack_finish(sink, err);
}

/* Nothing may change while trees are read. */
static int pack_still(
    Instance *i, const InstanceBackupSpec *spec, int fd, struct Operation *op, Error **err)
{
	gboolean freeze = instance_status(i) == INSTANCE_RUNNING;
	backup_file_update(i);
	if (freeze && power_freeze_locked(i, TRUE, err) < 0)
		return -1;
	int result = pack(i, spec, fd, op, err);
	return freeze && power_freeze_locked(i, FALSE, result == 0 ? err : NULL) < 0 ? -1 : result;
}

/* The file has no name before it is whole, and a row before it has a name. */
static int publish(
    Instance *i, const InstanceBackupSpec *spec, int fd, const char *path, Error **err)
{
	InstanceBackup row = { .instance_id = i->id,
		.name = (char *)spec->name,
		.created = time(NULL),
		.expires = spec->expires,
		.instance_only = spec->instance_only };
	g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", fd);
	if (fault_point("backup row", err) < 0 || backup_row_insert(i->daemon, &row, err) < 0)
		return -1;
	if (fault_point("backup file", err) == 0) {
		unlinkat(AT_FDCWD, path, 0); /* of no row */
		if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the backup");
	}
	backup_row_delete(i->daemon, row.id, NULL);
	return -1;
}

static int create_locked(
    Instance *i, const InstanceBackupSpec *spec, struct Operation *op, Error **err)
{
	g_autofree char *directory = folder(i);
	g_autofree char *path = NULL;
	g_autoptr(GPtrArray) list = NULL;
	if (project_allow_backup(i->daemon, i->project, err) < 0 ||
	    path_of(i, spec->name, &path, err) < 0 || instance_backup_list(i, &list, err) < 0)
		return -1;
	if (is_taken(list, spec->name))
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", spec->name);
	if (file_mkdir_all(directory, 0700, err) < 0)
		return -1;
	autofd int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make the backup's file");
	return pack_still(i, spec, fd, op, err) < 0 ? -1 : publish(i, spec, fd, path, err);
}

int instance_backup_create(Instance *i, const InstanceBackupSpec *spec, struct Operation *op,
    const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = create_locked(i, spec, op, err);
	instance_unlock(i);
	if (result < 0)
		return -1;
	tell(i, "instance-backup-created", spec->name, NULL, caller);
	schedule_changed(i->daemon);
	return 0;
}

/* ---- change ---- */

static int delete_locked(Instance *i, const char *name, Error **err)
{
	g_autoptr(InstanceBackup) backup = NULL;
	g_autofree char *path = NULL;
	if (instance_backup_find(i, name, &backup, err) < 0 || path_of(i, name, &path, err) < 0)
		return -1;
	if (unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot delete the backup \"%s\"", name);
	if (backup_row_delete(i->daemon, backup->id, err) < 0)
		return -1;
	g_autofree char *directory = folder(i);
	unlinkat(AT_FDCWD, directory, AT_REMOVEDIR); /* the last one's */
	return 0;
}

int instance_backup_delete(Instance *i, const char *name, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = delete_locked(i, name, err);
	instance_unlock(i);
	if (result == 0)
		tell(i, "instance-backup-deleted", name, NULL, caller);
	return result;
}

static int rename_locked(Instance *i, const char *name, const char *new_name, Error **err)
{
	g_autoptr(InstanceBackup) backup = NULL;
	g_autofree char *path = NULL;
	g_autofree char *new_path = NULL;
	if (instance_backup_find(i, name, &backup, err) < 0 || path_of(i, name, &path, err) < 0 ||
	    path_of(i, new_name, &new_path, err) < 0)
		return -1;
	/* Both names have the file while the row changes: the start after a crash removes the wrong
	 * one. */
	g_autoptr(InstanceBackup) taken = NULL;
	if (instance_backup_find(i, new_name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", new_name);
	unlinkat(AT_FDCWD, new_path, 0);
	if (linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot rename the backup \"%s\"", name);
	if (fault_point("backup rename", err) < 0 ||
	    backup_row_rename(i->daemon, backup->id, new_name, err) < 0) {
		unlinkat(AT_FDCWD, new_path, 0);
		return -1;
	}
	unlinkat(AT_FDCWD, path, 0);
	return 0;
}

int instance_backup_rename(
    Instance *i, const char *name, const char *new_name, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = rename_locked(i, name, new_name, err);
	instance_unlock(i);
	if (result == 0)
		tell(i, "instance-backup-renamed", new_name, name, caller);
	return result;
}

int instance_backup_open(Instance *i, const char *name, int *ret_fd, Error **err)
{
	g_autoptr(InstanceBackup) backup = NULL;
	g_autofree char *path = NULL;
	if (instance_backup_find(i, name, &backup, err) < 0 || path_of(i, name, &path, err) < 0)
		return -1;
	*ret_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot read the backup \"%s\"", name) :
	    0;
}

static Google__Protobuf__Timestamp *timestamp(Arena *arena, int64_t seconds)
{
	if (!seconds)
		return NULL;
	Google__Protobuf__Timestamp *t = arena_message(
	    arena, Google__Protobuf__Timestamp, google__protobuf__timestamp);
	t->seconds = seconds;
	return t;
}

void instance_backup_render(const InstanceBackup *backup, Arena *arena, Pb__InstanceBackup *out)
{
	out->name = arena_strdup(arena, backup->name);
	out->created_at = timestamp(arena, backup->created);
	out->expires_at = timestamp(arena, backup->expires);
	out->instance_only = backup->instance_only;
	out->optimized_storage = backup->optimized;
}

void instance_backups_rename(Instance *i, const char *old_file_name)
{
	g_autofree char *from = folder_of(i->daemon, old_file_name);
	g_autofree char *to = folder(i);
	if (strcmp(from, to) == 0)
		return;
	file_remove_all(AT_FDCWD, to, NULL); /* of an instance that is no more */
	if (rename(from, to) < 0 && errno != ENOENT)
		log_warn("The instance's backups are not found under its new name", "instance",
		    i->name, "err", g_strerror(errno));
}

void instance_backups_delete(Instance *i)
{
	g_autofree char *directory = folder(i);
	g_autoptr(Error) error = NULL;
	if (file_remove_all(AT_FDCWD, directory, &error) < 0)
		log_warn("Backups of a deleted instance stay until the next start", "instance",
		    i->name, "err", error->message);
}

/* ---- what a crash left, and what has expired ---- */

static char *place_file_name(const BackupPlace *place)
{
	return strcmp(place->project, "default") == 0 ?
	    g_strdup(place->instance) :
	    g_strconcat(place->project, "_", place->instance, NULL);
}

/* Rows without archive go; *ret_paths: those of the others, below backups/instances. */
static int repair_rows(Daemon *d, const GPtrArray *places, GHashTable *paths, Error **err)
{
	for (guint n = 0; n < places->len; n++) {
		const BackupPlace *place = places->pdata[n];
		g_autofree char *name = place_file_name(place);
		g_autofree char *path = g_build_filename(
		    d->dir, "backups", "instances", name, place->name, NULL);
		if (g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
			g_hash_table_add(paths, g_steal_pointer(&path));
			continue;
		}
		log_info("Removing the row of a backup that is gone", "instance", place->instance,
		    "backup", place->name);
		if (backup_row_delete(d, place->id, err) < 0)
			return -1;
	}
	return 0;
}

static void repair_folder(const char *directory, GHashTable *paths)
{
	g_autoptr(GDir) listing = g_dir_open(directory, 0, NULL);
	const char *name;
	while (listing && (name = g_dir_read_name(listing))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		if (!g_hash_table_contains(paths, path)) {
			log_info("Removing a backup that has no row", "path", path);
			file_remove_all(AT_FDCWD, path, NULL);
		}
	}
	unlinkat(AT_FDCWD, directory, AT_REMOVEDIR);
}

int instance_backup_repair(Daemon *d, Error **err)
{
	g_autoptr(GPtrArray) places = NULL;
	g_autoptr(GHashTable) paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autofree char *top = g_build_filename(d->dir, "backups", "instances", NULL);
	const char *name;
	if (backup_row_list_all(d, &places, err) < 0 || repair_rows(d, places, paths, err) < 0)
		return -1;
	g_autoptr(GDir) listing = g_dir_open(top, 0, NULL);
	while (listing && (name = g_dir_read_name(listing))) {
		g_autofree char *directory = g_build_filename(top, name, NULL);
		repair_folder(directory, paths);
	}
	return 0;
}

static gint64 expiry_due(Daemon *d, gint64 now)
{
	g_autoptr(GPtrArray) places = NULL;
	gint64 due = G_MAXINT64;
	if (backup_row_list_all(d, &places, NULL) < 0)
		return now + G_GINT64_CONSTANT(600) * G_USEC_PER_SEC;
	for (guint n = 0; n < places->len; n++) {
		int64_t expires = ((BackupPlace *)places->pdata[n])->expires;
		if (expires)
			due = MIN(due, expires * G_USEC_PER_SEC);
	}
	return due;
}

static int run_expiry(struct Operation *op, void *data, Error **err)
{
	Daemon *d = operation_daemon(op);
	g_autoptr(GPtrArray) places = NULL;
	gint64 now = g_get_real_time();
	if (backup_row_list_all(d, &places, err) < 0)
		return -1;
	for (guint n = 0; n < places->len; n++) {
		const BackupPlace *place = places->pdata[n];
		g_autoptr(Instance) i = NULL;
		if (!place->expires || place->expires * G_USEC_PER_SEC > now ||
		    instance_get(d, place->project, place->instance, &i, NULL) < 0)
			continue;
		if (instance_backup_delete(i, place->name, operation_caller(op), err) < 0)
			return error_prefix(err,
			    "Cannot delete the expired backup \"%s\" of \"%s\"", place->name,
			    place->instance);
	}
	return 0;
}

int instance_backup_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob expiry = { "Cleaning up expired backups", expiry_due, run_expiry };
	schedule_add(d, &expiry);
	return 0;
}
