#include "server/rpc/tls.h"
#include "server/rpc/identity.h"
#include <openssl/err.h>
#include <string.h>

static gboolean offers(const uint8_t *list, unsigned length, const char *name)
{
	size_t n = strlen(name);
	for (unsigned i = 0; i < length; i += 1u + list[i])
		if (list[i] == n && i + 1 + n <= length && !memcmp(list + i + 1, name, n))
			return TRUE;
	return FALSE;
}

/* gRPC clients offer only h2. Whoever also speaks HTTP/1.1 is a REST client. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length,
    const unsigned char *list, unsigned length, void *data)
{
	const char *choice = offers(list, length, "http/1.1") ? "http/1.1" :
	    offers(list, length, "h2")			      ? "h2" :
								NULL;
	if (!choice)
		return SSL_TLSEXT_ERR_NOACK;
	*out = (const unsigned char *)choice;
	*out_length = (unsigned char)strlen(choice);
	return SSL_TLSEXT_ERR_OK;
}

/* Every certificate is fine here: who it is decides the trust store. The client has still proved
 * that it holds the key. */
static int accept_certificate(int ok, X509_STORE_CTX *store)
{
	return 1;
}

static int problem(Error **err, const char *what)
{
	char text[256];
	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return error_set(err, ERROR_INTERNAL, "%s: %s", what, text);
}

int tls_context_new(const char *cert_path, const char *key_path, SSL_CTX **ret_context, Error **err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	if (!context)
		return problem(err, "Failed to set up TLS");
	const char *insecure = g_getenv("INCUS_INSECURE_TLS");
	gboolean old = insecure && (!strcmp(insecure, "true") || !strcmp(insecure, "1"));
	SSL_CTX_set_min_proto_version(context, old ? TLS1_2_VERSION : TLS1_3_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	/* No resumption: a session would carry a certificate that may have lost its trust since. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, accept_certificate);
	SSL_CTX_set_verify_depth(context, 10);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	if (SSL_CTX_use_certificate_chain_file(context, cert_path) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1) {
		SSL_CTX_free(context);
		return problem(err, "Failed to load the server's certificate");
	}
	*ret_context = context;
	return 0;
}

gboolean tls_is_grpc(const SSL *ssl)
{
	const unsigned char *name;
	unsigned length;
	SSL_get0_alpn_selected(ssl, &name, &length);
	return length == 2 && !memcmp(name, "h2", 2);
}

Caller *tls_caller(Daemon *daemon, SSL *ssl, const char *address)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	unsigned char *der = NULL;
	int length = certificate ? i2d_X509(certificate, &der) : 0;
	Caller *caller = identity_tls_caller(daemon, der, length > 0 ? (size_t)length : 0, address);
	OPENSSL_free(der);
	return caller;
}
