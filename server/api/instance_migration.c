#include "server/api/instance_migration.h"
#include "server/daemon.h"
#include <string.h>

#define LIVE                                                                                       \
	"Moving the running state is not available in this version: stop the instance, or leave "  \
	"\"live\" out"

typedef struct Outgoing {
	MigrationPeer *peer;
	InstanceOrigin origin;
	char *snapshot;
} Outgoing;

static void outgoing_free(void *data)
{
	Outgoing *outgoing = data;
	migration_peer_free(outgoing->peer);
	g_clear_pointer(&outgoing->origin.source, instance_unref);
	g_free(outgoing->snapshot);
	g_free(outgoing);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Outgoing, outgoing_free)

static int run(Operation *op, void *data, Error **err)
{
	Outgoing *outgoing = data;
	return migration_send(outgoing->peer, &outgoing->origin, op, err);
}

static void cancel(Operation *op, void *data)
{
	migration_peer_cancel(((Outgoing *)data)->peer);
}

static int connect_peer(Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	return migration_peer_accept(((Outgoing *)data)->peer, secret, stream, err);
}

static int find_peer(const Pb__MigrationTarget *target, MigrationPeer **ret_peer, Error **err)
{
	if (!target) {
		*ret_peer = migration_peer_waiting();
		return 0;
	}
	g_autoptr(Config) secrets = config_from_map(target->n_secrets, target->secrets);
	return migration_peer_to(target->operation, target->certificate, secrets, ret_peer, err);
}

int instance_migration_start(
    Request *rq, const MigrationStart *start, Pb__Operation *out, Error **err)
{
	g_autoptr(Outgoing) outgoing = g_new0(Outgoing, 1);
	g_autofree char *secrets = NULL;
	if (start->live)
		return error_set(err, ERROR_UNSUPPORTED, LIVE);
	if (find_peer(start->target, &outgoing->peer, err) < 0)
		return -1;
	outgoing->snapshot = g_strdup(start->snapshot);
	outgoing->origin = (InstanceOrigin){ .source = instance_ref(start->instance),
		.snapshot = outgoing->snapshot,
		.instance_only = start->instance_only,
		.allow_inconsistent = start->allow_inconsistent };
	if (!start->target)
		secrets = migration_peer_secrets(outgoing->peer);
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", instance_name(start->instance));
	const char *resources[] = { "instances", url, "containers", url, NULL };
	OperationSpec spec = { .op_class = secrets ? OPERATION_WEBSOCKET : OPERATION_TASK,
		.description = start->snapshot ? "Transferring snapshot" : "Migrating instance",
		.run = run,
		.cancel = cancel,
		.connect = secrets ? connect_peer : NULL,
		.data = outgoing,
		.destroy = outgoing_free,
		.resources = resources,
		.metadata_json = secrets };
	g_steal_pointer(&outgoing);
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

int instance_migration_source(
    const Pb__InstanceSource *source, MigrationPeer **ret_peer, Error **err)
{
	if (source->live)
		return error_set(err, ERROR_UNSUPPORTED, LIVE);
	if (strcmp(source->mode, "push") == 0) {
		*ret_peer = migration_peer_waiting();
		return 0;
	}
	if (*source->mode && strcmp(source->mode, "pull") != 0)
		return error_set(err, ERROR_INVALID, "Mode \"%s\" not implemented", source->mode);
	g_autoptr(Config) secrets = config_from_map(source->n_secrets, source->secrets);
	return migration_peer_to(source->operation, source->certificate, secrets, ret_peer, err);
}
