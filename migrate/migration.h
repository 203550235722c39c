#pragma once
/*
 * One run of lxd-to-incus: what was asked for, both ends, and what is known of them. Only main.c
 * makes one; the parts read it.
 */
#include "migrate/finding.h"
#include "migrate/lxd_database.h"
#include "migrate/options.h"
#include "migrate/source.h"
#include "migrate/target.h"
#include "migrate/work.h"

typedef struct Migration {
	const Options *options;
	Source source;
	Target target;
	Work work; /* for copies that are only read; removed at the end */
	LxdDatabase *lxd;
	Findings *findings;
	struct Plan *plan;
	struct Journal *journal;
	char *report; /* what was proven, for people; NULL before */
} Migration;

/* Every check, whatever the others found (check.c). -1 only where a check itself could not be made.
 */
int check_all(Migration *m, Error **err);
