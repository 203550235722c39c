#pragma once
/*
 * Background work that a call has started: follow it, wait for it, cancel it. The server forgets an
 * operation five seconds after its end.
 */
#include <incus/client.h>
#include "incus/v1/operation.pb-c.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called with every state of the operation, and with the last one again while nothing new is heard,
 * five times a second; on the thread that waits. Anything but 0 asks the operation to stop, once: the
 * wait goes on until it has. */
typedef int (*incus_operation_progress)(const Pb__Operation *operation, void *data);

/* Waits until `operation` (as a call returned it) is done; no request is made when it already is.
 * -1 when it failed ("INTERNAL" with its text), was cancelled ("CANCELLED"), or could not be
 * followed. *ret (when ret is not NULL) is its last state, also when it failed; the caller frees it
 * with incus_message_free(). progress may be NULL. */
int incus_operation_wait(incus_client *client, const Pb__Operation *operation,
    incus_operation_progress progress, void *data, Pb__Operation **ret, incus_error **err);
/* By UUID or URL, with the secret of an operation that is not ours to see (else NULL). */
int incus_operation_wait_id(incus_client *client, const char *id, const char *secret,
    incus_operation_progress progress, void *data, Pb__Operation **ret, incus_error **err);
/* Asks it to stop; incus_operation_wait() tells when it has. */
int incus_operation_cancel(incus_client *client, const Pb__Operation *operation, incus_error **err);
/* True when it has ended, well or not. */
bool incus_operation_done(const Pb__Operation *operation);
/* What one member of its metadata holds, as text when it is a text and as JSON otherwise; NULL when
 * it has none. The caller frees it with free(). */
char *incus_operation_metadata(const Pb__Operation *operation, const char *key);

#ifdef __cplusplus
}
#endif
