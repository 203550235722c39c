#include "server/instance/migration_incus.h"
#include "incus/v1/operation.pb-c.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "sdk/base/wire.h"
#include "server/rpc/stream.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SILENCE_MS = 300000,
	LAST_WORDS_MS = 10000,
	REASON_MS = 1000,
	PIECE = 128 * 1024,
	LEFTOVER_MAX = 1024 * 1024, /* bytes that may come for a worker that has ended */
};

/* ---- messages ---- */

static int send_packed(MigrationPeer *peer, const ProtobufCMessage *message, Error **err)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	g_autofree uint8_t *bytes = g_malloc(length + 1);
	Pb__Frame frame = PB__FRAME__INIT;
	protobuf_c_message_pack(message, bytes);
	frame.data = (ProtobufCBinaryData){ length, bytes };
	Error *broken = NULL;
	return stream_send(migration_peer_control(peer), &frame, &broken) < 0 ?
	    migration_peer_explain(peer, broken, err) :
	    0;
}

/* Borrowed until the next one. */
static int receive_packed(
    MigrationPeer *peer, int timeout_ms, const Pb__ConnectOperationRequest **ret, Error **err)
{
	for (;;) {
		const void *message;
		Error *broken = NULL;
		int got = stream_recv(migration_peer_control(peer), timeout_ms, &message, &broken);
		const Pb__ConnectOperationRequest *frame = message;
		if (got <= 0)
			return got < 0 ? migration_peer_explain(peer, broken, err) :
					 error_set(err, ERROR_UNAVAILABLE,
					     "The other server ended the migration too early");
		if (frame->text)
			return error_set(err, ERROR_INVALID, "Unexpected message in the migration");
		if (frame->data.len) {
			*ret = frame;
			return 0;
		}
	}
}

int migration_incus_send_header(MigrationPeer *peer, const Pb__PeerHeader *header, Error **err)
{
	return send_packed(peer, &header->base, err);
}

/* What a failure looks like, where a header is expected: a header has a number in its first field
 * too, but never a text in its second. */
static int judge(const Pb__PeerControl *control, Error **err)
{
	if (control->_success_case && control->success)
		return 0;
	const char *text = control->_message_case ? control->message : "";
	return *text && name_check_line(text, NULL) == 0 ?
	    error_set(err, ERROR_UNAVAILABLE, "The other server: %s", text) :
	    error_set(err, ERROR_UNAVAILABLE, "The other server failed");
}

static int read_control(const Pb__ConnectOperationRequest *frame, Error **err)
{
	if (wire_check(&pb__peer_control__descriptor, frame->data.data, frame->data.len, err) < 0)
		return error_prefix(err, "Damaged migration message");
	Pb__PeerControl *control = pb__peer_control__unpack(
	    NULL, frame->data.len, frame->data.data);
	if (!control)
		return error_set(err, ERROR_INVALID, "Damaged migration message");
	int result = judge(control, err);
	pb__peer_control__free_unpacked(control, NULL);
	return result;
}

int migration_incus_receive_header(MigrationPeer *peer, Pb__PeerHeader **ret, Error **err)
{
	const Pb__ConnectOperationRequest *frame;
	if (receive_packed(peer, SILENCE_MS, &frame, err) < 0)
		return -1;
	if (wire_check(&pb__peer_header__descriptor, frame->data.data, frame->data.len, NULL) < 0)
		return read_control(frame, err) < 0 ?
		    -1 :
		    error_set(err, ERROR_INVALID, "Damaged migration header");
	*ret = pb__peer_header__unpack(NULL, frame->data.len, frame->data.data);
	if (!*ret)
		return read_control(frame, err) < 0 ?
		    -1 :
		    error_set(err, ERROR_INVALID, "Damaged migration header");
	return 0;
}

int migration_incus_receive_control(MigrationPeer *peer, Error **err)
{
	const Pb__ConnectOperationRequest *frame;
	return receive_packed(peer, SILENCE_MS, &frame, err) < 0 ? -1 : read_control(frame, err);
}

void migration_incus_report(MigrationPeer *peer, const Error *error)
{
	Pb__PeerControl control = PB__PEER_CONTROL__INIT;
	const Pb__ConnectOperationRequest *frame;
	control._success_case = PB__PEER_CONTROL___SUCCESS_SUCCESS;
	control.success = !error;
	if (error) {
		control._message_case = PB__PEER_CONTROL___MESSAGE_MESSAGE;
		control.message = error->message;
	}
	if (send_packed(peer, &control.base, NULL) < 0)
		return;
	/* It closes when it has read that. */
	while (!error && receive_packed(peer, LAST_WORDS_MS, &frame, NULL) == 0)
		;
}

/* ---- objects ---- */

typedef struct Object {
	MigrationPeer *peer;
	MigrationIncusWork work;
	void *data;
	int ours, theirs; /* ends of the socket */
	int result;
	Error *error;
	gboolean unsent;
} Object;

static void *run_work(void *data)
{
	Object *o = data;
	o->result = o->work(o->theirs, o->data, &o->error);
	own_close_fd(&o->theirs);
	o->theirs = -1;
	return NULL;
}

static int send_text_end(MigrationPeer *peer)
{
	Pb__Frame frame = PB__FRAME__INIT;
	frame.text = TRUE;
	return stream_send(migration_peer_fs(peer), &frame, NULL);
}

/* What the worker says, and its end. */
static void *run_send(void *data)
{
	Object *o = data;
	g_autofree uint8_t *piece = g_malloc(PIECE);
	ssize_t n;
	while ((n = read(o->ours, piece, PIECE)) != 0) {
		Pb__Frame frame = PB__FRAME__INIT;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		frame.data = (ProtobufCBinaryData){ (size_t)n, piece };
		if (stream_send(migration_peer_fs(o->peer), &frame, NULL) < 0) {
			o->unsent = TRUE;
			shutdown(o->ours, SHUT_RDWR);
			return NULL;
		}
	}
	o->unsent = send_text_end(o->peer) < 0;
	return NULL;
}

/* What comes goes to the worker until the other side's end. */
static int receive_object(Object *o, uint64_t limit, Operation *op, const char *name, Error **err)
{
	uint64_t bytes = 0, leftover = 0;
	int64_t started_us = g_get_monotonic_time();
	for (;;) {
		const void *message;
		if (operation_cancelled(op))
			return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
		Error *broken = NULL;
		int got = stream_recv(migration_peer_fs(o->peer), SILENCE_MS, &message, &broken);
		const Pb__ConnectOperationRequest *frame = message;
		if (got <= 0)
			return got < 0 ? migration_peer_explain(o->peer, broken, err) :
					 error_set(err, ERROR_UNAVAILABLE,
					     "The other server ended the data too early");
		if (frame->text)
			return shutdown(o->ours, SHUT_WR), 0;
		bytes += frame->data.len;
		if (limit && bytes > limit)
			return error_set(err, ERROR_TOO_LARGE,
			    "The other server sends more than the %" G_GUINT64_FORMAT
			    " bytes there may be",
			    (guint64)limit);
		if (file_write_all(o->ours, frame->data.data, frame->data.len) < 0 &&
		    (leftover += frame->data.len) > LEFTOVER_MAX)
			return error_set(err, ERROR_INTERNAL, "Cannot pass the data on");
		operation_set_progress(op, "fs", name, bytes, 0, started_us);
	}
}

/* The other server's reason, if it gave one, is the better one for a stream that broke. */
static void explain(MigrationPeer *peer, Error **error)
{
	const Pb__ConnectOperationRequest *frame;
	Error *reason = NULL;
	if ((*error)->kind != ERROR_UNAVAILABLE && (*error)->kind != ERROR_CANCELLED &&
	    (*error)->kind != ERROR_INTERNAL)
		return;
	if (receive_packed(peer, REASON_MS, &frame, NULL) < 0 || read_control(frame, &reason) == 0)
		return;
	error_free(*error);
	*error = reason;
}

/* The worker's end is not read when we only receive, nor is "fs" when we only send. */
typedef enum Ways { WAYS_SEND = 1, WAYS_RECEIVE = 2 } Ways;

/* What is ours failed, or what the worker did: of a pipe that broke the worker knows why. */
static int judge_object(Object *o, int result, Error *ours, Error **err)
{
	if (result == 0 && o->unsent && o->result == 0)
		result = error_set(&ours, ERROR_UNAVAILABLE, "The other server has gone");
	if (result == 0 || (ours->kind == ERROR_INTERNAL && o->result < 0)) {
		error_free(ours);
		return o->result < 0 ? error_propagate(err, o->error) : 0;
	}
	error_free(o->error);
	explain(o->peer, &ours);
	return error_propagate(err, ours);
}

static int run_object(
    Object *o, Ways ways, uint64_t limit, Operation *op, const char *name, Error **err)
{
	int pair[2], result = 0;
	Error *ours = NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	o->ours = pair[0];
	o->theirs = pair[1];
	GThread *worker = g_thread_new("migration", run_work, o);
	GThread *sender = ways & WAYS_SEND ? g_thread_new("migration", run_send, o) : NULL;
	if (ways & WAYS_RECEIVE && (result = receive_object(o, limit, op, name, &ours)) < 0) {
		shutdown(o->ours, SHUT_RDWR);
		migration_peer_drop(o->peer);
	}
	g_thread_join(worker);
	if (sender)
		g_thread_join(sender);
	close(o->ours);
	return judge_object(o, result, ours, err);
}

int migration_incus_object(MigrationPeer *peer, MigrationIncusWork work, void *data, uint64_t limit,
    Operation *op, const char *name, Error **err)
{
	Object o = { .peer = peer, .work = work, .data = data };
	return run_object(&o, WAYS_SEND | WAYS_RECEIVE, limit, op, name, err);
}

int migration_incus_send(MigrationPeer *peer, MigrationIncusWork work, void *data, Error **err)
{
	Object o = { .peer = peer, .work = work, .data = data };
	return run_object(&o, WAYS_SEND, 0, NULL, NULL, err);
}

int migration_incus_receive(MigrationPeer *peer, MigrationIncusWork work, void *data,
    uint64_t limit, Operation *op, const char *name, Error **err)
{
	Object o = { .peer = peer, .work = work, .data = data };
	return run_object(&o, WAYS_RECEIVE, limit, op, name, err);
}

/* ---- features ---- */

static gboolean is_cancelled(void *data)
{
	return operation_cancelled(data);
}

RsyncOptions migration_incus_rsync(const Pb__PeerHeader *header, Operation *op)
{
	RsyncOptions options = { .cancelled = is_cancelled, .data = op };
	const Pb__PeerRsync *rsync = header->rsync;
	if (!rsync)
		return options;
	options.xattrs = rsync->_xattrs_case && rsync->xattrs;
	options.delete = rsync->_delete_case && rsync->delete_;
	options.compress = rsync->_compress_case && rsync->compress;
	return options;
}

static gboolean both(const Pb__PeerRsync *offered, size_t given, gboolean value)
{
	return !offered || (given && value);
}

void migration_incus_features(Pb__PeerRsync *ret, const Pb__PeerRsync *offered)
{
	pb__peer_rsync__init(ret);
	ret->_xattrs_case = PB__PEER_RSYNC___XATTRS_XATTRS;
	ret->xattrs = both(
	    offered, offered ? offered->_xattrs_case : 0, offered && offered->xattrs);
	ret->_delete_case = PB__PEER_RSYNC___DELETE_DELETE;
	ret->delete_ = both(
	    offered, offered ? offered->_delete_case : 0, offered && offered->delete_);
	ret->_compress_case = PB__PEER_RSYNC___COMPRESS_COMPRESS;
	ret->compress = FALSE; /* it would hide how much comes, and costs more than it saves */
	ret->_bidirectional_case = PB__PEER_RSYNC___BIDIRECTIONAL_BIDIRECTIONAL;
	ret->bidirectional = TRUE;
}
