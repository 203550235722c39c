#pragma once
/*
 * What a door implements to be a Stream: the table behind server/rpc/stream.h. Private to
 * server/rpc.
 */
#include "sdk/base/arena.h"
#include "server/rpc/stream.h"

typedef struct StreamOps {
	int (*send)(Stream *stream, const ProtobufCMessage *message, Error **err);
	int (*recv)(Stream *stream, int timeout_ms, const void **ret_message, Error **err);
	void (*cancel)(Stream *stream);
	int (*open)(Stream *stream, Error **err);
	/* NULL in the rest means: generic, through send and recv. */
	int (*close_send)(Stream *stream, Error **err);
	void (*set_length)(Stream *stream, uint64_t length);
	uint64_t (*set_file)(Stream *stream, uint64_t size);
	int (*send_file)(Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err);
	int (*recv_file)(
	    Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err);
	void (*set_whole)(Stream *stream);
	gboolean (*network_wait)(const Stream *stream, int64_t *ret_us); /* NULL: it cannot tell */
	int (*send_sync)(Stream *stream, const ProtobufCMessage *message, Error **err);
} StreamOps;

struct Stream {
	const StreamOps *ops;
	const ProtobufCMessageDescriptor *input, *output;
	Arena *arena; /* lives as long as the call */
};

enum { STREAM_CHUNK = 256 * 1024 };

/* For send_file: `length` bytes of the file at `offset`, all of them or an error. */
int stream_file_read(int fd, void *data, size_t length, uint64_t offset, Error **err);
/* For recv_file: goes on where the file stands; `*written`, that it counts up, stays within `limit`. */
int stream_file_write(int fd, const void *data, size_t length, uint64_t limit, uint64_t *written,
    Error **err);
