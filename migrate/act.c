#include "migrate/act.h"
#include "migrate/compare.h"
#include "migrate/tool.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));
	return text ? text : "";
}

/* ---- rename ---- */

static json_t *times_of(const char *path)
{
	struct stat st;
	g_autofree char *folder = g_path_get_dirname(path);
	if (stat(folder, &st) < 0)
		return json_null();
	return json_pack("[I, I, I, I]", (json_int_t)st.st_atim.tv_sec,
	    (json_int_t)st.st_atim.tv_nsec, (json_int_t)st.st_mtim.tv_sec,
	    (json_int_t)st.st_mtim.tv_nsec);
}

static void restore_times(const char *path, const json_t *times)
{
	json_int_t n[4];
	g_autofree char *folder = g_path_get_dirname(path);
	if (json_unpack((json_t *)times, "[I, I, I, I]", &n[0], &n[1], &n[2], &n[3]) < 0)
		return;
	const struct timespec spec[] = { { .tv_sec = n[0], .tv_nsec = n[1] },
		{ .tv_sec = n[2], .tv_nsec = n[3] } };
	utimensat(AT_FDCWD, folder, spec, 0);
}

static int move(const char *from, const char *to, Error **err)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ?
	    error_errno(
		err, ERROR_INTERNAL, errno, "\"%s\" cannot be renamed to \"%s\"", from, to) :
	    0;
}

int act_rename(Journal *journal, const char *from, const char *to, Error **err)
{
	g_autofree char *folder = g_path_get_dirname(to);
	if (file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	json_t *details = json_pack(
	    "{s:s, s:s, s:o}", "from", from, "to", to, "times", times_of(from));
	return journal_note(journal, "rename", details, err) < 0 ? -1 : move(from, to, err);
}

static int undo_rename(const json_t *line, Error **err)
{
	const char *from = text_of(line, "from"), *to = text_of(line, "to");
	struct stat st;
	if (lstat(to, &st) == 0 && lstat(from, &st) < 0 && move(to, from, err) < 0)
		return -1;
	restore_times(from, json_object_get(line, "times"));
	return 0;
}

/* ---- make, copy ---- */

int act_make(Journal *journal, const char *to, Error **err)
{
	struct stat st;
	if (lstat(to, &st) == 0)
		return error_set(err, ERROR_EXISTS, "\"%s\" is there already", to);
	return journal_note(journal, "make", json_pack("{s:s}", "to", to), err);
}

static int undo_make(const json_t *line, Error **err)
{
	return file_remove_all(AT_FDCWD, text_of(line, "to"), err);
}

static int copy_file(const char *from, const char *to, const struct stat *st, Error **err)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	autofd int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	autofd int out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (in < 0 || out < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be copied", from);
	if (file_copy_data(in, out, err) < 0)
		return -1;
	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0 ||
	    futimens(out, times) < 0 || fsync(out) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", to);
	return 0;
}

static gboolean stopped(void *data)
{
	return tool_check_stop(NULL) < 0;
}

int act_copy(Journal *journal, const char *from, const char *to,
    void (*progress)(uint64_t bytes, void *data), void *data, Error **err)
{
	struct stat st;
	g_autofree char *folder = g_path_get_dirname(to);
	if (lstat(from, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be copied", from);
	if (file_mkdir_all(folder, 0711, err) < 0 || act_make(journal, to, err) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return copy_file(from, to, &st, err);
	if (mkdir(to, 0700) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be made", to);
	const FileCopy options = { .cancelled = stopped, .progress = progress, .data = data };
	autofd int in = file_open_directory(from, err);
	autofd int out = in < 0 ? -1 : file_open_directory(to, err);
	if (out < 0 || file_copy_tree(in, out, &options, err) < 0 ||
	    compare_trees(in, out, err) < 0)
		return error_prefix(err, "Copy of \"%s\"", from);
	return syncfs(out) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", to) :
	    0;
}

/* ---- mounts ---- */

/* /proc/self/mountinfo writes a space as \040. */
static char *mount_points(const char *path)
{
	g_autofree char *text = NULL;
	GString *deepest = g_string_new(NULL);
	if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
		return g_string_free(deepest, TRUE);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
		g_autofree char *point = g_strv_length(fields) > 4 ? g_strcompress(fields[4]) :
								     NULL;
		if (point && strcmp(point, path) != 0 && tool_within(point, path) &&
		    strlen(point) >= deepest->len)
			g_string_assign(deepest, point);
	}
	return g_string_free(deepest, deepest->len == 0);
}

int act_unmount_below(Journal *journal, const char *path, Error **err)
{
	for (char *point; (point = mount_points(path)); g_free(point)) {
		if (journal_note(journal, "unmount", json_pack("{s:s}", "path", point), err) < 0 ||
		    umount2(point, UMOUNT_NOFOLLOW) < 0) {
			error_errno(err, ERROR_BUSY, errno, "\"%s\" cannot be unmounted", point);
			g_free(point);
			return -1;
		}
	}
	return 0;
}

static int undo_nothing(const json_t *line, Error **err)
{
	return 0;
}

/* ---- back ---- */

static const struct {
	const char *action;
	int (*undo)(const json_t *line, Error **err);
} ways_back[] = {
	{ "rename", undo_rename },
	{ "make", undo_make },
	{ "unmount", undo_nothing },
};

int act_undo(const json_t *line, gboolean *ret_known, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ways_back); i++)
		if (strcmp(ways_back[i].action, text_of(line, "action")) == 0) {
			*ret_known = TRUE;
			return fault_point("undo", err) < 0 ? -1 : ways_back[i].undo(line, err);
		}
	*ret_known = FALSE;
	return 0;
}
