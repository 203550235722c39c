#pragma once
/*
 * Coming to trust a server, and to be trusted by it: its certificate before anything is sent to it,
 * keys of our own, and tokens.
 */
#include <incus/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Length of a fingerprint with its NUL: SHA-256 in lower-case hexadecimal. */
#define INCUS_FINGERPRINT_SIZE 65

/* The certificate that the server at `url` shows, checked against nothing. *ret_pem is freed with
 * free(). timeout_ms 0 is 10 seconds. */
int incus_remote_certificate(const char *url, int timeout_ms, char **ret_pem,
    char ret_fingerprint[INCUS_FINGERPRINT_SIZE], incus_error **err);
/* Fingerprint of the first certificate in a PEM text. */
int incus_certificate_fingerprint(
    const char *pem, char ret_fingerprint[INCUS_FINGERPRINT_SIZE], incus_error **err);
/* A self-signed client certificate and its key, both PEM, to be freed with free(). */
int incus_certificate_generate(char **ret_certificate, char **ret_key, incus_error **err);
/* Reads both files; makes and writes them when neither is there. */
int incus_certificate_load_or_generate(const char *certificate_path, const char *key_path,
    char **ret_certificate, char **ret_key, incus_error **err);

/* A token that an administrator passed on. */
typedef struct incus_token {
	char *client_name;  /* name that the client will have */
	char *fingerprint;  /* of the server's certificate */
	char **addresses;   /* HOST:PORT of the server, NULL-terminated */
	char *secret;
	int64_t expires_at; /* seconds since 1970; 0: never */
} incus_token;

/* "INVALID" for what is no token. */
int incus_token_decode(const char *text, incus_token **ret, incus_error **err);
void incus_token_free(incus_token *token);

#ifdef __cplusplus
}
#endif
