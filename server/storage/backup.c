#include "server/storage/backup.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include "server/storage/backup_row.h"
#include "server/storage/store.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

BackupOwner *backup_owner_new(
    const BackupKind *kind, Daemon *d, const char *project, int64_t id, void *object)
{
	BackupOwner *owner = g_new0(BackupOwner, 1);
	*owner = (BackupOwner){ kind, d, g_strdup(project), id, object };
	return owner;
}

void backup_owner_free(BackupOwner *owner)
{
	if (!owner)
		return;
	owner->kind->release(owner->object);
	g_free(owner->project);
	g_free(owner);
}

static void tell(const BackupOwner *owner, const char *what, const char *name, const char *old_name,
    const Caller *caller)
{
	g_autofree char *base = owner->kind->url(owner);
	g_autofree char *url = g_strdup_printf("%s/backups/%s", base, name);
	g_autofree char *action = g_strdup_printf("%s-%s", owner->kind->event, what);
	g_autofree char *context = old_name ? g_strdup_printf("{\"old_name\":\"%s\"}", old_name) :
					      NULL;
	event_lifecycle(owner->daemon->events, owner->project, action, url, context, caller);
}

/* ---- places ---- */

static char *folder_of(const Daemon *d, const BackupKind *kind, const char *place)
{
	return g_build_filename(d->dir, "backups", kind->folder, place, NULL);
}

static char *folder(const BackupOwner *owner)
{
	g_autofree char *place = owner->kind->place(owner);
	return folder_of(owner->daemon, owner->kind, place);
}

static int path_of(const BackupOwner *owner, const char *name, char **ret_path, Error **err)
{
	g_autofree char *directory = folder(owner);
	if (name_check_snapshot(name, err) < 0)
		return error_prefix(err, "Invalid backup name");
	*ret_path = g_build_filename(directory, name, NULL);
	return 0;
}

/* The folder, when it is empty, and the one of its pool. */
static void drop_folder(const BackupKind *kind, const char *directory)
{
	if (unlinkat(AT_FDCWD, directory, AT_REMOVEDIR) < 0 || kind->depth == 1)
		return;
	g_autofree char *above = g_path_get_dirname(directory);
	unlinkat(AT_FDCWD, above, AT_REMOVEDIR);
}

static int lock(BackupOwner *owner, Error **err)
{
	if (owner->kind->lock(owner, err) < 0)
		return -1;
	if (store_hold(owner->daemon, STORE_BACKUPS, err) == 0)
		return 0;
	owner->kind->unlock(owner);
	return -1;
}

static void unlock(BackupOwner *owner)
{
	store_release(owner->daemon, STORE_BACKUPS);
	owner->kind->unlock(owner);
}

/* ---- create ---- */

static gboolean is_taken(const GPtrArray *list, const char *name)
{
	for (guint n = 0; n < list->len; n++)
		if (strcmp(((Backup *)list->pdata[n])->name, name) == 0)
			return TRUE;
	return FALSE;
}

/* Names that creations were promised, by owner: "URL/NAME". Their rows come at the end. */
static GMutex promises_lock;
static GHashTable *promises;

static char *promise_of(const BackupOwner *owner, const char *name)
{
	g_autofree char *url = owner->kind->url(owner);
	return g_strconcat(owner->project, " ", url, "/", name, NULL);
}

static void promise_next(const BackupOwner *owner, const GPtrArray *list, char **ret_name)
{
	if (!promises)
		promises = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	for (unsigned n = 0; !*ret_name; n++) {
		g_autofree char *name = g_strdup_printf("backup%u", n);
		if (!is_taken(list, name) &&
		    g_hash_table_add(promises, promise_of(owner, name)))
			*ret_name = g_steal_pointer(&name);
	}
}

int backup_promise_name(const BackupOwner *owner, char **ret_name, Error **err)
{
	g_autoptr(GPtrArray) list = NULL;
	*ret_name = NULL;
	g_mutex_lock(&promises_lock); /* no promise ends between the list and the choice */
	int result = backup_list(owner, &list, err);
	if (result == 0)
		promise_next(owner, list, ret_name);
	g_mutex_unlock(&promises_lock);
	return result;
}

void backup_promise_end(const BackupOwner *owner, const char *name)
{
	g_autofree char *promise = promise_of(owner, name);
	g_mutex_lock(&promises_lock);
	g_hash_table_remove(promises, promise);
	g_mutex_unlock(&promises_lock);
}

static int write_to_file(void *data, const void *bytes, size_t length, Error **err)
{
	return file_write_all(*(int *)data, bytes, length) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write the backup");
}

static int pack(
    BackupOwner *owner, const BackupSpec *spec, int fd, struct Operation *op, Error **err)
{
	g_autoptr(Pack) sink = NULL;
	g_autofree char *compression = spec->compression && *spec->compression ?
	    g_strdup(spec->compression) :
	    project_setting(owner->daemon, owner->project, "backups.compression_algorithm");
	PackOptions options = { .compression = compression,
		.sink = write_to_file,
		.data = &fd,
		.op = op,
		.stage = "create_backup",
		.what = "Packing" };
	if (pack_new(&options, &sink, err) < 0 ||
	    owner->kind->pack(owner, spec, sink, op, err) < 0)
		return -1;
	return pack_finish(sink, err);
}

/* The file has no name before it is whole, and a row before it has a name. */
static int publish(
    const BackupOwner *owner, const BackupSpec *spec, int fd, const char *path, Error **err)
{
	Backup row = { .name = (char *)spec->name,
		.created = time(NULL),
		.expires = spec->expires,
		.only = spec->only,
		.optimized = spec->optimized };
	g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", fd);
	if (fault_point("backup row", err) < 0 || backup_row_insert(owner, &row, err) < 0)
		return -1;
	if (fault_point("backup file", err) == 0) {
		unlinkat(AT_FDCWD, path, 0); /* of no row */
		if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the backup");
	}
	backup_row_delete(owner->daemon, owner->kind, row.id, NULL);
	return -1;
}

static int create_in(BackupOwner *owner, const BackupSpec *spec, const char *directory,
    struct Operation *op, Error **err)
{
	g_autofree char *path = g_build_filename(directory, spec->name, NULL);
	autofd int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make the backup's file");
	return pack(owner, spec, fd, op, err) < 0 ? -1 : publish(owner, spec, fd, path, err);
}

static int create_locked(
    BackupOwner *owner, const BackupSpec *spec, struct Operation *op, Error **err)
{
	g_autofree char *directory = folder(owner);
	g_autoptr(GPtrArray) list = NULL;
	if (project_allow_backup(owner->daemon, owner->project, err) < 0 ||
	    backup_list(owner, &list, err) < 0)
		return -1;
	if (name_check_snapshot(spec->name, err) < 0)
		return error_prefix(err, "Invalid backup name");
	if (is_taken(list, spec->name))
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", spec->name);
	if (file_mkdir_all(directory, 0700, err) < 0)
		return -1;
	if (create_in(owner, spec, directory, op, err) == 0)
		return 0;
	drop_folder(owner->kind, directory);
	return -1;
}

int backup_create(BackupOwner *owner, const BackupSpec *spec, struct Operation *op,
    const Caller *caller, Error **err)
{
	if (lock(owner, err) < 0)
		return -1;
	int result = create_locked(owner, spec, op, err);
	unlock(owner);
	if (result < 0)
		return -1;
	tell(owner, "created", spec->name, NULL, caller);
	schedule_changed(owner->daemon);
	return 0;
}

/* ---- change ---- */

static int delete_locked(const BackupOwner *owner, const char *name, Error **err)
{
	g_autoptr(Backup) backup = NULL;
	g_autofree char *path = NULL;
	if (backup_find(owner, name, &backup, err) < 0 || path_of(owner, name, &path, err) < 0)
		return -1;
	if (fault_point("backup delete", err) < 0)
		return -1;
	if (unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot delete the backup \"%s\"", name);
	if (fault_point("backup gone", err) < 0 ||
	    backup_row_delete(owner->daemon, owner->kind, backup->id, err) < 0)
		return -1;
	g_autofree char *directory = folder(owner);
	drop_folder(owner->kind, directory); /* the last one's */
	return 0;
}

int backup_delete(BackupOwner *owner, const char *name, const Caller *caller, Error **err)
{
	if (lock(owner, err) < 0)
		return -1;
	int result = delete_locked(owner, name, err);
	unlock(owner);
	if (result == 0)
		tell(owner, "deleted", name, NULL, caller);
	return result;
}

static int rename_locked(
    const BackupOwner *owner, const char *name, const char *new_name, Error **err)
{
	g_autoptr(Backup) backup = NULL;
	g_autoptr(Backup) taken = NULL;
	g_autofree char *path = NULL;
	g_autofree char *new_path = NULL;
	if (backup_find(owner, name, &backup, err) < 0 || path_of(owner, name, &path, err) < 0 ||
	    path_of(owner, new_name, &new_path, err) < 0)
		return -1;
	if (backup_find(owner, new_name, &taken, NULL) == 0)
		return error_set(err, ERROR_EXISTS, "Backup \"%s\" already exists", new_name);
	if (fault_point("backup link", err) < 0)
		return -1;
	unlinkat(AT_FDCWD, new_path, 0);
	if (linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot rename the backup \"%s\"", name);
	if (fault_point("backup rename", err) < 0 ||
	    backup_row_rename(owner->daemon, owner->kind, backup->id, new_name, err) < 0) {
		unlinkat(AT_FDCWD, new_path, 0);
		return -1;
	}
	unlinkat(AT_FDCWD, path, 0);
	return 0;
}

int backup_rename(BackupOwner *owner, const char *name, const char *new_name, const Caller *caller,
    Error **err)
{
	if (lock(owner, err) < 0)
		return -1;
	int result = rename_locked(owner, name, new_name, err);
	unlock(owner);
	if (result == 0)
		tell(owner, "renamed", new_name, name, caller);
	return result;
}

int backup_open(const BackupOwner *owner, const char *name, int *ret_fd, Error **err)
{
	g_autoptr(Backup) backup = NULL;
	g_autofree char *path = NULL;
	if (backup_find(owner, name, &backup, err) < 0 || path_of(owner, name, &path, err) < 0)
		return -1;
	*ret_fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot read the backup \"%s\"", name) :
	    0;
}

/* ---- what they are of changes ---- */

static int link_all(const char *from, const char *to, Error **err)
{
	g_autoptr(GDir) listing = g_dir_open(from, 0, NULL);
	const char *name;
	if (!listing)
		return 0; /* there are none */
	if (file_mkdir_all(to, 0700, err) < 0)
		return -1;
	while ((name = g_dir_read_name(listing))) {
		g_autofree char *path = g_build_filename(from, name, NULL);
		g_autofree char *new_path = g_build_filename(to, name, NULL);
		if (fault_point("backup along", err) < 0)
			return -1;
		if (linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot take the backup \"%s\" along", name);
	}
	return 0;
}

static void clear_folder(Daemon *d, const BackupKind *kind, const char *place)
{
	g_autofree char *directory = folder_of(d, kind, place);
	g_autofree char *above = g_path_get_dirname(directory);
	g_autoptr(Error) error = NULL;
	if (file_remove_all(AT_FDCWD, directory, &error) < 0)
		log_warn("Archives of backups that are gone stay until the next start", "place",
		    place, "err", error->message);
	if (kind->depth > 1)
		unlinkat(AT_FDCWD, above, AT_REMOVEDIR);
}

int backup_place_begin(
    Daemon *d, const BackupKind *kind, const char *from, const char *to, Error **err)
{
	g_autofree char *old = folder_of(d, kind, from);
	g_autofree char *fresh = folder_of(d, kind, to);
	if (strcmp(from, to) == 0 || access(old, F_OK) < 0)
		return 0;
	if (store_hold(d, STORE_BACKUPS, err) < 0)
		return -1;
	clear_folder(d, kind, to); /* of something that is no more */
	int result = link_all(old, fresh, err);
	if (result < 0)
		clear_folder(d, kind, to);
	store_release(d, STORE_BACKUPS);
	return result;
}

void backup_place_end(
    Daemon *d, const BackupKind *kind, const char *from, const char *to, gboolean came)
{
	if (strcmp(from, to) != 0)
		backup_place_clear(d, kind, came ? from : to);
}

void backup_place_clear(Daemon *d, const BackupKind *kind, const char *place)
{
	g_autofree char *directory = folder_of(d, kind, place);
	if (access(directory, F_OK) < 0 || store_hold(d, STORE_BACKUPS, NULL) < 0)
		return;
	clear_folder(d, kind, place);
	store_release(d, STORE_BACKUPS);
}

/* ---- what a crash left, and what has expired ---- */

/* Rows without archive go; paths: those of the others. */
static int repair_rows(
    Daemon *d, const BackupKind *kind, const GPtrArray *places, GHashTable *paths, Error **err)
{
	for (guint n = 0; n < places->len; n++) {
		const BackupPlace *place = places->pdata[n];
		g_autofree char *directory = folder_of(d, kind, place->place);
		g_autofree char *path = g_build_filename(directory, place->name, NULL);
		if (g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
			g_hash_table_add(paths, g_steal_pointer(&path));
			continue;
		}
		log_info("Removing the row of a backup that is gone", "of", place->owner, "backup",
		    place->name);
		if (backup_row_delete(d, kind, place->id, err) < 0)
			return -1;
	}
	return 0;
}

static void repair_folder(const char *directory, unsigned depth, GHashTable *paths)
{
	g_autoptr(GDir) listing = g_dir_open(directory, 0, NULL);
	const char *name;
	while (listing && (name = g_dir_read_name(listing))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		if (depth > 0 && g_file_test(path, G_FILE_TEST_IS_DIR)) {
			repair_folder(path, depth - 1, paths);
			unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
		} else if (!g_hash_table_contains(paths, path)) {
			log_info("Removing a backup that has no row", "path", path);
			file_remove_all(AT_FDCWD, path, NULL);
		}
	}
}

static int repair(Daemon *d, const BackupKind *kind, Error **err)
{
	g_autoptr(GPtrArray) places = NULL;
	g_autoptr(GHashTable) paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autofree char *top = folder_of(d, kind, NULL);
	if (backup_row_list_all(d, kind, &places, err) < 0 ||
	    repair_rows(d, kind, places, paths, err) < 0)
		return -1;
	repair_folder(top, kind->depth, paths);
	return 0;
}

int backup_repair(Daemon *d, const BackupKind *kind, Error **err)
{
	if (store_hold(d, STORE_BACKUPS, NULL) < 0)
		return 0; /* its volume is not there now, and what is on it is not gone */
	int result = repair(d, kind, err);
	store_release(d, STORE_BACKUPS);
	return result;
}

gint64 backup_expiry_due(Daemon *d, const BackupKind *kind)
{
	g_autoptr(GPtrArray) places = NULL;
	gint64 due = G_MAXINT64;
	if (backup_row_list_all(d, kind, &places, NULL) < 0)
		return g_get_real_time() + G_GINT64_CONSTANT(600) * G_USEC_PER_SEC;
	for (guint n = 0; n < places->len; n++) {
		int64_t expires = ((BackupPlace *)places->pdata[n])->expires;
		if (expires)
			due = MIN(due, expires * G_USEC_PER_SEC);
	}
	return due;
}

int backup_expire(Daemon *d, const BackupKind *kind, const Caller *caller, Error **err)
{
	g_autoptr(GPtrArray) places = NULL;
	gint64 now = g_get_real_time();
	if (backup_row_list_all(d, kind, &places, err) < 0)
		return -1;
	for (guint n = 0; n < places->len; n++) {
		const BackupPlace *place = places->pdata[n];
		g_autoptr(BackupOwner) owner = NULL;
		if (!place->expires || place->expires * G_USEC_PER_SEC > now ||
		    kind->open(d, place->project, place->pool, place->owner, &owner, NULL) < 0)
			continue;
		if (backup_delete(owner, place->name, caller, err) < 0)
			return error_prefix(err,
			    "Cannot delete the expired backup \"%s\" of \"%s\"", place->name,
			    place->owner);
	}
	return 0;
}
