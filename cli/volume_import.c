/*
 * incus storage volume import: volumes from files.
 */
#include "cli/message.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "cli/volume.h"
#include "incus/v1/storage.pb-c.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 << 10 };

/* Without --type the name of the file tells. */
static const char *type_of(Cli *cli, const char *path)
{
	const char *type = flag_string(cli, "type");
	return *type ? type : g_str_has_suffix(path, ".iso") ? "iso" : "backup";
}

/* 1: the server has heard enough, and its reply says why. */
static int send_file(Stream *stream, int fd, Pb__ImportStoragePoolVolumeRequest *first,
    Progress *progress, uint64_t total, Error **err)
{
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	Pb__ImportStoragePoolVolumeRequest plain = PB__IMPORT_STORAGE_POOL_VOLUME_REQUEST__INIT,
					   *in = first;
	uint64_t done = 0;
	for (;;) {
		ssize_t n = read(fd, buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the file");
		if (n == 0 && in == &plain)
			return 0;
		in->data = (ProtobufCBinaryData){ (size_t)n, buffer };
		if (stream_send(stream, &in->base, NULL) < 0)
			return 1;
		in = &plain;
		done += (uint64_t)n;
		progress_bytes(progress, done, total);
	}
}

static int upload(
    Cli *cli, Server *server, int fd, Pb__ImportStoragePoolVolumeRequest *in, Error **err)
{
	ProtobufCMessage *reply;
	struct stat st;
	Progress progress;
	g_autoptr(Stream) stream = stream_open(server, "ImportStoragePoolVolume", NULL, err);
	if (!stream)
		return -1;
	progress_start(&progress, cli->quiet ? NULL : "Importing custom volume");
	int result = send_file(
	    stream, fd, in, &progress, fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0, err);
	progress_end(&progress);
	if (result < 0 || stream_finish(stream, &reply, err) < 0)
		return -1;
	json_t *operation = server_keep(cli, message_to_json(reply, true));
	stream_message_free(reply);
	return server_wait(server, operation, "Importing custom volume", err) ? 0 : -1;
}

static int import(Cli *cli, Error **err)
{
	Target pool;
	const char *path = cli->args[1], *name = cli->n_args > 2 ? cli->args[2] : "",
		   *type = type_of(cli, path);
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	if (strcmp(type, "iso") != 0 && strcmp(type, "backup") != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid type \"%s\": use backup or iso", type);
	if (strcmp(type, "iso") == 0 && !*name)
		return error_set(
		    err, ERROR_INVALID, "Importing ISO images requires a volume name to be set");
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot open \"%s\"", path);
	Pb__ImportStoragePoolVolumeRequest in = PB__IMPORT_STORAGE_POOL_VOLUME_REQUEST__INIT;
	in.pool = (char *)pool.name;
	in.type = (char *)"custom";
	in.project = (char *)(pool.server->project ? pool.server->project : "");
	in.target = (char *)flag_string(cli, "target");
	in.name = (char *)name;
	in.file_type = (char *)(strcmp(type, "iso") == 0 ? type : "");
	return upload(cli, pool.server, fd, &in, err);
}

static const Flag import_flags[] = {
	FLAG_TARGET,
	{ "type", 0, FLAG_STRING, NULL, "What the file is: backup or iso; else its name tells" },
	FLAG_END,
};

const Command volume_import_commands[] = {
	{ .path = "storage volume import",
	    .usage = "[<remote>:]<pool> <backup file> [<volume name>]",
	    .min_args = 2,
	    .max_args = 3,
	    .flags = import_flags,
	    .summary = "Import a volume from a file",
	    .examples = "incus storage volume import default debian.iso installer",
	    .run = import,
	    .complete = "storage" },
	{ 0 },
};
