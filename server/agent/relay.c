/* Bytes between a socket of the guest and a call of the host. */
#include "server/agent/agent.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

typedef struct Relay {
	Stream *stream;
	int socket;
} Relay;

static gpointer send_replies(gpointer data)
{
	Relay *relay = data;
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	Pb__AgentBytes message = PB__AGENT_BYTES__INIT;
	ssize_t n;
	while ((n = read(relay->socket, buffer, CHUNK)) > 0 || (n < 0 && errno == EINTR)) {
		message.data = (ProtobufCBinaryData){ (size_t)MAX(n, 0), buffer };
		if (n > 0 && stream_send(relay->stream, &message, NULL) < 0)
			break;
	}
	shutdown(relay->socket, SHUT_RDWR);
	stream_close_send(relay->stream, NULL);
	return NULL;
}

void relay_run(Stream *stream, const Pb__AgentBytes *in, int socket)
{
	Relay relay = { .stream = stream, .socket = socket };
	GThread *thread = g_thread_new("relay", send_replies, &relay);
	const void *message = in;
	int got = 1;
	for (; got == 1; got = stream_recv(stream, -1, &message, NULL)) {
		const Pb__AgentBytes *part = message;
		if (file_write_all(socket, part->data.data, part->data.len) < 0)
			break;
	}
	shutdown(socket, SHUT_RDWR);
	g_thread_join(thread);
}
