#pragma once
/*
 * Rows of the trust store and tokens that add to it: what the handlers of CertificateService share.
 */
#include "incus/v1/certificate.pb-c.h"
#include "server/db/db.h"
#include "server/operation/operation.h"

/* What a certificate is stored as; strings are borrowed. */
typedef struct CertificateRow {
	const char *fingerprint, *name, *pem;
	int type;
	gboolean restricted;
	char **projects;
	size_t n_projects;
} CertificateRow;

/* All rows whose fingerprint begins with `prefix` (NULL: all), with their projects, in `arena`. */
int certificate_load(Db *db, const char *prefix, Arena *arena, Pb__Certificate ***ret_rows,
    size_t *ret_n, Error **err);
/* Exactly one, or ERROR_NOT_FOUND. */
int certificate_find(
    Db *db, const char *prefix, Arena *arena, Pb__Certificate **ret_row, Error **err);
int certificate_insert(Db *db, const CertificateRow *row, Error **err);
/* Replaces the row that has `fingerprint` now. */
int certificate_replace(Db *db, const char *fingerprint, const CertificateRow *row, Error **err);
int certificate_delete(Db *db, const char *fingerprint, Error **err);

/* Makes the operation that stands for a token until it is redeemed or cancelled. */
int certificate_token_create(
    Request *rq, const Pb__CertificatesPost *post, Pb__Operation *out, Error **err);
/* Uses the token up: `post` gets the attributes it was made with, copied into the arena. */
int certificate_token_redeem(
    Request *rq, const char *token, Pb__CertificatesPost *post, Error **err);
