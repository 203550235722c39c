/* Errors as the SDK shows them. */
#include "sdk/client.h"
#include <stdlib.h>
#include <string.h>

static int error_store(incus_error **err, ErrorKind kind, char *message)
{
	if (!err || *err) {
		free(message);
		return -1;
	}
	const ErrorRow *row = error_row(kind);
	incus_error *error = g_new0(incus_error, 1);
	error->name = g_strdup(row->name);
	error->message = message;
	error->grpc_status = row->grpc_status;
	error->code = row->http_status;
	*err = error;
	return -1;
}

int sdk_error(incus_error **err, ErrorKind kind, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *message = g_strdup_vprintf(format, args);
	va_end(args);
	return error_store(err, kind, message);
}

int sdk_error_errno(incus_error **err, ErrorKind kind, int errno_value, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *text = g_strdup_vprintf(format, args);
	va_end(args);
	return error_store(err, kind, g_strdup_printf("%s: %s", text, g_strerror(errno_value)));
}

int sdk_error_take(incus_error **err, Error *error)
{
	error_store(err, error->kind, g_strdup(error->message));
	error_free(error);
	return -1;
}

int incus_error_set(incus_error **err, const char *name, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *message = g_strdup_vprintf(format, args);
	va_end(args);
	return error_store(err, error_kind_from_name(name), message);
}

bool incus_error_is(const incus_error *error, const char *name)
{
	return error && strcmp(error->name, name) == 0;
}

void incus_error_free(incus_error *error)
{
	if (!error)
		return;
	g_free(error->name);
	g_free(error->message);
	g_free(error);
}
