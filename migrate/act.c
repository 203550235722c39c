#include "migrate/act.h"
#include "migrate/compare.h"
#include "migrate/pool_files.h"
#include "migrate/tool.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));
	return text ? text : "";
}

/* ---- names, and what they mean ---- */

/* Which file a name means: a daemon that was started in between makes names anew. */
static json_t *identity_of(const char *path)
{
	struct statx st;
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) < 0)
		return json_null();
	gboolean born = st.stx_mask & STATX_BTIME;
	return json_pack("[I, I, I]", (json_int_t)st.stx_ino,
	    born ? (json_int_t)st.stx_btime.tv_sec : 0,
	    born ? (json_int_t)st.stx_btime.tv_nsec : 0);
}

static gboolean is_that(const char *path, const json_t *line)
{
	json_t *now = identity_of(path);
	gboolean same = json_equal(now, json_object_get(line, "identity"));
	json_decref(now);
	return same;
}

static gboolean is_there(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

/* ---- rename ---- */

static json_t *times_of(const char *folder)
{
	struct stat st;
	if (stat(folder, &st) < 0)
		return json_null();
	return json_pack("[I, I, I, I]", (json_int_t)st.st_atim.tv_sec,
	    (json_int_t)st.st_atim.tv_nsec, (json_int_t)st.st_mtim.tv_sec,
	    (json_int_t)st.st_mtim.tv_nsec);
}

static void restore_times(const char *folder, const json_t *times)
{
	json_int_t n[4];
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

/* One that an earlier run noted: it was done, or is to be done now. */
static int go_on_rename(const json_t *line, const char *from, const char *to, Error **err)
{
	if (is_there(to) && (is_that(to, line) || !is_there(from)))
		return 0;
	if (!is_that(from, line))
		return error_set(err, ERROR_INTERNAL, "\"%s\" is not what was to be moved", from);
	/* An Incus that was started in between made its own. */
	return file_remove_all(AT_FDCWD, to, err) < 0 ? -1 : move(from, to, err);
}

int act_rename(Journal *journal, const char *from, const char *to, Error **err)
{
	g_autofree char *folder = g_path_get_dirname(to), *old = g_path_get_dirname(from);
	const json_t *noted = journal_find(journal, "rename", "to", to);
	if (noted && strcmp(text_of(noted, "from"), from) == 0)
		return go_on_rename(noted, from, to, err);
	if (file_mkdir_all(folder, 0711, err) < 0)
		return -1;
	json_t *details = json_pack("{s:s, s:s, s:o, s:o}", "from", from, "to", to, "times",
	    times_of(old), "identity", identity_of(from));
	return journal_note(journal, "rename", details, err) < 0 ? -1 : move(from, to, err);
}

static int remove_one_folder(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return kind == FTW_DP ? rmdir(path) : -1;
}

/* A tree of folders that has nothing else in it. */
static int remove_folders(const char *path)
{
	return nftw(path, remove_one_folder, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Both names are there: LXD was started before the way back and made its own, which has nothing in
 * it unless somebody worked with it. */
static int remove_made_anew(const char *from, const char *to, Error **err)
{
	return remove_folders(from) != 0 ?
	    error_set(err, ERROR_EXISTS,
		"\"%s\" is to go back to \"%s\", but there is another one, with files: LXD was "
		"started meanwhile; move it out of the way",
		to, from) :
	    0;
}

static int undo_rename(const json_t *line, Error **err)
{
	const char *from = text_of(line, "from"), *to = text_of(line, "to");
	g_autofree char *folder = g_path_get_dirname(from);
	gboolean back = is_there(from) && (is_that(from, line) || !is_there(to));
	if (!back && !is_there(to)) /* it went before it could be moved, or somebody removed it */
		log_warn("What is to go back is not there", "from", from, "to", to);
	/* An Incus that ran has removed the folder if it was empty. */
	else if (!back &&
	    (file_mkdir_all(folder, 0700, err) < 0 ||
		(is_there(from) && remove_made_anew(from, to, err) < 0) || move(to, from, err) < 0))
		return -1;
	restore_times(folder, json_object_get(line, "times"));
	return 0;
}

/* ---- make, copy ---- */

int act_make(Journal *journal, const char *to, Error **err)
{
	gboolean there = is_there(to), noted = journal_find(journal, "make", "to", to) != NULL;
	/* What an earlier run began, or a daemon that was started in between. */
	gboolean ours = noted || journal_owns(journal, to);
	if (there && !ours)
		return error_set(err, ERROR_EXISTS, "\"%s\" is there already", to);
	if (!noted && journal_note(journal, "make", json_pack("{s:s}", "to", to), err) < 0)
		return -1;
	return there ? file_remove_all(AT_FDCWD, to, err) : 0;
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

/* With options->sync `to` has what a run that was interrupted had copied: what is the same there is
 * not written once more. It is compared all the same, for the power may have gone in between. */
static int copy_folder(const char *from, const char *to, FileCopy *options, Error **err)
{
	Error *error = NULL;
	if (mkdir(to, 0700) < 0 && !(options->sync && errno == EEXIST))
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be made", to);
	autofd int in = file_open_directory(from, err);
	autofd int out = in < 0 ? -1 : file_open_directory(to, err);
	if (out < 0 || file_copy_tree(in, out, options, err) < 0)
		return -1;
	if (compare_trees(in, out, options->progress, options->data, &error) < 0) {
		if (!options->sync || tool_check_stop(NULL) < 0)
			return error_propagate(err, error);
		error_free(error);
		options->sync = FALSE;
		return file_remove_all(AT_FDCWD, to, err) < 0 ? -1 :
								copy_folder(from, to, options, err);
	}
	return syncfs(out) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be written", to) :
	    0;
}

int act_copy(Journal *journal, const char *from, const char *to,
    void (*progress)(uint64_t bytes, void *data), void *data, Error **err)
{
	struct stat st;
	g_autofree char *folder = g_path_get_dirname(to);
	if (journal_find(journal, "copied", "to", to))
		return 0;
	if (lstat(from, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be copied", from);
	gboolean tree = S_ISDIR(st.st_mode);
	gboolean begun = tree && journal_find(journal, "make", "to", to);
	if (!begun && (file_mkdir_all(folder, 0711, err) < 0 || act_make(journal, to, err) < 0))
		return -1;
	if (!tree)
		return copy_file(from, to, &st, err);
	FileCopy options = {
		.sync = begun, .cancelled = stopped, .progress = progress, .data = data
	};
	if (copy_folder(from, to, &options, err) < 0)
		return error_prefix(err, "Copy of \"%s\"", from);
	return journal_note(journal, "copied", json_pack("{s:s}", "to", to), err);
}

/* ---- folders in which a daemon makes its own ---- */

static json_t *entries_of(const char *folder)
{
	json_t *names = json_object();
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		json_object_set_new(names, name, json_null());
	return names;
}

int act_watch(Journal *journal, const char *folder, Error **err)
{
	if (!is_there(folder) || journal_find(journal, "watch", "folder", folder))
		return 0;
	return journal_note(journal, "watch",
	    json_pack("{s:s, s:o, s:o}", "folder", folder, "names", entries_of(folder), "times",
		times_of(folder)),
	    err);
}

static int undo_watch(const json_t *line, Error **err)
{
	const char *folder = text_of(line, "folder"), *name;
	json_t *now = entries_of(folder), *value;
	json_object_foreach (now, name, value) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		if (!json_object_get(json_object_get(line, "names"), name) &&
		    remove_folders(path) != 0)
			log_warn("What Incus made is left to LXD", "path", path);
	}
	json_decref(now);
	restore_times(folder, json_object_get(line, "times"));
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
	{ "copied", undo_nothing },
	{ "watch", undo_watch },
	{ "unmount", undo_nothing },
	{ "export", pool_files_import },
	{ "deactivate", pool_files_activate },
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
