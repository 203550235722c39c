/* The server: this machine's, one that trusts a certificate, or one that gave a token. */
#include <incus/call.h>
#include <incus/remote.h>
#include "incus/v1/certificate.pb-c.h"
#include "migrate/host/host.h"
#include "sdk/base/file.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static int pass_on(incus_error *error, Error **err)
{
	error_set(err, error_kind_from_name(error->name), "%s", error->message);
	incus_error_free(error);
	return -1;
}

static int redeem(incus_client *client, const char *token, Error **err)
{
	Pb__CertificatesPost post = PB__CERTIFICATES_POST__INIT;
	Pb__CreateCertificateRequest in = PB__CREATE_CERTIFICATE_REQUEST__INIT;
	incus_error *error = NULL;
	post.type = (char *)"client";
	post.name = (char *)"incus-migrate";
	post.trust_token = (char *)token;
	in.certificate = &post;
	return incus_call_unary(client, incus_method("CreateCertificate"), &in, NULL, &error) < 0 ?
	    pass_on(error, err) :
	    0;
}

/* The first of its addresses that answers. */
static int connect_by_token(Migration *m, incus_client **ret, Error **err)
{
	incus_token *token = NULL;
	incus_error *error = NULL;
	char *certificate = NULL, *key = NULL;
	if (incus_token_decode(m->token, &token, &error) < 0 ||
	    incus_certificate_generate(&certificate, &key, &error) < 0) {
		incus_token_free(token);
		return pass_on(error, err);
	}
	const incus_tls tls = { .client_certificate = certificate,
		.client_key = key,
		.server_fingerprint = token->fingerprint };
	for (char **address = token->addresses; *address && !*ret; address++) {
		g_autofree char *url = g_strconcat("https://", *address, NULL);
		incus_error_free(error);
		error = NULL;
		if (incus_connect_tls(url, &tls, ret, &error) < 0)
			*ret = NULL;
	}
	incus_token_free(token);
	incus_certificate_fingerprint(certificate, m->own_fingerprint, NULL);
	free(certificate);
	free(key);
	if (!*ret)
		return error ? pass_on(error, err) :
			       error_set(err, ERROR_INVALID, "The token has no address");
	return redeem(*ret, m->token, err);
}

static int connect_by_url(const Migration *m, incus_client **ret, Error **err)
{
	g_autofree char *certificate = NULL, *key = NULL;
	incus_error *error = NULL;
	if (!m->certificate || !m->key)
		return error_set(err, ERROR_INVALID,
		    "\"--url\" needs \"--certificate\" and \"--key\", or use \"--token\"");
	if (file_read(AT_FDCWD, m->certificate, FILE_LINKS_NONE, 1 << 20, &certificate, NULL, err) <
		0 ||
	    file_read(AT_FDCWD, m->key, FILE_LINKS_NONE, 1 << 20, &key, NULL, err) < 0)
		return -1;
	const incus_tls tls = { .client_certificate = certificate,
		.client_key = key,
		.server_fingerprint = m->fingerprint };
	return incus_connect_tls(m->url, &tls, ret, &error) < 0 ? pass_on(error, err) : 0;
}

int server_connect(Migration *m, incus_client **ret_client, Error **err)
{
	incus_error *error = NULL;
	int result = m->token ? connect_by_token(m, ret_client, err) :
	    m->url	      ? connect_by_url(m, ret_client, err) :
	    incus_connect_unix(NULL, ret_client, &error) < 0 ? pass_on(error, err) :
							       0;
	if (result == 0 && m->project)
		incus_client_set_project(*ret_client, m->project);
	return result;
}

/* Its name on the server is the certificate's fingerprint. */
void server_forget(incus_client *client, const char *fingerprint)
{
	Pb__DeleteCertificateRequest in = PB__DELETE_CERTIFICATE_REQUEST__INIT;
	in.fingerprint = (char *)fingerprint;
	if (*fingerprint)
		incus_call_unary(client, incus_method("DeleteCertificate"), &in, NULL, NULL);
}
