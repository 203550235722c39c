#include "server/rpc/stream_ops.h"
#include "server/rpc/field.h"
#include <errno.h>
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

void stream_set_length(Stream *stream, uint64_t length)
{
	if (stream->ops->set_length)
		stream->ops->set_length(stream, length);
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
		ssize_t n = pread(fd, buffer, MIN(length, STREAM_CHUNK), (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to read the file");
		if (n == 0)
			return error_set(
			    err, ERROR_INTERNAL, "File became shorter while it was sent");
		*data_of(message, field) = (ProtobufCBinaryData){ (size_t)n, buffer };
		if (stream_send(stream, message, err) < 0)
			return -1;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t length, Error **err)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to write the file");
		data += n;
		length -= (size_t)n;
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
		if (data->len > limit - *ret_written)
			return error_set(err, ERROR_TOO_LARGE, "More data than the limit allows");
		if (write_all(fd, data->data, data->len, err) < 0)
			return -1;
		*ret_written += data->len;
	}
}
