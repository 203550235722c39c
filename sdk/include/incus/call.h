#pragma once
/*
 * Calls by method: what the generated functions are made of, and what a program uses that picks its
 * methods at run time. Requests and replies are protobuf-c structures (incus/v1/NOUN.pb-c.h).
 *
 * For an rpc GetProfile the generator writes, into incus/v1/profile.h (incus_X is a typedef of
 * Pb__X),
 *
 *   int incus_get_profile(incus_client *client, const char *name, incus_profile **ret, incus_error
 * **err); int incus_get_profile_with(incus_client *client, const incus_get_profile_request *in,
 *       incus_profile **ret, incus_error **err);
 *
 * and for an rpc with streams a function that opens an incus_stream and typed _send, _recv,
 * _finish. Replies are the caller's: incus_message_free(). `in` may be NULL where every field may
 * be empty.
 */
#include <incus/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct SchemaMethod; /* one row per rpc */

typedef struct incus_stream incus_stream;

/* The row of an rpc by name, "GetProfile"; NULL when there is none. */
const struct SchemaMethod *incus_method(const char *name);

/* 0, or -1 and *err. *ret (when ret is not NULL) is the reply. */
int incus_call_unary(incus_client *client, const struct SchemaMethod *method, const void *in,
    void **ret, incus_error **err);

/* The same of a method that gets an object: *ret_etag names its state, for incus_client_set_if_match()
 * before it is changed. NULL when the object has none; the caller frees it with free(). */
int incus_call_unary_etag(incus_client *client, const struct SchemaMethod *method, const void *in,
    void **ret, char **ret_etag, incus_error **err);

/* Opens a stream of any kind. `first` is sent: the one request of a server stream (which is then
 * half-closed), the first message of the others (NULL: none yet). */
int incus_stream_open(incus_client *client, const struct SchemaMethod *method, const void *first,
    incus_stream **ret, incus_error **err);
/* Sends one message; blocks while the server does not take more. -1 when the stream has ended: recv
 * tells why. One thread may send while another receives. */
int incus_stream_send(incus_stream *stream, const void *message, incus_error **err);
/* No more messages from this side. */
int incus_stream_close_send(incus_stream *stream, incus_error **err);
/* 1 and *ret (the caller's); 0 when the server ended the stream well; -1 when it failed, or after
 * timeout_ms ("TIMEOUT"; -1 waits for ever): then the stream goes on. */
int incus_stream_recv(incus_stream *stream, int timeout_ms, void **ret, incus_error **err);
/* Client streams: half-closes and takes the one reply. */
int incus_stream_finish(incus_stream *stream, void **ret, incus_error **err);
/* From any thread: everything that waits on the stream fails with "CANCELLED". */
void incus_stream_cancel(incus_stream *stream);
/* Cancels what still runs. NULL is allowed. */
void incus_stream_free(incus_stream *stream);

/* Frees a message that a call returned. NULL is allowed. */
void incus_message_free(void *message);

#ifdef __cplusplus
}
#endif
