#pragma once
/*
 * The databases' tables, as numbered migrations: each runs once, in order, in one transaction.
 * Table and column names are those of Incus, whose administrators' queries and migration tools
 * expect them. Never edit a migration that was released: add one.
 */
typedef struct Migration {
	int version;          /* row in the table "schema" */
	const char *const *sql; /* NULL-terminated; each any number of statements */
} Migration;

/* Both end with version 0. The first entry makes an empty database whole. */
extern const Migration schema_global[];
extern const Migration schema_local[];
