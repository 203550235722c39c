#include "server/guest/session.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/guest/call.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
	STEP_MS = 60000,     /* for the guest to send or take the next part of a file */
	NAMES_MAX = 1000000, /* of a directory */
	NAME_LENGTH_MAX = 255,
	TARGET_MAX = 4096,
};

/* --- calls of one message --- */

static void read_attributes(const Pb__AgentFile *file, FileAttributes *ret)
{
	*ret = (FileAttributes){ .mode = (mode_t)(file->mode & (S_IFMT | 07777)),
		.uid = file->uid,
		.gid = file->gid,
		.size = MAX(0, file->size),
		.modified = file->modified,
		.modified_ns = MIN(file->modified_ns, 999999999) };
}

static char *copy_bytes(const ProtobufCBinaryData *bytes, size_t max)
{
	if (!bytes->len || bytes->len > max || memchr(bytes->data, 0, bytes->len))
		return NULL;
	return g_strndup((const char *)bytes->data, bytes->len);
}

static int stat_file(void *link, const char *path, gboolean follow, FileAttributes *ret,
    char **ret_target, Error **err)
{
	Pb__AgentFileRequest in = PB__AGENT_FILE_REQUEST__INIT;
	Pb__AgentFile *file = NULL;
	in.path = (char *)path;
	in.follow = follow;
	if (guest_call(link, AGENT_STAT_FILE, &in, GUEST_CALL_MS, (void **)&file, err) < 0)
		return -1;
	read_attributes(file, ret);
	if (ret_target)
		*ret_target = S_ISLNK(ret->mode) ? copy_bytes(&file->target, TARGET_MAX) : NULL;
	incus_message_free(file);
	return 0;
}

static Pb__AgentFileOwner owner_of(const FileOwner *owner)
{
	Pb__AgentFileOwner out = PB__AGENT_FILE_OWNER__INIT;
	out.uid = owner ? owner->uid : -1;
	out.gid = owner ? owner->gid : -1;
	out.mode = owner ? owner->mode : -1;
	return out;
}

static int change(
    GuestLink *link, Pb__AgentFileChange *in, const char *path, const FileOwner *owner, Error **err)
{
	Pb__AgentFileOwner its = owner_of(owner);
	in->path = (char *)path;
	in->owner = &its;
	return guest_call(link, AGENT_CHANGE_FILE, in, GUEST_CALL_MS, NULL, err);
}

static int make_directory(void *link, const char *path, const FileOwner *owner, Error **err)
{
	Pb__AgentFileChange in = PB__AGENT_FILE_CHANGE__INIT;
	in.what_case = PB__AGENT_FILE_CHANGE__WHAT_DIRECTORY;
	in.directory = TRUE;
	return change(link, &in, path, owner, err);
}

static int make_symlink(
    void *link, const char *target, const char *path, const FileOwner *owner, Error **err)
{
	Pb__AgentFileChange in = PB__AGENT_FILE_CHANGE__INIT;
	in.what_case = PB__AGENT_FILE_CHANGE__WHAT_LINK;
	in.link = (char *)target;
	return change(link, &in, path, owner, err);
}

static int remove_file(void *link, const char *path, Error **err)
{
	Pb__AgentFileChange in = PB__AGENT_FILE_CHANGE__INIT;
	in.what_case = PB__AGENT_FILE_CHANGE__WHAT_REMOVE;
	in.remove = TRUE;
	return change(link, &in, path, NULL, err);
}

/* --- streams --- */

/* One call that streams; the link is busy while it is. */
typedef struct Transfer {
	GuestLink *link;
	incus_stream *stream;
	Pb__AgentFileData *part; /* reading: the one that the caller has the bytes of */
	gboolean first;		 /* reading: that one was not handed out yet */
} Transfer;

static void transfer_free(void *data)
{
	Transfer *t = data;
	if (!t)
		return;
	incus_stream_free(t->stream);
	incus_message_free(t->part);
	if (t->link)
		guest_busy(t->link, FALSE);
	guest_link_unref(t->link);
	g_free(t);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Transfer, transfer_free)

static int transfer_open(
    GuestLink *link, int method, const void *first, Transfer **ret, Error **err)
{
	g_autoptr(Transfer) t = g_new0(Transfer, 1);
	incus_error *error = NULL;
	t->link = guest_link_ref(link);
	guest_busy(link, TRUE);
	if (incus_stream_open(
		link->client, &schema_agent_methods[method], first, &t->stream, &error) < 0)
		return guest_fail(error, err);
	*ret = g_steal_pointer(&t);
	return 0;
}

static int take_name(const ProtobufCBinaryData *bytes, GPtrArray *names, Error **err)
{
	char *name = copy_bytes(bytes, NAME_LENGTH_MAX);
	if (name && !strchr(name, '/') && g_utf8_validate(name, -1, NULL) &&
	    names->len < NAMES_MAX) {
		g_ptr_array_add(names, name);
		return 0;
	}
	g_free(name);
	return error_set(err, ERROR_INTERNAL,
	    names->len < NAMES_MAX ? "The guest sent a bad file name" :
				     "The directory has too many names");
}

static int list_files(void *link, const char *path, GPtrArray *names, Error **err)
{
	g_autoptr(Transfer) t = NULL;
	Pb__AgentFileRequest in = PB__AGENT_FILE_REQUEST__INIT;
	Pb__AgentFileNames *part;
	incus_error *error = NULL;
	int got;
	in.path = (char *)path;
	if (transfer_open(link, AGENT_LIST_FILES, &in, &t, err) < 0)
		return -1;
	while ((got = incus_stream_recv(t->stream, STEP_MS, (void **)&part, &error)) == 1) {
		int result = 0;
		for (size_t i = 0; result == 0 && i < part->n_names; i++)
			result = take_name(&part->names[i], names, err);
		incus_message_free(part);
		if (result < 0)
			return -1;
	}
	return got < 0 ? guest_fail(error, err) : 0;
}

/* The next part into t->part: 1, 0 at the end, -1. */
static int read_part(Transfer *t, Error **err)
{
	incus_error *error = NULL;
	incus_message_free(t->part);
	t->part = NULL;
	int got = incus_stream_recv(t->stream, STEP_MS, (void **)&t->part, &error);
	return got < 0 ? guest_fail(error, err) : got;
}

static int read_begin(
    void *link, const char *path, FileAttributes *ret, void **ret_transfer, Error **err)
{
	g_autoptr(Transfer) t = NULL;
	Pb__AgentFileRequest in = PB__AGENT_FILE_REQUEST__INIT;
	in.path = (char *)path;
	if (transfer_open(link, AGENT_READ_FILE, &in, &t, err) < 0)
		return -1;
	int got = read_part(t, err);
	if (got < 0)
		return -1;
	if (got == 0 || !t->part->file)
		return error_set(err, ERROR_INTERNAL, "The VM agent did not describe the file");
	read_attributes(t->part->file, ret);
	t->first = TRUE;
	*ret_transfer = g_steal_pointer(&t);
	return 0;
}

static int read_next(void *transfer, const uint8_t **ret_data, size_t *ret_length, Error **err)
{
	Transfer *t = transfer;
	int got = 1;
	*ret_length = 0;
	if (!t->first)
		got = read_part(t, err);
	t->first = FALSE;
	/* A part without bytes is no end: only the first may be one, of an empty file. */
	while (got == 1 && !t->part->data.len)
		got = read_part(t, err);
	if (got <= 0)
		return got;
	*ret_data = t->part->data.data;
	*ret_length = t->part->data.len;
	return 0;
}

static int write_begin(void *link, const char *path, gboolean append, const FileOwner *owner,
    void **ret_transfer, Error **err)
{
	Transfer *t;
	Pb__AgentFileWrite in = PB__AGENT_FILE_WRITE__INIT;
	Pb__AgentFileOwner its = owner_of(owner);
	in.path = (char *)path;
	in.append = append;
	in.owner = &its;
	if (transfer_open(link, AGENT_WRITE_FILE, &in, &t, err) < 0)
		return -1;
	*ret_transfer = t;
	return 0;
}

/* Why the guest ended the stream. */
static int write_failed(Transfer *t, Error **err)
{
	incus_error *error = NULL;
	void *reply = NULL;
	if (incus_stream_recv(t->stream, GUEST_CALL_MS, &reply, &error) >= 0)
		incus_message_free(reply);
	return guest_fail(error, err);
}

static int write_next(void *transfer, const uint8_t *data, size_t length, Error **err)
{
	Transfer *t = transfer;
	while (length > 0) {
		Pb__AgentFileWrite in = PB__AGENT_FILE_WRITE__INIT;
		size_t n = MIN(length, GUEST_CHUNK);
		in.data = (ProtobufCBinaryData){ n, (uint8_t *)data };
		if (stream_send_within(t->stream, &in, STEP_MS, NULL) < 0)
			return write_failed(t, err);
		data += n;
		length -= n;
	}
	return 0;
}

static int write_end(void *transfer, Error **err)
{
	Transfer *t = transfer;
	incus_error *error = NULL;
	Pb__AgentFile *reply = NULL;
	incus_stream_close_send(t->stream, NULL);
	int got = incus_stream_recv(t->stream, STEP_MS, (void **)&reply, &error);
	incus_message_free(reply);
	return got == 1 ? 0 : guest_fail(error, err);
}

static void release(gpointer link)
{
	guest_link_unref(link);
}

int guest_files(Guest *guest, FileSession **ret_session, Error **err)
{
	static const FileRemote remote = {
		.stat = stat_file,
		.list = list_files,
		.mkdir = make_directory,
		.symlink = make_symlink,
		.remove = remove_file,
		.read_begin = read_begin,
		.read_next = read_next,
		.write_begin = write_begin,
		.write_next = write_next,
		.write_end = write_end,
		.transfer_free = transfer_free,
	};
	GuestLink *link;
	if (guest_link(guest, &link, err) < 0)
		return -1;
	*ret_session = file_session_new_remote(&remote, link, release);
	return 0;
}

/* --- bytes both ways --- */

typedef struct Relay {
	Transfer *transfer;
	int socket;
	GThread *sender;
} Relay;

static gpointer send_questions(gpointer data)
{
	Relay *relay = data;
	g_autofree uint8_t *buffer = g_malloc(GUEST_CHUNK);
	Pb__AgentBytes message = PB__AGENT_BYTES__INIT;
	ssize_t n;
	while ((n = read(relay->socket, buffer, GUEST_CHUNK)) > 0) {
		message.data = (ProtobufCBinaryData){ (size_t)n, buffer };
		if (incus_stream_send(relay->transfer->stream, &message, NULL) < 0)
			break;
	}
	/* The other side has gone, or the guest: either way it is over. */
	incus_stream_cancel(relay->transfer->stream);
	return NULL;
}

static gpointer take_answers(gpointer data)
{
	Relay *relay = data;
	Pb__AgentBytes *message;
	relay->sender = g_thread_new("relay-guest", send_questions, relay);
	while (incus_stream_recv(relay->transfer->stream, -1, (void **)&message, NULL) == 1) {
		int result = file_write_all(relay->socket, message->data.data, message->data.len);
		incus_message_free(message);
		if (result < 0)
			break;
	}
	shutdown(relay->socket, SHUT_RDWR);
	g_thread_join(relay->sender);
	transfer_free(relay->transfer);
	close(relay->socket);
	g_free(relay);
	return NULL;
}

int guest_relay(
    GuestLink *link, int method, const Pb__AgentBytes *first, int *ret_socket, Error **err)
{
	Transfer *t;
	int pair[2];
	if (transfer_open(link, method, first, &t, err) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		transfer_free(t);
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	}
	Relay *relay = g_new0(Relay, 1);
	relay->transfer = t;
	relay->socket = pair[1];
	g_thread_unref(g_thread_new("guest-relay", take_answers, relay));
	*ret_socket = pair[0];
	return 0;
}

int guest_sftp(Guest *guest, int *ret_socket, Error **err)
{
	g_autoptr(GuestLink) link = NULL;
	Pb__AgentBytes first = PB__AGENT_BYTES__INIT;
	return guest_link(guest, &link, err) < 0 ?
	    -1 :
	    guest_relay(link, AGENT_CONNECT_SFTP, &first, ret_socket, err);
}
