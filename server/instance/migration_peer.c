#include "server/instance/migration_peer.h"
#include <incus/client.h>
#include "incus/v1/operation.pb-c.h"
#include "sdk/base/names.h"
#include "sdk/base/wire.h"
#include "sdk/client.h"
#include "server/instance/channel.h"
#include "server/instance/migration_incus.h"
#include "server/rpc/websocket.h"
#include "server/rpc/wire_out.h"
#include <openssl/ssl.h>
#include <string.h>

enum { CONNECT_MS = 30000, SILENCE_MS = 300000, LAST_WORDS_MS = 10000 };

/* The stream's own channel goes by a name that all know, with what Incus does not know before it.
 */
static const char *const native[] = { "stream", NULL };
static const char *const incus[] = { "control", "fs", NULL };
static const char *const all[] = { "control", "fs", "stream", NULL };
#define PREFIX "stream-"

struct MigrationPeer {
	/* That waits: */
	Channels *channels;
	Stream *stream;
	GMutex lock;
	GCond changed;
	gboolean ended; /* the connection's thread may go */
	/* That connects: */
	char *server, *operation, *certificate, *secret, *fs_secret; /* fs: Incus */
	gboolean cancelled;
	/* Incus, either way: */
	Stream *control, *fs;	     /* under lock, as `stream` is */
	Pb__MigrationMessage *early; /* seen by migration_peer_check() before its turn */
};

static MigrationPeer *peer_new(void)
{
	MigrationPeer *peer = g_new0(MigrationPeer, 1);
	g_mutex_init(&peer->lock);
	g_cond_init(&peer->changed);
	return peer;
}

MigrationPeer *migration_peer_waiting(void)
{
	MigrationPeer *peer = peer_new();
	peer->channels = channels_new(all);
	channels_alias(peer->channels, "control", PREFIX, "stream");
	return peer;
}

char *migration_peer_secrets(MigrationPeer *peer)
{
	return peer->channels ? channels_secrets_json(peer->channels) : NULL;
}

int migration_peer_to(const char *operation_url, const char *certificate, const Config *secrets,
    MigrationPeer **ret, Error **err)
{
	static const char middle[] = "/1.0/operations/";
	const char *at = strstr(operation_url, middle), *secret = config_get(secrets, "control"),
		   *fs = config_get(secrets, "fs");
	if (!g_str_has_prefix(operation_url, "https://") ||
	    name_check_url(operation_url, NULL) < 0 || !at)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" is not the URL of an operation", operation_url);
	g_autofree char *id = g_strndup(at + strlen(middle), strcspn(at + strlen(middle), "/?"));
	if (name_check_uuid(id, err) < 0)
		return error_prefix(err, "Invalid migration operation");
	gboolean known = secret && g_str_has_prefix(secret, PREFIX);
	if (!secret || !*secret || (!known && (!fs || !*fs)))
		return error_set(err, ERROR_INVALID, "Missing \"control\" or \"fs\" secret");
	MigrationPeer *peer = peer_new();
	peer->server = g_strndup(operation_url, (gsize)(at - operation_url));
	peer->operation = g_steal_pointer(&id);
	peer->certificate = g_strdup(certificate);
	peer->secret = g_strdup(known ? secret + strlen(PREFIX) : secret);
	peer->fs_secret = known ? NULL : g_strdup(fs);
	*ret = peer;
	return 0;
}

void migration_peer_free(MigrationPeer *peer)
{
	if (!peer)
		return;
	if (!peer->channels) {
		websocket_disconnect(peer->stream);
		websocket_disconnect(peer->control);
		websocket_disconnect(peer->fs);
	}
	if (peer->early)
		pb__migration_message__free_unpacked(peer->early, NULL);
	channels_free(peer->channels);
	g_free(peer->server);
	g_free(peer->operation);
	g_free(peer->certificate);
	g_free(peer->secret);
	g_free(peer->fs_secret);
	g_mutex_clear(&peer->lock);
	g_cond_clear(&peer->changed);
	g_free(peer);
}

static gboolean is_cancelled(MigrationPeer *peer)
{
	g_mutex_lock(&peer->lock);
	gboolean cancelled = peer->cancelled;
	g_mutex_unlock(&peer->lock);
	return cancelled;
}

/* ---- opening and ending ---- */

/* The connection's thread lends its stream until the end. */
static void serve(void *data, const char *name, Stream *stream)
{
	MigrationPeer *peer = data;
	g_mutex_lock(&peer->lock);
	while (!peer->ended)
		g_cond_wait(&peer->changed, &peer->lock);
	g_mutex_unlock(&peer->lock);
}

int migration_peer_accept(MigrationPeer *peer, const char *secret, Stream *stream, Error **err)
{
	return channels_connect(peer->channels, secret, stream, serve, peer, err);
}

/* Takes the SDK's error. */
static int sdk_failure(Error **err, incus_error *error, const MigrationPeer *peer)
{
	error_set(err, error_kind_from_name(error->name), "%s", error->message);
	incus_error_free(error);
	return error_prefix(err, "Migration stream of \"%s\"", peer->server);
}

/* One WebSocket of the other server's operation. */
static int connect_socket(MigrationPeer *peer, const char *secret, Stream **socket, Error **err)
{
	incus_error *error = NULL;
	incus_tls tls = { .server_certificate = *peer->certificate ? peer->certificate : NULL,
		.connect_timeout_ms = CONNECT_MS };
	g_autofree char *host = NULL, *port = NULL;
	g_autofree char *escaped = g_uri_escape_string(secret, NULL, FALSE);
	g_autofree char *path = g_strdup_printf(
	    "/1.0/operations/%s/websocket?secret=%s", peer->operation, escaped);
	SSL *ssl;
	if (tls_parse_url(peer->server, &host, &port, &error) < 0 ||
	    tls_connect_for(host, port, &tls, TRUE, "http/1.1", &ssl, &error) < 0)
		return sdk_failure(err, error, peer);
	WebsocketPlace place = { .authority = peer->server + strlen("https://"),
		.path = path,
		.input = &pb__connect_operation_request__descriptor,
		.output = &pb__frame__descriptor,
		.timeout_ms = CONNECT_MS };
	Stream *made;
	if (websocket_connect(&place, ssl, SSL_get_fd(ssl), &made, err) < 0)
		return error_prefix(err, "Migration stream of \"%s\"", peer->server);
	g_mutex_lock(&peer->lock);
	*socket = made;
	gboolean cancelled = peer->cancelled;
	g_mutex_unlock(&peer->lock);
	return cancelled ? error_set(err, ERROR_CANCELLED, "The migration was cancelled") : 0;
}

static int connect_native(MigrationPeer *peer, Error **err)
{
	if (connect_socket(peer, peer->secret, &peer->stream, err) < 0)
		return -1;
	stream_set_whole(peer->stream);
	return 0;
}

static int connect_incus(MigrationPeer *peer, Error **err)
{
	if (connect_socket(peer, peer->secret, &peer->control, err) < 0 ||
	    connect_socket(peer, peer->fs_secret, &peer->fs, err) < 0)
		return -1;
	stream_set_whole(peer->control);
	return 0;
}

static int wait_for_peer(MigrationPeer *peer, Error **err)
{
	int which = channels_wait_either(peer->channels, native, incus, CONNECT_MS);
	if (which < 0) {
		/* A cancel closes the channels too. */
		return is_cancelled(peer) ?
		    error_set(err, ERROR_CANCELLED, "The migration was cancelled") :
		    error_set(
			err, ERROR_TIMEOUT, "Timed out waiting for the other server to connect");
	}
	g_mutex_lock(&peer->lock);
	/* Who cancelled before this saw no stream, and has let their threads go. */
	if (peer->cancelled) {
		g_mutex_unlock(&peer->lock);
		return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
	}
	if (which == 0) {
		peer->stream = channels_stream(peer->channels, "stream");
	} else {
		peer->control = channels_stream(peer->channels, "control");
		peer->fs = channels_stream(peer->channels, "fs");
	}
	gboolean there = peer->stream || (peer->control && peer->fs);
	g_mutex_unlock(&peer->lock);
	if (!there)
		return error_set(err, ERROR_CANCELLED, "The other server has gone");
	stream_set_whole(peer->control ? peer->control : peer->stream);
	return 0;
}

int migration_peer_open(MigrationPeer *peer, Error **err)
{
	if (peer->channels)
		return wait_for_peer(peer, err);
	return peer->fs_secret ? connect_incus(peer, err) : connect_native(peer, err);
}

gboolean migration_peer_is_incus(const MigrationPeer *peer)
{
	return peer->control != NULL;
}

Stream *migration_peer_control(MigrationPeer *peer)
{
	return peer->control;
}

Stream *migration_peer_fs(MigrationPeer *peer)
{
	return peer->fs;
}

static void let_go(MigrationPeer *peer)
{
	g_mutex_lock(&peer->lock);
	peer->ended = TRUE;
	g_cond_broadcast(&peer->changed);
	g_mutex_unlock(&peer->lock);
}

void migration_peer_cancel(MigrationPeer *peer)
{
	g_mutex_lock(&peer->lock);
	peer->cancelled = TRUE;
	Stream *const streams[] = { peer->stream, peer->control, peer->fs };
	gboolean opened = FALSE;
	for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
		opened |= streams[i] != NULL;
		if (streams[i] && !peer->ended)
			stream_cancel(streams[i]);
	}
	g_mutex_unlock(&peer->lock);
	if (peer->channels && !opened) {
		let_go(peer);
		channels_close(peer->channels);
	}
}

void migration_peer_drop(MigrationPeer *peer)
{
	g_mutex_lock(&peer->lock);
	if (peer->fs && !peer->ended)
		stream_cancel(peer->fs);
	g_mutex_unlock(&peer->lock);
}

void migration_peer_close(MigrationPeer *peer)
{
	if (peer->stream)
		stream_close_send(peer->stream, NULL);
	if (peer->control)
		stream_close_send(peer->control, NULL);
	let_go(peer);
	if (peer->channels)
		channels_close(peer->channels);
}

/* ---- messages ---- */

static int ended(Error **err)
{
	return error_set(
	    err, ERROR_UNAVAILABLE, "The other server ended the migration stream too early");
}

int migration_peer_explain(MigrationPeer *peer, Error *error, Error **err)
{
	if (error->kind != ERROR_CANCELLED || is_cancelled(peer))
		return error_propagate(err, error);
	error_free(error);
	return ended(err);
}

static int put(MigrationPeer *peer, uint8_t *bytes, size_t length, Error **err)
{
	Pb__Frame frame = PB__FRAME__INIT;
	Error *error = NULL;
	frame.data = (ProtobufCBinaryData){ length, bytes };
	return stream_send(peer->stream, &frame, &error) < 0 ?
	    migration_peer_explain(peer, error, err) :
	    0;
}

int migration_peer_send(MigrationPeer *peer, const Pb__MigrationMessage *message, Error **err)
{
	size_t length = pb__migration_message__get_packed_size(message);
	g_autofree uint8_t *bytes = g_malloc(length + 1);
	pb__migration_message__pack(message, bytes);
	return put(peer, bytes, length, err);
}

/* Numbers of migration.proto. */
enum { FIELD_DATA = 5, FIELD_PLAIN = 15 };

int migration_peer_send_data(
    MigrationPeer *peer, uint8_t *bytes, size_t length, gboolean plain, Error **err)
{
	uint8_t head[MIGRATION_ROOM];
	size_t size = wire_out_bytes_head(head, plain ? FIELD_PLAIN : FIELD_DATA, length);
	memcpy(bytes - size, head, size);
	return put(peer, bytes - size, size + length, err);
}

gboolean migration_peer_network_wait(const MigrationPeer *peer, int64_t *ret_us)
{
	return stream_network_wait(peer->stream, ret_us);
}

static int unpack(const ProtobufCBinaryData *data, Pb__MigrationMessage **ret_message, Error **err)
{
	if (wire_check(&pb__migration_message__descriptor, data->data, data->len, err) < 0)
		return error_prefix(err, "Damaged migration stream");
	*ret_message = pb__migration_message__unpack(NULL, data->len, data->data);
	return *ret_message ?
	    0 :
	    error_set(err, ERROR_INVALID, "Damaged migration stream: not a message");
}

/* The bytes of the next message; the stream's until the next one. */
static int take_bytes(
    MigrationPeer *peer, int timeout_ms, ProtobufCBinaryData *ret_bytes, Error **err)
{
	const void *message;
	const Pb__ConnectOperationRequest *frame;
	do {
		Error *error = NULL;
		int got = stream_recv(peer->stream, timeout_ms, &message, &error);
		if (got <= 0)
			return got < 0 ? migration_peer_explain(peer, error, err) : ended(err);
		frame = message;
	} while (frame->text || !frame->data.len); /* the first message of a call has no data */
	*ret_bytes = frame->data;
	return 0;
}

static int take(
    MigrationPeer *peer, int timeout_ms, Pb__MigrationMessage **ret_message, Error **err)
{
	ProtobufCBinaryData bytes;
	if (peer->early) {
		*ret_message = g_steal_pointer(&peer->early);
		return 0;
	}
	return take_bytes(peer, timeout_ms, &bytes, err) < 0 ? -1 :
							       unpack(&bytes, ret_message, err);
}

/* A failure over there becomes ours. */
static int judge(Pb__MigrationMessage *message, Error **err)
{
	if (!message->result || !*message->result->error)
		return 0;
	int result = name_check_line(message->result->error, NULL) < 0 ?
	    error_set(err, ERROR_UNAVAILABLE, "The other server failed") :
	    error_set(err, ERROR_UNAVAILABLE, "The other server: %s", message->result->error);
	pb__migration_message__free_unpacked(message, NULL);
	return result;
}

int migration_peer_receive(MigrationPeer *peer, Pb__MigrationMessage **ret_message, Error **err)
{
	Pb__MigrationMessage *message;
	if (take(peer, SILENCE_MS, &message, err) < 0 || judge(message, err) < 0)
		return -1;
	*ret_message = message;
	return 0;
}

/* A message that is one field of bytes, as nearly all are. */
static gboolean is_data(const ProtobufCBinaryData *message, MigrationData *ret_data)
{
	const uint8_t *at = message->data, *end = at + message->len;
	WireField field;
	if (!wire_in_next(&at, end, &field) || at != end || !field.data || !field.length ||
	    (field.number != FIELD_DATA && field.number != FIELD_PLAIN))
		return FALSE;
	*ret_data = (MigrationData){ field.data, field.length, field.number == FIELD_PLAIN };
	return TRUE;
}

int migration_peer_receive_data(
    MigrationPeer *peer, MigrationData *ret_data, Pb__MigrationMessage **ret_message, Error **err)
{
	ProtobufCBinaryData bytes;
	if (peer->early)
		return migration_peer_receive(peer, ret_message, err);
	if (take_bytes(peer, SILENCE_MS, &bytes, err) < 0)
		return -1;
	if (is_data(&bytes, ret_data))
		return 1;
	Pb__MigrationMessage *message;
	if (unpack(&bytes, &message, err) < 0 || judge(message, err) < 0)
		return -1;
	*ret_message = message;
	return 0;
}

int migration_peer_check(MigrationPeer *peer, Error **err)
{
	g_autoptr(Error) none = NULL;
	Pb__MigrationMessage *message;
	if (peer->early)
		return 0;
	if (take(peer, 0, &message, &none) < 0)
		return none->kind == ERROR_TIMEOUT ? 0 :
						     error_propagate(err, g_steal_pointer(&none));
	if (judge(message, err) < 0)
		return -1;
	peer->early = message;
	return 0;
}

gboolean migration_peer_report(MigrationPeer *peer, const Error *error)
{
	if (peer->control) {
		migration_incus_report(peer, error);
		return FALSE;
	}
	Pb__MigrationResult result = PB__MIGRATION_RESULT__INIT;
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	message.result = &result;
	if (error)
		result.error = error->message;
	if (!peer->stream || migration_peer_send(peer, &message, NULL) < 0)
		return FALSE;
	/* Until the other side has read it: it may be in the middle of sending. */
	int64_t until = g_get_monotonic_time() + (int64_t)LAST_WORDS_MS * 1000;
	Pb__MigrationMessage *rest;
	for (int64_t left; (left = until - g_get_monotonic_time()) > 0 &&
	     take(peer, (int)(left / 1000), &rest, NULL) == 0;) {
		gboolean last = rest->result != NULL, well = last && !*rest->result->error;
		pb__migration_message__free_unpacked(rest, NULL);
		if (last)
			return well;
	}
	return FALSE;
}
