/* HTTP downloads through a libcurl that is loaded at run time. */
#include "sdk/fetch.h"
#include "sdk/client.h"
#include <curl/curl.h>
#include <dlfcn.h>

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
} Curl;

static Curl curl;

static gboolean curl_load(void)
{
	static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4", NULL };
	static const struct {
		const char *name;
		void *slot;
	} symbols[] = {
		{ "curl_easy_init", &curl.init },       { "curl_easy_setopt", &curl.setopt },
		{ "curl_easy_perform", &curl.perform }, { "curl_easy_getinfo", &curl.getinfo },
		{ "curl_easy_cleanup", &curl.cleanup }, { "curl_easy_strerror", &curl.text },
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

typedef struct Download {
	FetchSink sink;
	void *user;
	gboolean stopped;
} Download;

static size_t on_data(char *data, size_t size, size_t count, void *user)
{
	Download *download = user;
	if (download->sink(data, size * count, download->user))
		return size * count;
	download->stopped = TRUE;
	return 0;
}

static int verdict(CURL *handle, CURLcode result, const Download *download, const char *url, const char *text,
    incus_error **err)
{
	long code = 0;
	curl.getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
	if (download->stopped)
		return sdk_error(err, ERROR_CANCELLED, "The download of \"%s\" was stopped", url);
	if (code == 404 || result == CURLE_FILE_COULDNT_READ_FILE)
		return sdk_error(err, ERROR_NOT_FOUND, "\"%s\" does not exist", url);
	if (result == CURLE_HTTP_RETURNED_ERROR)
		return sdk_error(err, ERROR_UNAVAILABLE, "\"%s\" answered with HTTP %ld", url, code);
	if (result != CURLE_OK)
		return sdk_error(err, ERROR_UNAVAILABLE, "Cannot download \"%s\": %s", url,
		    *text ? text : curl.text(result));
	return 0;
}

int fetch(const char *url, FetchSink sink, void *user, incus_error **err)
{
	if (!curl_load())
		return sdk_error(err, ERROR_UNSUPPORTED, "Downloads need libcurl (Debian: libcurl4)");
	Download download = { .sink = sink, .user = user };
	char text[CURL_ERROR_SIZE] = "";
	CURL *handle = curl.init();
	curl.setopt(handle, CURLOPT_URL, url);
	curl.setopt(handle, CURLOPT_PROTOCOLS_STR, "https,http,file");
	curl.setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
	curl.setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
	curl.setopt(handle, CURLOPT_MAXREDIRS, 5L);
	curl.setopt(handle, CURLOPT_FAILONERROR, 1L);
	curl.setopt(handle, CURLOPT_NOSIGNAL, 1L);
	curl.setopt(handle, CURLOPT_CONNECTTIMEOUT, 15L);
	/* A server that stalls for a minute has gone. */
	curl.setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl.setopt(handle, CURLOPT_LOW_SPEED_TIME, 60L);
	curl.setopt(handle, CURLOPT_USERAGENT, "incus/0.1");
	curl.setopt(handle, CURLOPT_ERRORBUFFER, text);
	curl.setopt(handle, CURLOPT_WRITEFUNCTION, on_data);
	curl.setopt(handle, CURLOPT_WRITEDATA, &download);
	int result = verdict(handle, curl.perform(handle), &download, url, text, err);
	curl.cleanup(handle);
	return result;
}
