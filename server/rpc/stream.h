#pragma once
/*
 * A stream of messages between a handler and a client, whatever the door: gRPC messages, a REST
 * body in chunks (`data` fields), or WebSocket frames. send and recv block with backpressure.
 * One thread may send while another receives.
 */
#include "sdk/base/error.h"
#include <protobuf-c/protobuf-c.h>

typedef struct Stream Stream;

/* Accepts the client: WebSocket upgrade reply, gRPC initial metadata. Errors returned by a handler
 * before it are plain HTTP or gRPC errors. The first send or recv implies it. */
int stream_open(Stream *stream, Error **err);
/* Sends one message of the method's output type. -1 when the client is gone (ERROR_CANCELLED). */
int stream_send(Stream *stream, const void *message, Error **err);
/* The data of the first message comes with the first recv, though the handler has the message
 * already. Next message of the input type: 1 and *ret_message (valid until the next recv on this
 * stream), 0 at the end of the client's side, -1 on failure. timeout_ms -1 waits for ever; expiry
 * is ERROR_TIMEOUT. */
int stream_recv(Stream *stream, int timeout_ms, const void **ret_message, Error **err);
/* Tells the client, after the last send, that the handler is done and all went well: the
 * WebSocket's close frame, the gRPC status (which also ends the client's side: a blocked recv
 * wakes). */
int stream_close_send(Stream *stream, Error **err);
/* Wakes any blocked send and recv, from another thread, with ERROR_CANCELLED. */
void stream_cancel(Stream *stream);
/* RAW replies over REST only, before the first send: length of the whole body (Content-Length, else
 * chunked), and a file whose rest is sent with sendfile/splice where the door can. */
void stream_set_length(Stream *stream, uint64_t length);
/* The same for a body that is a file of `size` bytes, of which the client may want no more than the
 * end ("Range: bytes=N-", RFC 9110 14.2): where what is to be sent begins. 0 through other doors. */
uint64_t stream_set_file(Stream *stream, uint64_t size);
/* The same through the other doors, where a request says it in its `offset` and `version`: -1 where
 * that is beyond the end, or of another file than the present `version`. */
int stream_check_offset(
    uint64_t offset, const char *of, const char *version, uint64_t size, Error **err);
/* WebSockets, before the first recv: binary messages are handed out whole (at most 16 MiB), however
 * they arrive; else in parts as they come. */
void stream_set_whole(Stream *stream);
/* Microseconds, since the stream began, in which the network alone kept what was sent from going
 * faster: not the other side, which did not read, and not this one. FALSE: the door cannot tell. */
gboolean stream_network_wait(const Stream *stream, int64_t *ret_us);
/* Sends `length` bytes of fd from offset as `data` of output messages: splice or sendfile where the
 * door can (plain unix REST), else 256 KiB chunks. */
int stream_send_file(Stream *stream, int fd, uint64_t offset, uint64_t length, Error **err);
/* Writes everything still to be received into fd (file upload); returns the bytes in *ret_written.
 * More than `limit` bytes is ERROR_TOO_LARGE; limit UINT64_MAX is none. */
int stream_recv_file(Stream *stream, int fd, uint64_t limit, uint64_t *ret_written, Error **err);
/* RAW replies: answer with the sync envelope and this one message as metadata instead of a body
 * (directory listings). gRPC clients just get the message. */
int stream_send_sync(Stream *stream, const void *message, Error **err);
