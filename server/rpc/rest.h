#pragma once
/*
 * The REST door: requests on a Conn to methods and back. Runs the table it is handed and knows no
 * method by name.
 */
#include "server/rpc/exchange.h"
#include "server/daemon.h"

typedef enum RestResult { REST_PARK, REST_CLOSE } RestResult;

/* Serves what has arrived; REST_PARK when the next request (or the rest of its head) is not there
 * yet. Blocks while a handler runs and while bodies move. */
RestResult rest_serve(Daemon *daemon, Conn *conn);

/* Answers a request that was read elsewhere and made by us: with all rights. */
void rest_answer_as_admin(Exchange *ex);

/* Runs one REST request in process, with the caller, host and arena of rq: for `incus query` over
 * gRPC. The reply is in the arena; *ret_headers is NULL-terminated name, value pairs. */
int rest_query(Request *rq, const char *verb, const char *path, const char *if_match,
    const void *body, size_t length, int *ret_status, const char *const **ret_headers,
    const uint8_t **ret_body, size_t *ret_length, Error **err);
