#pragma once
/*
 * gRPC over TLS: moves bytes between a TLS connection and the socketpair whose other end gRPC core
 * has. One thread serves all such connections, without blocking on any.
 */
#include "sdk/base/error.h"
#include <openssl/ssl.h>

typedef struct Pump Pump;

int pump_start(Pump **ret_pump, Error **err);
/* Ends all connections. */
void pump_stop(Pump *pump);
/* Takes the finished TLS connection and its socket; *ret_fd is the plain end, the caller's. */
int pump_add(Pump *pump, int fd, SSL *ssl, int *ret_fd, Error **err);
