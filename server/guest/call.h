#pragma once
/*
 * Calls to a guest: for the files of this folder.
 */
#include "incus/v1/agent.pb-c.h"
#include "incus/v1/agent_schema.h"
#include "sdk/client.h"
#include "server/guest/guest.h"
#include "server/guest/link.h"

enum {
	GUEST_CALL_MS = 10000,	  /* of a call that is answered at once */
	GUEST_CHUNK = 256 * 1024, /* bytes of data in a message */
};

/* One connection. Streams of it hold a reference. */
typedef struct GuestLink {
	gint refs; /* atomic */
	Guest *guest;
	incus_client *client;
	LinkGuard guard;
	gint late_s; /* atomic: g_get_monotonic_time() in seconds of the last answer not given */
	int plain;   /* our end; under the guest's lock; -1: closed */
} GuestLink;

/* A new reference to the present one; ERROR_INVALID "VM agent isn't currently running". */
int guest_link(Guest *guest, GuestLink **ret_link, Error **err);
GuestLink *guest_link_ref(GuestLink *link);
void guest_link_unref(GuestLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestLink, guest_link_unref)

/* A question was not answered in time: for a while it is not asked such again. ERROR_TIMEOUT says
 * so. */
void guest_link_late(GuestLink *link);
int guest_link_patience(GuestLink *link, Error **err);
/* While a call runs that the guest is to answer. */
void guest_busy(GuestLink *link, gboolean busy);
/* *ret: incus_message_free(); NULL when only success is of interest. */
int guest_call(
    GuestLink *link, int method, const void *in, int timeout_ms, void **ret, Error **err);
/* session.c: a stream socket whose bytes go through a call of two streams of AgentBytes. */
int guest_relay(
    GuestLink *link, int method, const Pb__AgentBytes *first, int *ret_socket, Error **err);
/* Takes an error of the SDK: its kind when it is one that a guest may give, its text as
 * guest_text() leaves it. */
int guest_fail(incus_error *error, Error **err);
/* What a guest says, fit for terminals and logs: control characters are "?", at most 512 bytes.
 * g_free. */
char *guest_text(const char *text);
