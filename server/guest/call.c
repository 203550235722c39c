#include "server/guest/call.h"
#include <string.h>

enum { TEXT_MAX = 512, REST_S = 10 };

char *guest_text(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	GString *clean = g_string_new(NULL);
	for (const char *c = valid; *c && clean->len < TEXT_MAX - 8; c = g_utf8_next_char(c)) {
		gunichar u = g_utf8_get_char(c);
		g_string_append_unichar(clean, g_unichar_isprint(u) ? u : '?');
	}
	return g_string_free(clean, FALSE);
}

/* A guest may say that a file is missing, but not that the caller of incusd is nobody. */
static ErrorKind kind_of(const incus_error *error)
{
	static const ErrorKind allowed[] = { ERROR_INVALID, ERROR_FORBIDDEN, ERROR_NOT_FOUND,
		ERROR_EXISTS, ERROR_BUSY, ERROR_TOO_LARGE, ERROR_UNSUPPORTED, ERROR_CANCELLED,
		ERROR_TIMEOUT };
	ErrorKind kind = error_kind_from_name(error->name);
	for (gsize i = 0; i < G_N_ELEMENTS(allowed); i++)
		if (kind == allowed[i])
			return kind;
	return ERROR_INTERNAL;
}

int guest_fail(incus_error *error, Error **err)
{
	if (!error)
		return error_set(err, ERROR_INTERNAL, "The VM agent ended the call");
	g_autofree char *text = guest_text(error->message);
	if (error_kind_from_name(error->name) == ERROR_UNAVAILABLE)
		error_set(err, ERROR_INTERNAL, "The connection to the VM agent was lost");
	else if (kind_of(error) == ERROR_TIMEOUT)
		error_set(err, ERROR_TIMEOUT, "The VM agent did not answer in time");
	else
		error_set(err, kind_of(error), "%s", text);
	incus_error_free(error);
	return -1;
}

static int now_s(void)
{
	return (int)(g_get_monotonic_time() / G_USEC_PER_SEC);
}

void guest_link_late(GuestLink *link)
{
	g_atomic_int_set(&link->late_s, now_s());
}

int guest_link_patience(GuestLink *link, Error **err)
{
	int late = g_atomic_int_get(&link->late_s);
	if (late && now_s() - late < REST_S)
		return error_set(err, ERROR_TIMEOUT, "The VM agent did not answer lately");
	return 0;
}

void guest_busy(GuestLink *link, gboolean busy)
{
	g_atomic_int_add(&link->guard.busy, busy ? 1 : -1);
}

int guest_call(GuestLink *link, int method, const void *in, int timeout_ms, void **ret, Error **err)
{
	incus_error *error = NULL;
	guest_busy(link, TRUE);
	int result = call_unary_within(
	    link->client, &schema_agent_methods[method], in, timeout_ms, ret, &error);
	guest_busy(link, FALSE);
	return result < 0 ? guest_fail(error, err) : 0;
}
