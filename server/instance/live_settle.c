/* What became of a move whose last words were not heard: the source asks the target. */
#include "server/instance/live_private.h"
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "server/operation/schedule.h"
#include "incus/v1/operation.pb-c.h"
#include "sdk/client.h"
#include <incus/call.h>
#include <string.h>

enum { CONNECT_MS = 3000, PAUSE_MS = 100, AGAIN_S = 5, AGAIN_MOST_S = 60, PATIENCE_S = 2 };

static int ask_server(const char *url, const LiveJournal *journal, gboolean forget,
    LiveOutcome *ret_outcome, incus_error **err)
{
	static const char *const words[] = { "arrived", "undecided", "never" };
	Pb__GetMigrationOutcomeRequest in = PB__GET_MIGRATION_OUTCOME_REQUEST__INIT;
	incus_tls tls = { .server_certificate = *journal->certificate ? journal->certificate : NULL,
		.connect_timeout_ms = CONNECT_MS };
	incus_client *client = NULL;
	void *reply;
	in.id = journal->id;
	in.forget = forget;
	if (incus_connect_tls(url, &tls, &client, err) < 0)
		return -1;
	incus_client_set_timeout(client, CONNECT_MS);
	int result = incus_call_unary(
	    client, incus_method("GetMigrationOutcome"), &in, &reply, err);
	incus_client_free(client);
	if (result < 0)
		return -1;
	const char *word = ((Pb__MigrationOutcome *)reply)->outcome;
	*ret_outcome = LIVE_UNDECIDED;
	for (guint n = 0; n < G_N_ELEMENTS(words); n++)
		if (strcmp(word, words[n]) == 0)
			*ret_outcome = (LiveOutcome)n;
	incus_message_free(reply);
	return 0;
}

static LiveOutcome ask(const LiveJournal *journal, gboolean forget)
{
	for (char **server = journal->servers; *server; server++) {
		LiveOutcome outcome;
		incus_error *error = NULL;
		if (ask_server(*server, journal, forget, &outcome, &error) == 0)
			return outcome;
		log_debug("The target of a move does not answer", "server", *server, "err",
		    error->message);
		incus_error_free(error);
	}
	return LIVE_UNDECIDED;
}

/* Nobody need be asked any more, once the target has heard that we know. */
static int forget(Instance *i, LiveJournal *journal, Error **err)
{
	if (ask(journal, TRUE) == LIVE_UNDECIDED)
		return 0;
	g_strfreev(journal->servers);
	journal->servers = g_new0(char *, 1);
	return live_journal_write(i, journal, err);
}

void live_deleted(const LiveJournal *journal)
{
	if (journal->phase == LIVE_LEFT && journal->servers[0])
		ask(journal, TRUE);
}

int live_end_standing(Instance *i, Error **err)
{
	if (!live_stands(i))
		return 0;
	if (instance_driver(i)->live->settle(i, TRUE, err) < 0)
		return -1;
	power_left_locked(i);
	return 0;
}

/* It runs there. */
static int settle_arrived(Instance *i, LiveJournal *journal, Error **err)
{
	journal->phase = LIVE_LEFT;
	if (live_journal_write(i, journal, err) < 0 || live_end_standing(i, err) < 0 ||
	    checkpoint_drop(i, err) < 0)
		return -1;
	return forget(i, journal, err);
}

/* It does not, and never will. */
static int settle_never(Instance *i, Error **err)
{
	if (live_stands(i))
		return instance_driver(i)->live->settle(i, FALSE, err) < 0 ?
		    -1 :
		    live_journal_write(i, NULL, err);
	return live_journal_write(i, NULL, err) < 0 ? -1 : power_start_locked(i, err);
}

/* Nobody was told to run it: it certainly does not. And whether there ever was a record, a target
 * does not know for ever. */
static LiveOutcome outcome_of(const LiveJournal *journal)
{
	int64_t age_s = g_get_real_time() / G_USEC_PER_SEC - journal->since;
	if (!journal->given)
		return LIVE_NEVER;
	LiveOutcome outcome = ask(journal, FALSE);
	return outcome == LIVE_NEVER && age_s > ANSWER_DAYS * (int64_t)DAY_S ? LIVE_UNDECIDED :
									       outcome;
}

LiveOutcome live_settle_locked(Instance *i, int patience_s, Error **err)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	gint64 until = g_get_monotonic_time() + patience_s * (gint64)G_USEC_PER_SEC;
	LiveOutcome outcome;
	while ((outcome = outcome_of(&journal)) == LIVE_UNDECIDED &&
	    g_get_monotonic_time() < until && !g_atomic_int_get(&i->daemon->shutting_down))
		g_usleep(PAUSE_MS * 1000);
	if (outcome == LIVE_ARRIVED)
		settle_arrived(i, &journal, err);
	else if (outcome == LIVE_NEVER)
		settle_never(i, err);
	return outcome;
}

/* ---- again and again ---- */

/* One that left tells its target that it has heard so. */
static gboolean has_question(Instance *i)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	if ((instance_running(i) && !live_stands(i)) ||
	    (journal.phase != LIVE_LEAVING && journal.phase != LIVE_LEFT))
		return FALSE;
	return journal.servers[0] || !journal.given;
}

/* The wall clock's time of the last round, and how long to rest after it: longer and longer. */
static gint64 last_round_us, rest_s = AGAIN_S;

static gint64 due(Daemon *d, gint64 now_us)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++)
		if (has_question(all->pdata[n]))
			return last_round_us + rest_s * (gint64)G_USEC_PER_SEC;
	return G_MAXINT64;
}

static void settle_one(Instance *i)
{
	g_autoptr(Error) error = NULL;
	LiveOutcome outcome = LIVE_UNDECIDED;
	if (instance_trylock(i, NULL) < 0) /* in the middle of it */
		return;
	g_auto(LiveJournal) journal = live_journal_read(i);
	if ((!instance_running(i) || live_stands(i)) && journal.phase == LIVE_LEAVING)
		outcome = live_settle_locked(i, PATIENCE_S, &error);
	else if (journal.phase == LIVE_LEFT)
		forget(i, &journal, &error);
	instance_unlock(i);
	if (error)
		log_error("A move is not settled", "instance", i->name, "err", error->message);
	else if (outcome == LIVE_NEVER)
		instance_event(i, "instance-started", NULL, NULL);
}

static int run(Operation *op, void *data, Error **err)
{
	g_autoptr(GPtrArray) all = instance_list(operation_daemon(op), NULL);
	gboolean more = FALSE;
	for (guint n = 0; n < all->len; n++)
		if (has_question(all->pdata[n])) {
			settle_one(all->pdata[n]);
			more |= has_question(all->pdata[n]);
		}
	last_round_us = g_get_real_time();
	rest_s = more ? MIN(2 * rest_s, AGAIN_MOST_S) : AGAIN_S;
	return 0;
}

void live_ask_again(Daemon *d)
{
	rest_s = AGAIN_S;
	schedule_changed(d);
}

/* ---- old records ---- */

static gint64 pruned_us;

static gint64 prune_due(Daemon *d, gint64 now_us)
{
	return pruned_us + DAY_S * (gint64)G_USEC_PER_SEC;
}

static int prune(Operation *op, void *data, Error **err)
{
	pruned_us = g_get_real_time();
	live_records_prune(operation_daemon(op));
	return 0;
}

int live_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob job = { "Asking about instances that were moved", due, run };
	static const ScheduleJob pruning = { "Forgetting old moves", prune_due, prune };
	pruned_us = g_get_real_time(); /* by live_repair() */
	schedule_add(d, &job);
	schedule_add(d, &pruning);
	return 0;
}
