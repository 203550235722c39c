#include "cli/stream.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/sdk_error.h"
#include "sdk/base/schema.h"
#include "incus/v1/common.pb-c.h"
#include <errno.h>
#include <incus/call.h>
#include <incus/transfer.h>
#include <unistd.h>

/* A Stream is the SDK's; the type only keeps commands from its header. */
static incus_stream *sdk(Stream *stream)
{
	return (incus_stream *)stream;
}

Stream *stream_open(Server *server, const char *name, const ProtobufCMessage *first, Error **err)
{
	const SchemaMethod *method = server_method(name);
	incus_stream *stream = NULL;
	incus_error *problem = NULL;
	if (!method) {
		error_set(err, ERROR_UNSUPPORTED, "This version has no \"%s\"", name);
		return NULL;
	}
	if (incus_stream_open(server->client, method, first, &stream, &problem) < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	return (Stream *)stream;
}

int stream_send(Stream *stream, const ProtobufCMessage *message, Error **err)
{
	incus_error *problem = NULL;
	return incus_stream_send(sdk(stream), message, &problem) < 0 ?
	    error_from_sdk(err, problem) :
	    0;
}

int stream_end(Stream *stream, Error **err)
{
	incus_error *problem = NULL;
	return incus_stream_close_send(sdk(stream), &problem) < 0 ? error_from_sdk(err, problem) :
								    0;
}

int stream_finish(Stream *stream, ProtobufCMessage **ret_reply, Error **err)
{
	incus_error *problem = NULL;
	void *reply = NULL;
	if (incus_stream_finish(sdk(stream), &reply, &problem) < 0)
		return error_from_sdk(err, problem);
	if (ret_reply)
		*ret_reply = reply;
	else
		incus_message_free(reply);
	return 0;
}

int stream_receive(Stream *stream, ProtobufCMessage **ret_message, Error **err)
{
	incus_error *problem = NULL;
	void *message = NULL;
	*ret_message = NULL;
	if (incus_stream_recv(sdk(stream), -1, &message, &problem) < 0)
		return error_from_sdk(err, problem);
	*ret_message = message;
	return 0;
}

Download *download_open(
    Server *server, const char *name, const ProtobufCMessage *request, Error **err)
{
	incus_download *download = NULL;
	incus_error *problem = NULL;
	if (incus_download_open(server->client, server_method(name), request, &download, &problem) <
	    0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	return (Download *)download;
}

int download_receive(Download *download, ProtobufCMessage **ret_message, Error **err)
{
	incus_error *problem = NULL;
	void *message = NULL;
	*ret_message = NULL;
	if (incus_download_recv((incus_download *)download, &message, &problem) < 0)
		return error_from_sdk(err, problem);
	*ret_message = message;
	return 0;
}

void download_close(Download *download)
{
	incus_download_free((incus_download *)download);
}

static int show(uint64_t done, uint64_t total, void *data)
{
	progress_bytes(data, done, total);
	return 0;
}

json_t *upload_files(Server *server, const char *name, const ProtobufCMessage *first,
    const incus_upload_file *files, size_t n_files, const char *label, Error **err)
{
	Progress progress;
	const incus_transfer transfer = { show, &progress };
	incus_error *problem = NULL;
	void *reply = NULL;
	progress_start(&progress, server->cli->quiet ? NULL : label);
	int result = incus_upload(server->client, server_method(name), first, files, n_files,
	    &transfer, &reply, &problem);
	progress_end(&progress);
	if (result < 0) {
		error_from_sdk(err, problem);
		return NULL;
	}
	json_t *operation = server_keep(server->cli, message_to_json(reply, true));
	incus_message_free(reply);
	return operation;
}

void stream_message_free(ProtobufCMessage *message)
{
	incus_message_free(message);
}

void stream_cancel(Stream *stream)
{
	incus_stream_cancel(sdk(stream));
}

void stream_close(Stream *stream)
{
	incus_stream_free(sdk(stream));
}

int write_all(int fd, const void *data, size_t length, Error **err)
{
	const char *at = data;
	while (length > 0) {
		ssize_t n = write(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot write");
		at += n;
		length -= n;
	}
	return 0;
}

int stream_to_fd(Server *server, const char *name, json_t *request, int fd, Error **err)
{
	const SchemaMethod *method = server_method(name);
	ProtobufCMessage *message = NULL;
	json_t *in = server_keep(server->cli, request);
	if (!method)
		return error_set(err, ERROR_UNSUPPORTED, "This version has no \"%s\"", name);
	ProtobufCMessage *first = message_from_json(method->input, in, server->cli->arena, err);
	if (!first)
		return -1;
	g_autoptr(Stream) stream = stream_open(server, name, first, err);
	if (!stream)
		return -1;
	while (stream_receive(stream, &message, err) == 0) {
		if (!message)
			return 0;
		const Pb__Blob *blob = (const Pb__Blob *)message;
		int result = write_all(fd, blob->data.data, blob->data.len, err);
		stream_message_free(message);
		if (result < 0)
			return -1;
	}
	return -1;
}
