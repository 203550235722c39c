/* Certificates of servers and clients, and tokens. */
#include <incus/remote.h>
#include "sdk/client.h"
#include "sdk/base/x509.h"
#include <jansson.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

int incus_remote_certificate(const char *url, int timeout_ms, char **ret_pem,
    char ret_fingerprint[INCUS_FINGERPRINT_SIZE], incus_error **err)
{
	g_autofree char *host = NULL, *port = NULL;
	if (tls_parse_url(url, &host, &port, err) < 0)
		return -1;
	incus_tls tls = { .insecure = true, .connect_timeout_ms = timeout_ms };
	SSL *ssl = NULL;
	if (tls_connect(host, port, &tls, FALSE, &ssl, err) < 0)
		return -1;
	X509 *certificate = SSL_get1_peer_certificate(ssl);
	*ret_pem = tls_certificate_pem(certificate);
	tls_certificate_fingerprint(certificate, ret_fingerprint);
	X509_free(certificate);
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	return 0;
}

int incus_certificate_fingerprint(
    const char *pem, char ret_fingerprint[INCUS_FINGERPRINT_SIZE], incus_error **err)
{
	Error *error = NULL;
	g_autofree char *fingerprint = NULL;
	if (x509_fingerprint(pem, &fingerprint, &error) < 0)
		return sdk_error_take(err, error);
	g_strlcpy(ret_fingerprint, fingerprint, INCUS_FINGERPRINT_SIZE);
	return 0;
}

int incus_certificate_generate(char **ret_certificate, char **ret_key, incus_error **err)
{
	Error *error = NULL;
	if (x509_generate(FALSE, ret_certificate, ret_key, &error) < 0)
		return sdk_error_take(err, error);
	return 0;
}

int incus_certificate_load_or_generate(const char *certificate_path, const char *key_path,
    char **ret_certificate, char **ret_key, incus_error **err)
{
	Error *error = NULL;
	if (x509_load_or_generate(
		certificate_path, key_path, FALSE, ret_certificate, ret_key, &error) < 0)
		return sdk_error_take(err, error);
	return 0;
}

static char *member_text(const json_t *tree, const char *key)
{
	const char *text = json_string_value(json_object_get(tree, key));
	return g_strdup(text ? text : "");
}

/* RFC 3339 to seconds; the zero time of Go (year 1) and anything unreadable is 0. */
static int64_t member_time(const json_t *tree, const char *key)
{
	g_autofree char *text = member_text(tree, key);
	g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, NULL);
	return time && g_date_time_get_year(time) > 1 ? g_date_time_to_unix(time) : 0;
}

int incus_token_decode(const char *text, incus_token **ret, incus_error **err)
{
	g_autofree char *trimmed = g_strstrip(g_strdup(text));
	g_autofree uint8_t *bytes = NULL;
	size_t length = 0;
	Error *error = NULL;
	json_t *tree = NULL;
	if (base64_decode(trimmed, &bytes, &length, &error) == 0)
		tree = json_loadb((const char *)bytes, length, 0, NULL);
	error_free(error);
	const json_t *addresses = json_object_get(tree, "addresses");
	if (!json_is_string(json_object_get(tree, "secret")) || !json_is_array(addresses)) {
		json_decref(tree);
		return sdk_error(err, ERROR_INVALID, "The token is not valid");
	}
	incus_token *token = g_new0(incus_token, 1);
	token->client_name = member_text(tree, "client_name");
	token->fingerprint = member_text(tree, "fingerprint");
	token->secret = member_text(tree, "secret");
	token->expires_at = member_time(tree, "expires_at");
	token->addresses = g_new0(char *, json_array_size(addresses) + 1);
	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const char *address = json_string_value(json_array_get(addresses, i));
		token->addresses[i] = g_strdup(address ? address : "");
	}
	json_decref(tree);
	*ret = token;
	return 0;
}

void incus_token_free(incus_token *token)
{
	if (!token)
		return;
	g_free(token->client_name);
	g_free(token->fingerprint);
	g_free(token->secret);
	g_strfreev(token->addresses);
	g_free(token);
}
