/* Certificates as clients send them: DER, and PEM text. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autofree char *fingerprint = NULL, *pem = NULL;
	X509Info *info = NULL;

	if (x509_info(text, &info, NULL) == 0)
		x509_info_free(info);
	x509_fingerprint(text, &fingerprint, NULL);
	x509_der_to_pem(data, size, &pem, NULL);
	return 0;
}
