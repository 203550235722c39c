#pragma once
/*
 * Errors as values: every function that can fail returns 0 or -1 and takes `Error **err` as its
 * last argument. One table row per kind of error gives its name (google.rpc.ErrorInfo.reason),
 * its gRPC status and its REST error_code. Not for logging: a function logs or returns, never both.
 */
#include <glib.h>
#include <stdint.h>

typedef enum ErrorKind {
	ERROR_INTERNAL = 0,   /* our or the system's failure; REST 500 */
	ERROR_INVALID,        /* bad input; 400 */
	ERROR_UNAUTHENTICATED,/* 401 */
	ERROR_FORBIDDEN,      /* 403 */
	ERROR_NOT_FOUND,      /* 404 */
	ERROR_METHOD,         /* HTTP verb unknown on this path; 404 */
	ERROR_EXISTS,         /* 409 already exists */
	ERROR_BUSY,           /* 409? another operation holds the object; 400 as Incus answers */
	ERROR_PRECONDITION,   /* ETag mismatch; 412 */
	ERROR_TOO_LARGE,      /* 413 */
	ERROR_UNSUPPORTED,    /* removed or not built feature; 501 */
	ERROR_UNAVAILABLE,    /* starting or shutting down; 503 */
	ERROR_CANCELLED,      /* caller or operation cancelled; 499 on gRPC CANCELLED */
	ERROR_TIMEOUT,        /* deadline; 500 as Incus answers */
	ERROR_KINDS
} ErrorKind;

typedef struct ErrorRow {
	const char *name;     /* "NOT_FOUND": travels as ErrorInfo.reason */
	int grpc_status;      /* grpc_status_code value */
	int http_status;      /* REST error_code */
} ErrorRow;

typedef struct Error {
	ErrorKind kind;
	char *message;        /* capital letter, no full stop, names the object in quotes */
} Error;

const ErrorRow *error_row(ErrorKind kind);
/* Unknown names and codes are ERROR_INTERNAL. */
ErrorKind error_kind_from_name(const char *name);
ErrorKind error_kind_from_grpc(int grpc_status);

/* Sets *err (when err is not NULL and *err is NULL) and returns -1, so that callers can `return`.
 */
int error_set(Error **err, ErrorKind kind, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* As error_set with ": " and strerror(errno_value) appended; the kind is the caller's choice. */
int error_errno(Error **err, ErrorKind kind, int errno_value, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* Puts the formatted words and ": " before the message of *err; always returns -1. */
int error_prefix(Error **err, const char *format, ...) G_GNUC_PRINTF(2, 3);
void error_free(Error *error);
/* Takes `error` and stores it in *err (or frees it when err is NULL); returns -1. */
int error_propagate(Error **err, Error *error);
Error *error_copy(const Error *error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Error, error_free)
