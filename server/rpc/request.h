#pragma once
/*
 * One call as a handler sees it: who calls, which project, deadline, cancellation, and the arena
 * that the reply lives in. The same for gRPC and REST. Owned by the front door; a handler that
 * starts background work copies what it needs (request_caller_copy).
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "sdk/base/schema.h"

typedef enum CallerKind {
	CALLER_UNTRUSTED,
	CALLER_UNIX,
	CALLER_TLS,
	CALLER_CLUSTER,
	CALLER_OIDC
} CallerKind;

typedef struct Caller {
	CallerKind kind;
	char *username;       /* unix: user name or "uid=N"; tls: fingerprint; else "" */
	char *fingerprint;    /* of the client certificate, whatever the trust; "" when none */
	char *certificate;    /* PEM of the client certificate, NULL when none */
	char *address;        /* "@" for the unix socket, else IP:PORT */
	gboolean admin;       /* trusted and not restricted */
	gboolean metrics_only;
	gboolean metrics_port; /* came through core.metrics_address: nothing else is there */
	char **projects;      /* the projects that a restricted caller may use; NULL: not restricted */
	uint32_t uid;         /* unix only */
	int generation;       /* of the trust store that decided this; server/rpc/identity.h */
} Caller;

const char *caller_protocol(const Caller *caller); /* "unix", "tls", "cluster", "oidc", "" */
Caller *caller_copy(const Caller *caller);
void caller_free(Caller *caller);
/* True when the caller may use `project` at all. */
gboolean caller_has_project(const Caller *caller, const char *project);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Caller, caller_free)

typedef struct Request {
	const struct Method *method;
	const Caller *caller;
	const char *project;      /* what the client asked for; "default" when it did not say */
	gboolean all_projects; /* a list over all projects: its handler leaves out what the caller
				  may not see */
	const char *target;       /* cluster member asked for, "" when none */
	const char *if_match;     /* ETag the client requires, NULL when none */
	const char *host;         /* REST Host header or gRPC authority, "" when none */
	int64_t deadline_us;      /* g_get_monotonic_time() scale; G_MAXINT64 when none */
	gboolean rest;            /* came through /1.0 */
	Arena *arena;
	struct Daemon *daemon;    /* server/daemon.h: the roots of everything */
	void *door;               /* private to server/rpc */
} Request;

gboolean request_cancelled(const Request *rq);
/* 0, or ERROR_PRECONDITION when the client sent If-Match and `object` (the method's etag fields of
 * this message) hashes differently. Call under the object's lock. */
int request_check_etag(Request *rq, const void *object, Error **err);
/* Overrides the Location of a CREATED or OPERATION reply (the schema's template otherwise). Copied.
 */
void request_set_location(Request *rq, const char *url);
/* Whether an update mask (FieldMask paths, JSON names) has `field`. */
gboolean mask_has(char *const *mask, size_t n, const char *field);
/* Repeated strings of a message as a NULL-terminated copy: g_strfreev. */
char **request_strv(char *const *items, size_t n);
/* Sets the message and arena for a reply string: shorthand used everywhere. */
static inline char *request_strdup(Request *rq, const char *text)
{
	return arena_strdup(rq->arena, text);
}
