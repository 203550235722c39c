/*
 * incus export and import: instances as files.
 */
#include "cli/archive_name.h"
#include "cli/instance.h"
#include "cli/message.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "incus/v1/backup.pb-c.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, KEPT_SECONDS = 24 * 60 * 60 };

/* ---- export ---- */

/* What the name of the file says about its compression, "" when nothing. */
static const char *compression_of(const char *path)
{
	static const struct {
		const char *end, *compression;
	} ends[] = { { ".tar.gz", "gzip" }, { ".tgz", "gzip" }, { ".tar.xz", "xz" },
		{ ".tar.bz2", "bzip2" }, { ".tar.zst", "zstd" }, { ".tar.lzma", "lzma" },
		{ ".tar", "none" } };
	for (size_t i = 0; path && i < G_N_ELEMENTS(ends); i++)
		if (g_str_has_suffix(path, ends[i].end))
			return ends[i].compression;
	return "";
}

/* The name of the new backup, from the operation that makes it. */
static const char *pack(Cli *cli, const Object *instance, const char *target, Error **err)
{
	const char *compression = flag_string(cli, "compression");
	g_autofree char *expires = units_format_time(time(NULL) + KEPT_SECONDS, 0);
	json_t *request = json_pack("{s:s, s:{s:s, s:b, s:b, s:s}}", "instance", instance->name,
	    "backup", "expires_at", expires, "instance_only", flag_bool(cli, "instance-only"),
	    "optimized_storage", flag_bool(cli, "optimized-storage"), "compression_algorithm",
	    compression && *compression ? compression : compression_of(target));
	json_t *done = server_do(
	    instance->server, "CreateInstanceBackup", request, "Backing up instance", err);
	if (!done)
		return NULL;
	json_t *backups = json_object_get(json_object_get(done, "resources"), "backups");
	if (json_is_object(backups))
		backups = json_object_get(backups, "items");
	const char *url = json_string_value(json_array_get(backups, 0));
	const char *slash = url ? strrchr(url, '/') : NULL;
	if (slash) /* "?project=" may follow */
		return arena_strndup(cli->arena, slash + 1, strcspn(slash + 1, "?"));
	error_set(err, ERROR_INTERNAL, "The server does not say what the backup is called");
	return NULL;
}

/* Bytes of the archive into fd. */
static int receive(Stream *stream, int fd, Progress *progress, Error **err)
{
	ProtobufCMessage *message;
	uint64_t done = 0, total = 0;
	while (stream_receive(stream, &message, err) == 0) {
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

static int download(Cli *cli, const Object *instance, const char *name, int fd, Error **err)
{
	Pb__ExportInstanceBackupRequest in = PB__EXPORT_INSTANCE_BACKUP_REQUEST__INIT;
	Progress progress;
	in.instance = (char *)instance->name;
	in.name = (char *)name;
	in.project = (char *)(instance->server->project ? instance->server->project : "");
	g_autoptr(Stream) stream = stream_open(
	    instance->server, "ExportInstanceBackup", &in.base, err);
	if (!stream)
		return -1;
	progress_start(&progress, cli->quiet ? NULL : "Exporting the backup");
	int result = receive(stream, fd, &progress, err);
	progress_end(&progress);
	return result;
}

/* Without a target the file is named after the instance and what it is. */
static int name_file(const char *path, const char *instance, Error **err)
{
	uint8_t start[512];
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, start, sizeof(start));
	if (n < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	g_autofree char *to = g_strconcat(instance, archive_extension(start, (size_t)n), NULL);
	return g_rename(path, to) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", to) :
	    0;
}

static int export_to(Cli *cli, const Object *instance, const char *path, bool named, Error **err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
	const char *name = pack(cli, instance, named ? path : NULL, err);
	if (!name)
		return -1;
	int result = download(cli, instance, name, fd, err);
	json_t *key = json_pack("{s:s, s:s}", "instance", instance->name, "name", name);
	if (!server_do(
		instance->server, "DeleteInstanceBackup", key, NULL, result == 0 ? err : NULL))
		return -1;
	return result < 0 || named ? result : name_file(path, instance->name, err);
}

static int export(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	bool named = cli->n_args > 1;
	g_autofree char *path = named ? g_strdup(cli->args[1]) :
					g_strconcat(instance.name, ".backup", NULL);
	if (export_to(cli, &instance, path, named, err) < 0) {
		g_unlink(path);
		return -1;
	}
	if (!cli->quiet)
		puts("Backup exported successfully!");
	return 0;
}

/* ---- import ---- */

/* 1: the server has heard enough, and its reply says why. */
static int send_file(Stream *stream, int fd, Pb__ImportInstanceRequest *first, Progress *progress,
    uint64_t total, Error **err)
{
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	Pb__ImportInstanceRequest plain = PB__IMPORT_INSTANCE_REQUEST__INIT, *in = first;
	uint64_t done = 0;
	for (;;) {
		ssize_t n = read(fd, buffer, CHUNK);
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the backup");
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

static json_t *upload(Cli *cli, Server *server, int fd, const char *name, Error **err)
{
	Pb__ImportInstanceRequest in = PB__IMPORT_INSTANCE_REQUEST__INIT;
	ProtobufCMessage *reply;
	struct stat st;
	const char *pool = flag_string(cli, "storage");
	Progress progress;
	in.project = (char *)(server->project ? server->project : "");
	in.name = (char *)name;
	in.pool = (char *)(pool ? pool : "");
	g_autoptr(Stream) stream = stream_open(server, "ImportInstance", NULL, err);
	if (!stream)
		return NULL;
	progress_start(&progress, cli->quiet ? NULL : "Importing instance");
	int result = send_file(
	    stream, fd, &in, &progress, fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0, err);
	progress_end(&progress);
	if (result < 0 || stream_finish(stream, &reply, err) < 0)
		return NULL;
	json_t *operation = server_keep(cli, message_to_json(reply, true));
	stream_message_free(reply);
	return server_wait(server, operation, "Importing instance", err);
}

static int import(Cli *cli, Error **err)
{
	/* The remote is an argument of its own, and may be left out. */
	bool remote = cli->n_args > 1 && g_str_has_suffix(cli->args[0], ":");
	Server *server = remote ? server_of_argument(cli, 0, err) : server_get(cli, NULL, err);
	const char *path = cli->args[remote ? 1 : 0];
	const char *name = cli->n_args > (remote ? 2 : 1) ? cli->args[remote ? 2 : 1] : "";
	if (!server)
		return -1;
	autofd int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) :
						 open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot open \"%s\"", path);
	return upload(cli, server, fd, name, err) ? 0 : -1;
}

static const Flag export_flags[] = {
	{ "compression", 0, FLAG_STRING, NULL,
	    "gzip, zstd, xz, bzip2, lzma or none; else what the file's name says, or the server" },
	{ "instance-only", 0, FLAG_BOOL, NULL, "Leave the snapshots out" },
	{ "optimized-storage", 0, FLAG_BOOL, NULL,
	    "Use the storage driver's own format where it has one" },
	FLAG_END,
};
static const Flag import_flags[] = {
	{ "storage", 's', FLAG_STRING, NULL, "Storage pool for the instance" },
	FLAG_END,
};

const Command backup_commands[] = {
	{ .path = "export",
	    .usage = "[<remote>:]<instance> [target] [--instance-only] [--optimized-storage]",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = export_flags,
	    .summary = "Export instance backups",
	    .help =
		"Packs an instance with its snapshots and its configuration into one file, from which incus import makes it "
		"again, here or on another server. A running instance stands still meanwhile.",
	    .examples = "incus export c1 backup0.tar.gz\n"
			"    Pack c1 into a file compressed with gzip.",
	    .run = export,
	    .complete = "instance" },
	{ .path = "import",
	    .usage = "[<remote>:] <backup file> [<instance name>]",
	    .min_args = 1,
	    .max_args = 3,
	    .flags = import_flags,
	    .summary = "Import instance backups",
	    .help =
		"Makes an instance from a file that incus export wrote. \"-\" is standard input.",
	    .examples = "incus import backup0.tar.gz\n"
			"    Make the instance that is in the file.",
	    .run = import },
	{ 0 },
};
