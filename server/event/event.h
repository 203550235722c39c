#pragma once
/*
 * Events (lifecycle, operation, logging, network-acl) from whoever makes them to every listener:
 * one ring per listener; a slow listener is dropped with a message, never waited for.
 */
#include "sdk/base/error.h"
#include "server/rpc/request.h"

typedef struct EventHub EventHub;
typedef struct EventListener EventListener;

/* Immutable once sent; reference counted. */
typedef struct Event {
	int refs;
	char *type;           /* "lifecycle", "operation", "logging", "network-acl" */
	char *project;        /* "": everybody */
	char *location;       /* member name, "none" standalone */
	char *metadata_json;
	gint64 time_us;       /* real time */
} Event;

EventHub *event_hub_new(void);
void event_hub_free(EventHub *hub);
/* Every listener gets what is queued, then ERROR_CANCELLED. Listeners must be freed before the hub.
 */
void event_hub_close(EventHub *hub);
/* Lifecycle: action "instance-started", source "/1.0/instances/c1" (project is appended), context
 * JSON object or NULL. caller NULL: the daemon itself. */
void event_lifecycle(EventHub *hub, const char *project, const char *action, const char *source,
    const char *context_json, const Caller *caller);
void event_send(EventHub *hub, const char *type, const char *project, const char *metadata_json);
/* True when somebody listens to this type, so that costly events are made only then. */
gboolean event_hub_wants(EventHub *hub, const char *type);
/* types: NULL-terminated, NULL for all; project NULL for all projects. */
EventListener *event_listen(EventHub *hub, const char *const *types, const char *project);
/* Next event: 1, 0 on timeout, -1 when dropped for slowness or the hub is closing. */
int event_next(EventListener *listener, int timeout_ms, Event **ret_event, Error **err);
void event_wake(EventListener *listener); /* makes event_next return -1 ERROR_CANCELLED */
void event_listener_free(EventListener *listener);
void event_unref(Event *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Event, event_unref)
