#include "server/instance/channel.h"
#include "incus/v1/common.pb-c.h"
#include "sdk/base/json_text.h"
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define SECRET_BYTES 32

typedef struct Channel {
	char *name, *secret;
	GPtrArray *streams; /* connected now; more than one only where that is allowed */
	gboolean was_connected, hidden, repeatable;
} Channel;

struct Channels {
	GMutex lock;
	GCond changed;
	GPtrArray *list;
	guint serving;
	gboolean closed;
};

static void channel_free(gpointer data)
{
	Channel *channel = data;
	g_free(channel->name);
	g_free(channel->secret);
	g_ptr_array_unref(channel->streams);
	g_free(channel);
}

static char *random_secret(void)
{
	unsigned char bytes[SECRET_BYTES];
	GString *hex = g_string_new(NULL);
	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		g_error("No random numbers");
	for (int i = 0; i < SECRET_BYTES; i++)
		g_string_append_printf(hex, "%02x", bytes[i]);
	return g_string_free(hex, FALSE);
}

Channels *channels_new(const char *const *names)
{
	Channels *channels = g_new0(Channels, 1);
	g_mutex_init(&channels->lock);
	g_cond_init(&channels->changed);
	channels->list = g_ptr_array_new_with_free_func(channel_free);
	for (; *names; names++) {
		Channel *channel = g_new0(Channel, 1);
		channel->name = g_strdup(*names);
		channel->secret = random_secret();
		channel->streams = g_ptr_array_new();
		g_ptr_array_add(channels->list, channel);
	}
	return channels;
}

void channels_free(Channels *channels)
{
	if (!channels)
		return;
	channels_close(channels);
	g_ptr_array_unref(channels->list);
	g_cond_clear(&channels->changed);
	g_mutex_clear(&channels->lock);
	g_free(channels);
}

char *channels_secrets_json(Channels *channels)
{
	GString *json = g_string_new("{");
	for (guint i = 0; i < channels->list->len; i++) {
		Channel *channel = channels->list->pdata[i];
		if (channel->hidden)
			continue;
		if (json->len > 1)
			g_string_append_c(json, ',');
		json_text_append(json, channel->name);
		g_string_append_c(json, ':');
		json_text_append(json, channel->secret);
	}
	g_string_append_c(json, '}');
	return g_string_free(json, FALSE);
}

static Channel *by_secret(Channels *channels, const char *secret)
{
	for (guint i = 0; i < channels->list->len; i++) {
		Channel *channel = channels->list->pdata[i];
		if (strlen(secret) == strlen(channel->secret) &&
		    CRYPTO_memcmp(secret, channel->secret, strlen(secret)) == 0)
			return channel;
	}
	return NULL;
}

static Channel *by_name(Channels *channels, const char *name)
{
	for (guint i = 0; i < channels->list->len; i++)
		if (g_str_equal(((Channel *)channels->list->pdata[i])->name, name))
			return channels->list->pdata[i];
	return NULL;
}

static Channel *claim(Channels *channels, const char *secret, Stream *stream, Error **err)
{
	g_mutex_lock(&channels->lock);
	Channel *channel = by_secret(channels, secret);
	if (!channel) {
		error_set(err, ERROR_FORBIDDEN, "not authorized");
	} else if ((channel->was_connected && !channel->repeatable) || channels->closed) {
		channel = NULL;
		error_set(err, ERROR_INVALID,
		    "This websocket is connected already or its operation has ended");
	} else {
		channel->was_connected = TRUE;
		channels->serving++;
	}
	g_mutex_unlock(&channels->lock);
	return channel;
}

void channels_alias(Channels *channels, const char *name, const char *prefix, const char *of)
{
	Channel *channel = by_name(channels, name), *other = by_name(channels, of);
	g_free(channel->secret);
	channel->secret = g_strconcat(prefix, other->secret, NULL);
	other->hidden = TRUE;
}

void channels_repeat(Channels *channels, const char *name)
{
	by_name(channels, name)->repeatable = TRUE;
}

int channels_connect(Channels *channels, const char *secret, Stream *stream,
    void (*serve)(void *data, const char *name, Stream *stream), void *data, Error **err)
{
	Channel *channel = claim(channels, secret, stream, err);
	if (!channel)
		return -1;
	int result = stream_open(stream, err);
	g_mutex_lock(&channels->lock);
	if (result == 0 && !channels->closed)
		g_ptr_array_add(channel->streams, stream);
	else
		result = -1;
	g_cond_broadcast(&channels->changed);
	g_mutex_unlock(&channels->lock);
	if (result == 0)
		serve(data, channel->name, stream);
	g_mutex_lock(&channels->lock);
	g_ptr_array_remove_fast(channel->streams, stream);
	channels->serving--;
	g_cond_broadcast(&channels->changed);
	g_mutex_unlock(&channels->lock);
	return 0;
}

static gboolean all_connected(Channels *channels, const char *const *names)
{
	for (; *names; names++) {
		Channel *channel = by_name(channels, *names);
		if (channel && channel->streams->len == 0)
			return FALSE;
	}
	return TRUE;
}

static int which_connected(
    Channels *channels, const char *const *names, const char *const *others)
{
	if (channels->closed)
		return -1;
	return all_connected(channels, names)		 ? 0 :
	    others && all_connected(channels, others) ? 1 :
							-1;
}

int channels_wait_either(
    Channels *channels, const char *const *names, const char *const *others, int timeout_ms)
{
	gint64 until = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
	gboolean in_time = TRUE;
	int which;
	g_mutex_lock(&channels->lock);
	while ((which = which_connected(channels, names, others)) < 0 && in_time &&
	    !channels->closed) {
		if (timeout_ms < 0)
			g_cond_wait(&channels->changed, &channels->lock);
		else
			in_time = g_cond_wait_until(&channels->changed, &channels->lock, until);
	}
	g_mutex_unlock(&channels->lock);
	return which;
}

gboolean channels_wait(Channels *channels, const char *const *names, int timeout_ms)
{
	return channels_wait_either(channels, names, NULL, timeout_ms) == 0;
}

Stream *channels_stream(Channels *channels, const char *name)
{
	g_mutex_lock(&channels->lock);
	Channel *channel = by_name(channels, name);
	Stream *stream = channel && channel->streams->len > 0 ? channel->streams->pdata[0] : NULL;
	g_mutex_unlock(&channels->lock);
	return stream;
}

void channels_close(Channels *channels)
{
	g_mutex_lock(&channels->lock);
	channels->closed = TRUE;
	g_cond_broadcast(&channels->changed);
	for (guint i = 0; i < channels->list->len; i++) {
		Channel *channel = channels->list->pdata[i];
		for (guint n = 0; n < channel->streams->len; n++)
			stream_cancel(channel->streams->pdata[n]);
	}
	while (channels->serving)
		g_cond_wait(&channels->changed, &channels->lock);
	g_mutex_unlock(&channels->lock);
}

int channel_send(Stream *stream, const void *data, size_t length)
{
	Pb__Frame frame = PB__FRAME__INIT;
	frame.data = (ProtobufCBinaryData){length, (uint8_t *)data};
	return stream_send(stream, &frame, NULL);
}

int channel_send_barrier(Stream *stream)
{
	Pb__Frame frame = PB__FRAME__INIT;
	frame.text = TRUE;
	return stream_send(stream, &frame, NULL);
}
