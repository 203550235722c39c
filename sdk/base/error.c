#include "sdk/base/error.h"

#include <string.h>

/* gRPC status numbers are those of google.rpc.Code. Where two kinds share one, the first listed is
 * what a bare status code means. */
static const ErrorRow rows[ERROR_KINDS] = {
    [ERROR_INTERNAL] = {"INTERNAL", 13, 500},
    [ERROR_INVALID] = {"INVALID", 3, 400},
    [ERROR_UNAUTHENTICATED] = {"UNAUTHENTICATED", 16, 401},
    [ERROR_FORBIDDEN] = {"FORBIDDEN", 7, 403},
    [ERROR_NOT_FOUND] = {"NOT_FOUND", 5, 404},
    [ERROR_METHOD] = {"METHOD", 5, 404},
    [ERROR_EXISTS] = {"EXISTS", 6, 409},
    [ERROR_BUSY] = {"BUSY", 10, 400},
    [ERROR_PRECONDITION] = {"PRECONDITION", 9, 412},
    [ERROR_TOO_LARGE] = {"TOO_LARGE", 8, 413},
    [ERROR_UNSUPPORTED] = {"UNSUPPORTED", 12, 501},
    [ERROR_UNAVAILABLE] = {"UNAVAILABLE", 14, 503},
    [ERROR_CANCELLED] = {"CANCELLED", 1, 499},
    [ERROR_TIMEOUT] = {"TIMEOUT", 4, 500},
};

const ErrorRow *error_row(ErrorKind kind)
{
	return &rows[(unsigned)kind < ERROR_KINDS ? kind : ERROR_INTERNAL];
}

ErrorKind error_kind_from_name(const char *name)
{
	for (int i = 0; name && i < ERROR_KINDS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return i;
	return ERROR_INTERNAL;
}

ErrorKind error_kind_from_grpc(int grpc_status)
{
	for (int i = 0; i < ERROR_KINDS; i++)
		if (rows[i].grpc_status == grpc_status)
			return i;
	return ERROR_INTERNAL;
}

static int error_store(Error **err, ErrorKind kind, char *message)
{
	if (!err || *err) {
		g_free(message);
		return -1;
	}
	Error *error = g_new(Error, 1);
	*error = (Error){.kind = kind, .message = message};
	*err = error;
	return -1;
}

int error_set(Error **err, ErrorKind kind, const char *format, ...)
{
	if (!err || *err)
		return -1;
	va_list args;
	va_start(args, format);
	char *message = g_strdup_vprintf(format, args);
	va_end(args);
	return error_store(err, kind, message);
}

int error_errno(Error **err, ErrorKind kind, int errno_value, const char *format, ...)
{
	if (!err || *err)
		return -1;
	char buffer[256];
	const char *reason = strerror_r(errno_value, buffer, sizeof(buffer)); /* the GNU one */
	va_list args;
	va_start(args, format);
	g_autofree char *what = g_strdup_vprintf(format, args);
	va_end(args);
	return error_store(err, kind, g_strconcat(what, ": ", reason, NULL));
}

int error_prefix(Error **err, const char *format, ...)
{
	if (!err || !*err)
		return -1;
	va_list args;
	va_start(args, format);
	g_autofree char *prefix = g_strdup_vprintf(format, args);
	va_end(args);
	char *message = g_strconcat(prefix, ": ", (*err)->message, NULL);
	g_free((*err)->message);
	(*err)->message = message;
	return -1;
}

void error_free(Error *error)
{
	if (!error)
		return;
	g_free(error->message);
	g_free(error);
}

int error_propagate(Error **err, Error *error)
{
	if (err && !*err)
		*err = error;
	else
		error_free(error);
	return -1;
}

Error *error_copy(const Error *error)
{
	if (!error)
		return NULL;
	Error *copy = g_new(Error, 1);
	*copy = (Error){.kind = error->kind, .message = g_strdup(error->message)};
	return copy;
}
