#include "sdk/base/x509.h"

#include "sdk/base/file.h"

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { YEARS = 10, PEM_LIMIT = 1 << 20 };

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIGNUM, BN_free)

static int crypto_fail(Error **err, const char *what)
{
	char reason[256] = "unknown reason";
	unsigned long code = ERR_get_error();
	if (code)
		ERR_error_string_n(code, reason, sizeof(reason));
	ERR_clear_error();
	return error_set(err, ERROR_INTERNAL, "%s: %s", what, reason);
}

static char *bio_text(BIO *bio)
{
	char *data;
	long length = BIO_get_mem_data(bio, &data);
	return g_strndup(data, (gsize)length);
}

static gboolean add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	gboolean ok = extension && X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static gboolean set_serial(X509 *cert)
{
	g_autoptr(BIGNUM) number = BN_new();
	return number && BN_rand(number, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
	    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
}

static gboolean set_name(X509 *cert, const char *host)
{
	struct passwd entry, *user = NULL;
	char buffer[4096];
	getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &user);
	g_autofree char *common = g_strdup_printf("%s@%s", user ? user->pw_name : "UNKNOWN", host);
	common[MIN(strlen(common), 64)] = 0; /* the limit of the field */
	X509_NAME *name = X509_get_subject_name(cert);
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
		   (const unsigned char *)"Linux Containers", -1, -1, 0) &&
	    X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0) &&
	    X509_set_issuer_name(cert, name);
}

static gboolean fill_certificate(X509 *cert, EVP_PKEY *key, gboolean server)
{
	char host[256] = "localhost";
	gethostname(host, sizeof(host) - 1);
	g_autofree char *names = g_strdup_printf("DNS:%s,IP:127.0.0.1,IP:::1", host);
	return X509_set_version(cert, 2) && set_serial(cert) && set_name(cert, host) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), YEARS * 365, 0, NULL) &&
	    X509_set_pubkey(cert, key) &&
	    add_extension(cert, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
	    add_extension(cert, NID_ext_key_usage, server ? "serverAuth" : "clientAuth") &&
	    add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    (!server || add_extension(cert, NID_subject_alt_name, names)) &&
	    X509_sign(cert, key, EVP_sha384());
}

int x509_generate(gboolean server, char **ret_cert_pem, char **ret_key_pem, Error **err)
{
	g_autoptr(EVP_PKEY) key = EVP_EC_gen("P-384");
	g_autoptr(X509) cert = X509_new();
	g_autoptr(BIO) cert_bio = BIO_new(BIO_s_mem());
	g_autoptr(BIO) key_bio = BIO_new(BIO_s_mem());
	if (!key || !cert || !cert_bio || !key_bio || !fill_certificate(cert, key, server) ||
	    !PEM_write_bio_X509(cert_bio, cert) ||
	    !PEM_write_bio_PrivateKey_traditional(key_bio, key, NULL, NULL, 0, NULL, NULL))
		return crypto_fail(err, "Failed to generate a certificate");
	*ret_cert_pem = bio_text(cert_bio);
	*ret_key_pem = bio_text(key_bio);
	return 0;
}

int x509_own_fingerprint(const char *pem, char **ret_fingerprint, Error **err)
{
	g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	long length;
	int got = bio ? PEM_read_bio(bio, &name, &header, &der, &length) : 0;
	gboolean right = got && strcmp(name, PEM_STRING_X509) == 0;
	if (right)
		*ret_fingerprint = x509_fingerprint_der(der, (size_t)length);
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	ERR_clear_error();
	return right ? 0 : error_set(err, ERROR_INVALID, "No valid PEM certificate");
}

int x509_load_or_generate(const char *cert_path, const char *key_path, gboolean server,
    char **ret_cert_pem, char **ret_key_pem, Error **err)
{
	g_autofree char *cert = NULL, *key = NULL, *ignored = NULL;
	if (access(cert_path, F_OK) == 0 || access(key_path, F_OK) == 0) {
		if (file_read(AT_FDCWD, cert_path, FILE_LINKS_NONE, PEM_LIMIT, &cert, NULL, err) <
			0 ||
		    file_read(AT_FDCWD, key_path, FILE_LINKS_NONE, PEM_LIMIT, &key, NULL, err) < 0)
			return -1;
		if (x509_own_fingerprint(cert, &ignored, err) < 0)
			return error_prefix(err, "Certificate file \"%s\"", cert_path);
	} else {
		if (x509_generate(server, &cert, &key, err) < 0 ||
		    file_write_atomic(AT_FDCWD, key_path, key, strlen(key), 0600, err) < 0 ||
		    file_write_atomic(AT_FDCWD, cert_path, cert, strlen(cert), 0644, err) < 0)
			return -1;
	}
	*ret_cert_pem = g_steal_pointer(&cert);
	*ret_key_pem = g_steal_pointer(&key);
	return 0;
}

static X509 *read_pem(const char *pem, Error **err)
{
	g_autoptr(BIO) bio = BIO_new_mem_buf(pem ? pem : "", -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	if (!cert)
		error_set(err, ERROR_INVALID, "No valid PEM certificate");
	return cert;
}

int x509_pem_to_der(const char *pem, uint8_t **ret_der, size_t *ret_length, Error **err)
{
	g_autoptr(X509) cert = read_pem(pem, err);
	if (!cert)
		return -1;
	unsigned char *der = NULL;
	int length = i2d_X509(cert, &der);
	if (length <= 0)
		return crypto_fail(err, "Failed to encode the certificate");
	*ret_der = g_memdup2(der, (gsize)length);
	*ret_length = (size_t)length;
	OPENSSL_free(der);
	return 0;
}

char *x509_fingerprint_der(const void *der, size_t length)
{
	return sha256_hex(der, length);
}

int x509_fingerprint(const char *pem, char **ret_fingerprint, Error **err)
{
	g_autofree uint8_t *der = NULL;
	size_t length;
	if (x509_pem_to_der(pem, &der, &length, err) < 0)
		return -1;
	*ret_fingerprint = x509_fingerprint_der(der, length);
	return 0;
}

int x509_der_to_pem(const void *der, size_t length, char **ret_pem, Error **err)
{
	const unsigned char *at = der;
	g_autoptr(X509) cert = length <= PEM_LIMIT ? d2i_X509(NULL, &at, (long)length) : NULL;
	g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
	ERR_clear_error();
	if (!cert || at != (const unsigned char *)der + length)
		return error_set(err, ERROR_INVALID, "No valid certificate");
	if (!bio || !PEM_write_bio_X509(bio, cert))
		return crypto_fail(err, "Failed to encode the certificate");
	*ret_pem = bio_text(bio);
	return 0;
}

static char *name_text(const X509_NAME *name)
{
	g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
	X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
	return bio_text(bio);
}

int x509_public_key_pin(const char *pem, char **ret_pin, Error **err)
{
	g_autoptr(X509) cert = read_pem(pem, err);
	unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
	unsigned digest_length = 0;
	if (!cert)
		return -1;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	if (length < 0 ||
	    !EVP_Digest(der, (size_t)length, digest, &digest_length, EVP_sha256(), NULL)) {
		OPENSSL_free(der);
		return crypto_fail(err, "Cannot read the certificate's public key");
	}
	OPENSSL_free(der);
	g_autofree char *base64 = base64_encode(digest, digest_length);
	*ret_pin = g_strconcat("sha256//", base64, NULL);
	return 0;
}

static int64_t asn1_seconds(const ASN1_TIME *asn1)
{
	struct tm tm;
	return ASN1_TIME_to_tm(asn1, &tm) ? (int64_t)timegm(&tm) : 0;
}

static char *common_name(const X509_NAME *name)
{
	int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	unsigned char *text = NULL;
	if (index < 0 ||
	    ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index))) <
		0)
		return g_strdup("");
	char *copy = g_strdup((char *)text);
	OPENSSL_free(text);
	return copy;
}

int x509_info(const char *pem, X509Info **ret_info, Error **err)
{
	g_autoptr(X509) cert = read_pem(pem, err);
	if (!cert)
		return -1;
	X509Info *info = g_new0(X509Info, 1);
	info->common_name = common_name(X509_get_subject_name(cert));
	info->subject = name_text(X509_get_subject_name(cert));
	info->issuer = name_text(X509_get_issuer_name(cert));
	info->not_before = asn1_seconds(X509_get0_notBefore(cert));
	info->not_after = asn1_seconds(X509_get0_notAfter(cert));
	*ret_info = info;
	return 0;
}

void x509_info_free(X509Info *info)
{
	if (!info)
		return;
	g_free(info->common_name);
	g_free(info->subject);
	g_free(info->issuer);
	g_free(info);
}

char *base64_encode(const void *data, size_t length)
{
	return g_base64_encode(length ? data : (const guchar *)"", length);
}

int base64_decode(const char *text, uint8_t **ret_data, size_t *ret_length, Error **err)
{
	size_t count = 0, padding = 0;
	g_autofree char *clean = g_malloc(strlen(text) + 4);
	for (const char *c = text; *c; c++) {
		if (*c == '\n' || *c == '\r')
			continue;
		gboolean letter = g_ascii_isalnum(*c) || *c == '+' || *c == '/';
		if (*c == '=')
			padding++;
		if ((!letter && *c != '=') || (letter && padding) || padding > 2)
			return error_set(err, ERROR_INVALID, "Invalid base64 text");
		clean[count++] = *c;
	}
	if (count % 4 == 1 || (padding && count % 4))
		return error_set(err, ERROR_INVALID, "Invalid base64 text");
	while (count % 4)
		clean[count++] = '=';
	clean[count] = 0;
	gsize length;
	guchar *data = g_base64_decode(clean, &length);
	*ret_data = g_realloc(data, length + 1);
	(*ret_data)[length] = 0;
	*ret_length = length;
	return 0;
}

char *sha256_hex(const void *data, size_t length)
{
	return g_compute_checksum_for_data(
	    G_CHECKSUM_SHA256, length ? data : (const guchar *)"", length);
}

static void random_bytes(uint8_t *bytes, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = getrandom(bytes + done, length - done, 0);
		if (n < 0 && errno != EINTR)
			g_error("No random numbers: %s", g_strerror(errno));
		done += (size_t)MAX(n, 0);
	}
}

char *random_hex(size_t bytes)
{
	g_autofree uint8_t *raw = g_malloc(bytes + 1);
	char *text = g_malloc(2 * bytes + 1);
	random_bytes(raw, bytes);
	for (size_t i = 0; i < bytes; i++)
		g_snprintf(text + 2 * i, 3, "%02x", raw[i]);
	text[2 * bytes] = 0;
	return text;
}

char *random_uuid(void)
{
	uint8_t b[16];
	random_bytes(b, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	return g_strdup_printf(
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
	    b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
	    b[15]);
}
