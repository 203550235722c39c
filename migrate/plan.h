#pragma once
/*
 * What will be done: how many of each kind there are, and which trees go where.
 */
#include "migrate/migration.h"

typedef struct PlanCount {
	const char *what;
	int64_t rows;
} PlanCount;

typedef struct PlanMove {
	char *from, *to;
	const char *what;
	gboolean copy;	/* another file system, or a file that LXD keeps; else one rename */
	uint64_t bytes; /* to copy */
} PlanMove;

typedef struct Plan {
	GArray *counts;	  /* PlanCount */
	GPtrArray *moves; /* PlanMove */
	uint64_t bytes;	  /* to copy */
} Plan;

int plan_make(Migration *m, Plan **ret_plan, Error **err);
void plan_free(Plan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Plan, plan_free)
/* Seconds that it may take. */
int plan_seconds(const Plan *plan);
char *plan_text(const Plan *plan);
json_t *plan_json(const Plan *plan);
/* What plan_json() wrote; ERROR_INVALID where it did not. */
int plan_from_json(const json_t *json, Plan **ret_plan, Error **err);
