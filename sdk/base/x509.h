#pragma once
/*
 * Certificates, fingerprints and the few pieces of coding around them (base64, SHA-256, random
 * secrets), over OpenSSL's libcrypto. No TLS connections here.
 */
#include "sdk/base/error.h"
#include <stdint.h>

/* Self-signed ECDSA P-384, ten years, organisation "Linux Containers", name "USER@HOST"; a server's
 * carries the host name, 127.0.0.1 and ::1 as alternative names. The caller frees both. */
int x509_generate(gboolean server, char **ret_cert_pem, char **ret_key_pem, Error **err);
/* Reads both files, or generates and writes them (0644, 0600) where neither exists. */
int x509_load_or_generate(const char *cert_path, const char *key_path, gboolean server,
    char **ret_cert_pem, char **ret_key_pem, Error **err);
/* Lower-case hex SHA-256 of the DER form of the first certificate in pem. */
int x509_fingerprint(const char *pem, char **ret_fingerprint, Error **err);
/* The same of a certificate of our own, without looking into it: the first parse of a process costs
 * milliseconds. What is wrong inside shows when TLS is set up with it. */
int x509_own_fingerprint(const char *pem, char **ret_fingerprint, Error **err);
char *x509_fingerprint_der(const void *der, size_t length);
int x509_pem_to_der(const char *pem, uint8_t **ret_der, size_t *ret_length, Error **err);
/* Also checks that der is a certificate. */
int x509_der_to_pem(const void *der, size_t length, char **ret_pem, Error **err);
/* "sha256//BASE64" of the public key in pem, as libcurl pins it. */
int x509_public_key_pin(const char *pem, char **ret_pin, Error **err);

typedef struct X509Info {
	char *common_name, *subject, *issuer;
	int64_t not_before, not_after;  /* seconds since 1970 */
} X509Info;
int x509_info(const char *pem, X509Info **ret_info, Error **err);
void x509_info_free(X509Info *info);

/* Standard alphabet with padding, one line. */
char *base64_encode(const void *data, size_t length);
/* Standard alphabet; missing padding and line ends are accepted. A NUL follows the data. */
int base64_decode(const char *text, uint8_t **ret_data, size_t *ret_length, Error **err);
char *sha256_hex(const void *data, size_t length);
/* 2 * bytes hex digits from the system's generator. */
char *random_hex(size_t bytes);
/* Version 4, lower case. */
char *random_uuid(void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509Info, x509_info_free)
