#include "server/image/secret.h"
#include "sdk/base/json_text.h"
#include "server/operation/operation.h"
#include "server/operation/table.h"
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

enum { SECRET_BYTES = 32 };

int image_secret_create(Request *rq, const char *fingerprint, Pb__Operation *out, Error **err)
{
	unsigned char bytes[SECRET_BYTES];
	char secret[SECRET_BYTES * 2 + 1];
	if (RAND_bytes(bytes, sizeof bytes) != 1)
		return error_set(err, ERROR_INTERNAL, "Cannot make a secret");
	for (int i = 0; i < SECRET_BYTES; i++)
		sprintf(secret + 2 * i, "%02x", bytes[i]);
	g_autofree char *metadata = json_text_object("secret", secret, NULL);
	const char *resources[] = { "images", arena_printf(rq->arena, "/1.0/images/%s", fingerprint), NULL };
	OperationSpec spec = { .op_class = OPERATION_TOKEN, .description = "Image download token",
		.resources = resources, .metadata_json = metadata };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

/* The image is a resource of the operation; the URL may carry "?project=". */
static gboolean is_for(Operation *op, const char *fingerprint)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__Operation message = PB__OPERATION__INIT;
	operation_fill(op, arena, &message);
	g_autofree char *url = g_strdup_printf("/1.0/images/%s", fingerprint);
	for (size_t i = 0; i < message.n_resources; i++) {
		const Pb__StringList *urls = message.resources[i]->value;
		for (size_t j = 0; urls && j < urls->n_items; j++)
			if (g_str_has_prefix(urls->items[j], url))
				return TRUE;
	}
	return FALSE;
}

static gboolean fits(Operation *op, const char *fingerprint, const char *secret)
{
	if (operation_spec(op)->op_class != OPERATION_TOKEN || !operation_running(op) || !is_for(op, fingerprint))
		return FALSE;
	g_autofree char *stored = operation_metadata_dup(op, "secret");
	GString *given = g_string_new(NULL);
	json_text_append(given, secret);
	gboolean same = stored && strlen(stored) == given->len && CRYPTO_memcmp(stored, given->str, given->len) == 0;
	g_string_free(given, TRUE);
	return same;
}

static gboolean find(Daemon *d, const char *project, const char *fingerprint, const char *secret, gboolean spend)
{
	if (!secret || !*secret)
		return FALSE;
	g_autoptr(GPtrArray) operations = operation_table_list(d->operations, project);
	for (guint i = 0; i < operations->len; i++)
		if (fits(operations->pdata[i], fingerprint, secret))
			return !spend || operation_cancel(operations->pdata[i], NULL) == 0;
	return FALSE;
}

gboolean image_secret_check(Daemon *d, const char *project, const char *fingerprint, const char *secret)
{
	return find(d, project, fingerprint, secret, FALSE);
}

gboolean image_secret_redeem(Daemon *d, const char *project, const char *fingerprint, const char *secret)
{
	return find(d, project, fingerprint, secret, TRUE);
}
