#include "server/image/hasher.h"
#include <glib.h>
#include <openssl/evp.h>
#include <string.h>

enum { BUFFER_SIZE = 256 * 1024, BUFFERS = 8 };

typedef struct Buffer {
	size_t length; /* 0: the end */
	char data[BUFFER_SIZE];
} Buffer;

struct Hasher {
	EVP_MD_CTX *digest;
	GAsyncQueue *empty, *full;
	GThread *thread;
	Buffer *filling;
};

static void *hash(void *data)
{
	Hasher *hasher = data;
	for (;;) {
		Buffer *buffer = g_async_queue_pop(hasher->full);
		size_t length = buffer->length;
		if (length > 0)
			EVP_DigestUpdate(hasher->digest, buffer->data, length);
		g_async_queue_push(hasher->empty, buffer);
		if (length == 0)
			return NULL;
	}
}

Hasher *hasher_new(void)
{
	Hasher *hasher = g_new0(Hasher, 1);
	hasher->digest = EVP_MD_CTX_new();
	EVP_DigestInit_ex(hasher->digest, EVP_sha256(), NULL);
	hasher->empty = g_async_queue_new_full(g_free);
	hasher->full = g_async_queue_new_full(g_free);
	for (int i = 0; i < BUFFERS; i++)
		g_async_queue_push(hasher->empty, g_malloc(sizeof(Buffer)));
	hasher->thread = g_thread_new("hash", hash, hasher);
	return hasher;
}

/* A buffer with room. */
static Buffer *filling(Hasher *hasher)
{
	if (!hasher->filling) {
		hasher->filling = g_async_queue_pop(hasher->empty);
		hasher->filling->length = 0;
	}
	return hasher->filling;
}

void hasher_update(Hasher *hasher, const void *data, size_t length)
{
	const char *p = data;
	while (length > 0) {
		Buffer *buffer = filling(hasher);
		size_t n = MIN(length, BUFFER_SIZE - buffer->length);
		memcpy(buffer->data + buffer->length, p, n);
		buffer->length += n;
		p += n;
		length -= n;
		if (buffer->length == BUFFER_SIZE)
			g_async_queue_push(hasher->full, g_steal_pointer(&hasher->filling));
	}
}

static void stop(Hasher *hasher)
{
	if (!hasher->thread)
		return;
	if (hasher->filling && hasher->filling->length > 0)
		g_async_queue_push(hasher->full, g_steal_pointer(&hasher->filling));
	Buffer *end = filling(hasher);
	end->length = 0;
	g_async_queue_push(hasher->full, g_steal_pointer(&hasher->filling));
	g_thread_join(g_steal_pointer(&hasher->thread));
}

char *hasher_finish(Hasher *hasher)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	stop(hasher);
	EVP_DigestFinal_ex(hasher->digest, digest, &length);
	GString *hex = g_string_sized_new(length * 2);
	for (unsigned i = 0; i < length; i++)
		g_string_append_printf(hex, "%02x", digest[i]);
	return g_string_free(hex, FALSE);
}

void hasher_free(Hasher *hasher)
{
	if (!hasher)
		return;
	stop(hasher);
	EVP_MD_CTX_free(hasher->digest);
	g_async_queue_unref(hasher->empty);
	g_async_queue_unref(hasher->full);
	g_free(hasher);
}
