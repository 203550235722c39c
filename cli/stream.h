#pragma once
/*
 * Streaming calls: messages of the schema both ways. One thread may send while another receives.
 */
#include "cli/server.h"

typedef struct Stream Stream;

/* `first` is sent at once; NULL sends nothing. For calls that take one message, also ends sending.
 */
Stream *stream_open(Server *server, const char *method, const ProtobufCMessage *first, Error **err);
int stream_send(Stream *stream, const ProtobufCMessage *message, Error **err);
/* No more is sent. */
int stream_end(Stream *stream, Error **err);
/* The next message, for stream_message_free(); NULL without an error at the end. */
int stream_receive(Stream *stream, ProtobufCMessage **ret_message, Error **err);
/* Client streams: ends sending and takes the reply; ret_reply may be NULL. */
int stream_finish(Stream *stream, ProtobufCMessage **ret_reply, Error **err);
void stream_message_free(ProtobufCMessage *message);
/* From any thread: whoever waits on the stream fails. */
void stream_cancel(Stream *stream);
/* Cancels what still runs, and frees. */
void stream_close(Stream *stream);

/* A method that sends a file, which goes on after the connection was lost (incus/transfer.h). */
typedef struct Download Download;
Download *download_open(
    Server *server, const char *method, const ProtobufCMessage *request, Error **err);
/* As stream_receive(). */
int download_receive(Download *download, ProtobufCMessage **ret_message, Error **err);
void download_close(Download *download);

/* A method that takes files and replies with an operation, likewise; progress is shown behind
 * `label`. NULL on error. */
struct incus_upload_file;
json_t *upload_files(Server *server, const char *method, const ProtobufCMessage *first,
    const struct incus_upload_file *files, size_t n_files, const char *label, Error **err);

/* Calls a method that sends Pb__Blob and writes what they hold to `fd`. */
int stream_to_fd(Server *server, const char *method, json_t *request, int fd, Error **err);
/* What passes through a call whose messages carry bytes. */
typedef struct StreamBytes {
	int (*send)(Stream *stream, const uint8_t *bytes, size_t length);
	/* None where the message carries none. */
	ProtobufCBinaryData (*received)(const ProtobufCMessage *message);
} StreamBytes;
/* Between the stream and a socket of this machine, both ways, until either side ends; the socket is
 * shut down then. */
int stream_relay(Stream *stream, int socket, const StreamBytes *bytes, Error **err);
/* However short the writes. */
int write_all(int fd, const void *data, size_t length, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stream, stream_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Download, download_close)
