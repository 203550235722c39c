#include "server/api/certificate.h"
#include "sdk/base/json.h"
#include "sdk/base/json_text.h"
#include "sdk/base/units.h"
#include "sdk/base/x509.h"
#include "server/daemon.h"
#include "server/key/server.h"
#include "server/operation/table.h"
#include "server/rpc/listener.h"
#include <openssl/crypto.h>
#include <string.h>

/* What a token stands for, held by its operation. */
typedef struct Token {
	char *secret;
	int64_t expires;           /* seconds since 1970; 0 never */
	Pb__CertificatesPost post; /* strings are the token's */
} Token;

static void token_free(void *data)
{
	Token *token = data;
	g_free(token->secret);
	g_free(token->post.name);
	g_free(token->post.type);
	for (size_t i = 0; i < token->post.n_projects; i++)
		g_free(token->post.projects[i]);
	g_free(token->post.projects);
	g_free(token);
}

static Token *token_new(const Pb__CertificatesPost *post, int64_t expires)
{
	Token *token = g_new0(Token, 1);
	token->secret = random_hex(32);
	token->expires = expires;
	pb__certificates_post__init(&token->post);
	token->post.name = g_strdup(post->name);
	token->post.type = g_strdup(*post->type ? post->type : "client");
	token->post.restricted = post->restricted;
	token->post.token = TRUE;
	token->post.n_projects = post->n_projects;
	token->post.projects = g_new0(char *, post->n_projects + 1);
	for (size_t i = 0; i < post->n_projects; i++)
		token->post.projects[i] = g_strdup(post->projects[i]);
	return token;
}

/* What a client needs to make the token's text: it is the operation's metadata. */
static char *token_metadata(Daemon *daemon, const Token *token)
{
	g_autoptr(GString) json = g_string_new("{\"secret\":");
	g_auto(GStrv) addresses = listener_https_addresses(daemon);
	json_text_append(json, token->secret);
	g_string_append(json, ",\"fingerprint\":");
	json_text_append(json, daemon->server_cert_fingerprint);
	g_string_append(json, ",\"addresses\":[");
	for (guint i = 0; addresses[i]; i++) {
		if (i)
			g_string_append_c(json, ',');
		json_text_append(json, addresses[i]);
	}
	g_string_append(json, "],\"request\":");
	json_write(json, &token->post, 0, 0);
	if (token->expires) {
		g_autofree char *when = units_format_time(token->expires, 0);
		g_string_append(json, ",\"expiresAt\":");
		json_text_append(json, when);
	}
	g_string_append_c(json, '}');
	return g_string_free(g_steal_pointer(&json), FALSE);
}

static int expiry(Daemon *daemon, int64_t *ret_expires, Error **err)
{
	g_autofree char *age = server_config_get(daemon->config, "core.remote_token_expiry");
	*ret_expires = 0;
	if (age && g_str_equal(age, "no expiry")) /* the key's default, as the reference shows it */
		return 0;
	return age && *age ?
	    units_parse_expiry(age, g_get_real_time() / G_USEC_PER_SEC, ret_expires, err) :
	    0;
}

int certificate_token_create(
    Request *rq, const Pb__CertificatesPost *post, Pb__Operation *out, Error **err)
{
	int64_t expires;
	g_autofree char *address = listener_https_address(rq->daemon);
	if (!address)
		return error_set(
		    err, ERROR_INVALID, "Can't issue token when server isn't listening on network");
	if (expiry(rq->daemon, &expires, err) < 0)
		return -1;
	Token *token = token_new(post, expires);
	g_autofree char *metadata = token_metadata(rq->daemon, token);
	OperationSpec spec = {
		.op_class = OPERATION_TOKEN,
		.description = "Executing operation",
		.project = "",
		.data = token,
		.destroy = token_free,
		.metadata_json = metadata,
	};
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

/* The running token operation with this secret; a reference. */
static Operation *find_token(Daemon *daemon, const char *secret)
{
	g_autoptr(GPtrArray) list = operation_table_list(daemon->operations, NULL);
	for (guint i = 0; i < list->len; i++) {
		const OperationSpec *spec = operation_spec(list->pdata[i]);
		if (spec->op_class != OPERATION_TOKEN || spec->destroy != token_free ||
		    !operation_running(list->pdata[i]))
			continue;
		const Token *token = spec->data;
		if (strlen(token->secret) == strlen(secret) &&
		    !CRYPTO_memcmp(token->secret, secret, strlen(secret)))
			return operation_ref(list->pdata[i]);
	}
	return NULL;
}

static int parse(const char *text, Arena *arena, Pb__CertificateAddToken *ret_token, Error **err)
{
	uint8_t *json = NULL;
	size_t length;
	if (base64_decode(text, &json, &length, err) < 0)
		return error_set(err, ERROR_INVALID, "Invalid trust token");
	g_autofree uint8_t *owned = json;
	pb__certificate_add_token__init(ret_token);
	g_autoptr(Error) problem = NULL;
	if (json_read((const char *)owned, length, ret_token, arena, &problem) < 0 ||
	    !*ret_token->secret)
		return error_set(err, ERROR_INVALID, "Invalid trust token");
	return 0;
}

static void copy_post(Arena *arena, const Pb__CertificatesPost *from, Pb__CertificatesPost *to)
{
	to->name = arena_strdup(arena, from->name);
	to->type = arena_strdup(arena, from->type);
	to->restricted = from->restricted;
	to->n_projects = from->n_projects;
	to->projects = arena_alloc(arena, sizeof(char *) * (from->n_projects + 1));
	for (size_t i = 0; i < from->n_projects; i++)
		to->projects[i] = arena_strdup(arena, from->projects[i]);
}

int certificate_token_redeem(Request *rq, const char *text, Pb__CertificatesPost *post, Error **err)
{
	Pb__CertificateAddToken parsed;
	if (parse(text, rq->arena, &parsed, err) < 0)
		return -1;
	g_autoptr(Operation) op = find_token(rq->daemon, parsed.secret);
	/* Cancelling is what uses it up: only one of two at the same time succeeds. */
	if (!op || operation_cancel(op, NULL) < 0)
		return error_set(
		    err, ERROR_FORBIDDEN, "No matching certificate add operation found");
	const Token *token = operation_spec(op)->data;
	if (token->expires && g_get_real_time() / G_USEC_PER_SEC >= token->expires)
		return error_set(err, ERROR_FORBIDDEN, "Token has expired");
	copy_post(rq->arena, &token->post, post);
	return 0;
}
