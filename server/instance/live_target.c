#include "server/instance/live_target.h"
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/rpc/listener.h"
#include "sdk/base/fault.h"
#include "sdk/base/names.h"
#include <string.h>
#include <sys/utsname.h>

int live_target_check(Daemon *d, InstanceType type, const Pb__MigrationLive *live, Error **err)
{
	const LiveDriver *driver = instance_driver_of(type)->live;
	g_autofree char *version = NULL;
	struct utsname host;
	uname(&host);
	if (name_check_uuid(live->id, NULL) < 0)
		return error_set(err, ERROR_INVALID, "The other server's move has no identity");
	if (!driver || strcmp(driver->name, live->driver) != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Running state of the other server's kind is not known here");
	if (strcmp(live->architecture, host.machine) != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The other server's processor is of another kind than \"%s\"", host.machine);
	if (live_record_exists(d, live->id))
		return error_set(err, ERROR_EXISTS, "This move has ended before");
	return driver->available(d, &version, err);
}

int live_target_fits(Instance *i, Error **err)
{
	const LiveDriver *driver = instance_driver(i)->live;
	g_autoptr(Config) config = instance_expanded_config(i);
	return driver->fits ? driver->fits(config, err) : 0;
}

gboolean live_target_carries(Daemon *d, InstanceType type, const Pb__MigrationLive *live)
{
	const LiveDriver *driver = instance_driver_of(type)->live;
	return live->carries && !live->stays && driver->carries && driver->carries(d);
}

gboolean live_target_ahead(InstanceType type, const Pb__MigrationLive *live)
{
	return live->ahead && instance_driver_of(type)->live->ahead;
}

/* "volatile.eth0.host_name" and its like name what the source's server has at the moment. */
gboolean live_key_is_local(const char *key)
{
	static const char *const ends[] = { ".host_name", ".last_state.created",
		".last_state.hwaddr", ".last_state.mtu", ".ceph_rbd" };
	if (!g_str_has_prefix(key, "volatile."))
		return FALSE;
	if (g_str_has_prefix(key, "volatile.migration.") ||
	    strcmp(key, "volatile.last_state.power") == 0 ||
	    strcmp(key, "volatile.last_state.ready") == 0)
		return TRUE;
	for (guint n = 0; n < G_N_ELEMENTS(ends); n++)
		if (g_str_has_suffix(key, ends[n]))
			return TRUE;
	return FALSE;
}

Config *live_target_config(const Config *config, const char *id)
{
	LiveJournal journal = { .phase = LIVE_ARRIVING,
		.since = g_get_real_time() / G_USEC_PER_SEC,
		.id = (char *)id };
	g_autofree char *text = live_journal_text(&journal);
	Config *own = config_copy(config);
	config_set(own, "volatile.migration.journal", text);
	return own;
}

static int send_step(MigrationPeer *peer, Pb__MigrationStep *step, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	message.step = step;
	return migration_peer_send(peer, &message, err);
}

static int say(MigrationPeer *peer, Pb__MigrationStep__Kind kind, Error **err)
{
	Pb__MigrationStep step = PB__MIGRATION_STEP__INIT;
	step.kind = kind;
	return send_step(peer, &step, err);
}

static int hear(MigrationPeer *peer, Pb__MigrationStep__Kind kind, uint64_t *ret_bytes, Error **err)
{
	Pb__MigrationMessage *message;
	if (migration_peer_receive(peer, &message, err) < 0)
		return -1;
	gboolean expected = message->step && message->step->kind == kind;
	*ret_bytes = expected ? message->step->bytes : 0;
	pb__migration_message__free_unpacked(message, NULL);
	return expected ?
	    0 :
	    error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
}

/* Where we are asked later, should these be the last words that the source hears. */
static int say_ready(const LiveArrival *a, Daemon *d, Error **err)
{
	Pb__MigrationStep step = PB__MIGRATION_STEP__INIT;
	g_auto(GStrv) servers = listener_https_addresses(d);
	for (char **server = servers; server && *server; server++) {
		char *url = g_strconcat("https://", *server, NULL);
		g_free(*server);
		*server = url;
	}
	step.kind = PB__MIGRATION_STEP__KIND__READY;
	step.servers = servers;
	step.n_servers = servers ? MIN(g_strv_length(servers), 16) : 0;
	step.certificate = d->server_cert_pem ? d->server_cert_pem : (char *)"";
	return send_step(a->target->peer, &step, err);
}

typedef struct Gate {
	const LiveArrival *arrival;
	Instance *instance;
	gboolean passed;
} Gate;

/* All is restored, and waits. */
static int wait_for_go(void *data, Error **err)
{
	Gate *gate = data;
	const LiveArrival *a = gate->arrival;
	Daemon *d = gate->instance->daemon;
	uint64_t ignored;
	live_trace(gate->instance, "target: ready");
	if (fault_point("live ready", err) < 0 || say_ready(a, d, err) < 0 ||
	    hear(a->target->peer, PB__MIGRATION_STEP__KIND__GO, &ignored, err) < 0 ||
	    fault_point("live take", err) < 0 || (!a->stays && live_record_make(d, a->id, err) < 0))
		return -1;
	gate->passed = TRUE;
	live_trace(gate->instance, "target: taken");
	return fault_point("live taken", err);
}

static int start(const LiveArrival *a, Instance *i, Error **err)
{
	Gate gate = { .arrival = a, .instance = i };
	StartGate how = { wait_for_go, &gate, NULL, NULL };
	if (a->target->live_carries) {
		how.peer = a->target->peer;
		how.op = a->target->op;
	}
	if (power_restore_locked(i, &how, err) == 0)
		return 0;
	if (gate.passed) /* the source has it still, and is told */
		live_record_remove(i->daemon, a->id);
	return -1;
}

/* What was written while the first round went is soon over; only what is written meanwhile is left
 * to be asked for. */
static int ask_ahead(const LiveArrival *a, Instance *i, Error **err)
{
	return a->renew(a->target, i, LIVE_ROUND_WHOLE, err) < 0 ?
	    -1 :
	    a->renew(a->target, i, LIVE_ROUND_ASK, err);
}

/* It stands still once the rest of its volume and its state are on their way. */
static int receive_held(const LiveArrival *a, Instance *i, Error **err)
{
	MigrationPeer *peer = a->target->peer;
	gboolean ahead = a->target->live_ahead;
	uint64_t bytes;
	if (ahead && ask_ahead(a, i, err) < 0)
		return -1;
	live_trace(i, "target: hold");
	if (say(peer, PB__MIGRATION_STEP__KIND__HOLD, err) < 0 ||
	    hear(peer, PB__MIGRATION_STEP__KIND__HELD, &bytes, err) < 0)
		return -1;
	live_trace(i, "target: held");
	if (a->renew(a->target, i, ahead ? LIVE_ROUND_TAKE : LIVE_ROUND_WHOLE, err) < 0 ||
	    fault_point("live state", err) < 0)
		return -1;
	live_trace(i, "target: changes came");
	if (say(peer, PB__MIGRATION_STEP__KIND__STATE, err) < 0 ||
	    instance_driver(i)->live->receive(i, bytes, peer, a->target->op, err) < 0)
		return -1;
	live_trace(i, "target: state came");
	return 0;
}

int live_target_receive(const LiveArrival *a, Instance *i, Error **err)
{
	if (!checkpoint_trusted(i))
		return error_set(err, ERROR_FORBIDDEN,
		    "Running state of other servers is not taken in a restricted project");
	if (fault_point("live receive", err) < 0 ||
	    (!a->target->live_carries && receive_held(a, i, err) < 0) ||
	    fault_point("live restore", err) < 0 || start(a, i, err) < 0)
		return -1;
	live_trace(i, "target: runs");
	fault_point("live runs", NULL);
	return live_journal_write(i, NULL, err);
}
