#include "cli/archive_transfer.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "incus/v1/backup.pb-c.h"
#include "sdk/base/own.h"
#include "sdk/base/schema.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

static ProtobufCMessage *request_message(
    Server *server, const char *name, json_t *request, Error **err)
{
	const SchemaMethod *method = server_method(name);
	json_t *in = server_keep(server->cli, request);
	if (server->project)
		json_object_set_new(in, "project", json_string(server->project));
	if (method)
		return message_from_json(method->input, in, server->cli->arena, err);
	error_set(err, ERROR_UNSUPPORTED, "This version has no \"%s\"", name);
	return NULL;
}

static int receive(Download *from, int fd, Progress *progress, Error **err)
{
	ProtobufCMessage *message;
	uint64_t done = 0, total = 0;
	while (download_receive(from, &message, err) == 0) {
		if (!message)
			return 0;
		const Pb__BackupFile *file = (const Pb__BackupFile *)message;
		if (*file->size)
			total = g_ascii_strtoull(file->size, NULL, 10);
		int result = write_all(fd, file->data.data, file->data.len, err);
		done += file->data.len;
		progress_bytes(progress, done, total);
		stream_message_free(message);
		if (result < 0)
			return -1;
	}
	return -1;
}

int archive_download(
    Server *server, const char *method, json_t *request, int fd, const char *label, Error **err)
{
	Progress progress;
	ProtobufCMessage *first = request_message(server, method, request, err);
	if (!first)
		return -1;
	g_autoptr(Download) from = download_open(server, method, first, err);
	if (!from)
		return -1;
	progress_start(&progress, server->cli->quiet ? NULL : label);
	int result = receive(from, fd, &progress, err);
	progress_end(&progress);
	return result;
}

static ProtobufCBinaryData *data_of(ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
	    message->descriptor, "data");
	return (ProtobufCBinaryData *)(void *)((char *)message + field->offset);
}

/* 1: the server has heard enough, and its reply says why. */
static int send_file(
    Stream *stream, int fd, ProtobufCMessage *first, Progress *progress, Error **err)
{
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	g_autofree ProtobufCMessage *plain = g_malloc0(first->descriptor->sizeof_message);
	ProtobufCMessage *in = first;
	struct stat st;
	uint64_t done = 0, total = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	protobuf_c_message_init(first->descriptor, plain);
	for (;;) {
		ssize_t n = read(fd, buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the file");
		if (n == 0 && in == plain)
			return 0;
		*data_of(in) = (ProtobufCBinaryData){ (size_t)n, buffer };
		int result = stream_send(stream, in, NULL);
		*data_of(in) = (ProtobufCBinaryData){ 0, NULL };
		if (result < 0)
			return 1;
		in = plain;
		done += (uint64_t)n;
		progress_bytes(progress, done, total);
	}
}

json_t *archive_upload(
    Server *server, const char *method, json_t *first, int fd, const char *label, Error **err)
{
	Progress progress;
	ProtobufCMessage *reply, *message = request_message(server, method, first, err);
	if (!message)
		return NULL;
	g_autoptr(Stream) stream = stream_open(server, method, NULL, err);
	if (!stream)
		return NULL;
	progress_start(&progress, server->cli->quiet ? NULL : label);
	int result = send_file(stream, fd, message, &progress, err);
	progress_end(&progress);
	if (result < 0 || stream_finish(stream, &reply, err) < 0)
		return NULL;
	json_t *operation = server_keep(server->cli, message_to_json(reply, true));
	stream_message_free(reply);
	return server_wait(server, operation, label, err);
}
