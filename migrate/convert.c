#include "migrate/convert.h"
#include "migrate/act.h"
#include "migrate/backup_file.h"
#include "migrate/clients.h"
#include "migrate/journal.h"
#include "migrate/left_running.h"
#include "migrate/links.h"
#include "migrate/mounts.h"
#include "migrate/older.h"
#include "migrate/owners.h"
#include "migrate/plan.h"
#include "migrate/pool_files.h"
#include "migrate/progress.h"
#include "migrate/proof.h"
#include "migrate/rows.h"
#include "migrate/tool.h"
#include "migrate/unlisted.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- both ends stop ---- */

static int stop_lxd(Migration *m, Error **err)
{
	gboolean enabled = source_is_enabled(&m->source);
	if (!m->source.running && !enabled)
		return 0;
	json_t *details = json_pack("{s:s, s:b, s:b}", "source", m->source.named, "running",
	    m->source.running, "enabled", enabled);
	if (journal_note(m->journal, "stop-lxd", details, err) < 0 ||
	    source_stop(&m->source, err) < 0)
		return -1;
	m->source.running = FALSE;
	return 0;
}

static int stop_incus(Migration *m, Error **err)
{
	if (!m->target.running || journal_has(m->journal, "start-incus"))
		return 0;
	if (journal_note(m->journal, "stop-incus", NULL, err) < 0 ||
	    target_stop(&m->target, err) < 0)
		return -1;
	m->target.running = FALSE;
	return 0;
}

/* While LXD ran it may have changed what was read; stopping it did. */
static int read_again(Migration *m, Error **err)
{
	if (!journal_has(m->journal, "stop-lxd"))
		return 0;
	Plan *plan = NULL;
	LxdDatabase *lxd = NULL;
	g_clear_pointer(&m->lxd, lxd_database_free);
	if (lxd_database_open(m->source.directory, m->work.path, &lxd, err) < 0)
		return -1;
	m->lxd = lxd;
	if (plan_make(m, &plan, err) < 0)
		return -1;
	plan_free(m->plan);
	m->plan = plan;
	g_autoptr(Findings) findings = findings_new();
	Migration again = *m;
	again.findings = findings;
	if (check_all(&again, err) < 0)
		return -1;
	if (!findings_count(findings, FINDING_REFUSED) &&
	    !findings_count(findings, FINDING_OBSOLETE))
		return 0;
	g_autofree char *text = findings_text(findings);
	return error_set(err, ERROR_INVALID, "LXD changed meanwhile:\n%s", text);
}

/* From here on LXD's directory is as the journal says, and another run can go on with it. */
static int note_plan(Migration *m, Error **err)
{
	g_autofree char *state = NULL;
	if (read_again(m, err) < 0 || lxd_database_state(m->source.directory, &state, err) < 0)
		return -1;
	json_t *details = json_pack("{s:o, s:s}", "plan", plan_json(m->plan), "database", state);
	return journal_note(m->journal, "plan", details, err);
}

/* ---- the target ---- */

static int set_aside(Migration *m, Error **err)
{
	g_autofree char *folder = journal_folder(m->target.directory);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(m->target.directory, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		if (strcmp(name, "lxd-to-incus") != 0)
			g_ptr_array_add(names, g_strdup(name));
	for (guint i = 0; i < names->len; i++) {
		g_autofree char *from = g_build_filename(
		    m->target.directory, names->pdata[i], NULL);
		g_autofree char *to = g_build_filename(folder, "before", names->pdata[i], NULL);
		if (act_rename(m->journal, from, to, err) < 0)
			return -1;
	}
	/* From here on everything in the target but that folder is ours. */
	return journal_note(m->journal, "sweep", NULL, err);
}

static void note_dropped(const RowTable *table, const char *key, const char *renamed, void *data)
{
	if (renamed)
		log_info("Setting renamed", "table", table->name, "key", key, "to", renamed);
	else
		log_info("Setting dropped", "table", table->name, "key", key);
}

static RowsContext rows_context(Migration *m)
{
	return (RowsContext){ .lxd = m->lxd,
		.from = { m->source.recorded, m->source.directory },
		.to = m->target.directory,
		.dropped = note_dropped };
}

static int sync_path(const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	if (fd < 0)
		return -1;
	return syncfs(fd) < 0 ? error_errno(err, ERROR_INTERNAL, errno, "\"%s\"", path) : 0;
}

static int fill_database(Migration *m, const char *folder, Error **err)
{
	Db *db = NULL;
	RowsContext context = rows_context(m);
	g_autofree char *global = g_build_filename(folder, "database", "global", NULL);
	if (file_mkdir_all(global, 0750, err) < 0 || db_open(folder, &db, err) < 0)
		return -1;
	int result = rows_convert(&context, db, err);
	if (result == 0)
		result = proof_rows(m, &context, db, err);
	db_close(db);
	return result;
}

/* Made aside. */
static int make_database(Migration *m, Error **err)
{
	g_autofree char *folder = journal_folder(m->target.directory);
	g_autofree char *fresh = g_build_filename(folder, "new", NULL);
	g_autofree char *made = g_build_filename(fresh, "database", NULL);
	if (file_remove_all(AT_FDCWD, fresh, err) < 0 || fill_database(m, fresh, err) < 0 ||
	    chmod(made, 0700) < 0 || sync_path(fresh, err) < 0)
		return error_prefix(err, "Incus's database");
	return journal_note(m->journal, "proven", json_pack("{s:s}", "report", m->report), err);
}

/* The last thing: an Incus that a reboot starts before finds nothing that it would run. */
static int place_database(Migration *m, Error **err)
{
	g_autofree char *folder = journal_folder(m->target.directory);
	g_autofree char *fresh = g_build_filename(folder, "new", NULL);
	g_autofree char *made = g_build_filename(fresh, "database", NULL);
	g_autofree char *to = g_build_filename(m->target.directory, "database", NULL);
	if (access(made, F_OK) < 0) /* an earlier run did it, and died */
		return access(to, F_OK) < 0 ?
		    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" is gone", made) :
		    0;
	if (act_make(m->journal, to, err) < 0)
		return -1;
	if (rename(made, to) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be made", to);
	rmdir(fresh);
	return 0;
}

/* ---- trees ---- */

static int move_trees(Migration *m, Error **err)
{
	/* All that is copied is read once more and compared. */
	g_autoptr(Progress) progress = progress_new("Copying", 2 * m->plan->bytes);
	for (guint i = 0; i < m->plan->moves->len; i++) {
		const PlanMove *move = m->plan->moves->pdata[i];
		if (tool_check_stop(err) < 0)
			return -1;
		int result = move->copy ?
		    act_copy(m->journal, move->from, move->to, progress_add, progress, err) :
		    act_rename(m->journal, move->from, move->to, err);
		if (result < 0)
			return -1;
		log_info(move->copy ? "Copied" : "Renamed", "from", move->from, "to", move->to);
	}
	return 0;
}

/* ---- all of it ---- */

static int release_source(Migration *m, Error **err)
{
	g_autofree char *running = left_running(&m->source);
	if (running)
		return error_set(
		    err, ERROR_BUSY, "Instances of LXD's run still, which it left: %s", running);
	const char *directory = m->source.directory, *space = m->source.kind->mounts;
	return mounts_release(m->journal, directory, space, err) < 0 ?
	    -1 :
	    pool_files_release(m->journal, directory, err);
}

static int convert_clients(Migration *m, Error **err)
{
	const json_t *begin = journal_find(m->journal, "begin", NULL, NULL);
	gboolean asked = m->options->clients || json_is_true(json_object_get(begin, "clients"));
	return asked ? clients_convert(m->journal, err) : 0;
}

static int sync_all(Migration *m, Error **err)
{
	return sync_path(m->target.directory, err);
}

/* What is done is noted and not done again by a run that goes on; what is to be seen to each time
 * is not noted. */
static const struct {
	const char *name;
	int (*run)(Migration *m, Error **err);
	gboolean each_time;
} steps[] = {
	{ "Stopping LXD", stop_lxd, TRUE },
	{ "Stopping Incus", stop_incus, TRUE },
	{ "Unmounting what LXD left mounted", release_source, TRUE },
	{ "Reading LXD's database", note_plan },
	{ "Setting the empty Incus aside", set_aside },
	{ "Making Incus's database", make_database },
	{ "Moving files", move_trees },
	{ "Renaming what an older LXD calls otherwise", older_rename },
	{ "Linking instances", links_make },
	{ "Keeping files that LXD's database does not know", unlisted_keep },
	{ "Rewriting backup.yaml files", backup_files_rewrite },
	{ "Converting users' client configuration", convert_clients },
	{ "Putting Incus's database in place", place_database },
	{ "Writing all to the disk", sync_all },
};

static int begin(Migration *m, Error **err)
{
	json_t *details = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "work",
	    m->work.path, "source", m->source.directory, "named", m->source.named, "target",
	    m->target.directory, "version", INCUS_VERSION, "target-existed", m->target.exists,
	    "incus-running", m->target.was_running, "clients", m->options->clients);
	return journal_note(m->journal, "begin", details, err);
}

static gboolean is_done(const Journal *journal, const char *step)
{
	return journal_find(journal, "done", "step", step) != NULL;
}

const char *convert_next(const Journal *journal, guint *ret_done, guint *ret_all)
{
	*ret_done = 0;
	*ret_all = G_N_ELEMENTS(steps);
	while (*ret_done < *ret_all &&
	    (steps[*ret_done].each_time || is_done(journal, steps[*ret_done].name)))
		(*ret_done)++;
	return *ret_done < *ret_all ? steps[*ret_done].name : "Starting Incus";
}

static int run_step(Migration *m, size_t i, Error **err)
{
	log_info(steps[i].name);
	if (!m->options->json)
		fprintf(stderr, "%s\n", steps[i].name);
	if (tool_check_stop(err) < 0 || fault_point(steps[i].name, err) < 0 ||
	    steps[i].run(m, err) < 0)
		return error_prefix(err, "%s", steps[i].name);
	return steps[i].each_time ?
	    0 :
	    journal_note(m->journal, "done", json_pack("{s:s}", "step", steps[i].name), err);
}

int convert_run(Migration *m, Error **err)
{
	if (!m->journal &&
	    (journal_create(m->target.directory, &m->journal, err) < 0 || begin(m, err) < 0))
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++)
		if (!is_done(m->journal, steps[i].name) && run_step(m, i, err) < 0)
			return -1;
	return 0;
}

/* A pool's folders, in which volumes are mounted. */
static int watch_within(Migration *m, const char *folder, Error **err)
{
	struct stat above, st;
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	if (!dir || lstat(folder, &above) < 0)
		return 0;
	for (const char *name; (name = g_dir_read_name(dir));) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		gboolean ours = lstat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
		    st.st_dev == above.st_dev;
		if (ours && act_watch(m->journal, path, err) < 0)
			return -1;
	}
	return 0;
}

/* What LXD gets back after Incus ran on it is to have no folders of Incus's. */
static int watch_folders(Migration *m, Error **err)
{
	for (guint i = 0; i < m->plan->moves->len; i++) {
		const PlanMove *move = m->plan->moves->pdata[i];
		g_autofree char *above = g_path_get_dirname(move->to);
		if (move->copy || !g_file_test(move->to, G_FILE_TEST_IS_DIR))
			continue;
		if (act_watch(m->journal, move->to, err) < 0 ||
		    (g_str_has_suffix(above, "/storage-pools") &&
			watch_within(m, move->to, err) < 0))
			return -1;
	}
	return 0;
}

int convert_start(Migration *m, Error **err)
{
	if (watch_folders(m, err) < 0 ||
	    (!journal_has(m->journal, "owners") && owners_note(m, err) < 0) ||
	    journal_note(m->journal, "start-incus", NULL, err) < 0 ||
	    target_start(&m->target, err) < 0 || proof_running(m, err) < 0)
		return -1;
	return journal_note(m->journal, "finished", NULL, err);
}
