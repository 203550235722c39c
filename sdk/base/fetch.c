#include "sdk/base/fetch.h"
#include "sdk/base/x509.h"
#include <curl/curl.h>
#include <dlfcn.h>
#include <jansson.h>
#include <string.h>

enum { ERROR_BODY_MAX = 16 * 1024, CONNECT_S = 15, STALLED_S = 60, REDIRECTS_MAX = 5 };
/* How often a transfer may be cut in a row with less than that, and with nothing. */
enum { PROGRESS_LEAST = 1 << 20, SMALL_MOST = 6, EMPTY_MOST = 3 };

/* The macros of curl.h check arguments at compile time; calls through pointers go without. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

typedef struct Curl {
	CURL *(*init)(void);
	CURLcode (*setopt)(CURL *, CURLoption, ...);
	CURLcode (*perform)(CURL *);
	CURLcode (*getinfo)(CURL *, CURLINFO, ...);
	void (*cleanup)(CURL *);
	const char *(*text)(CURLcode);
	struct curl_slist *(*append)(struct curl_slist *, const char *);
	void (*free_list)(struct curl_slist *);
} Curl;

static Curl curl;

static gboolean curl_load(void)
{
	static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};
	static const struct {
		const char *name;
		void *slot;
	} symbols[] = {
	    {"curl_easy_init", &curl.init},
	    {"curl_easy_setopt", &curl.setopt},
	    {"curl_easy_perform", &curl.perform},
	    {"curl_easy_getinfo", &curl.getinfo},
	    {"curl_easy_cleanup", &curl.cleanup},
	    {"curl_easy_strerror", &curl.text},
	    {"curl_slist_append", &curl.append},
	    {"curl_slist_free_all", &curl.free_list},
	};
	static gsize loaded = 0;
	if (g_once_init_enter(&loaded)) {
		void *library = NULL;
		for (int i = 0; names[i] && !library; i++)
			library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
		gboolean whole = library != NULL;
		for (size_t i = 0; whole && i < G_N_ELEMENTS(symbols); i++) {
			*(void **)symbols[i].slot = dlsym(library, symbols[i].name);
			whole = *(void **)symbols[i].slot != NULL;
		}
		g_once_init_leave(&loaded, whole ? 1 : 2);
	}
	return loaded == 1;
}

typedef struct Transfer {
	const Fetch *fetch;
	CURL *handle;
	Error *error;	  /* of a callback */
	GString *refusal; /* body of a reply that is no success */
	uint64_t taken;	  /* bytes of the body that the sink has */
	uint64_t skip;	  /* of this reply: the sink has them already */
	gboolean begun;	  /* the body of this reply */
} Transfer;

static gboolean is_good(const Transfer *transfer)
{
	long code = 0;
	curl.getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &code);
	return code < 300; /* 0 for files */
}

/* A server that knows nothing of ranges begins anew. */
static void begin_body(Transfer *transfer)
{
	long code = 0;
	curl.getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &code);
	transfer->skip = code == 206 ? 0 : transfer->taken;
	transfer->begun = TRUE;
}

static int give_sink(Transfer *transfer, const char *bytes, size_t length)
{
	const Fetch *fetch = transfer->fetch;
	if (!transfer->begun)
		begin_body(transfer);
	size_t known = (size_t)MIN(transfer->skip, length);
	transfer->skip -= known;
	if (known == length || !fetch->sink)
		return 0;
	transfer->taken += length - known;
	return fetch->sink(bytes + known, length - known, fetch->data, &transfer->error);
}

static size_t on_data(char *bytes, size_t size, size_t count, void *user)
{
	Transfer *transfer = user;
	size_t length = size * count;
	if (!is_good(transfer))
		g_string_append_len(transfer->refusal, bytes,
		    (gssize)MIN(length, ERROR_BODY_MAX - transfer->refusal->len));
	else if (give_sink(transfer, bytes, length) < 0)
		return 0;
	return length;
}

static size_t on_send(char *bytes, size_t size, size_t count, void *user)
{
	Transfer *transfer = user;
	ssize_t n =
	    transfer->fetch->source(bytes, size * count, transfer->fetch->data, &transfer->error);
	return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user)
{
	Transfer *transfer = user;
	size_t length = size * count;
	g_autofree char *line = g_strndup(bytes, length);
	char *colon = strchr(line, ':');
	if (colon && is_good(transfer)) {
		*colon = '\0';
		transfer->fetch->header(line, g_strstrip(colon + 1), transfer->fetch->data);
	}
	return length;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const Transfer *transfer = user;
	return transfer->fetch->cancelled && transfer->fetch->cancelled(transfer->fetch->data);
}

/* For messages: secrets stand in the query. */
static char *shown(const char *url)
{
	return g_strndup(url, strcspn(url, "?"));
}

/* What an Incus server gives as the reason, else nothing. */
static char *reason_of(const GString *refusal)
{
	json_t *tree = json_loadb(refusal->str, refusal->len, 0, NULL);
	const char *text = json_string_value(json_object_get(tree, "error"));
	char *reason = text && *text ? g_strconcat(": ", text, NULL) : g_strdup("");
	json_decref(tree);
	return reason;
}

static int refused(const Transfer *transfer, long code, Error **err)
{
	g_autofree char *reason = reason_of(transfer->refusal), *url = shown(transfer->fetch->url);
	if (code == 404)
		return error_set(err, ERROR_NOT_FOUND, "\"%s\" does not exist%s", url, reason);
	return error_set(err, code == 401 || code == 403 ? ERROR_FORBIDDEN : ERROR_UNAVAILABLE,
	    "\"%s\" answered with HTTP %ld%s", url, code, reason);
}

static int verdict(Transfer *transfer, CURLcode result, const char *text, Error **err)
{
	g_autofree char *url = shown(transfer->fetch->url);
	long code = 0;
	curl.getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &code);
	if (transfer->error)
		return error_propagate(err, g_steal_pointer(&transfer->error));
	if (result == CURLE_ABORTED_BY_CALLBACK)
		return error_set(err, ERROR_CANCELLED, "The transfer of \"%s\" was cancelled", url);
	if (code >= 300 && (result == CURLE_OK || code >= 400))
		return refused(transfer, code, err);
	if (result == CURLE_FILE_COULDNT_READ_FILE)
		return error_set(err, ERROR_NOT_FOUND, "\"%s\" does not exist", url);
	if (result == CURLE_UNSUPPORTED_PROTOCOL && code >= 300)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" redirects to an address that is not https", url);
	if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_PINNEDPUBKEYNOTMATCH)
		return error_set(err, ERROR_FORBIDDEN,
		    "The certificate of \"%s\" is not trusted: %s", url,
		    *text ? text : curl.text(result));
	if (result != CURLE_OK)
		return error_set(err, ERROR_UNAVAILABLE, "Cannot transfer \"%s\": %s", url,
		    *text ? text : curl.text(result));
	return 0;
}

/* Whom to trust. A pinned key needs no authority, and a self-signed certificate no matching name.
 */
static int set_trust(CURL *handle, const Fetch *fetch, Error **err)
{
	const char *file = g_getenv("SSL_CERT_FILE"), *directory = g_getenv("SSL_CERT_DIR");
	if (fetch->certificate && *fetch->certificate) {
		g_autofree char *pin = NULL;
		if (x509_public_key_pin(fetch->certificate, &pin, err) < 0)
			return error_prefix(err, "The certificate given for another server");
		curl.setopt(handle, CURLOPT_SSL_VERIFYPEER, 0L);
		curl.setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
		curl.setopt(handle, CURLOPT_PINNEDPUBLICKEY, pin);
		return 0;
	}
	/* Only the command line tool of curl reads these by itself. */
	if (file && *file)
		curl.setopt(handle, CURLOPT_CAINFO, file);
	if (directory && *directory)
		curl.setopt(handle, CURLOPT_CAPATH, directory);
	return 0;
}

static void set_limits(CURL *handle, const Fetch *fetch)
{
	gboolean https = g_ascii_strncasecmp(fetch->url, "https:", strlen("https:")) == 0;
	curl.setopt(handle, CURLOPT_PROTOCOLS_STR, https ? "https" : "http,file");
	curl.setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "https,http");
	curl.setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
	curl.setopt(handle, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
	curl.setopt(handle, CURLOPT_NOSIGNAL, 1L);
	curl.setopt(handle, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
	if (!fetch->patient) {
		curl.setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl.setopt(handle, CURLOPT_LOW_SPEED_TIME, (long)STALLED_S);
	}
	curl.setopt(handle, CURLOPT_BUFFERSIZE, 256L * 1024);
	if (fetch->proxy && *fetch->proxy)
		curl.setopt(handle, CURLOPT_PROXY, fetch->proxy);
	if (fetch->no_proxy && *fetch->no_proxy)
		curl.setopt(handle, CURLOPT_NOPROXY, fetch->no_proxy);
}

static void set_callbacks(Transfer *transfer)
{
	CURL *handle = transfer->handle;
	curl.setopt(handle, CURLOPT_WRITEFUNCTION, on_data);
	curl.setopt(handle, CURLOPT_WRITEDATA, transfer);
	curl.setopt(handle, CURLOPT_NOPROGRESS, 0L);
	curl.setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl.setopt(handle, CURLOPT_XFERINFODATA, transfer);
	if (transfer->fetch->header) {
		curl.setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
		curl.setopt(handle, CURLOPT_HEADERDATA, transfer);
	}
	if (transfer->fetch->source) {
		curl.setopt(handle, CURLOPT_POST, 1L);
		curl.setopt(
		    handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->fetch->upload);
		curl.setopt(handle, CURLOPT_READFUNCTION, on_send);
		curl.setopt(handle, CURLOPT_READDATA, transfer);
		curl.setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
	}
	if (transfer->fetch->head)
		curl.setopt(handle, CURLOPT_NOBODY, 1L);
}

static gboolean was_cut(const Transfer *transfer, CURLcode result)
{
	switch (result) {
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return TRUE;
	case CURLE_COULDNT_CONNECT: /* a server that is being started again, but not one that is not there */
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_SSL_CONNECT_ERROR:
		return transfer->taken > 0;
	default:
		return FALSE;
	}
}

static void wait_a_second(const Fetch *fetch)
{
	for (int n = 0; n < 10 && !(fetch->cancelled && fetch->cancelled(fetch->data)); n++)
		g_usleep(100000);
}

/* Again, from where it was, as long as that brings something. */
static CURLcode perform(Transfer *transfer)
{
	int small = 0, empty = 0;
	for (;;) {
		uint64_t before = transfer->taken;
		CURLcode result = curl.perform(transfer->handle);
		uint64_t more = transfer->taken - before;
		small = more < PROGRESS_LEAST ? small + 1 : 0;
		empty = more ? 0 : empty + 1;
		if (!transfer->fetch->resume || transfer->error || !was_cut(transfer, result) ||
		    small >= SMALL_MOST || empty >= EMPTY_MOST)
			return result;
		if (!more)
			wait_a_second(transfer->fetch);
		g_autofree char *range = g_strdup_printf("%" G_GUINT64_FORMAT "-", transfer->taken);
		curl.setopt(transfer->handle, CURLOPT_RANGE, transfer->taken ? range : NULL);
		transfer->begun = FALSE;
		g_string_truncate(transfer->refusal, 0);
	}
}

int fetch_run(const Fetch *fetch, Error **err)
{
	if (!curl_load())
		return error_set(
		    err, ERROR_UNSUPPORTED, "Transfers need libcurl (Debian: libcurl4)");
	Transfer transfer = {.fetch = fetch, .handle = curl.init(), .refusal = g_string_new(NULL)};
	char text[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = curl.append(NULL, "Expect:");
	for (int i = 0; fetch->headers && fetch->headers[i]; i++)
		headers = curl.append(headers, fetch->headers[i]);
	curl.setopt(transfer.handle, CURLOPT_URL, fetch->url);
	curl.setopt(transfer.handle, CURLOPT_USERAGENT, "incus/0.1");
	curl.setopt(transfer.handle, CURLOPT_ERRORBUFFER, text);
	curl.setopt(transfer.handle, CURLOPT_HTTPHEADER, headers);
	set_limits(transfer.handle, fetch);
	set_callbacks(&transfer);
	int result = set_trust(transfer.handle, fetch, err);
	if (result == 0)
		result = verdict(&transfer, perform(&transfer), text, err);
	curl.cleanup(transfer.handle);
	curl.free_list(headers);
	g_string_free(transfer.refusal, TRUE);
	return result;
}

typedef struct Collected {
	const Fetch *fetch;
	GString *text;
	size_t limit;
} Collected;

static int collect(const void *bytes, size_t length, void *data, Error **err)
{
	Collected *collected = data;
	if (collected->text->len + length > collected->limit) {
		g_autofree char *url = shown(collected->fetch->url);
		return error_set(
		    err, ERROR_TOO_LARGE, "\"%s\" is longer than %zu bytes", url, collected->limit);
	}
	g_string_append_len(collected->text, bytes, (gssize)length);
	return 0;
}

static gboolean collect_cancelled(void *data)
{
	const Fetch *fetch = ((Collected *)data)->fetch;
	return fetch->cancelled && fetch->cancelled(fetch->data);
}

static ssize_t collect_source(void *bytes, size_t length, void *data, Error **err)
{
	const Fetch *fetch = ((Collected *)data)->fetch;
	return fetch->source(bytes, length, fetch->data, err);
}

static void collect_header(const char *name, const char *value, void *data)
{
	const Fetch *fetch = ((Collected *)data)->fetch;
	fetch->header(name, value, fetch->data);
}

int fetch_text(const Fetch *fetch, size_t limit, char **ret_text, size_t *ret_length, Error **err)
{
	Collected collected = {.fetch = fetch, .text = g_string_new(NULL), .limit = limit};
	Fetch inner = *fetch;
	inner.sink = collect;
	inner.cancelled = collect_cancelled;
	inner.source = fetch->source ? collect_source : NULL;
	inner.header = fetch->header ? collect_header : NULL;
	inner.data = &collected;
	if (fetch_run(&inner, err) < 0) {
		g_string_free(collected.text, TRUE);
		return -1;
	}
	*ret_length = collected.text->len;
	*ret_text = g_string_free(collected.text, FALSE);
	return 0;
}
