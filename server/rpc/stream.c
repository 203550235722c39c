#include "server/rpc/stream_ops.h"
#include "sdk/base/file.h"
#include "server/rpc/field.h"
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

int stream_open(Stream *stream, Error **err)
{
	return stream->ops->open(stream, err);
}

int stream_send(Stream *stream, const void *message, Error **err)
{
	return stream->ops->send(stream, message, err);
}

int stream_recv(Stream *stream, int timeout_ms, const void **ret_message, Error **err)
{
	return stream->ops->recv(stream, timeout_ms, ret_message, err);
}

int stream_close_send(Stream *stream, Error **err)
{
	return stream->ops->close_send ? stream->ops->close_send(stream, err) : 0;
}

void stream_cancel(Stream *stream)
{
	stream->ops->cancel(stream);
}

void stream_set_whole(Stream *stream)
{
	if (stream->ops->set_whole)
		stream->ops->set_whole(stream);
}

gboolean stream_network_wait(const Stream *stream, int64_t *ret_us)
{
	return stream->ops->network_wait && stream->ops->network_wait(stream, ret_us);
}

void stream_set_length(Stream *stream, uint64_t length)
{
	if (stream->ops->set_length)
		stream->ops->set_length(stream, length);
}

uint64_t stream_set_file(Stream *stream, uint64_t size)
{
	return stream->ops->set_file ? stream->ops->set_file(stream, size) : 0;
}

int stream_check_offset(
    uint64_t offset, const char *of, const char *version, uint64_t size, Error **err)
{
	if (offset && strcmp(of, version) != 0)
		return error_set(err, ERROR_INVALID,
		    "The file is another one than when the transfer began: begin anew");
	return offset <= size ? 0 :
				error_set(err, ERROR_INVALID,
				    "The file has only %" G_GUINT64_FORMAT " bytes", (guint64)size);
}

int stream_send_sync(Stream *stream, const void *message, Error **err)
{
	return stream->ops->send_sync ? stream->ops->send_sync(stream, message, err)
				      : stream->ops->send(stream, message, err);
}

static ProtobufCBinaryData *data_of(
    const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return field_at(message, field);
}

int stream_file_read(int fd, void *data, size_t length, uint64_t offset, Error **err)
{
	for (size_t have = 0; have < length;) {
		ssize_t n = pread(
		    fd, (uint8_t *)data + have, length - have, (off_t)(offset + have));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to read the file");
		if (n == 0)
			return error_set(
			    err, ERROR_INTERNAL, "File became shorter while it was sent");
		have += (size_t)n;
	}
	return 0;
}

int stream_file_write(int fd, const void *data, size_t length, uint64_t limit, uint64_t *written,
    Error **err)
{
	if (length > limit - *written)
		return error_set(err, ERROR_TOO_LARGE, "More data than the limit allows");
	*written += length;
	if (file_write_all(fd, data, length) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to write the file");
	return 0;
}

int stream_send_file(Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err)
{
	if (stream->ops->send_file)
		return stream->ops->send_file(stream, fd, offset, length, err);
	const ProtobufCFieldDescriptor *field = field_data(stream->output);
	if (!field)
		return error_set(
		    err, ERROR_INTERNAL, "\"%s\" carries no data", stream->output->name);
	ProtobufCMessage *message = field_new_message(stream->arena, stream->output);
	g_autofree uint8_t *buffer = g_malloc(STREAM_CHUNK);
	while (length > 0) {
		size_t n = (size_t)MIN(length, STREAM_CHUNK);
		if (stream_file_read(fd, buffer, n, offset, err) < 0)
			return -1;
		*data_of(message, field) = (ProtobufCBinaryData){ n, buffer };
		if (stream_send(stream, message, err) < 0)
			return -1;
		offset += n;
		length -= n;
	}
	return 0;
}

int stream_recv_file(Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err)
{
	if (stream->ops->recv_file)
		return stream->ops->recv_file(stream, fd, limit, ret_written, err);
	const ProtobufCFieldDescriptor *field = field_data(stream->input);
	if (!field)
		return error_set(
		    err, ERROR_INTERNAL, "\"%s\" carries no data", stream->input->name);
	*ret_written = 0;
	for (;;) {
		const void *message;
		int got = stream_recv(stream, -1, &message, err);
		if (got <= 0)
			return got;
		const ProtobufCBinaryData *data = data_of(message, field);
		if (stream_file_write(fd, data->data, data->len, limit, ret_written, err) < 0)
			return -1;
	}
}
