#pragma once
/*
 * From verb and path to the method: a trie made from the schema's routes at start. Segments stay
 * percent-encoded until they are matched, so that a name may hold "%2F". Nothing is cleaned up or
 * redirected, as with Incus.
 */
#include "server/rpc/method.h"

enum { ROUTE_PARAMS_MAX = 8 };

typedef struct RouteMatch {
	const Method *method;
	unsigned n_params;
	const char *names[ROUTE_PARAMS_MAX];  /* request fields, as the template names them */
	const char *values[ROUTE_PARAMS_MAX]; /* raw segments: still percent-encoded */
	size_t lengths[ROUTE_PARAMS_MAX];
} RouteMatch;

typedef enum RouteResult { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_VERB } RouteResult;

/* Builds the trie from methods[] once; thread-safe. */
void route_start(void);
/* ROUTE_NO_VERB also for paths that Incus has and this daemon does not serve. */
/* content_type of the body: NULL when there is none. */
RouteResult route_find(
    const char *verb, const char *path, const char *content_type, RouteMatch *ret_match);
