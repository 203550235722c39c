#include "server/image/secret.h"
#include "sdk/base/json_text.h"
#include "sdk/base/names.h"
#include "sdk/base/x509.h"
#include "server/operation/operation.h"
#include "server/operation/table.h"
#include <openssl/crypto.h>
#include <string.h>

enum { SECRET_BYTES = 32 };

static const char download[] = "Image download token", upload[] = "Image upload token";

/* What an announced image will be. */
typedef struct Announced {
	Arena *arena;
	Pb__ImagesPost *post;
} Announced;

static void announced_free(void *data)
{
	Announced *announced = data;
	if (announced)
		arena_free(announced->arena);
	g_free(announced);
}

static int create(Request *rq, const char *kind, const char *fingerprint, Announced *announced,
    Pb__Operation *out, Error **err)
{
	g_autofree char *secret = random_hex(SECRET_BYTES);
	g_autofree char *metadata = json_text_object("secret", secret, NULL);
	const char *resources[] = {
	    "images", arena_printf(rq->arena, "/1.0/images/%s", fingerprint), NULL};
	OperationSpec spec = {.op_class = OPERATION_TOKEN,
	    .description = kind,
	    .resources = resources,
	    .metadata_json = metadata,
	    .data = announced,
	    .destroy = announced_free};
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

int image_secret_create(Request *rq, const char *fingerprint, Pb__Operation *out, Error **err)
{
	return create(rq, download, fingerprint, NULL, out, err);
}

int image_secret_expect(Request *rq, const Pb__ImagesPost *post, Pb__Operation *out, Error **err)
{
	const char *fingerprint = post->source->fingerprint;
	if (strlen(fingerprint) != 64 || name_check_fingerprint(fingerprint, NULL) < 0)
		return error_set(err, ERROR_INVALID,
		    "The whole fingerprint of the image that will be pushed is needed");
	Announced *announced = g_new0(Announced, 1);
	announced->arena = arena_new();
	announced->post = arena_message_copy(announced->arena, post);
	return create(rq, upload, fingerprint, announced, out, err);
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

static gboolean fits(Operation *op, const char *kind, const char *fingerprint, const char *secret)
{
	if (operation_spec(op)->op_class != OPERATION_TOKEN ||
	    strcmp(operation_spec(op)->description, kind) != 0 || !operation_running(op) ||
	    !is_for(op, fingerprint))
		return FALSE;
	g_autofree char *stored = operation_metadata_dup(op, "secret");
	GString *given = g_string_new(NULL);
	json_text_append(given, secret);
	gboolean same = stored && strlen(stored) == given->len &&
			CRYPTO_memcmp(stored, given->str, given->len) == 0;
	g_string_free(given, TRUE);
	return same;
}

/* A reference to the operation that holds the secret; with `spend` nobody else gets it. */
static Operation *find(Daemon *d, const char *kind, const char *project, const char *fingerprint,
    const char *secret, gboolean spend)
{
	if (!secret || !*secret)
		return NULL;
	g_autoptr(GPtrArray) operations = operation_table_list(d->operations, project);
	for (guint i = 0; i < operations->len; i++)
		if (fits(operations->pdata[i], kind, fingerprint, secret))
			return !spend || operation_cancel(operations->pdata[i], NULL) == 0
				   ? operation_ref(operations->pdata[i])
				   : NULL;
	return NULL;
}

gboolean image_secret_check(
    Daemon *d, const char *project, const char *fingerprint, const char *secret)
{
	g_autoptr(Operation) op = find(d, download, project, fingerprint, secret, FALSE);
	return op != NULL;
}

gboolean image_secret_redeem(
    Daemon *d, const char *project, const char *fingerprint, const char *secret)
{
	g_autoptr(Operation) op = find(d, download, project, fingerprint, secret, TRUE);
	return op != NULL;
}

int image_secret_accept(Daemon *d, const char *project, const char *fingerprint, const char *secret,
    Arena *arena, Pb__ImagesPost **ret_post, Error **err)
{
	g_autoptr(Operation) op =
	    *fingerprint ? find(d, upload, project, fingerprint, secret, TRUE) : NULL;
	if (!op)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	const Announced *announced = operation_spec(op)->data;
	*ret_post = arena_message_copy(arena, announced->post);
	return 0;
}
