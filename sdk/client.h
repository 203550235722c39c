#pragma once
/*
 * Inside of a client, for the other files of sdk/. Not installed.
 */
#include <incus/call.h>
#include "sdk/base/error.h"
#include "sdk/base/schema.h"
#include <glib.h>
#include <grpc/grpc.h>
#include <openssl/types.h>
#include <protobuf-c/protobuf-c.h>

struct incus_client {
	grpc_channel *channel; /* read by client_channel() */
	char *url;
	char *project, *target, *if_match; /* "" when not set */
	int timeout_ms;
	char *server_certificate;  /* PEM, NULL over the unix socket */
	gboolean by_authorities;   /* that was checked by the system's authorities alone */
	struct Pump *pump;         /* TLS only */
	/* How it was connected, and what was connected before: calls of other threads may still be
	 * about to use it. */
	GMutex lock;
	char *socket;	/* path; NULL: TLS, or none of ours */
	incus_tls *tls; /* NULL likewise */
	guint lost_count;
	GSList *lost; /* Connection * */
};

/* Where a message has the field of that name and type; NULL: it has none. */
void *message_field(const void *message, const char *name, ProtobufCType type);
/* The connection of the moment, for one call. */
grpc_channel *client_channel(incus_client *client);
/* How often it was lost so far. */
guint client_losses(incus_client *client);
/* Connects again, to the same server, where that has not been done since so many losses.
 * UNAVAILABLE: not yet. */
int client_reconnect(incus_client *client, guint losses, incus_error **err);

/* sdk/client.c: a client of whoever speaks gRPC at the other end of `fd` (a socket, taken), and may
 * be hostile: a message or header that is larger ends the call. For incusd, towards the inside of a
 * virtual machine. */
typedef struct ClientLimits {
	int message, metadata; /* bytes */
} ClientLimits;
incus_client *client_from_fd(const char *url, int fd, const ClientLimits *limits);

/* sdk/call.c, sdk/stream.c: with a time limit of their own, in ms; TIMEOUT (a stream is cancelled).
 */
int call_unary_within(incus_client *client, const SchemaMethod *method, const void *in,
    int timeout_ms, void **ret, incus_error **err);
/* One of several calls that run side by side. */
typedef struct CallEntry {
	incus_client *client;
	const void *in;
	void *reply;	    /* then: the caller's, or NULL */
	incus_error *error; /* and why it failed, the caller's */
} CallEntry;
/* Makes all of them, of one method, on the caller's thread; when this returns all have ended, for
 * they have one deadline. */
void call_unary_all(CallEntry *calls, size_t n, const SchemaMethod *method, int timeout_ms);
int stream_send_within(
    incus_stream *stream, const void *message, int timeout_ms, incus_error **err);

/* sdk/tls.c: a TLS connection to host:port that speaks HTTP/2. */
int tls_connect(const char *host, const char *port, const incus_tls *tls, gboolean verify,
    SSL **ret_ssl, incus_error **err);
/* For another protocol, as ALPN names it: "http/1.1". */
int tls_connect_for(const char *host, const char *port, const incus_tls *tls, gboolean verify,
    const char *protocol, SSL **ret_ssl, incus_error **err);
/* After the handshake, for much data: several records in one read(2), not each in two; buffers last
 * as long as something is in them; what a write leaves is for the next. */
void tls_set_bulk(SSL *ssl);
/* Writes what it can: how many bytes, or what SSL_write() gave when that is none. Small parts
 * become one record, and many records large packets: OpenSSL writes each by itself. */
struct iovec;
ssize_t tls_write(SSL *ssl, const struct iovec *parts, int n_parts);
char *tls_certificate_pem(X509 *certificate);
/* SHA-256 of the DER form, lower-case hexadecimal. */
void tls_certificate_fingerprint(X509 *certificate, char ret[65]);
/* Splits "https://host:port", "host", "[v6]:port"; port is "8443" when there is none. */
int tls_parse_url(const char *url, char **ret_host, char **ret_port, incus_error **err);

/* sdk/pump.c: carries bytes between a TLS connection and one end of a socket pair on a thread of
 * its own until either side ends. Takes both. (server/rpc/pump.h has the other names: incusd links
 * both.) */
typedef struct Pump Pump;
Pump *pump_open(SSL *ssl, int fd);
void pump_close(Pump *pump);

/* sdk/call.c */
/* Metadata and deadline of a call; the caller frees the entries with call_metadata_free(). */
typedef struct CallStart {
	grpc_metadata entries[1];
	size_t n_entries;
	gpr_timespec deadline;
} CallStart;
void call_start_init(incus_client *client, const SchemaMethod *method, CallStart *start);
void call_start_clear(CallStart *start);
/* The message on the wire, with the client's project and target where it has none. */
grpc_byte_buffer *call_pack(const incus_client *client, const ProtobufCMessage *message);
/* NULL and *err for what is no such message. */
ProtobufCMessage *call_unpack(
    const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer, incus_error **err);
/* Puts a final status into *err; 0 when it was OK. */
int call_status(grpc_status_code status, grpc_slice details, const grpc_metadata_array *trailers,
    incus_error **err);

/* sdk/error.c */
int sdk_error(incus_error **err, ErrorKind kind, const char *format, ...) G_GNUC_PRINTF(3, 4);
int sdk_error_errno(incus_error **err, ErrorKind kind, int errno_value, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* Takes a library error over. */
int sdk_error_take(incus_error **err, Error *error);
