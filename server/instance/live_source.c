/* The sending side of a live move. */
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/instance/exec_operation.h"
#include "server/instance/folder.h"
#include "server/instance/live_private.h"
#include "sdk/base/fault.h"
#include "sdk/base/moment.h"
#include "sdk/base/names.h"
#include "server/guest/guest.h"
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { END_PATIENCE_MS = 60000, SETTLE_S = 10, SERVERS_MAX = 16 };
#define SLACK_NS ((int64_t)100000000) /* file systems' clocks go in steps */

struct LiveSource {
	Instance *instance;
	const LiveDriver *driver;
	Runtime *runtime;
	char *id, *version;
	gboolean stays, sent, carried, ended, noted;
	LiveHold *hold;
	int64_t since;	     /* the volume's last reading began; ns since 1970 */
	MigrationLast *last; /* its last round, made ready; NULL: it is asked for when it is held */
	Operation *op;
};

static void source_free(LiveSource *s)
{
	migration_last_free(s->last);
	runtime_unref(s->runtime);
	instance_unref(s->instance);
	g_free(s->id);
	g_free(s->version);
	g_free(s);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LiveSource, source_free)

static int unexpected(Error **err)
{
	return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
}

static int find_driver(Instance *i, const LiveDriver **ret_driver, char **ret_version, Error **err)
{
	*ret_driver = instance_driver(i)->live;
	if (!*ret_driver)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Instances of type \"%s\" do not move while they run in this version: stop it, or use --stateless",
		    instance_type_name(i->type));
	g_autoptr(Config) config = instance_expanded_config(i);
	const char *const key = "migration.stateful";
	/* Incus asks it of virtual machines alone; of containers it may be refused. */
	if (config_get(config, key) ? !config_true(config, key) : i->type == INSTANCE_MACHINE)
		return error_set(err, ERROR_INVALID,
		    "Live migration requires \"migration.stateful\" to be \"true\": set it, stop the instance, or use --stateless");
	return (*ret_driver)->available(i->daemon, ret_version, err) < 0 ?
	    error_prefix(err, "It cannot move while it runs (stop it, or use --stateless)") :
	    0;
}

int live_source_check(Instance *i, gboolean stays, Error **err)
{
	const LiveDriver *driver;
	g_autofree char *version = NULL;
	if (instance_status(i) == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID,
		    "A paused instance does not move with its state: resume it first");
	if (find_driver(i, &driver, &version, err) < 0)
		return -1;
	return driver->check ? driver->check(i, stays, err) : 0;
}

int live_source_new(Instance *i, gboolean stays, Operation *op, LiveSource **ret, Error **err)
{
	g_autoptr(LiveSource) s = g_new0(LiveSource, 1);
	s->instance = instance_ref(i);
	s->stays = stays;
	s->op = op;
	s->id = g_uuid_string_random();
	s->runtime = instance_runtime(i);
	if (find_driver(i, &s->driver, &s->version, err) < 0)
		return -1;
	if (!s->runtime)
		return error_set(err, ERROR_INVALID, "The instance isn't running");
	*ret = g_steal_pointer(&s);
	return 0;
}

void live_source_offer(const LiveSource *s, Pb__MigrationOffer *offer, Arena *arena)
{
	struct utsname host;
	uname(&host);
	Pb__MigrationLive *live = arena_message(arena, Pb__MigrationLive, pb__migration_live);
	live->id = s->id;
	live->driver = (char *)s->driver->name;
	live->version = s->version;
	live->architecture = arena_strdup(arena, host.machine);
	live->stays = s->stays;
	live->ahead = s->driver->ahead;
	live->carries = s->driver->carries && s->driver->carries(s->instance->daemon);
	offer->live = live;
}

/* Once its file system is flushed, a file that is mapped into memory gets a new time when it is
 * written to, too. */
int live_source_begin(LiveSource *s, int64_t *ret_since_ns, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	*ret_since_ns = s->since;
	if (s->hold)
		return 0;
	if (instance_folder_open(s->instance, &folder, err) < 0)
		return -1;
	s->since = g_get_real_time() * 1000 - SLACK_NS;
	syncfs(instance_folder_fd(folder));
	return 0;
}

int live_source_last(LiveSource *s, MigrationPeer *peer, const MigrationSource *volume,
    const MigrationPart *part, Error **err)
{
	if (s->hold || s->last || !s->driver->ahead)
		return unexpected(err);
	return fault_point("live last", err) < 0 ?
	    -1 :
	    migration_last_new(peer, volume, part, s->since, &s->last, err);
}

/* ---- steps ---- */

static int reply(MigrationPeer *peer, Pb__MigrationStep__Kind kind, uint64_t bytes, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	Pb__MigrationStep step = PB__MIGRATION_STEP__INIT;
	step.kind = kind;
	step.bytes = bytes;
	message.step = &step;
	return migration_peer_send(peer, &message, err);
}

/* Nobody runs a command in it meanwhile. */
static void stand_still(LiveSource *s, gboolean still)
{
	g_atomic_int_set(&s->instance->moving, still);
	power_transition(s->instance, still ? INSTANCE_FROZEN : 0);
}

/* Who starts after a crash looks at the disk. */
static int note_leaving(
    LiveSource *s, gboolean given, char **servers, char *certificate, Error **err)
{
	LiveJournal journal = { LIVE_LEAVING, given, g_get_real_time() / G_USEC_PER_SEC, s->id,
		servers, certificate };
	s->noted = TRUE; /* or half: in memory */
	return live_journal_write(s->instance, &journal, err);
}

static int stop_it(LiveSource *s, Error **err)
{
	stand_still(s, TRUE);
	exec_operations_end(s->instance);
	if (s->driver->hold(s->instance, s->runtime, &s->hold, err) == 0)
		return 0;
	stand_still(s, FALSE);
	return error_prefix(err, "It goes on here");
}

static int hold(LiveSource *s, MigrationPeer *peer, Error **err)
{
	uint64_t bytes = 0;
	if (s->hold || s->sent)
		return unexpected(err);
	if (fault_point("live hold", err) < 0 ||
	    (!s->stays && note_leaving(s, FALSE, NULL, NULL, err) < 0))
		return -1;
	live_trace(s->instance, "source: hold");
	if (stop_it(s, err) < 0)
		return -1;
	live_trace(s->instance, "source: held");
	if ((!s->last && s->driver->size(s->hold, &bytes, err) < 0) ||
	    fault_point("live held", err) < 0 ||
	    reply(peer, PB__MIGRATION_STEP__KIND__HELD, bytes, err) < 0)
		return -1;
	return s->last ? migration_last_send(peer, s->last, err) : 0;
}

/* Commands in it are cut off only now: meanwhile it was there. */
static int carry(LiveSource *s, MigrationPeer *peer, Error **err)
{
	if (s->hold || s->sent || s->stays || !s->driver->carry)
		return unexpected(err);
	if (fault_point("live carry", err) < 0 || note_leaving(s, FALSE, NULL, NULL, err) < 0 ||
	    s->driver->carry(s->instance, s->runtime, peer, s->op, &s->hold, err) < 0)
		return error_prefix(err, "It goes on here");
	s->sent = s->carried = TRUE;
	stand_still(s, TRUE);
	guest_hang_up(s->runtime->guest);
	return fault_point("live carried", err);
}

static int let_go(LiveSource *s, Error **err)
{
	int result = s->driver->release(g_steal_pointer(&s->hold), err);
	stand_still(s, FALSE);
	return result;
}

static int send_state(LiveSource *s, MigrationPeer *peer, Error **err)
{
	if (!s->hold || s->sent)
		return unexpected(err);
	live_trace(s->instance, "source: state");
	if (fault_point("live state", err) < 0 || s->driver->send(s->hold, peer, s->op, err) < 0)
		return -1;
	s->sent = TRUE;
	live_trace(s->instance, "source: state sent");
	return s->stays ? let_go(s, err) : 0;
}

static int check_servers(const Pb__MigrationStep *step, Error **err)
{
	if (step->n_servers > SERVERS_MAX)
		return unexpected(err);
	for (size_t n = 0; n < step->n_servers; n++)
		if (!g_str_has_prefix(step->servers[n], "https://") ||
		    name_check_line(step->servers[n], NULL) < 0 ||
		    name_check_url(step->servers[n], NULL) < 0)
			return error_set(
			    err, ERROR_INVALID, "The other server names no URL of its own");
	return *step->certificate || !step->n_servers ? 0 : unexpected(err);
}

static int leave(LiveSource *s, const Pb__MigrationStep *step, Error **err)
{
	g_auto(GStrv) servers = g_new0(char *, step->n_servers + 1);
	for (size_t n = 0; n < step->n_servers; n++)
		servers[n] = g_strdup(step->servers[n]);
	if (check_servers(step, err) < 0 || fault_point("live leave", err) < 0 ||
	    s->driver->end(s->hold, err) < 0)
		return -1;
	s->ended = TRUE;
	return fault_point("live leaving", err) < 0 ?
	    -1 :
	    note_leaving(s, TRUE, servers, step->certificate, err);
}

static int give(LiveSource *s, MigrationPeer *peer, const Pb__MigrationStep *step, Error **err)
{
	if (!s->sent || s->ended)
		return unexpected(err);
	live_trace(s->instance, "source: ready heard");
	if (!s->stays && leave(s, step, err) < 0)
		return -1;
	live_trace(s->instance, "source: go");
	return fault_point("live go", err) < 0 ? -1 :
						 reply(peer, PB__MIGRATION_STEP__KIND__GO, 0, err);
}

int live_source_step(LiveSource *s, MigrationPeer *peer, const Pb__MigrationStep *step, Error **err)
{
	switch (step->kind) {
	case PB__MIGRATION_STEP__KIND__HOLD:
		return hold(s, peer, err);
	case PB__MIGRATION_STEP__KIND__CARRY:
		return carry(s, peer, err);
	case PB__MIGRATION_STEP__KIND__STATE:
		return send_state(s, peer, err);
	case PB__MIGRATION_STEP__KIND__READY:
		return give(s, peer, step, err);
	default:
		return unexpected(err);
	}
}

/* ---- the end ---- */

static void left(LiveSource *s, Error **failure)
{
	g_auto(LiveJournal) journal = live_journal_read(s->instance);
	journal.phase = LIVE_LEFT;
	if (live_journal_write(s->instance, &journal, failure) == 0 &&
	    live_end_standing(s->instance, failure) == 0)
		checkpoint_drop(s->instance, NULL);
}

/* It said nothing, or something went wrong in its last moment. */
static void settle(LiveSource *s, Error **failure)
{
	g_autoptr(Error) error = NULL;
	switch (live_settle_locked(s->instance, SETTLE_S, &error)) {
	case LIVE_ARRIVED:
		if (error) /* that it left is not stored */
			error_prefix(failure, "%s", error->message);
		else
			g_clear_pointer(failure, error_free);
		return;
	case LIVE_NEVER:
		error_prefix(failure,
		    error ? "It did not move, and stays here, stopped with its state" :
			    "It did not move, and goes on here");
		return;
	case LIVE_UNDECIDED:
		error_prefix(failure,
		    "The other server went out of reach in the last moment and may run it: it is asked again and again");
		live_ask_again(s->instance->daemon);
		return;
	}
}

/* It stands here until it is known what became of it. */
static void finish_carried(LiveSource *s, Error **failure)
{
	if (*failure)
		settle(s, failure);
	else
		left(s, failure);
	s->driver->release(g_steal_pointer(&s->hold), NULL);
	stand_still(s, FALSE);
}

/* Once CRIU and the like are through, what was started for the run goes as at any stop. */
static void finish(LiveSource *s, Error **failure)
{
	g_autoptr(Error) error = NULL;
	if (s->driver->release(g_steal_pointer(&s->hold), &error) < 0)
		log_warn(
		    "An instance that left", "instance", s->instance->name, "err", error->message);
	if (!runtime_wait(s->runtime, END_PATIENCE_MS))
		log_error("The monitor of an instance that left did not end", "instance",
		    s->instance->name);
	stand_still(s, FALSE);
	power_left_locked(s->instance);
	checkpoint_settle(s->instance);
	if (*failure)
		settle(s, failure);
	else
		left(s, failure);
}

int live_source_end(LiveSource *source, Error **failure)
{
	g_autoptr(LiveSource) s = source;
	if (s->ended && s->carried)
		finish_carried(s, failure);
	else if (s->ended)
		finish(s, failure);
	else if (s->hold)
		let_go(s, *failure ? NULL : failure);
	if (!s->ended && s->noted && live_journal_write(s->instance, NULL, NULL) < 0)
		log_error("That an instance goes on here is not stored", "instance",
		    s->instance->name);
	return *failure ? -1 : 0;
}
