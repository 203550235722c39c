#include "cli/stream.h"
#include <errno.h>
#include <glib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

typedef struct Relay {
	Stream *stream;
	int socket;
	const StreamBytes *bytes;
} Relay;

static gpointer to_server(gpointer data)
{
	const Relay *relay = data;
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	ssize_t n;
	while ((n = read(relay->socket, buffer, CHUNK)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && relay->bytes->send(relay->stream, buffer, (size_t)n) < 0)
			break;
	stream_end(relay->stream, NULL);
	return NULL;
}

/* The one at the other end goes when he likes: that is no signal for this program. */
static int give(int socket, ProtobufCBinaryData data)
{
	for (size_t at = 0; at < data.len;) {
		ssize_t n = send(socket, data.data + at, data.len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -1;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int stream_relay(Stream *stream, int socket, const StreamBytes *bytes, Error **err)
{
	Relay relay = { .stream = stream, .socket = socket, .bytes = bytes };
	GThread *thread = g_thread_new("relay", to_server, &relay);
	ProtobufCMessage *message = NULL;
	int result;
	while ((result = stream_receive(stream, &message, err)) == 0 && message) {
		int given = give(socket, bytes->received(message));
		stream_message_free(message);
		if (given < 0)
			break;
	}
	shutdown(socket, SHUT_RDWR);
	g_thread_join(thread);
	return result;
}
