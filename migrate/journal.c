#include "migrate/journal.h"
#include "migrate/tool.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

enum { JOURNAL_LIMIT = 64 << 20 };

struct Journal {
	char *folder;
	int fd;
	json_t *lines;
};

char *journal_folder(const char *target)
{
	return g_build_filename(target, "lxd-to-incus", NULL);
}

static char *journal_path(const char *target)
{
	return g_build_filename(target, "lxd-to-incus", "journal", NULL);
}

gboolean journal_exists(const char *target)
{
	g_autofree char *path = journal_path(target);
	return access(path, F_OK) == 0;
}

static int read_lines(Journal *journal, Error **err)
{
	g_autofree char *text = NULL;
	size_t length;
	if (file_read_fd(journal->fd, JOURNAL_LIMIT, &text, &length, err) < 0)
		return -1;
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
		if (!json_is_string(json_object_get(object, "action"))) {
			json_decref(object);
			return error_set(err, ERROR_INVALID, "The journal in \"%s\" is damaged",
			    journal->folder);
		}
		json_array_append_new(journal->lines, object);
		if (!end[1] && ftruncate(journal->fd, end + 1 - text) < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "The journal cannot be kept");
	}
	return 0;
}

static int open_file(const char *target, int flags, Journal **ret_journal, Error **err)
{
	g_autofree char *path = journal_path(target);
	g_autoptr(Journal) journal = g_new0(Journal, 1);
	journal->folder = journal_folder(target);
	journal->lines = json_array();
	journal->fd = open(path, flags | O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (journal->fd < 0)
		return errno == EEXIST ?
		    error_set(err, ERROR_EXISTS,
			"Another lxd-to-incus has begun on \"%s\" since this one looked", target) :
		    error_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INTERNAL, errno,
			"Journal \"%s\"", path);
	if (flock(journal->fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(
		    err, ERROR_BUSY, "Another lxd-to-incus is at work on \"%s\"", target);
	if (read_lines(journal, err) < 0)
		return -1;
	*ret_journal = g_steal_pointer(&journal);
	return 0;
}

static int sync_folder(const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	return fsync(fd) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", path) :
	    0;
}

int journal_create(const char *target, Journal **ret_journal, Error **err)
{
	g_autofree char *folder = journal_folder(target);
	if (file_mkdir_all(target, 0711, err) < 0 || file_mkdir_all(folder, 0700, err) < 0 ||
	    open_file(target, O_CREAT | O_EXCL, ret_journal, err) < 0)
		return -1;
	return sync_folder(folder, err) < 0 ? -1 : sync_folder(target, err);
}

int journal_open(const char *target, Journal **ret_journal, Error **err)
{
	return open_file(target, 0, ret_journal, err);
}

void journal_free(Journal *journal)
{
	if (!journal)
		return;
	own_close_fd(&journal->fd);
	json_decref(journal->lines);
	g_free(journal->folder);
	g_free(journal);
}

int journal_note(Journal *journal, const char *action, json_t *details, Error **err)
{
	json_t *object = details ? details : json_object();
	json_object_set_new(object, "action", json_string(action));
	json_array_append_new(journal->lines, object);
	char *text = json_dumps(object, JSON_COMPACT);
	g_autofree char *line = g_strconcat(text, "\n", NULL);
	free(text);
	if (file_write_all(journal->fd, line, strlen(line)) < 0 || fdatasync(journal->fd) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "The journal cannot be written");
	return fault_point(action, err);
}

const json_t *journal_lines(const Journal *journal)
{
	return journal->lines;
}

const json_t *journal_find(
    const Journal *journal, const char *action, const char *key, const char *value)
{
	for (size_t i = json_array_size(journal->lines); i-- > 0;) {
		const json_t *line = json_array_get(journal->lines, i);
		const char *text = key ? json_string_value(json_object_get(line, key)) : NULL;
		if (strcmp(json_string_value(json_object_get(line, "action")), action) == 0 &&
		    (!key || g_strcmp0(text, value) == 0))
			return line;
	}
	return NULL;
}

gboolean journal_owns(const Journal *journal, const char *path)
{
	g_autofree char *target = g_path_get_dirname(journal->folder);
	return journal_has(journal, "sweep") && tool_within(path, target);
}

gboolean journal_has(const Journal *journal, const char *action)
{
	return journal_find(journal, action, NULL, NULL) != NULL;
}

int journal_remove(Journal *journal, Error **err)
{
	autofd int fd = file_open_directory(journal->folder, err);
	g_autoptr(GDir) dir = fd < 0 ? NULL : g_dir_open(journal->folder, 0, NULL);
	if (!dir)
		return -1;
	for (const char *name; (name = g_dir_read_name(dir));)
		if (strcmp(name, "journal") != 0 && file_remove_all(fd, name, err) < 0)
			return -1;
	if (unlinkat(fd, "journal", 0) < 0 || rmdir(journal->folder) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "\"%s\" cannot be removed", journal->folder);
	return 0;
}
