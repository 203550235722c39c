#include "migrate/backup_file.h"
#include "migrate/journal.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/yaml.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_LIMIT = 16 << 20 };
static const char *const folders[] = { "containers", "virtual-machines" };
static const char name[] = "backup.yaml";

static char *kept_folder(const char *target)
{
	g_autofree char *folder = journal_folder(target);
	return g_build_filename(folder, "backup-files", NULL);
}

/* Every text below that is a path of LXD's. */
static json_t *rewrite(const Migration *m, json_t *value)
{
	const char *key;
	json_t *child;
	size_t i;
	void *next;
	if (json_is_string(value)) {
		const char *text = json_string_value(value);
		g_autofree char *path = tool_moved_path(
		    text, m->source.recorded, m->target.directory);
		return path ? json_string(path) : json_incref(value);
	}
	if (json_is_array(value)) {
		json_t *list = json_array();
		json_array_foreach (value, i, child)
			json_array_append_new(list, rewrite(m, child));
		return list;
	}
	if (!json_is_object(value))
		return json_incref(value);
	json_t *object = json_object();
	json_object_foreach_safe (value, next, key, child)
		json_object_set_new(object, key, rewrite(m, child));
	return object;
}

static int write_file(int dir, const char *text, const struct stat *old, Error **err)
{
	const struct timespec times[] = { old->st_atim, old->st_mtim };
	autofd int fd = file_open_beneath(
	    dir, name, O_WRONLY | O_CREAT | O_EXCL, 0400, FILE_LINKS_NONE, err);
	if (fd < 0)
		return -1;
	if (file_write_all(fd, text, strlen(text)) < 0 ||
	    fchown(fd, old->st_uid, old->st_gid) < 0 || fchmod(fd, old->st_mode & 07777) < 0 ||
	    futimens(fd, times) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", name);
	return 0;
}

/* A folder's times change with what is in it: an empty file beside has them for the way back. */
static int keep_times(const struct stat *folder, const char *path, Error **err)
{
	const struct timespec times[] = { folder->st_atim, folder->st_mtim };
	g_autofree char *fresh = g_strconcat(path, ".new", NULL);
	autofd int fd = open(fresh, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 || futimens(fd, times) < 0 || rename(fresh, path) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", path) :
	    0;
}

/* As it was before: the old file, and the folder's times. */
static int put_back(int dir, const char *kept, Error **err)
{
	struct stat folder;
	g_autofree char *times = g_strconcat(kept, ".times", NULL);
	if (stat(times, &folder) < 0 ||
	    (renameat(AT_FDCWD, kept, dir, name) < 0 && errno != ENOENT))
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be put back", kept);
	futimens(dir, (const struct timespec[]){ folder.st_atim, folder.st_mtim });
	return 0;
}

static int replace(const Migration *m, int dir, const char *kept, Error **err)
{
	g_autofree char *times = g_strconcat(kept, ".times", NULL);
	struct stat folder, file;
	g_autofree char *text = NULL;
	size_t length;
	json_t *document = NULL;
	if (access(times, F_OK) == 0 && put_back(dir, kept, err) < 0)
		return -1;
	if (fstat(dir, &folder) < 0 || fstatat(dir, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 :
					 error_errno(err, ERROR_INTERNAL, errno, "\"%s\"", name);
	if (file_read(dir, name, FILE_LINKS_NONE, FILE_LIMIT, &text, &length, err) < 0 ||
	    yaml_parse(text, length, &document, err) < 0)
		return -1;
	json_t *changed = rewrite(m, document);
	g_autofree char *yaml = yaml_write(changed);
	json_decref(document);
	json_decref(changed);
	if (keep_times(&folder, times, err) < 0)
		return -1;
	if (renameat(dir, name, AT_FDCWD, kept) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be kept", name);
	if (write_file(dir, yaml, &file, err) < 0)
		return -1;
	futimens(dir, (const struct timespec[]){ folder.st_atim, folder.st_mtim });
	return 0;
}

/* One that cannot be read is the instance's own matter: it is for repairs only. */
static int rewrite_one(
    const Migration *m, const char *path, const char *kept, const char *instance, Error **err)
{
	Error *error = NULL;
	g_autofree char *keep = g_build_filename(kept, instance, NULL);
	autofd int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be opened", path);
	if (replace(m, dir, keep, &error) == 0)
		return 0;
	if (error->kind != ERROR_INVALID)
		return error_propagate(err, error);
	log_warn("backup.yaml is left as it is", "instance", instance, "err", error->message);
	error_free(error);
	return 0;
}

static int rewrite_folder(Migration *m, const char *pool, const char *folder, Error **err)
{
	g_autofree char *path = g_build_filename(
	    m->target.directory, "storage-pools", pool, folder, NULL);
	g_autofree char *top = kept_folder(m->target.directory);
	g_autofree char *kept = g_build_filename(top, pool, folder, NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	if (dir && file_mkdir_all(kept, 0700, err) < 0)
		return -1;
	for (const char *entry; dir && (entry = g_dir_read_name(dir));) {
		g_autofree char *instance = g_build_filename(path, entry, NULL);
		if (tool_check_stop(err) < 0 || rewrite_one(m, instance, kept, entry, err) < 0)
			return -1;
	}
	return 0;
}

int backup_files_rewrite(Migration *m, Error **err)
{
	g_autofree char *pools = g_build_filename(m->target.directory, "storage-pools", NULL);
	g_autoptr(GDir) dir = g_dir_open(pools, 0, NULL);
	if (journal_note(m->journal, "backup-files", NULL, err) < 0)
		return -1;
	for (const char *pool; dir && (pool = g_dir_read_name(dir));)
		for (size_t i = 0; i < G_N_ELEMENTS(folders); i++)
			if (rewrite_folder(m, pool, folders[i], err) < 0)
				return -1;
	return 0;
}

/* ---- back ---- */

static int restore_one(const char *kept, const char *instance, Error **err)
{
	autofd int dir = open(instance, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return dir < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be opened", instance) :
	    put_back(dir, kept, err);
}

static int restore_folder(const char *target, const char *pool, const char *folder, Error **err)
{
	g_autofree char *top = kept_folder(target);
	g_autofree char *kept = g_build_filename(top, pool, folder, NULL);
	g_autoptr(GDir) dir = g_dir_open(kept, 0, NULL);
	for (const char *entry; dir && (entry = g_dir_read_name(dir));) {
		if (!g_str_has_suffix(entry, ".times"))
			continue;
		g_autofree char *file = g_build_filename(kept, entry, NULL);
		file[strlen(file) - strlen(".times")] = 0;
		g_autofree char *on_disk = g_path_get_basename(file);
		g_autofree char *instance = g_build_filename(
		    target, "storage-pools", pool, folder, on_disk, NULL);
		if (restore_one(file, instance, err) < 0)
			return -1;
	}
	return 0;
}

int backup_files_restore(const char *target, Error **err)
{
	g_autofree char *top = kept_folder(target);
	g_autoptr(GDir) dir = g_dir_open(top, 0, NULL);
	for (const char *pool; dir && (pool = g_dir_read_name(dir));)
		for (size_t i = 0; i < G_N_ELEMENTS(folders); i++)
			if (restore_folder(target, pool, folders[i], err) < 0)
				return -1;
	return 0;
}
