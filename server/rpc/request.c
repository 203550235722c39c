#include "server/rpc/door.h"
#include "server/rpc/etag.h"
#include "server/rpc/method.h"
#include <string.h>

const char *caller_protocol(const Caller *caller)
{
	static const char *const names[] = {
		[CALLER_UNTRUSTED] = "", [CALLER_UNIX] = "unix", [CALLER_TLS] = "tls",
		[CALLER_CLUSTER] = "cluster", [CALLER_OIDC] = "oidc",
	};
	return names[caller->kind];
}

Caller *caller_copy(const Caller *caller)
{
	Caller *copy = g_memdup2(caller, sizeof(*caller));
	copy->username = g_strdup(caller->username);
	copy->fingerprint = g_strdup(caller->fingerprint);
	copy->certificate = g_strdup(caller->certificate);
	copy->address = g_strdup(caller->address);
	copy->projects = g_strdupv(caller->projects);
	return copy;
}

void caller_free(Caller *caller)
{
	if (!caller)
		return;
	g_free(caller->username);
	g_free(caller->fingerprint);
	g_free(caller->certificate);
	g_free(caller->address);
	g_strfreev(caller->projects);
	g_free(caller);
}

gboolean caller_has_project(const Caller *caller, const char *project)
{
	if (caller->kind == CALLER_UNTRUSTED)
		return FALSE;
	if (caller->admin)
		return TRUE;
	return caller->projects && g_strv_contains((const char *const *)caller->projects, project);
}

gboolean request_cancelled(const Request *rq)
{
	const Door *door = rq->door;
	if (rq->deadline_us != G_MAXINT64 && g_get_monotonic_time() >= rq->deadline_us)
		return TRUE;
	return door && door->cancelled(door);
}

void request_set_location(Request *rq, const char *url)
{
	Door *door = rq->door;
	if (door)
		door->location = arena_strdup(rq->arena, url);
}

int request_check_etag(Request *rq, const void *object, Error **err)
{
	const char *fields = rq->method->schema->etag;
	if (!fields || !rq->if_match || !*rq->if_match)
		return 0;
	return etag_check(fields, object, rq->if_match, err);
}

gboolean mask_has(char *const *mask, size_t n, const char *field)
{
	for (size_t i = 0; i < n; i++)
		if (g_str_equal(mask[i], field))
			return TRUE;
	return FALSE;
}

char **request_strv(char *const *items, size_t n)
{
	char **copy = g_new0(char *, n + 1);
	for (size_t i = 0; i < n; i++)
		copy[i] = g_strdup(items[i]);
	return copy;
}
