#pragma once
/*
 * What the checks found, all of it, for one table that is shown before anything is done.
 */
#include "sdk/base/error.h"
#include <jansson.h>

typedef enum FindingLevel {
	FINDING_OK,
	FINDING_NOTE,	  /* worth knowing */
	FINDING_OBSOLETE, /* stops, unless --drop-obsolete */
	FINDING_REFUSED,  /* stops */
} FindingLevel;

typedef struct Findings Findings;
Findings *findings_new(void);
void findings_free(Findings *findings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Findings, findings_free)

/* `check` is a short name ("space"); `where` says what it is about ("instance \"c1\""). */
void findings_add(Findings *findings, FindingLevel level, const char *check, const char *where,
    const char *format, ...) G_GNUC_PRINTF(5, 6);
/* Takes the error. */
void findings_add_error(
    Findings *findings, FindingLevel level, const char *check, const char *where, Error *error);
guint findings_count(const Findings *findings, FindingLevel level);
/* For people and as a JSON array. */
char *findings_text(const Findings *findings);
json_t *findings_json(const Findings *findings);
