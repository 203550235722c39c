/* Server streams of files, from where they were cut. */
#include <incus/transfer.h>
#include "sdk/resume.h"
#include <string.h>

struct incus_download {
	incus_client *client;
	const SchemaMethod *method;
	ProtobufCMessage *request; /* our own */
	incus_stream *stream;
	Resume resume;
	uint64_t done;
	guint heads;	/* messages that begin a part, so far */
	guint repeated; /* that come again */
	char *version;
};

static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
	g_autofree uint8_t *bytes = g_malloc(protobuf_c_message_get_packed_size(message) + 1);
	size_t length = protobuf_c_message_pack(message, bytes);
	return protobuf_c_message_unpack(message->descriptor, NULL, length, bytes);
}

int incus_download_open(incus_client *client, const struct SchemaMethod *method,
    const void *request, incus_download **ret, incus_error **err)
{
	incus_download *d = g_new0(incus_download, 1);
	d->client = client;
	d->method = method;
	d->request = copy_of(request);
	resume_begin(&d->resume, client);
	if (incus_stream_open(client, method, d->request, &d->stream, err) < 0) {
		incus_download_free(d);
		return -1;
	}
	*ret = d;
	return 0;
}

/* The fields borrow: what is freed with the request is not ours. */
static void ask_for_rest(incus_download *d)
{
	uint64_t *offset = message_field(d->request, "offset", PROTOBUF_C_TYPE_UINT64);
	char **version = message_field(d->request, "version", PROTOBUF_C_TYPE_STRING);
	if (offset)
		*offset = d->done;
	if (version)
		*version = d->version;
}

static int go_on(incus_download *d, incus_error **err)
{
	if (!d->version || resume_again(&d->resume, d->done, err) < 0)
		return -1;
	incus_stream_free(g_steal_pointer(&d->stream));
	ask_for_rest(d);
	d->repeated = d->heads;
	return incus_stream_open(d->client, d->method, d->request, &d->stream, err);
}

/* FALSE: it was here before. */
static gboolean take(incus_download *d, void *message)
{
	const ProtobufCBinaryData *data = message_field(message, "data", PROTOBUF_C_TYPE_BYTES);
	char *const *size = message_field(message, "size", PROTOBUF_C_TYPE_STRING),
		    *const *version = message_field(message, "version", PROTOBUF_C_TYPE_STRING);
	d->done += data ? data->len : 0;
	if (!d->version && version && **version)
		d->version = g_strdup(*version);
	if (!size || !**size)
		return TRUE;
	if (d->repeated) {
		d->repeated--;
		return FALSE;
	}
	d->heads++;
	return TRUE;
}

int incus_download_recv(incus_download *d, void **ret, incus_error **err)
{
	for (;;) {
		incus_error *problem = NULL;
		void *message;
		int got = incus_stream_recv(d->stream, -1, &message, &problem);
		if (got == 0)
			return 0;
		if (got < 0) {
			if (go_on(d, &problem) == 0)
				continue;
			if (err)
				*err = problem;
			else
				incus_error_free(problem);
			return -1;
		}
		if (take(d, message)) {
			*ret = message;
			return 1;
		}
		incus_message_free(message);
	}
}

void incus_download_free(incus_download *d)
{
	if (!d)
		return;
	incus_stream_free(d->stream);
	char **version = message_field(d->request, "version", PROTOBUF_C_TYPE_STRING);
	if (version && *version == d->version)
		*version = (char *)protobuf_c_empty_string;
	incus_message_free(d->request);
	g_free(d->version);
	g_free(d);
}
