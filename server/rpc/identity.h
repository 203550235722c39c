#pragma once
/*
 * Who callers are: the trust store (tables certificates and certificates_projects, cached in
 * memory) and the server's own certificate. Lookups are lock-free for the caller's purposes: one
 * short lock.
 */
#include "server/daemon.h"
#include "server/rpc/request.h"

typedef enum CertificateType {
	CERTIFICATE_CLIENT = 1,
	CERTIFICATE_SERVER = 2,
	CERTIFICATE_METRICS = 3
} CertificateType;

/* Loads or makes server.crt and server.key in daemon->dir, sets daemon->server_cert_*, loads the
 * trust store, and server.ca and ca.crl when they are there (PKI mode). */
int identity_start(Daemon *daemon, Error **err);
void identity_stop(Daemon *daemon);
/* Reads the trust store again; call after every change of the tables. */
int identity_reload(Daemon *daemon, Error **err);

/* Caller of a unix socket: administrator for root and for members of daemon->group. */
Caller *identity_unix_caller(Daemon *daemon, int fd);
/* Caller with this certificate (DER), NULL when it showed none. `address` is copied. Looked up
 * again for each request of a long connection through identity_refresh(). */
Caller *identity_tls_caller(Daemon *daemon, const void *der, size_t length, const char *address);
/* The trust of this caller as it is now: NULL when unchanged, else a new Caller. */
Caller *identity_refresh(Daemon *daemon, const Caller *caller);

/* Names of the certificate types in the API: "client", "server", "metrics"; 0 when unknown. */
const char *certificate_type_name(int type);
int certificate_type_from_name(const char *name);
