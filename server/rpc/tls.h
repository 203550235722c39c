#pragma once
/*
 * TLS of the HTTPS port: TLS 1.3, our certificate, any client certificate (trust is looked up by
 * fingerprint, never by a CA here), the protocol chosen by ALPN.
 */
#include "server/daemon.h"
#include "server/rpc/request.h"
#include <openssl/ssl.h>

int tls_context_new(
    const char *cert_path, const char *key_path, SSL_CTX **ret_context, Error **err);
/* After the handshake: the client asked for h2 and not for http/1.1. */
gboolean tls_is_grpc(const SSL *ssl);
/* The caller behind a finished handshake. */
Caller *tls_caller(Daemon *daemon, SSL *ssl, const char *address);
