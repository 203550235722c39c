/* Files of the guest, by sessions with the helper. */
#include "incus/v1/agent_handlers.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/agent/agent.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

enum { CHUNK = 256 * 1024, NAMES = 256 };

static int open_session(int sftp, int *ret_socket, Error **err)
{
	Packet *rq = packet_new(SPAWN_FILES);
	SpawnerCall call = { .timeout_ms = FILE_PATIENCE_MS, .ret_socket = ret_socket };
	if (sftp >= 0) {
		rq->n[2] = 1;
		packet_add_fd(rq, sftp);
	}
	return spawner_call(agent_spawner(), rq, &call, NULL, err);
}

static int session_for(const char *path, FileSession **ret_session, Error **err)
{
	int socket;
	if (*path != '/')
		return error_set(err, ERROR_INVALID, "The path \"%s\" is not absolute", path);
	if (open_session(-1, &socket, err) < 0)
		return -1;
	*ret_session = file_session_new(socket, NULL, NULL);
	return 0;
}

static void fill(const FileAttributes *a, Pb__AgentFile *out)
{
	out->mode = a->mode;
	out->uid = a->uid;
	out->gid = a->gid;
	out->size = a->size;
	out->modified = a->modified;
	out->modified_ns = (uint32_t)a->modified_ns;
}

int agent_stat_file(Request *rq, const Pb__AgentFileRequest *in, Pb__AgentFile *out, Error **err)
{
	g_autoptr(FileSession) session = NULL;
	g_autofree char *target = NULL;
	FileAttributes a;
	if (session_for(in->path, &session, err) < 0 ||
	    file_stat(session, in->path, in->follow, &a, err) < 0)
		return -1;
	fill(&a, out);
	if (!S_ISLNK(a.mode))
		return 0;
	if (file_readlink(session, in->path, &target, err) < 0)
		return -1;
	out->target.len = strlen(target);
	out->target.data = (uint8_t *)arena_strdup(rq->arena, target);
	return 0;
}

int agent_read_file(Request *rq, const Pb__AgentFileRequest *in, Stream *stream, Error **err)
{
	g_autoptr(FileSession) session = NULL;
	autofd int fd = -1;
	FileAttributes a;
	Pb__AgentFile head = PB__AGENT_FILE__INIT;
	if (session_for(in->path, &session, err) < 0 ||
	    file_open(session, in->path, O_RDONLY | O_NONBLOCK, NULL, &fd, &a, NULL, err) < 0)
		return -1;
	if (!S_ISREG(a.mode))
		return error_set(err, ERROR_INVALID, "\"%s\" is no regular file", in->path);
	fill(&a, &head);
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	Pb__AgentFileData message = PB__AGENT_FILE_DATA__INIT;
	message.file = &head;
	for (;;) {
		ssize_t n = read(fd, buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", in->path);
		message.data = (ProtobufCBinaryData){ (size_t)n, buffer };
		if ((n > 0 || message.file) && stream_send(stream, &message, err) < 0)
			return -1;
		message.file = NULL;
		if (n == 0)
			return 0;
	}
}

static FileOwner owner_of(const Pb__AgentFileOwner *owner)
{
	return owner ? (FileOwner){ owner->uid, owner->gid, owner->mode } :
		       (FileOwner){ -1, -1, -1 };
}

/* The rest of the file, up to the host's half-close. */
static int write_rest(int fd, const Pb__AgentFileWrite *in, Stream *stream, Error **err)
{
	const void *message = in;
	int got = 1;
	for (; got == 1; got = stream_recv(stream, -1, &message, err)) {
		const Pb__AgentFileWrite *part = message;
		if (file_write_all(fd, part->data.data, part->data.len) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot write");
	}
	return got;
}

int agent_write_file(Request *rq, const Pb__AgentFileWrite *in, Stream *stream, Error **err)
{
	g_autoptr(FileSession) session = NULL;
	autofd int fd = -1;
	FileAttributes a;
	FileOwner owner = owner_of(in->owner);
	int flags = O_WRONLY | (in->append ? O_APPEND : O_CREAT | O_TRUNC);
	Pb__AgentFile reply = PB__AGENT_FILE__INIT;
	/* `in` is gone once the stream gives the next message. */
	const char *path = arena_strdup(rq->arena, in->path);
	if (session_for(path, &session, err) < 0 ||
	    file_open(session, path, flags, &owner, &fd, NULL, NULL, err) < 0)
		return -1;
	if (write_rest(fd, in, stream, err) < 0)
		return error_prefix(err, "\"%s\"", path);
	if (file_stat(session, path, TRUE, &a, err) < 0)
		return -1;
	fill(&a, &reply);
	return stream_send(stream, &reply, err);
}

int agent_list_files(Request *rq, const Pb__AgentFileRequest *in, Stream *stream, Error **err)
{
	g_autoptr(FileSession) session = NULL;
	g_autoptr(GPtrArray) names = NULL;
	if (session_for(in->path, &session, err) < 0 ||
	    file_list(session, in->path, &names, err) < 0)
		return -1;
	g_autofree ProtobufCBinaryData *list = g_new(ProtobufCBinaryData, NAMES);
	for (guint at = 0; at < names->len;) {
		Pb__AgentFileNames message = PB__AGENT_FILE_NAMES__INIT;
		message.names = list;
		for (; at < names->len && message.n_names < NAMES; at++) {
			char *name = names->pdata[at];
			list[message.n_names++] = (ProtobufCBinaryData){ strlen(name),
				(uint8_t *)name };
		}
		if (stream_send(stream, &message, err) < 0)
			return -1;
	}
	return 0;
}

int agent_change_file(
    Request *rq, const Pb__AgentFileChange *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(FileSession) session = NULL;
	FileOwner owner = owner_of(in->owner);
	if (session_for(in->path, &session, err) < 0)
		return -1;
	switch (in->what_case) {
	case PB__AGENT_FILE_CHANGE__WHAT_DIRECTORY:
		return file_mkdir(session, in->path, &owner, err);
	case PB__AGENT_FILE_CHANGE__WHAT_LINK:
		return file_symlink(session, in->link, in->path, &owner, err);
	case PB__AGENT_FILE_CHANGE__WHAT_REMOVE:
		return file_remove(session, in->path, err);
	default:
		return error_set(err, ERROR_INVALID, "Nothing is said to be done");
	}
}

/* --- SFTP --- */

int agent_connect_sftp(Request *rq, const Pb__AgentBytes *in, Stream *stream, Error **err)
{
	int pair[2], session;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket");
	autofd int socket = pair[0];
	int result = open_session(pair[1], &session, err);
	close(pair[1]);
	if (result < 0)
		return -1;
	close(session);
	relay_run(stream, in, socket);
	return 0;
}
