/* Files as the `data` of messages: straight between descriptor and slices. */
#include "server/rpc/field.h"
#include "server/rpc/grpc_call.h"
#include "server/rpc/wire_out.h"
#include <errno.h>
#include <grpc/byte_buffer_reader.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE_PARTS = 64 };

/* Messages that hold only `data`, filled straight from the file. */
int grpc_send_file(
    Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err)
{
	const ProtobufCFieldDescriptor *field = field_data(stream->output);
	if (!field)
		return error_set(
		    err, ERROR_INTERNAL, "\"%s\" carries no data", stream->output->name);
	while (length > 0) {
		size_t n = (size_t)MIN(length, STREAM_CHUNK);
		uint8_t head[20];
		size_t head_length = wire_out_bytes_head(head, field->id, n);
		grpc_slice slice = grpc_slice_malloc(head_length + n);
		memcpy(GRPC_SLICE_START_PTR(slice), head, head_length);
		if (stream_file_read(fd, GRPC_SLICE_START_PTR(slice) + head_length, n, offset, err) < 0) {
			grpc_slice_unref(slice);
			return -1;
		}
		if (grpc_call_send(grpc_call_of(stream), slice, err) < 0)
			return -1;
		offset += n;
		length -= n;
	}
	return 0;
}

/* All of the parts, however the kernel cuts them. */
static int write_parts(int fd, struct iovec *parts, int n, Error **err)
{
	while (n > 0) {
		ssize_t written = writev(fd, parts, n);
		if (written < 0 && errno != EINTR)
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to write the file");
		size_t left = (size_t)MAX(written, 0);
		for (; n > 0 && left >= parts->iov_len; parts++, n--)
			left -= parts->iov_len;
		if (n > 0) {
			parts->iov_base = (uint8_t *)parts->iov_base + left;
			parts->iov_len -= left;
		}
	}
	return 0;
}

/* The size of the head of a message that is just the one data field; 0: it is not that simple. */
static size_t data_head(
    const ProtobufCFieldDescriptor *field, const grpc_slice *first, size_t total)
{
	uint8_t head[20];
	/* The head's own size depends on the length it tells: try both sides of the edge. */
	for (size_t guess = 2; guess <= 8 && guess < total; guess++)
		if (wire_out_bytes_head(head, field->id, total - guess) == guess)
			return GRPC_SLICE_LENGTH(*first) >= guess &&
				!memcmp(GRPC_SLICE_START_PTR(*first), head, guess) ?
			    guess :
			    0;
	return 0;
}

/* When the message is just the one data field, its slices go to the file as they came: 1 done, 0 it
 * is not that simple, -1 failure. */
static int write_slices(const ProtobufCFieldDescriptor *field, grpc_byte_buffer *bytes, int fd,
    uint64_t limit, uint64_t *written, Error **err)
{
	grpc_slice_buffer *slices = &bytes->data.raw.slice_buffer;
	size_t total = grpc_byte_buffer_length(bytes);
	if (bytes->type != GRPC_BB_RAW || bytes->data.raw.compression != GRPC_COMPRESS_NONE ||
	    !slices->count)
		return 0;
	size_t skip = data_head(field, &slices->slices[0], total);
	if (!skip)
		return 0;
	if (total - skip > limit - *written)
		return error_set(err, ERROR_TOO_LARGE, "More data than the limit allows");
	*written += total - skip;
	for (size_t i = 0; i < slices->count;) {
		struct iovec parts[WRITE_PARTS];
		int n = 0;
		for (; n < WRITE_PARTS && i < slices->count; i++, n++, skip = 0)
			parts[n] = (struct iovec){ GRPC_SLICE_START_PTR(slices->slices[i]) + skip,
				GRPC_SLICE_LENGTH(slices->slices[i]) - skip };
		if (write_parts(fd, parts, n, err) < 0)
			return -1;
	}
	return 1;
}

static int write_message(Stream *stream, const ProtobufCFieldDescriptor *field, const void *message,
    int fd, uint64_t limit, uint64_t *written, Error **err)
{
	const ProtobufCBinaryData *data = field_at(message, field);
	return stream_file_write(fd, data->data, data->len, limit, written, err);
}

int grpc_receive_file(
    Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err)
{
	GrpcCall *call = grpc_call_of(stream);
	const ProtobufCFieldDescriptor *field = field_data(stream->input);
	*ret_written = 0;
	if (!field)
		return error_set(
		    err, ERROR_INTERNAL, "\"%s\" carries no data", stream->input->name);
	if (call->replay &&
	    write_message(
		stream, field, g_steal_pointer(&call->replay), fd, limit, ret_written, err) < 0)
		return -1;
	for (;;) {
		grpc_byte_buffer *bytes;
		ProtobufCMessage *message;
		int got = grpc_call_receive(call, -1, &bytes, err);
		if (got <= 0)
			return got;
		int done = write_slices(field, bytes, fd, limit, ret_written, err);
		if (done == 0) {
			g_autoptr(Arena) arena = arena_new();
			done = grpc_call_decode(stream->input, bytes, arena, &message, err);
			if (done == 0)
				done = write_message(
				    stream, field, message, fd, limit, ret_written, err);
		}
		grpc_byte_buffer_destroy(bytes);
		if (done < 0)
			return -1;
	}
}
