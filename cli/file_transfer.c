#include "cli/file_transfer.h"
#include "cli/file_local.h"
#include "cli/stream.h"
#include "incus/v1/file.pb-c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (256 * 1024)

typedef struct Header {
	char uid[24], gid[24], mode[24];
} Header;

static char *number(char *text, size_t size, const char *format, int64_t value)
{
	if (value < 0)
		return (char *)"";
	g_snprintf(text, size, format, (long long)value);
	return text;
}

static void fill_header(Pb__CreateInstanceFileRequest *in, Header *header, const FileTarget *to,
    const FileFacts *facts)
{
	in->name = (char *)to->instance;
	in->project = (char *)(to->server->project ? to->server->project : "");
	in->path = (char *)to->path;
	in->uid = number(header->uid, sizeof(header->uid), "%lld", facts->uid);
	in->gid = number(header->gid, sizeof(header->gid), "%lld", facts->gid);
	in->mode = number(header->mode, sizeof(header->mode), "%04llo", facts->mode);
	in->type = (char *)facts->type;
	in->write = (char *)"overwrite";
}

int file_send_bytes(
    const FileTarget *to, const FileFacts *facts, const void *data, size_t length, Error **err)
{
	Pb__CreateInstanceFileRequest in = PB__CREATE_INSTANCE_FILE_REQUEST__INIT;
	Header header;
	size_t at = MIN(length, CHUNK);
	fill_header(&in, &header, to, facts);
	in.data = (ProtobufCBinaryData){ at, (uint8_t *)data };
	g_autoptr(Stream) stream = stream_open(to->server, "CreateInstanceFile", &in.base, err);
	if (!stream)
		return -1;
	while (at < length) {
		Pb__CreateInstanceFileRequest more = PB__CREATE_INSTANCE_FILE_REQUEST__INIT;
		more.data = (ProtobufCBinaryData){ MIN(length - at, CHUNK), (uint8_t *)data + at };
		at += more.data.len;
		if (stream_send(stream, &more.base, NULL) < 0)
			break; /* the reply says why */
	}
	return stream_finish(stream, NULL, err);
}

int file_send(const FileTarget *to, const FileFacts *facts, int fd, uint64_t size,
    Progress *progress, Error **err)
{
	Pb__CreateInstanceFileRequest in = PB__CREATE_INSTANCE_FILE_REQUEST__INIT;
	Header header;
	uint64_t done = 0;
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	fill_header(&in, &header, to, facts);
	int local = file_local_push(to->server, &in, fd, progress, err);
	if (local)
		return local < 0 ? -1 : 0;
	g_autoptr(Stream) stream = stream_open(to->server, "CreateInstanceFile", &in.base, err);
	if (!stream)
		return -1;
	for (;;) {
		Pb__CreateInstanceFileRequest more = PB__CREATE_INSTANCE_FILE_REQUEST__INIT;
		ssize_t n = read(fd, buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read");
		if (n == 0)
			break;
		more.data = (ProtobufCBinaryData){ n, buffer };
		if (stream_send(stream, &more.base, NULL) < 0)
			break; /* the reply says why */
		done += n;
		if (progress)
			progress_bytes(progress, done, size);
	}
	return stream_finish(stream, NULL, err);
}

static const char *constant_type(const char *type)
{
	if (strcmp(type, "directory") == 0)
		return "directory";
	return strcmp(type, "symlink") == 0 ? "symlink" : "file";
}

static FileFacts facts_of(const Pb__InstanceFile *file)
{
	return (FileFacts){ .uid = atoll(file->uid),
		.gid = atoll(file->gid),
		.mode = strtol(file->mode, NULL, 8),
		.type = constant_type(file->type),
		.size = atoll(file->size) };
}

static int take(const Pb__InstanceFile *file, bool first, const FileSink *sink, Error **err)
{
	FileFacts facts = facts_of(file);
	if (first && sink->begin && sink->begin(&facts, sink->user, err) < 0)
		return -1;
	for (size_t i = 0; sink->entry && i < file->n_entries; i++)
		sink->entry(file->entries[i], sink->user);
	return file->data.len > 0 ? sink->data(file->data.data, file->data.len, sink->user, err) :
				    0;
}

/* When the first message shows a file that the server could write itself: 1, the rest unread. */
static int receive(Server *server, const Pb__GetInstanceFileRequest *in, bool first, bool whole,
    const FileSink *sink, uint64_t *ret_size, Error **err)
{
	ProtobufCMessage *message;
	g_autoptr(Stream) stream = stream_open(server, "GetInstanceFile", &in->base, err);
	if (!stream)
		return -1;
	while (stream_receive(stream, &message, err) == 0) {
		if (!message)
			return 0;
		const Pb__InstanceFile *file = (const Pb__InstanceFile *)message;
		*ret_size = first ? (uint64_t)facts_of(file).size : 0;
		bool stop = !whole && first && !file->data.len && *ret_size >= FILE_LOCAL_LEAST;
		int result = take(file, first, sink, err);
		stream_message_free(message);
		first = false;
		if (result < 0 || stop)
			return result < 0 ? -1 : 1;
	}
	return -1;
}

int file_receive(const FileTarget *from, const FileSink *sink, Error **err)
{
	Pb__GetInstanceFileRequest in = PB__GET_INSTANCE_FILE_REQUEST__INIT;
	Progress *progress = NULL;
	uint64_t size;
	in.name = (char *)from->instance;
	in.project = (char *)(from->server->project ? from->server->project : "");
	in.path = (char *)from->path;
	bool whole = !sink->file || !file_local_server(from->server);
	int more = receive(from->server, &in, true, whole, sink, &size, err);
	if (more <= 0)
		return more;
	int local = file_local_pull(
	    from->server, &in, sink->file(sink->user, &progress), size, progress, err);
	if (local)
		return local < 0 ? -1 : 0;
	return receive(from->server, &in, false, true, sink, &size, err);
}

typedef struct TextSink {
	FileFacts facts;
	GString *text;
} TextSink;

static int text_begin(const FileFacts *facts, void *user, Error **err)
{
	((TextSink *)user)->facts = *facts;
	return 0;
}

static int text_data(const void *bytes, size_t length, void *user, Error **err)
{
	g_string_append_len(((TextSink *)user)->text, bytes, length);
	return 0;
}

int file_receive_text(const FileTarget *from, FileFacts *ret_facts, GString *text, Error **err)
{
	TextSink into = { .text = text };
	FileSink sink = { .begin = text_begin, .data = text_data, .user = &into };
	if (file_receive(from, &sink, err) < 0)
		return -1;
	*ret_facts = into.facts;
	return 0;
}
