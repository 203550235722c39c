/* The journal and the records of live moves, and what a start makes of them. */
#include "server/instance/live_private.h"
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "migration.journal"
static const char *const phase_names[] = { "", "arriving", "leaving", "left" };

void live_trace(Instance *i, const char *step)
{
	char clock[32];
	int64_t us = g_get_real_time();
	g_snprintf(clock, sizeof(clock), "%" G_GINT64_FORMAT ".%03d", us / G_USEC_PER_SEC,
	    (int)(us % G_USEC_PER_SEC / 1000));
	log_debug("Live move", "instance", i->name, "step", step, "clock", clock);
}

/* ---- the journal ---- */

static char *text_of(json_t *tree, const char *key)
{
	const char *text = json_string_value(json_object_get(tree, key));
	return g_strdup(text ? text : "");
}

static LivePhase phase_of(json_t *tree)
{
	const char *text = json_string_value(json_object_get(tree, "phase"));
	for (guint n = 1; text && n < G_N_ELEMENTS(phase_names); n++)
		if (strcmp(text, phase_names[n]) == 0)
			return (LivePhase)n;
	return LIVE_NONE;
}

LiveJournal live_journal_read(Instance *i)
{
	LiveJournal journal = { 0 };
	g_autofree char *text = instance_volatile_get(i, KEY);
	json_t *tree = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	json_t *servers = json_object_get(tree, "servers"), *server;
	size_t n;
	journal.phase = phase_of(tree);
	journal.given = !json_is_false(json_object_get(tree, "given"));
	journal.since = json_integer_value(json_object_get(tree, "since"));
	journal.id = text_of(tree, "id");
	journal.certificate = text_of(tree, "certificate");
	journal.servers = g_new0(char *, json_array_size(servers) + 1);
	json_array_foreach (servers, n, server)
		journal.servers[n] = g_strdup(
		    json_is_string(server) ? json_string_value(server) : "");
	json_decref(tree);
	return journal;
}

void live_journal_clear(LiveJournal *journal)
{
	g_clear_pointer(&journal->id, g_free);
	g_clear_pointer(&journal->servers, g_strfreev);
	g_clear_pointer(&journal->certificate, g_free);
}

char *live_journal_text(const LiveJournal *journal)
{
	json_t *servers = json_array();
	for (char **server = journal->servers; server && *server; server++)
		json_array_append_new(servers, json_string(*server));
	json_t *tree = json_pack("{s:s, s:b, s:I, s:s, s:o, s:s}", "phase",
	    phase_names[journal->phase], "given", journal->given, "since",
	    (json_int_t)journal->since, "id", journal->id, "servers", servers, "certificate",
	    journal->certificate ? journal->certificate : "");
	char *dumped = json_dumps(tree, JSON_COMPACT);
	char *text = g_strdup(dumped);
	free(dumped);
	json_decref(tree);
	return text;
}

int live_journal_write(Instance *i, const LiveJournal *journal, Error **err)
{
	g_autofree char *text = journal ? live_journal_text(journal) : NULL;
	if (instance_volatile_set(i, KEY, text, err) < 0)
		return -1;
	return journal && journal->given ? db_sync(i->daemon->db, err) : 0;
}

gboolean live_stands(Instance *i)
{
	const LiveDriver *driver = instance_driver(i)->live;
	return driver && driver->carried && driver->carried(i);
}

int live_check_start(Instance *i, Error **err)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	switch (journal.phase) {
	case LIVE_NONE:
		return 0;
	case LIVE_ARRIVING:
		return error_set(err, ERROR_BUSY,
		    "Instance \"%s\" is still arriving from another server", i->name);
	case LIVE_LEFT:
		return error_set(err, ERROR_INVALID,
		    "Instance \"%s\" was moved to another server and runs there: delete it here (or, when it is there no more, start it with --ignore-move)",
		    i->name);
	case LIVE_LEAVING:
		if (!journal.given)
			return error_set(err, ERROR_BUSY,
			    "Instance \"%s\" is on its way to another server", i->name);
		return error_set(err, ERROR_INVALID,
		    "Instance \"%s\" was being moved when \"%s\" went out of reach, and may run there: this server asks it again and again (if you know better: when it certainly does not run there, start it with --ignore-move; when it does, delete it with --ignore-move)",
		    i->name, journal.servers[0] ? journal.servers[0] : "the other server");
	}
	return 0;
}

int live_check_delete(Instance *i, Error **err)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	return journal.phase == LIVE_LEAVING ? live_check_start(i, err) : 0;
}

static int take_back_locked(Instance *i, gboolean arrived, Error **err)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	gboolean stands = journal.phase == LIVE_LEAVING && live_stands(i);
	if (journal.phase != LIVE_LEAVING && journal.phase != LIVE_LEFT)
		return 0;
	log_warn("An instance that was moved is taken back, as somebody wants it", "instance",
	    i->name, "move", journal.id, "to", journal.servers[0] ? journal.servers[0] : "");
	if (stands &&
	    (arrived ? live_end_standing(i, err) :
		       instance_driver(i)->live->settle(i, FALSE, err)) < 0)
		return -1;
	return live_journal_write(i, NULL, err) < 0 ? -1 : stands && !arrived;
}

int live_take_back(Instance *i, gboolean arrived, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = take_back_locked(i, arrived, err);
	instance_unlock(i);
	return result;
}

/* ---- records ---- */

static char *record_path(Daemon *d, const char *id)
{
	return g_build_filename(d->dir, "migrations", id, NULL);
}

int live_record_make(Daemon *d, const char *id, Error **err)
{
	g_autofree char *folder = g_build_filename(d->dir, "migrations", NULL);
	g_autofree char *path = record_path(d, id);
	if (file_mkdir_all(folder, 0700, err) < 0 || db_sync(d->db, err) < 0)
		return -1;
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	autofd int directory = file_open_directory(folder, err);
	if (directory < 0)
		return -1;
	return fd < 0 || fsync(directory) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", path) :
	    0;
}

void live_record_remove(Daemon *d, const char *id)
{
	g_autofree char *path = record_path(d, id);
	g_autoptr(Error) error = NULL;
	if (db_sync(d->db, &error) == 0 && unlink(path) < 0 && errno != ENOENT)
		error_errno(&error, ERROR_INTERNAL, errno, "Cannot remove it");
	if (error)
		log_warn("The record of a move stays", "path", path, "err", error->message);
}

gboolean live_record_exists(Daemon *d, const char *id)
{
	g_autofree char *path = record_path(d, id);
	return access(path, F_OK) == 0;
}

void live_records_prune(Daemon *d)
{
	g_autofree char *folder = g_build_filename(d->dir, "migrations", NULL);
	int64_t oldest = g_get_real_time() / G_USEC_PER_SEC - RECORD_DAYS * (int64_t)DAY_S;
	autodir DIR *dir = opendir(folder);
	struct stat st;
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (name_check_uuid(entry->d_name, NULL) == 0 &&
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_mtime < oldest)
			live_record_remove(d, entry->d_name);
}

LiveOutcome live_outcome(Daemon *d, const char *id, gboolean forget)
{
	if (live_record_exists(d, id)) {
		if (forget)
			live_record_remove(d, id);
		return LIVE_ARRIVED;
	}
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		g_auto(LiveJournal) journal = live_journal_read(all->pdata[n]);
		if (journal.phase == LIVE_ARRIVING && strcmp(journal.id, id) == 0)
			return LIVE_UNDECIDED;
	}
	/* It may have become one in between. */
	return live_record_exists(d, id) ? LIVE_ARRIVED : LIVE_NEVER;
}

/* ---- after a crash ---- */

/* The move was decided: what did not come to run is started as any that ran. */
static void repair_arrived(Instance *i)
{
	checkpoint_settle(i);
	if (!instance_running(i))
		instance_volatile_set(i, "last_state.power", "RUNNING", NULL);
	live_journal_write(i, NULL, NULL);
}

/* What runs was let through the gate: a copy has no record. */
static void repair_arriving(Instance *i, const LiveJournal *journal)
{
	g_autoptr(Error) error = NULL;
	if (instance_running(i) || live_record_exists(i->daemon, journal->id)) {
		repair_arrived(i);
		return;
	}
	log_info("Removing an instance whose move broke off", "instance", i->name);
	if (instance_discard(i, &error) < 0)
		log_error("It stays", "instance", i->name, "err", error->message);
}

/* Without state on disk nothing has left. */
static void repair_leaving(Instance *i, const LiveJournal *journal)
{
	if (journal->given && live_stands(i))
		return;
	if (!instance_running(i))
		checkpoint_settle(i);
	if (instance_running(i) || (!i->stateful && !journal->given))
		live_journal_write(i, NULL, NULL);
}

void live_repair(Daemon *d)
{
	live_records_prune(d);
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		g_auto(LiveJournal) journal = live_journal_read(all->pdata[n]);
		if (journal.phase == LIVE_ARRIVING)
			repair_arriving(all->pdata[n], &journal);
		else if (journal.phase == LIVE_LEAVING)
			repair_leaving(all->pdata[n], &journal);
	}
}
