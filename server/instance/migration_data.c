#include "server/instance/migration_data.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/instance/migration_pack.h"
#include "server/key/server.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum {
	PIECE = 256 * 1024 - 64, /* of a frame, with what is around it */
	PIPE_SIZE = 1024 * 1024,
	CHUNK = 256 * 1024,
	SAMPLE_LEVEL = 1,
	CHECK_EVERY = 16, /* pieces: has the other side given up? */
};

/* The thread at the pipe's other end. */
typedef struct Worker {
	MigrationWork work;
	void *data;
	int fd;
	int result;
	Error *error;
	GThread *thread;
} Worker;

static void *worker_run(void *data)
{
	Worker *w = data;
	w->result = w->work(w->fd, w->data, &w->error);
	close(w->fd);
	return NULL;
}

/* *ret_fd is our end of the pipe. */
static int worker_start(Worker *w, gboolean writes, int *ret_fd, Error **err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE);
	w->fd = fds[writes];
	*ret_fd = fds[!writes];
	w->thread = g_thread_new("migration", worker_run, w);
	return 0;
}

/* Closes our end first. The worker's failure is the cause where both failed; a broken stream (ours)
 * is, where the worker only saw the pipe end. */
static int worker_end(Worker *w, int *fd, int result, Error **err, Error *ours)
{
	own_close_fd(fd);
	*fd = -1;
	g_thread_join(w->thread);
	if (result < 0) {
		error_free(w->error);
		return error_propagate(err, ours);
	}
	return w->result < 0 ? error_propagate(err, w->error) : 0;
}

/* ---- sending ---- */

typedef struct Sender {
	MigrationPeer *peer;
	ZSTD_CCtx *zstd;
	Operation *op;
	const char *name;
	uint8_t *in, *out; /* PIECE bytes behind the peer's room */
	size_t have;	   /* bytes in `out` */
	gboolean open;	   /* a frame of zstd has begun, packed like this: */
	MigrationPacking how;
	uint64_t bytes, sent;
	int64_t packing_us, sending_us;
	MigrationPack pack;
	unsigned pieces;
	int64_t started_us;
} Sender;

static int send_piece(Sender *s, uint8_t *bytes, size_t length, gboolean plain, Error **err)
{
	if (operation_cancelled(s->op))
		return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
	if (++s->pieces % CHECK_EVERY == 0 && migration_peer_check(s->peer, err) < 0)
		return -1;
	int64_t before = g_get_monotonic_time();
	int result = migration_peer_send_data(s->peer, bytes, length, plain, err);
	s->sending_us += g_get_monotonic_time() - before;
	if (result < 0) {
		/* What the other side said before it left is the reason. */
		g_autoptr(Error) reason = NULL;
		if (migration_peer_check(s->peer, &reason) < 0 &&
		    reason->kind == ERROR_UNAVAILABLE && err) {
			g_clear_pointer(err, error_free);
			error_propagate(err, g_steal_pointer(&reason));
		}
		return -1;
	}
	s->sent += length;
	operation_set_progress(s->op, "fs", s->name, s->bytes, 0, s->started_us);
	return 0;
}

static int send_out(Sender *s, Error **err)
{
	size_t length = s->have;
	s->have = 0;
	return send_piece(s, s->out, length, FALSE, err);
}

static int compress(Sender *s, size_t length, ZSTD_EndDirective mode, Error **err)
{
	ZSTD_inBuffer in = { .src = s->in, .size = length };
	for (;;) {
		ZSTD_outBuffer out = { .dst = s->out, .size = PIECE, .pos = s->have };
		int64_t before = g_get_monotonic_time();
		size_t left = ZSTD_compressStream2(s->zstd, &out, &in, mode);
		s->packing_us += g_get_monotonic_time() - before;
		if (ZSTD_isError(left))
			return error_set(
			    err, ERROR_INTERNAL, "Cannot compress: %s", ZSTD_getErrorName(left));
		s->have = out.pos;
		gboolean done = mode == ZSTD_e_end ? left == 0 : in.pos == in.size;
		if ((out.pos == out.size || (done && mode == ZSTD_e_end && out.pos)) &&
		    send_out(s, err) < 0)
			return -1;
		if (done)
			return 0;
	}
}

/* The frame that is open ends. */
static int end_frame(Sender *s, Error **err)
{
	gboolean open = s->open;
	s->open = FALSE;
	return open ? compress(s, 0, ZSTD_e_end, err) : 0;
}

static int send_plain(Sender *s, size_t length, Error **err)
{
	if (migration_pack_wants_sample(&s->pack)) {
		size_t small = ZSTD_compressCCtx(
		    s->zstd, s->out, PIECE, s->in, length, SAMPLE_LEVEL);
		migration_pack_sample(&s->pack, length, ZSTD_isError(small) ? length : small);
	}
	return send_piece(s, s->in, length, TRUE, err);
}

/* Over a door that cannot tell, what sending takes is the network's. */
static MigrationPace pace(const Sender *s)
{
	MigrationPace pace = { s->bytes, s->sent + s->have, g_get_monotonic_time(), s->sending_us,
		s->packing_us };
	migration_peer_network_wait(s->peer, &pace.network_us);
	return pace;
}

static void begin_frame(Sender *s)
{
	/* A sample's size would be promised as that of the frame, else. */
	ZSTD_CCtx_reset(s->zstd, ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, s->how.level);
	if (s->how.window)
		ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_windowLog, s->how.window);
	if (s->how.threads) { /* refused where zstd has none */
		ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_nbWorkers, s->how.threads);
		ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_jobSize, s->how.job);
	}
	s->open = TRUE;
}

static int send_chunk(Sender *s, size_t length, Error **err)
{
	MigrationPacking how = migration_pack_how(&s->pack);
	if (s->how.level != how.level && end_frame(s, err) < 0)
		return -1;
	s->how = how;
	s->bytes += length;
	if (how.level > 0 && !s->open)
		begin_frame(s);
	if ((how.level > 0 ? compress(s, length, ZSTD_e_continue, err) :
			     send_plain(s, length, err)) < 0)
		return -1;
	MigrationPace now = pace(s);
	migration_pack_go_on(&s->pack, &now);
	return 0;
}

/* Fills `in` as far as there is something: the number of bytes, 0 at the end, -1. */
static ssize_t read_chunk(Sender *s, int fd, Error **err)
{
	size_t have = 0;
	while (have < PIECE) {
		ssize_t n = read(fd, s->in + have, PIECE - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot read the data to send");
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int send_all(Sender *s, int fd, Error **err)
{
	ssize_t n;
	while ((n = read_chunk(s, fd, err)) > 0)
		if (send_chunk(s, (size_t)n, err) < 0)
			return -1;
	return n < 0 ? -1 : end_frame(s, err);
}

static int send_end(MigrationPeer *peer, uint64_t bytes, gboolean refused, Error **err)
{
	Pb__MigrationEnd end = PB__MIGRATION_END__INIT;
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	end.bytes = bytes;
	end.refused = refused;
	message.end = &end;
	return migration_peer_send(peer, &message, err);
}

int migration_data_level(Daemon *d)
{
	g_autofree char *value = server_config_get(d->config, "core.compression");
	if (!value || strcmp(value, "auto") == 0)
		return -1;
	return strcmp(value, "none") == 0 ? 0 : (int)g_ascii_strtoll(value, NULL, 10);
}

int migration_data_send(MigrationPeer *peer, MigrationWork work, void *data, Operation *op,
    const char *name, Error **err)
{
	Worker worker = { .work = work, .data = data };
	Error *ours = NULL, *failure = NULL;
	int fd;
	if (worker_start(&worker, TRUE, &fd, err) < 0)
		return -1;
	g_autofree uint8_t *in = g_malloc(MIGRATION_ROOM + PIECE);
	g_autofree uint8_t *out = g_malloc(MIGRATION_ROOM + PIECE);
	Sender s = { .peer = peer,
		.op = op,
		.name = name,
		.zstd = ZSTD_createCCtx(),
		.in = in + MIGRATION_ROOM,
		.out = out + MIGRATION_ROOM,
		.started_us = g_get_monotonic_time() };
	MigrationPace start = pace(&s);
	migration_pack_start(&s.pack, migration_data_level(operation_daemon(op)), &start);
	int result = send_all(&s, fd, &ours);
	result = worker_end(&worker, &fd, result, &failure, ours);
	ZSTD_freeCCtx(s.zstd);
	if (result < 0 && s.bytes == 0 && failure->kind == ERROR_UNSUPPORTED) {
		error_free(failure);
		return send_end(peer, 0, TRUE, err);
	}
	return result < 0 ? error_propagate(err, failure) : send_end(peer, s.bytes, FALSE, err);
}

/* ---- receiving ---- */

typedef struct Receiver {
	MigrationPeer *peer;
	ZSTD_DCtx *zstd;
	Operation *op;
	const char *name;
	uint8_t *out;
	uint64_t bytes, limit;
	size_t state; /* what zstd said last: 0 is the end of its frame */
	gboolean refused, pipe_broke;
	int64_t started_us;
} Receiver;

static int pass_on(Receiver *r, const uint8_t *bytes, size_t length, int fd, Error **err)
{
	r->bytes += length;
	if (r->limit && r->bytes > r->limit)
		return error_set(err, ERROR_TOO_LARGE,
		    "The other server sends more than the %" G_GUINT64_FORMAT " bytes there may be",
		    (guint64)r->limit);
	r->pipe_broke = file_write_all(fd, bytes, length) < 0;
	return r->pipe_broke ? error_errno(err, ERROR_INTERNAL, errno, "Cannot pass the data on") :
			       0;
}

static int decompress(Receiver *r, const MigrationData *data, int fd, Error **err)
{
	ZSTD_inBuffer in = { .src = data->bytes, .size = data->length };
	for (gboolean full = FALSE; in.pos < in.size || full;) {
		ZSTD_outBuffer out = { .dst = r->out, .size = CHUNK };
		r->state = ZSTD_decompressStream(r->zstd, &out, &in);
		if (ZSTD_isError(r->state))
			return error_set(err, ERROR_INVALID, "Damaged migration stream: %s",
			    ZSTD_getErrorName(r->state));
		full = out.pos == out.size && r->state != 0; /* asked again, it begins anew */
		if (pass_on(r, r->out, out.pos, fd, err) < 0)
			return -1;
	}
	return 0;
}

static int receive_data(Receiver *r, const MigrationData *data, int fd, Error **err)
{
	if (data->plain && r->state != 0)
		return error_set(err, ERROR_INVALID,
		    "Damaged migration stream: plain bytes within a compressed frame");
	int result = data->plain ? pass_on(r, data->bytes, data->length, fd, err) :
				   decompress(r, data, fd, err);
	if (result == 0)
		operation_set_progress(r->op, "fs", r->name, r->bytes, 0, r->started_us);
	return result;
}

static int receive_end(Receiver *r, const Pb__MigrationEnd *end, Error **err)
{
	if (!end)
		return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
	r->refused = end->refused;
	return end->bytes == r->bytes && r->state == 0 ?
	    0 :
	    error_set(err, ERROR_INVALID,
		"The migration stream was cut short: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
		" bytes came",
		(guint64)r->bytes, (guint64)end->bytes);
}

/* 1: more; 0: that was the end. */
static int receive_one(Receiver *r, int fd, Error **err)
{
	Pb__MigrationMessage *message;
	MigrationData data;
	if (operation_cancelled(r->op))
		return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
	int got = migration_peer_receive_data(r->peer, &data, &message, err);
	if (got < 0)
		return -1;
	if (got == 1)
		return receive_data(r, &data, fd, err) < 0 ? -1 : 1;
	int result = receive_end(r, message->end, err);
	pb__migration_message__free_unpacked(message, NULL);
	return result;
}

int migration_data_receive(MigrationPeer *peer, MigrationWork work, void *data, Operation *op,
    const char *name, uint64_t limit, gboolean *ret_refused, Error **err)
{
	Worker worker = { .work = work, .data = data };
	Error *ours = NULL;
	int fd, more;
	if (worker_start(&worker, FALSE, &fd, err) < 0)
		return -1;
	Receiver r = { .peer = peer,
		.op = op,
		.name = name,
		.limit = limit,
		.zstd = ZSTD_createDCtx(),
		.out = g_malloc(CHUNK),
		.started_us = g_get_monotonic_time() };
	while ((more = receive_one(&r, fd, &ours)) > 0)
		;
	/* A pipe that broke says nothing: the worker knows why it stopped reading. */
	own_close_fd(&fd);
	fd = -1;
	g_thread_join(worker.thread);
	ZSTD_freeDCtx(r.zstd);
	g_free(r.out);
	*ret_refused = more == 0 && r.refused;
	if (more == 0 || (r.pipe_broke && worker.result < 0)) {
		error_free(ours);
		if (*ret_refused) {
			error_free(worker.error);
			return 0;
		}
		return worker.result < 0 ? error_propagate(err, worker.error) : 0;
	}
	error_free(worker.error);
	return error_propagate(err, ours);
}
