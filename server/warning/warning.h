#pragma once
/*
 * Warnings: what the server found wrong by itself and nobody asked for, kept in the database until
 * somebody has seen to it. One row per kind, place and thing: what happens again is counted. Not
 * for failures of requests, which their callers learn of.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
#include "server/daemon.h"
#include <stdint.h>

struct Pb__Warning;

/* warnings.type_code; names and severities are rows in warning.c. */
typedef enum WarningType {
	WARNING_UNDEFINED = 0,
	WARNING_NETWORK_UNAVAILABLE = 20,
	WARNING_AUTOSTART_FAILURE = 22,
	WARNING_POOL_UNAVAILABLE = 24,
} WarningType;

/* warnings.entity_type_code */
typedef enum WarningEntity {
	WARNING_ENTITY_NONE = -1,
	WARNING_ENTITY_INSTANCE = 5,
	WARNING_ENTITY_NETWORK = 8,
	WARNING_ENTITY_POOL = 12,
} WarningEntity;

typedef struct WarningSpec {
	const char *location; /* member; NULL or "": of none */
	const char *project;  /* NULL or "": of none */
	int type;             /* WarningType */
	int entity;           /* WarningEntity */
	int64_t entity_id;    /* row of it; -1 with WARNING_ENTITY_NONE */
	const char *message;
} WarningSpec;

/* Makes the warning or counts it once more; a resolved one is new again. ERROR_INVALID for unknown
 * types and entities, ERROR_NOT_FOUND for projects and members that are not there. */
int warning_raise(Daemon *d, const WarningSpec *spec, Error **err);
/* The cause is gone. Success when there was no such warning; writes nothing then. */
int warning_resolve(
    Daemon *d, WarningType type, WarningEntity entity, int64_t entity_id, Error **err);
/* What a part of the daemon says of one of its things as it starts it: message NULL is "all is
 * well". Failures are logged. */
void warning_report(Daemon *d, WarningType type, WarningEntity entity, int64_t entity_id,
    const char *project, const char *message);
/* project NULL or "": all. Elements struct Pb__Warning *, all in the arena, the last seen at the
 * end. */
int warning_list(
    Daemon *d, const char *project, Arena *arena, GPtrArray **ret_warnings, Error **err);
/* ERROR_NOT_FOUND "Warning not found". */
int warning_get(
    Daemon *d, const char *uuid, Arena *arena, struct Pb__Warning **ret_warning, Error **err);
/* "new" or "acknowledged". */
int warning_set_status(Daemon *d, const char *uuid, const char *status, Error **err);
int warning_delete(Daemon *d, const char *uuid, Error **err);
