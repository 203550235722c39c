/*
 * lxd-to-incus: options, checks, plan, and what was asked for.
 */
#include "migrate/convert.h"
#include "migrate/journal.h"
#include "migrate/plan.h"
#include "migrate/resume.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_ends(Migration *m, Error **err)
{
	const Options *options = m->options;
	if (source_find(options->source, &m->source, err) < 0)
		return -1;
	return lxd_database_open(m->source.directory, m->work.path, &m->lxd, err) < 0 ||
		source_learn(&m->source, m->lxd, err) < 0 || plan_make(m, &m->plan, err) < 0 ||
		check_all(m, err) < 0 ?
	    -1 :
	    0;
}

/* One document, at the end: what was found, what was planned, what came of it. */
static void show_json(const Migration *m, const Error *error)
{
	json_t *all = json_pack("{s:o}", "checks", findings_json(m->findings));
	if (m->plan)
		json_object_set_new(all, "plan", plan_json(m->plan));
	if (m->report)
		json_object_set_new(all, "report", json_string(m->report));
	json_object_set_new(all, "result", json_string(error ? error->message : "done"));
	char *text = json_dumps(all, JSON_INDENT(2));
	puts(text);
	free(text);
	json_decref(all);
}

static void show(const Migration *m)
{
	if (m->options->json)
		return;
	g_autofree char *checks = findings_text(m->findings), *plan = plan_text(m->plan);
	/* Last comes what decides. */
	printf("%s\n%s", plan, checks);
	fflush(stdout); /* what is done is told on the other stream */
}

/* What the checks say; 0 to go on. */
static int verdict(const Migration *m, Error **err)
{
	guint refused = findings_count(m->findings, FINDING_REFUSED);
	guint obsolete = findings_count(m->findings, FINDING_OBSOLETE);
	if (refused)
		return error_set(err, ERROR_INVALID,
		    "Nothing was changed: %u of the findings above stand in the way (refused%s)",
		    refused + obsolete, obsolete ? " or obsolete" : "");
	if (obsolete)
		return error_set(err, ERROR_INVALID,
		    "Nothing was changed: Incus does not have %u of the settings (obsolete, above); "
		    "--drop-obsolete leaves them out",
		    obsolete);
	return 0;
}

static gboolean says_yes(const char *question)
{
	char answer[16] = "";
	fprintf(stderr, "\n%s (yes/no) [default=no]: ", question);
	return fgets(answer, sizeof(answer), stdin) &&
	    (g_ascii_strcasecmp(answer, "yes\n") == 0 || g_ascii_strcasecmp(answer, "y\n") == 0);
}

/* Never without being asked: with it the way back is gone. */
static int offer_removal(const Migration *m, Error **err)
{
	if (m->options->yes || !m->source.kind->purge ||
	    !says_yes(
		"Remove LXD's package and what is left of it? It cannot be undone after that"))
		return 0;
	return journal_note(m->journal, "purge-lxd", NULL, err) < 0 ? -1 :
								      source_purge(&m->source, err);
}

static int open_log(const Migration *m, Error **err)
{
	const char *path = m->options->log ? m->options->log : "/var/log/lxd-to-incus.log";
	log_set_level(LOG_LEVEL_INFO);
	return log_set_file(path) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Log \"%s\"", path) :
	    0;
}

static int roll_back(const Migration *m, Error **err)
{
	if (!journal_exists(m->target.directory))
		return error_set(err, ERROR_NOT_FOUND,
		    "There is nothing to undo: \"%s\" has no journal of a migration",
		    m->target.directory);
	if (open_log(m, err) < 0 || convert_undo(&m->target, err) < 0)
		return error_prefix(err, "Rollback (it may be tried again)");
	puts("All is as it was before");
	return 0;
}

/* Then everything is where the checks expect it. */
static int undo_first(Migration *m, const char *why, Error **err)
{
	if (m->options->dry_run)
		return error_set(err, ERROR_BUSY,
		    "A migration was interrupted and cannot go on (%s): --rollback undoes it, another "
		    "run undoes it and begins anew",
		    why);
	fprintf(stderr,
	    "A migration was interrupted and cannot go on (%s): it is undone first, nothing of LXD's "
	    "is lost\n",
	    why);
	if (!m->options->yes && !says_yes("Undo it and begin anew?"))
		return error_set(err, ERROR_CANCELLED, "Nothing was changed");
	g_clear_pointer(&m->journal, journal_free);
	source_clear(&m->source);
	if (open_log(m, err) < 0 || convert_undo(&m->target, err) < 0)
		return -1;
	target_clear(&m->target);
	return target_find(m->options->target, &m->target, err);
}

/* What was begun and not ended. *ret_on: this run goes on with it. */
static int take_up(Migration *m, gboolean *ret_on, Error **err)
{
	guint done, all;
	g_autofree char *why = NULL;
	if (resume_open(m, &why, err) < 0)
		return -1;
	*ret_on = why == NULL;
	if (why)
		return undo_first(m, why, err);
	const char *next = convert_next(m->journal, &done, &all);
	if (m->options->dry_run)
		return error_set(err, ERROR_BUSY,
		    "A migration was interrupted: %u of %u steps are done. Another run goes on with "
		    "\"%s\", --rollback undoes it",
		    done, all, next);
	fprintf(stderr,
	    "A migration was interrupted: %u of %u steps are done, \"%s\" is next. LXD was not "
	    "started since, so it goes on from there (--rollback would undo it).\n",
	    done, all, next);
	return 0;
}

static int keep_report(const Migration *m, Error **err)
{
	g_autofree char *folder = journal_folder(m->target.directory);
	g_autofree char *path = g_build_filename(folder, "report", NULL);
	if (!m->options->json)
		printf("\n%s\nThis report is kept in \"%s\"\n", m->report, path);
	return file_write_plain(path, m->report, 0600, err);
}

/* What somebody wants to know who did this for the first time. */
static void show_end(const Migration *m)
{
	g_autofree char *back = target_way_back(&m->target);
	g_autofree char *folder = journal_folder(m->target.directory);
	if (!m->options->json)
		printf(
		    "\nDone: Incus has taken over (see \"incus list --all-projects\"), LXD is stopped.\n"
		    "This goes back to it:\n  %s\n"
		    "To stay with Incus for good, remove LXD's package and the folder \"%s\".\n",
		    back, folder);
}

static int migrate(Migration *m, Error **err)
{
	if (open_log(m, err) < 0)
		return -1;
	g_autofree char *back = target_way_back(&m->target);
	if (convert_run(m, err) < 0)
		return error_prefix(err,
		    "Not done (\"%s\" undoes it, another run goes on once the cause is gone)",
		    back);
	/* What was proven is worth knowing, also where the end is not good. */
	int started = convert_start(m, err);
	if (keep_report(m, started == 0 ? err : NULL) < 0)
		return -1;
	if (started < 0)
		return error_prefix(err,
		    "Everything is moved, Incus is left as it is now (\"%s\" goes back)", back);
	show_end(m);
	if (offer_removal(m, err) < 0)
		return -1;
	if (m->target.systemd || m->target.was_running)
		return 0;
	/* It was started for the proof; instances go on running. */
	return target_leave(&m->target, err);
}

/* What is there, what would be done, and whether it can be. */
static int look(Migration *m, Error **err)
{
	if (open_ends(m, err) < 0)
		return -1;
	show(m);
	return verdict(m, err);
}

static int run(Migration *m, Error **err)
{
	if (target_find(m->options->target, &m->target, err) < 0)
		return -1;
	if (m->options->rollback)
		return roll_back(m, err);
	if (work_open(&m->work, err) < 0)
		return -1;
	gboolean on = FALSE;
	if (journal_exists(m->target.directory) && take_up(m, &on, err) < 0)
		return -1;
	if (!on && look(m, err) < 0)
		return -1;
	if (m->options->dry_run)
		return 0;
	if (!m->options->yes &&
	    !says_yes(on ? "Go on with it now?" : "Move this host from LXD to Incus now?"))
		return error_set(err, ERROR_CANCELLED, "Nothing was changed");
	return migrate(m, err);
}

static void clear(Migration *m)
{
	plan_free(m->plan);
	journal_free(m->journal);
	g_free(m->report);
	findings_free(m->findings);
	lxd_database_free(m->lxd);
	work_close(&m->work);
	source_clear(&m->source);
	target_clear(&m->target);
}

int main(int argc, char **argv)
{
	Options options;
	g_autoptr(Error) err = NULL;
	if (options_parse(argc, argv, &options, &err) < 0) {
		fprintf(stderr, "Error: %s\n", err->message);
		options_clear(&options);
		return 2;
	}
	int result = 0;
	if (options.help) {
		g_autofree char *help = options_help();
		fputs(help, stdout);
	} else if (options.version) {
		puts(INCUS_VERSION);
	} else if (geteuid() != 0) {
		result = error_set(&err, ERROR_FORBIDDEN, "Run it as root");
	} else {
		tool_watch_signals();
		Migration m = { .options = &options, .findings = findings_new() };
		result = run(&m, &err);
		if (options.json && !options.rollback)
			show_json(&m, err);
		clear(&m);
	}
	options_clear(&options);
	fflush(stdout);
	if (result < 0)
		fprintf(stderr, "Error: %s\n", err->message);
	return result < 0;
}
