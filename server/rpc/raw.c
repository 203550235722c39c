#include "server/rpc/raw.h"
#include "server/rpc/decode.h"
#include "server/rpc/field.h"
#include "server/rpc/reply.h"
#include "server/rpc/stream_ops.h"
#include <string.h>

typedef struct RawStream {
	Stream base;
	Exchange *ex;
	const Method *method;
	ProtobufCMessage *in;
	int64_t length;                  /* of the reply's body; -1 not known */
	gboolean partial;                /* the body is the end of a file */
	gboolean answered;               /* the reply's message was sent (client streams) */
	const ProtobufCFieldDescriptor *in_data, *out_data;
	ProtobufCMessage *chunk;         /* what recv hands out */
	uint8_t *buffer;
} RawStream;

/* Header fields become headers; Content-Type is given back. */
static const char *take_headers(RawStream *raw, const ProtobufCMessage *message)
{
	const JsonMessage *json = schema_json(message->descriptor);
	const char *content_type = NULL;
	for (unsigned i = 0; json && i < message->descriptor->n_fields; i++) {
		const char *name = json->fields[i].header;
		const char *value = name ?
		    field_text(message, &message->descriptor->fields[i], raw->base.arena) :
		    NULL;
		if (!value || !*value)
			continue;
		if (!g_ascii_strcasecmp(name, "Content-Type")) {
			content_type = value;
			continue;
		}
		char buffer[64];
		const char *old = header_old_name(name, buffer, sizeof(buffer));
		exchange_header(raw->ex, name, value);
		if (old)
			exchange_header(raw->ex, old, value);
	}
	return content_type;
}

static int begin(RawStream *raw, const ProtobufCMessage *message, Error **err)
{
	const char *content_type = message ? take_headers(raw, message) : NULL;
	return exchange_begin(raw->ex, raw->partial ? 206 : 200,
	    content_type ? content_type : "application/octet-stream", raw->length, err);
}

static int raw_open(Stream *stream, Error **err)
{
	return 0; /* the head goes with the first message */
}

static int raw_send(Stream *stream, const ProtobufCMessage *message, Error **err)
{
	RawStream *raw = (RawStream *)stream;
	if (raw->method->schema->envelope != ENVELOPE_RAW) {
		raw->answered = TRUE;
		return reply_message(raw->ex, raw->method->schema, raw->in, message, err);
	}
	if (!raw->ex->begun && begin(raw, message, err) < 0)
		return -1;
	if (!raw->out_data)
		return 0;
	const ProtobufCBinaryData *data = field_at(message, raw->out_data);
	return exchange_write(raw->ex, data->data, data->len, err);
}

static int64_t deadline_from(int timeout_ms)
{
	return timeout_ms < 0 ? G_MAXINT64 : g_get_monotonic_time() + (int64_t)timeout_ms * 1000;
}

static int raw_recv(Stream *stream, int timeout_ms, const void **ret_message, Error **err)
{
	RawStream *raw = (RawStream *)stream;
	if (!raw->in_data)
		return 0;
	if (!raw->chunk) {
		raw->chunk = field_new_message(stream->arena, stream->input);
		raw->buffer = g_malloc(STREAM_CHUNK);
	}
	ssize_t got = exchange_read(
	    raw->ex, raw->buffer, STREAM_CHUNK, deadline_from(timeout_ms), err);
	if (got <= 0)
		return (int)got;
	*(ProtobufCBinaryData *)field_at(
	    raw->chunk, raw->in_data) = (ProtobufCBinaryData){ (size_t)got, raw->buffer };
	*ret_message = raw->chunk;
	return 1;
}

static void raw_cancel(Stream *stream)
{
	conn_cancel(((RawStream *)stream)->ex->conn);
}

static void raw_set_length(Stream *stream, uint64_t length)
{
	((RawStream *)stream)->length = (int64_t)length;
}

/* Other forms of ranges may be ignored. */
static uint64_t range_start(const char *range, uint64_t size)
{
	static const char unit[] = "bytes=";
	char *end;
	if (!range || !g_str_has_prefix(range, unit) || !g_ascii_isdigit(range[strlen(unit)]))
		return 0;
	uint64_t start = g_ascii_strtoull(range + strlen(unit), &end, 10);
	return strcmp(end, "-") == 0 && start < size ? start : 0;
}

static uint64_t raw_set_file(Stream *stream, uint64_t size)
{
	RawStream *raw = (RawStream *)stream;
	uint64_t start = range_start(http_header(&raw->ex->head, "Range"), size);
	exchange_header(raw->ex, "Accept-Ranges", "bytes");
	raw->length = (int64_t)(size - start);
	raw->partial = start > 0;
	if (raw->partial) {
		g_autofree char *range = g_strdup_printf("bytes %" G_GUINT64_FORMAT
							 "-%" G_GUINT64_FORMAT
							 "/%" G_GUINT64_FORMAT,
		    start, size - 1, size);
		exchange_header(raw->ex, "Content-Range", range);
	}
	return start;
}

static int raw_send_sync(Stream *stream, const ProtobufCMessage *message, Error **err)
{
	RawStream *raw = (RawStream *)stream;
	take_headers(raw, message);
	return reply_sync(raw->ex, message, G_MAXUINT, err);
}

/* Plain sockets get the file by sendfile; TLS and in-process requests by blocks. */
static int raw_send_file(Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err)
{
	RawStream *raw = (RawStream *)stream;
	Exchange *ex = raw->ex;
	if (!ex->begun && begin(raw, NULL, err) < 0)
		return -1;
	if (ex->head_only)
		return 0;
	if (!ex->conn->ssl && ex->conn->fd >= 0 && !ex->chunked)
		return conn_sendfile(ex->conn, fd, offset, length, err);
	g_autofree uint8_t *buffer = g_malloc(STREAM_CHUNK);
	while (length > 0) {
		size_t n = (size_t)MIN(length, STREAM_CHUNK);
		if (stream_file_read(fd, buffer, n, offset, err) < 0)
			return -1;
		if (exchange_write(ex, buffer, n, err) < 0)
			return -1;
		offset += n;
		length -= n;
	}
	return 0;
}

static int raw_recv_file(Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err)
{
	enum { BLOCK = 1024 * 1024 };
	RawStream *raw = (RawStream *)stream;
	g_autofree uint8_t *buffer = g_malloc(BLOCK);
	*ret_written = 0;
	for (;;) {
		ssize_t got = exchange_read(raw->ex, buffer, BLOCK, G_MAXINT64, err);
		if (got <= 0)
			return (int)got;
		if (stream_file_write(fd, buffer, (size_t)got, limit, ret_written, err) < 0)
			return -1;
	}
}

static const StreamOps raw_ops = {
	.open = raw_open,
	.send = raw_send,
	.recv = raw_recv,
	.cancel = raw_cancel,
	.set_length = raw_set_length,
	.set_file = raw_set_file,
	.send_file = raw_send_file,
	.recv_file = raw_recv_file,
	.send_sync = raw_send_sync,
};

/* What the handler left unsaid. */
static int finish(RawStream *raw, Error **err)
{
	Exchange *ex = raw->ex;
	const SchemaMethod *schema = raw->method->schema;
	if (schema->envelope != ENVELOPE_RAW)
		return raw->answered ? 0
				     : reply_message(ex, schema, raw->in,
					   field_new_message(ex->rq.arena, schema->output), err);
	if (!ex->begun) {
		raw->length = 0;
		if (begin(raw, NULL, err) < 0)
			return -1;
	}
	return exchange_end(ex, err);
}

int raw_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err)
{
	const SchemaMethod *schema = method->schema;
	RawStream raw = {
		.base = { &raw_ops, schema->input, schema->output, ex->rq.arena },
		.ex = ex, .method = method, .in = in, .length = -1,
		.in_data = schema->kind == METHOD_CLIENT_STREAM ? field_data(schema->input) : NULL,
		.out_data = field_data(schema->output),
	};
	if (!raw.in_data && decode_body(ex, schema, in, err) < 0)
		return -1;
	int result = method->stream(&ex->rq, in, &raw.base, err);
	g_free(raw.buffer);
	if (result == 0)
		result = finish(&raw, err);
	if (result < 0)
		ex->keep_alive = ex->keep_alive && !ex->begun;
	return result;
}
