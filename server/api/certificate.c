/* Handlers of CertificateService: the trust store. */
#include "server/api/certificate.h"
#include "incus/v1/handlers.h"
#include "sdk/base/x509.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/rpc/access.h"
#include "server/rpc/identity.h"
#include <string.h>

/* Restricted callers see themselves only. */
static gboolean may_see(const Request *rq, const Pb__Certificate *row)
{
	return rq->caller->admin || !strcmp(rq->caller->fingerprint, row->fingerprint);
}

int api_get_certificates(Request *rq, const Pb__GetCertificatesRequest *in,
    Pb__GetCertificatesResponse *out, Error **err)
{
	Pb__Certificate **rows;
	size_t n;
	if (certificate_load(rq->daemon->db, NULL, rq->arena, &rows, &n, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, sizeof(*out->items) * (n + 1));
	for (size_t i = 0; i < n; i++)
		if (may_see(rq, rows[i]))
			out->items[out->n_items++] = rows[i];
	return 0;
}

static int find_visible(
    Request *rq, const char *fingerprint, Pb__Certificate **ret_row, Error **err)
{
	if (certificate_find(rq->daemon->db, fingerprint, rq->arena, ret_row, err) < 0)
		return -1;
	return may_see(rq, *ret_row) ? 0 : error_set(err, ERROR_NOT_FOUND, "Certificate not found");
}

int api_get_certificate(
    Request *rq, const Pb__GetCertificateRequest *in, Pb__Certificate *out, Error **err)
{
	Pb__Certificate *row;
	if (find_visible(rq, in->fingerprint, &row, err) < 0)
		return -1;
	*out = *row;
	return 0;
}

/* PEM of what a client sent: PEM itself, or the Base64 of DER. Checks that it is valid today. */
static int read_certificate(
    Request *rq, const char *text, char **ret_pem, char **ret_fingerprint, Error **err)
{
	g_autofree char *pem = NULL, *fingerprint = NULL;
	if (strstr(text, "-----BEGIN CERTIFICATE-----")) {
		pem = g_strdup(text);
	} else {
		uint8_t *der = NULL;
		size_t length;
		if (base64_decode(text, &der, &length, NULL) < 0 ||
		    x509_der_to_pem(der, length, &pem, NULL) < 0) {
			g_free(der);
			return error_set(err, ERROR_INVALID, "Invalid certificate material");
		}
		g_free(der);
	}
	g_autoptr(X509Info) info = NULL;
	if (x509_fingerprint(pem, &fingerprint, NULL) < 0 || x509_info(pem, &info, NULL) < 0)
		return error_set(err, ERROR_INVALID, "Invalid certificate material");
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;
	if (now < info->not_before)
		return error_set(err, ERROR_INVALID, "The provided certificate isn't valid yet");
	if (now > info->not_after)
		return error_set(err, ERROR_INVALID, "The provided certificate is expired");
	*ret_pem = request_strdup(rq, pem);
	*ret_fingerprint = request_strdup(rq, fingerprint);
	return 0;
}

/* The name where none was given: the certificate's, else where it came from. */
static const char *default_name(Request *rq, const char *pem)
{
	g_autoptr(X509Info) info = NULL;
	if (x509_info(pem, &info, NULL) == 0 && info->common_name && *info->common_name)
		return request_strdup(rq, info->common_name);
	const char *address = rq->caller->address;
	const char *colon = strrchr(address, ':');
	return colon ? arena_strndup(rq->arena, address, (size_t)(colon - address)) : address;
}

static int type_of(const char *name, int *ret_type, Error **err)
{
	*ret_type = certificate_type_from_name(name && *name ? name : "client");
	return *ret_type ? 0 : error_set(err, ERROR_INVALID, "Unknown request type \"%s\"", name);
}

static void send_event(Request *rq, const char *action, const char *fingerprint)
{
	g_autofree char *source = g_strdup_printf("/1.0/certificates/%s", fingerprint);
	event_lifecycle(rq->daemon->events, "", action, source, NULL, rq->caller);
}

/* What may be asked by whom: administrators anything; others only to redeem a token. */
static int check_create(Request *rq, const Pb__CertificatesPost *post, Error **err)
{
	const Caller *caller = rq->caller;
	if (caller->kind == CALLER_UNTRUSTED)
		return *post->trust_token && !post->token ?
		    0 :
		    error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (caller->admin)
		return 0;
	if (!post->token && !*post->certificate)
		return error_set(err, ERROR_INVALID, "Client is already trusted");
	return error_set(err, ERROR_FORBIDDEN, "not authorized");
}

/* The row to add; a redeemed token is used up even when the rest fails. */
static int build_row(Request *rq, Pb__CertificatesPost *post, CertificateRow *row, Error **err)
{
	const char *text = *post->certificate ? post->certificate : rq->caller->certificate;
	gboolean stranger = rq->caller->kind == CALLER_UNTRUSTED;
	char *pem, *fingerprint;
	/* A stranger proves in the handshake that the key is his: nothing else may be added with a
	 * token. */
	if (stranger)
		text = rq->caller->certificate;
	if (!text)
		return error_set(err, ERROR_INVALID, "No client certificate provided");
	if (read_certificate(rq, text, &pem, &fingerprint, err) < 0)
		return -1;
	if (stranger && certificate_token_redeem(rq, post->trust_token, post, err) < 0)
		return -1;
	*row = (CertificateRow){ .fingerprint = fingerprint,
		.pem = pem,
		.restricted = post->restricted,
		.projects = post->projects,
		.n_projects = post->n_projects };
	row->name = *post->name ? post->name : default_name(rq, pem);
	return type_of(post->type, &row->type, err);
}

int api_create_certificate(
    Request *rq, const Pb__CreateCertificateRequest *in, Pb__Operation *out, Error **err)
{
	Pb__CertificatesPost post = *in->certificate;
	CertificateRow row;
	int type;
	if (check_create(rq, &post, err) < 0 || type_of(post.type, &type, err) < 0)
		return -1;
	if (post.token)
		return certificate_token_create(rq, &post, out, err);
	if (build_row(rq, &post, &row, err) < 0 ||
	    certificate_insert(rq->daemon->db, &row, err) < 0 ||
	    identity_reload(rq->daemon, err) < 0)
		return -1;
	request_set_location(rq, arena_printf(rq->arena, "/1.0/certificates/%s", row.fingerprint));
	send_event(rq, "certificate-created", row.fingerprint);
	return 0;
}

/* Stores what `row` has become. Callers that are no administrators may only put a new certificate
 * in the place of their own. */
static int store(Request *rq, Pb__Certificate *old, const CertificateRow *row, Error **err)
{
	gboolean same = row->restricted == (gboolean)old->restricted &&
	    !strcmp(row->name, old->name) && row->type == certificate_type_from_name(old->type) &&
	    row->n_projects == old->n_projects;
	for (size_t i = 0; same && i < row->n_projects; i++)
		same = !strcmp(row->projects[i], old->projects[i]);
	if (!rq->caller->admin && (!same || strcmp(rq->caller->fingerprint, old->fingerprint)))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (certificate_replace(rq->daemon->db, old->fingerprint, row, err) < 0 ||
	    identity_reload(rq->daemon, err) < 0)
		return -1;
	send_event(rq, "certificate-updated", row->fingerprint);
	return 0;
}

/* mask NULL: everything. */
static gboolean wants(char *const *mask, size_t n_mask, const char *key)
{
	for (size_t i = 0; mask && i < n_mask; i++)
		if (!strcmp(mask[i], key))
			return TRUE;
	return !mask;
}

static int update(Request *rq, const char *fingerprint, const Pb__CertificatePut *put,
    char *const *mask, size_t n_mask, Error **err)
{
	Pb__Certificate *old;
	CertificateRow row = { 0 };
	char *pem, *new_fingerprint;
	if (find_visible(rq, fingerprint, &old, err) < 0 || request_check_etag(rq, old, err) < 0)
		return -1;
	row.fingerprint = old->fingerprint;
	row.pem = old->certificate;
	row.name = wants(mask, n_mask, "name") ? put->name : old->name;
	row.restricted = wants(mask, n_mask, "restricted") ? put->restricted : old->restricted;
	row.projects = wants(mask, n_mask, "projects") ? put->projects : old->projects;
	row.n_projects = wants(mask, n_mask, "projects") ? put->n_projects : old->n_projects;
	if (type_of(wants(mask, n_mask, "type") && *put->type ? put->type : old->type, &row.type,
		err) < 0)
		return -1;
	if (wants(mask, n_mask, "certificate") && *put->certificate &&
	    strcmp(put->certificate, old->certificate)) {
		if (read_certificate(rq, put->certificate, &pem, &new_fingerprint, err) < 0)
			return -1;
		row.pem = pem;
		row.fingerprint = new_fingerprint;
	}
	return store(rq, old, &row, err);
}

int api_update_certificate(
    Request *rq, const Pb__UpdateCertificateRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	return update(rq, in->fingerprint, in->certificate, NULL, 0, err);
}

int api_patch_certificate(
    Request *rq, const Pb__PatchCertificateRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	static char *const nothing[] = { NULL };
	return update(rq, in->fingerprint, in->certificate,
	    in->n_update_mask ? in->update_mask : nothing, in->n_update_mask, err);
}

int api_delete_certificate(
    Request *rq, const Pb__DeleteCertificateRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	Pb__Certificate *row;
	if (certificate_find(rq->daemon->db, in->fingerprint, rq->arena, &row, err) < 0 ||
	    certificate_delete(rq->daemon->db, row->fingerprint, err) < 0 ||
	    identity_reload(rq->daemon, err) < 0)
		return -1;
	send_event(rq, "certificate-deleted", row->fingerprint);
	return 0;
}
