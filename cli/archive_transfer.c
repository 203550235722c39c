#include "cli/archive_transfer.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "incus/v1/backup.pb-c.h"
#include "sdk/base/schema.h"
#include <incus/transfer.h>
#include <stdlib.h>

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

json_t *archive_upload(
    Server *server, const char *method, json_t *first, int fd, const char *label, Error **err)
{
	const incus_upload_file file = { fd, NULL, NULL };
	ProtobufCMessage *message = request_message(server, method, first, err);
	json_t *operation = message ? upload_files(server, method, message, &file, 1, label, err) :
				      NULL;
	return operation ? server_wait(server, operation, label, err) : NULL;
}
