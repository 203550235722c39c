/* The way back: the journal's lines, the newest first. */
#include "migrate/convert.h"
#include "migrate/act.h"
#include "migrate/backup_file.h"
#include "migrate/clients.h"
#include "migrate/owners.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int undo_sweep(const Target *target, const json_t *line, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(target->directory, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		if (strcmp(name, "lxd-to-incus") != 0)
			g_ptr_array_add(names, g_build_filename(target->directory, name, NULL));
	/* What was LXD's has gone back; these are copies, and what a daemon made. */
	for (guint i = 0; i < names->len; i++)
		if (file_remove_all(AT_FDCWD, names->pdata[i], err) < 0)
			return -1;
	return 0;
}

static int undo_stop_lxd(const Target *target, const json_t *line, Error **err)
{
	Source source = { 0 };
	const char *directory = json_string_value(json_object_get(line, "source"));
	gboolean running = json_is_true(json_object_get(line, "running"));
	gboolean enabled = json_is_true(json_object_get(line, "enabled"));
	g_autoptr(Error) problem = NULL;
	if (!directory || source_find(directory, &source, err) < 0)
		return -1;
	if ((enabled && source_enable(&source, &problem) < 0) ||
	    (running && !source.running && source_start(&source, &problem) < 0)) {
		log_warn(
		    "LXD was running and is not now", "source", directory, "err", problem->message);
		fprintf(stderr, "LXD is not started: %s\n", problem->message);
	}
	source_clear(&source);
	return 0;
}

static int undo_stop_incus(const Target *target, const json_t *line, Error **err)
{
	return target->systemd ? target_start(target, err) : 0;
}

static int undo_start_incus(const Target *target, const json_t *line, Error **err)
{
	/* With what runs on it, and what it mounted. */
	return target_stop(target, err);
}

static int undo_backup_files(const Target *target, const json_t *line, Error **err)
{
	return backup_files_restore(target->directory, err);
}

static int undo_client(const Target *target, const json_t *line, Error **err)
{
	return clients_undo(line, err);
}

/* A run that was killed left its copy of LXD's database. */
static int undo_begin(const Target *target, const json_t *line, Error **err)
{
	const char *work = json_string_value(json_object_get(line, "work"));
	return work ? file_remove_all(AT_FDCWD, work, err) : 0;
}

static int undo_purge(const Target *target, const json_t *line, Error **err)
{
	return error_set(err, ERROR_UNSUPPORTED, "LXD was removed: there is nothing to go back to");
}

static int undo_nothing(const Target *target, const json_t *line, Error **err)
{
	return 0;
}

static const struct {
	const char *action;
	int (*undo)(const Target *target, const json_t *line, Error **err);
} ways_back[] = {
	{ "begin", undo_begin },
	{ "stop-lxd", undo_stop_lxd },
	{ "stop-incus", undo_stop_incus },
	{ "sweep", undo_sweep },
	{ "backup-files", undo_backup_files },
	{ "client", undo_client },
	{ "plan", undo_nothing },
	{ "proven", undo_nothing },
	{ "done", undo_nothing },
	{ "owners", owners_restore },
	{ "start-incus", undo_start_incus },
	{ "finished", undo_nothing },
	{ "purge-lxd", undo_purge },
};

static int undo_line(const Target *target, const json_t *line, Error **err)
{
	gboolean known;
	const char *action = json_string_value(json_object_get(line, "action"));
	if (act_undo(line, &known, err) < 0)
		return error_prefix(err, "Undoing \"%s\"", action);
	if (known)
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(ways_back); i++)
		if (strcmp(ways_back[i].action, action) == 0)
			return ways_back[i].undo(target, line, err) < 0 ?
			    error_prefix(err, "Undoing \"%s\"", action) :
			    0;
	return error_set(err, ERROR_INVALID, "The journal has an unknown action \"%s\"", action);
}

/* A daemon that was started since, by a reboot or by somebody, would write into what goes away.
 * What the journal knows to have been started is stopped by its own line. */
static int stop_daemons(const Target *target, const Journal *journal, Error **err)
{
	Source source = { 0 };
	const json_t *begin = journal_find(journal, "begin", NULL, NULL);
	const char *named = json_string_value(json_object_get(begin, "named"));
	if (!journal_has(journal, "plan"))
		return 0;
	if (!journal_has(journal, "start-incus") && target_stop(target, err) < 0)
		return -1;
	if (!named || source_find(named, &source, err) < 0)
		return -1;
	if (source.running)
		log_warn("LXD was started meanwhile: it is stopped for the way back");
	int result = source.running ? source_stop(&source, err) : 0;
	source_clear(&source);
	return result;
}

/* LXD is started last. */
int convert_undo(const Target *target, Error **err)
{
	g_autoptr(Journal) journal = NULL;
	if (journal_open(target->directory, &journal, err) < 0 ||
	    stop_daemons(target, journal, err) < 0)
		return -1;
	const json_t *lines = journal_lines(journal), *restart = NULL;
	gboolean existed = TRUE;
	for (size_t i = json_array_size(lines); i-- > 0;) {
		const json_t *line = json_array_get(lines, i);
		const char *action = json_string_value(json_object_get(line, "action"));
		if (strcmp(action, "begin") == 0)
			existed = json_is_true(json_object_get(line, "target-existed"));
		if (strcmp(action, "stop-lxd") == 0)
			restart = line;
		else if (undo_line(target, line, err) < 0)
			return -1;
	}
	g_autofree char *source = restart ?
	    g_strdup(json_string_value(json_object_get(restart, "source"))) :
	    NULL;
	if (journal_remove(journal, err) < 0)
		return -1;
	if (!existed && rmdir(target->directory) < 0 && errno != ENOTEMPTY)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "\"%s\" cannot be removed", target->directory);
	return restart ? undo_line(target, restart, err) : 0;
}
