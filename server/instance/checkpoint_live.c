/* The state of containers on its way to another server: what CRIU writes. */
#include "server/instance/checkpoint.h"
#include "server/instance/criu.h"
#include "server/instance/live_private.h"
#include "server/instance/migration_data.h"
#include "server/instance/state_stream.h"
#include "sdk/base/own.h"

/* How often to look what CRIU has written. */
enum { LOOK_EVERY_MS = 10 };

struct LiveHold {
	Instance *instance; /* the caller's */
	CheckpointHold *checkpoint;
	int folder;
};

static int available(Daemon *d, char **ret_version, Error **err)
{
	g_autofree char *program = NULL;
	return criu_find(d, &program, ret_version, err);
}

static int hold(Instance *i, Runtime *r, LiveHold **ret_hold, Error **err)
{
	CheckpointHold *checkpoint;
	int folder = -1;
	if (checkpoint_hold(i, DUMP_ASK, &checkpoint, err) < 0)
		return -1;
	if (checkpoint_folder(checkpoint, &folder, err) < 0) {
		checkpoint_release(checkpoint, NULL);
		return -1;
	}
	*ret_hold = g_new0(LiveHold, 1);
	**ret_hold = (LiveHold){ i, checkpoint, folder };
	return 0;
}

static int size(LiveHold *held, uint64_t *ret_bytes, Error **err)
{
	return checkpoint_written(held->checkpoint, -1, err) < 0 ?
	    -1 :
	    state_stream_size(held->folder, ret_bytes, err);
}

static int wait_written(void *data, Error **err)
{
	const LiveHold *held = data;
	int written = checkpoint_written(held->checkpoint, LOOK_EVERY_MS, err);
	if (written > 0)
		live_trace(held->instance, "source: all is written");
	return written;
}

static int write_state(int fd, void *data, Error **err)
{
	const LiveHold *held = data;
	return state_stream_follow(held->folder, fd, wait_written, data, err);
}

static int send_state(LiveHold *held, MigrationPeer *peer, Operation *op, Error **err)
{
	return migration_data_send(peer, write_state, held, op, "memory", err);
}

static int end(LiveHold *held, Error **err)
{
	return checkpoint_end(held->checkpoint, err);
}

static int release(LiveHold *held, Error **err)
{
	int result = checkpoint_release(held->checkpoint, err);
	own_close_fd(&held->folder);
	g_free(held);
	return result;
}

/* ---- the other side ---- */

typedef struct Taken {
	MigrationPeer *peer;
	Operation *op;
	int folder;
	uint64_t bytes;
} Taken;

static int read_state(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return state_stream_receive(taken->folder, fd, taken->bytes, err);
}

static int fill(int folder, void *data, Error **err)
{
	Taken *taken = data;
	gboolean refused;
	taken->folder = folder;
	if (migration_data_receive(taken->peer, read_state, taken, taken->op, "memory",
		taken->bytes, &refused, err) < 0)
		return -1;
	return refused ?
	    error_set(err, ERROR_UNSUPPORTED, "The other server cannot send the state") :
	    0;
}

static int receive(Instance *i, uint64_t bytes, MigrationPeer *peer, Operation *op, Error **err)
{
	Taken taken = { .peer = peer, .op = op, .bytes = bytes };
	return checkpoint_receive(i, fill, &taken, err);
}

const LiveDriver live_driver_criu = {
	.name = "criu",
	.available = available,
	.hold = hold,
	.size = size,
	.ahead = TRUE,
	.send = send_state,
	.end = end,
	.release = release,
	.receive = receive,
};
