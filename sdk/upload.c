/* Client streams of files, which go on after a cut. */
#include <incus/transfer.h>
#include "incus/v1/operation.pb-c.h"
#include "sdk/resume.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 256 * 1024 };

typedef struct Sending {
	incus_client *client;
	const SchemaMethod *method;
	const ProtobufCMessage *first;
	const incus_upload_file *files;
	size_t n_files;
	const incus_transfer *transfer;
	uint64_t *sizes; /* of what was left of each when it began */
	off_t *begins;
	uint64_t total;
	char *id; /* NULL: it cannot go on after a cut */
	Resume resume;
	uint64_t at; /* bytes that the server has when a turn begins */
	uint64_t done;
} Sending;

static void set_text(void *message, const char *name, const char *value)
{
	const char **field = message_field(message, name, PROTOBUF_C_TYPE_STRING);
	if (field && value)
		*field = value;
}

/* ---- what there is to send ---- */

/* Whether all of them can be read again from the middle. */
static gboolean measure(Sending *s)
{
	gboolean again = TRUE;
	for (size_t n = 0; n < s->n_files; n++) {
		struct stat st;
		s->begins[n] = lseek(s->files[n].fd, 0, SEEK_CUR);
		gboolean regular = fstat(s->files[n].fd, &st) == 0 && S_ISREG(st.st_mode) &&
		    s->begins[n] >= 0;
		s->sizes[n] = regular && st.st_size > s->begins[n] ?
		    (uint64_t)(st.st_size - s->begins[n]) :
		    0;
		s->total += s->sizes[n];
		again = again && regular;
	}
	return again;
}

/* ---- one turn ---- */

/* The first message of all, or of a part; then plain ones. */
static ProtobufCMessage *message_for(const Sending *s, gboolean opens)
{
	const ProtobufCMessageDescriptor *type = s->method->input;
	ProtobufCMessage *message = g_malloc0(type->sizeof_message);
	if (opens && s->first)
		memcpy(message, s->first, type->sizeof_message);
	else
		type->message_init(message);
	if (!opens || !s->id)
		return message;
	uint64_t *offset = message_field(message, "offset", PROTOBUF_C_TYPE_UINT64);
	set_text(message, "upload", s->id);
	if (offset)
		*offset = s->at;
	return message;
}

static int tell(Sending *s, size_t bytes, incus_error **err)
{
	const incus_transfer *t = s->transfer;
	s->done += bytes;
	return t && t->progress && t->progress(s->done, s->total, t->data) ?
	    sdk_error(err, ERROR_CANCELLED, "The transfer was cancelled") :
	    0;
}

static ssize_t read_piece(int fd, uint8_t *buffer, incus_error **err)
{
	ssize_t n;
	do
		n = read(fd, buffer, PIECE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		sdk_error_errno(err, ERROR_INTERNAL, errno, "Cannot read what is to be sent");
	return n;
}

/* 1: the server takes no more, what it replies says why. from: bytes of it that went before. */
static int send_one(
    Sending *s, incus_stream *stream, size_t n, uint64_t from, gboolean opens, incus_error **err)
{
	const incus_upload_file *file = &s->files[n];
	g_autofree uint8_t *buffer = g_malloc(PIECE);
	g_autofree ProtobufCMessage *head = message_for(s, opens), *plain = message_for(s, FALSE);
	gboolean begins = from == 0;
	if (s->begins[n] >= 0 && lseek(file->fd, s->begins[n] + (off_t)from, SEEK_SET) < 0 && from)
		return sdk_error_errno(err, ERROR_INTERNAL, errno, "Cannot go back in the file");
	if (begins) {
		set_text(head, "part", file->part);
		set_text(head, "part_filename", file->part_filename);
	}
	for (ProtobufCMessage *next = head;; next = plain) {
		ssize_t got = read_piece(file->fd, buffer, err);
		if (got < 0)
			return -1;
		if (got == 0 && !(next == head && (opens || begins)))
			return 0;
		*(ProtobufCBinaryData *)message_field(next, "data",
		    PROTOBUF_C_TYPE_BYTES) = (ProtobufCBinaryData){ (size_t)got, buffer };
		if (incus_stream_send(stream, next, NULL) < 0)
			return 1;
		if (tell(s, (size_t)got, err) < 0)
			return -1;
		if (got == 0)
			return 0;
	}
}

static int send_rest(Sending *s, incus_stream *stream, incus_error **err)
{
	uint64_t skip = s->at;
	gboolean opens = TRUE;
	for (size_t n = 0; n < s->n_files; n++) {
		gboolean last = n + 1 == s->n_files;
		if (s->at && skip >= s->sizes[n] && !last) {
			skip -= s->sizes[n];
			continue;
		}
		int result = send_one(s, stream, n, MIN(skip, s->sizes[n]), opens, err);
		if (result != 0)
			return result < 0 ? -1 : 0;
		opens = FALSE;
		skip = 0;
	}
	return 0;
}

static int take_turn(Sending *s, void **ret_reply, incus_error **err)
{
	incus_stream *stream = NULL;
	if (incus_stream_open(s->client, s->method, NULL, &stream, err) < 0)
		return -1;
	s->done = s->at;
	int result = send_rest(s, stream, err);
	if (result == 0)
		result = incus_stream_finish(stream, ret_reply, err);
	incus_stream_free(stream);
	return result;
}

/* ---- after a cut ---- */

/* 1: all had come, and *ret_reply is what was answered; 0: it goes on at s->at. */
static int ask(Sending *s, void **ret_reply, incus_error **err)
{
	Pb__GetUploadRequest in = PB__GET_UPLOAD_REQUEST__INIT;
	incus_error *problem = NULL;
	void *reply = NULL;
	char *const *project = s->first ?
	    message_field(s->first, "project", PROTOBUF_C_TYPE_STRING) :
	    NULL;
	in.id = s->id;
	if (project)
		in.project = *project;
	if (incus_call_unary(s->client, incus_method("GetUpload"), &in, &reply, &problem) < 0) {
		gboolean anew = incus_error_is(problem, "NOT_FOUND");
		if (anew) {
			incus_error_free(problem);
			s->at = 0;
			return 0;
		}
		*err = problem;
		return -1;
	}
	Pb__Upload *upload = reply;
	s->at = upload->bytes;
	*ret_reply = g_steal_pointer(&upload->operation);
	incus_message_free(upload);
	return *ret_reply != NULL;
}

static int go_on(Sending *s, void **ret_reply, incus_error **err)
{
	int result = -1;
	while (s->id && resume_again(&s->resume, s->at, err) == 0) {
		result = ask(s, ret_reply, err);
		if (result >= 0)
			break;
	}
	return result;
}

int incus_upload(incus_client *client, const struct SchemaMethod *method, const void *first,
    const incus_upload_file *files, size_t n_files, const incus_transfer *transfer,
    void **ret_reply, incus_error **err)
{
	g_autofree uint64_t *sizes = g_new0(uint64_t, n_files);
	g_autofree off_t *begins = g_new0(off_t, n_files);
	Sending s = { .client = client,
		.method = method,
		.first = first,
		.files = files,
		.n_files = n_files,
		.transfer = transfer,
		.sizes = sizes,
		.begins = begins };
	g_autofree char *id = g_uuid_string_random();
	incus_error *problem = NULL;
	if (measure(&s))
		s.id = id;
	resume_begin(&s.resume, client);
	*ret_reply = NULL;
	int result = take_turn(&s, ret_reply, &problem);
	while (result < 0) {
		int more = go_on(&s, ret_reply, &problem);
		if (more < 0)
			break;
		result = more ? 0 : take_turn(&s, ret_reply, &problem);
	}
	if (result < 0 && err)
		*err = problem;
	else
		incus_error_free(problem);
	return result;
}
