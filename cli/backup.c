/*
 * incus export and import, incus storage volume export and import: instances and volumes as files.
 */
#include "cli/archive_name.h"
#include "cli/archive_transfer.h"
#include "cli/instance.h"
#include "cli/output.h"
#include "cli/volume.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEPT_SECONDS = 24 * 60 * 60 };

/* What is packed. */
typedef struct Packed {
	const char *method; /* of "CreateInstanceBackup" and its like */
	const char *only;   /* the flag, and the field, of a backup without snapshots */
	const char *field;
	const char *label;
} Packed;

static const Packed packed_instance = {
	"InstanceBackup", "instance-only", "instance_only", "Backing up instance"
};
static const Packed packed_volume = { "StoragePoolVolumeBackup", "volume-only", "volume_only",
	"Backing up storage volume" };

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

static json_t *call(Server *server, const Packed *packed, const char *verb, json_t *request,
    const char *label, Error **err)
{
	g_autofree char *method = g_strconcat(verb, packed->method, NULL);
	return server_do(server, method, request, label, err);
}

/* The name of the new backup, from the operation that makes it. */
static const char *pack(Cli *cli, Server *server, const Packed *packed, const json_t *key,
    const char *target, Error **err)
{
	const char *compression = flag_string(cli, "compression");
	g_autofree char *expires = units_format_time(time(NULL) + KEPT_SECONDS, 0);
	json_t *request = json_deep_copy(key);
	json_object_set_new(request, "backup",
	    json_pack("{s:s, s:b, s:b, s:s}", "expires_at", expires, packed->field,
		flag_bool(cli, packed->only), "optimized_storage",
		flag_bool(cli, "optimized-storage"), "compression_algorithm",
		*compression ? compression : compression_of(target)));
	json_t *done = call(server, packed, "Create", request, packed->label, err);
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

static int fetch(Server *server, const Packed *packed, const json_t *key, const char *name, int fd,
    Error **err)
{
	g_autofree char *method = g_strconcat("Export", packed->method, NULL);
	json_t *one = json_deep_copy(key);
	json_object_set_new(one, "name", json_string(name));
	int result = archive_download(
	    server, method, json_deep_copy(one), fd, "Exporting the backup", err);
	return call(server, packed, "Delete", one, NULL, result == 0 ? err : NULL) ? result : -1;
}

static int export_to(Cli *cli, Server *server, const Packed *packed, const json_t *key,
    const char *path, const char *named, Error **err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
	const char *name = pack(cli, server, packed, key, named, err);
	if (name && fetch(server, packed, key, name, fd, err) == 0)
		return 0;
	g_unlink(path);
	return -1;
}

static int say_exported(const Cli *cli)
{
	if (!cli->quiet)
		puts("Backup exported successfully!");
	return 0;
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

static int export_instance(Cli *cli, Error **err)
{
	Object instance;
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	const char *named = cli->n_args > 1 ? cli->args[1] : NULL;
	g_autofree char *path = named ? g_strdup(named) :
					g_strconcat(instance.name, ".backup", NULL);
	json_t *key = server_keep(cli, json_pack("{s:s}", "instance", instance.name));
	if (export_to(cli, instance.server, &packed_instance, key, path, named, err) < 0)
		return -1;
	if (!named && name_file(path, instance.name, err) < 0) {
		g_unlink(path);
		return -1;
	}
	return say_exported(cli);
}

static int export_volume(Cli *cli, Error **err)
{
	Object volume;
	if (volume_parse_whole(cli, &volume, err) < 0)
		return -1;
	const char *path = cli->n_args > 2 ? cli->args[2] : "backup.tar.gz";
	json_t *key = server_keep(cli,
	    json_pack("{s:O, s:O, s:s, s:s}", "pool", json_object_get(volume.key, "pool"), "type",
		json_object_get(volume.key, "type"), "volume", volume.name, "target",
		flag_string(cli, "target")));
	return export_to(cli, volume.server, &packed_volume, key, path, path, err) < 0 ?
	    -1 :
	    say_exported(cli);
}

/* ---- import ---- */

static int upload(Server *server, const char *method, json_t *first, const char *path,
    const char *label, Error **err)
{
	json_t *kept = server_keep(server->cli, first);
	autofd int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) :
						 open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot open \"%s\"", path);
	return archive_upload(server, method, json_incref(kept), fd, label, err) ? 0 : -1;
}

static int import_instance(Cli *cli, Error **err)
{
	/* The remote is an argument of its own, and may be left out. */
	bool remote = cli->n_args > 1 && g_str_has_suffix(cli->args[0], ":");
	Server *server = remote ? server_of_argument(cli, 0, err) : server_get(cli, NULL, err);
	const char *path = cli->args[remote ? 1 : 0];
	const char *name = cli->n_args > (remote ? 2 : 1) ? cli->args[remote ? 2 : 1] : "";
	if (!server)
		return -1;
	return upload(server, "ImportInstance",
	    json_pack("{s:s, s:s}", "name", name, "pool", flag_string(cli, "storage")),
	    path, "Importing instance", err);
}

/* Without --type the name of the file tells. */
static const char *type_of(Cli *cli, const char *path)
{
	const char *type = flag_string(cli, "type");
	return *type ? type : g_str_has_suffix(path, ".iso") ? "iso" : "backup";
}

static int import_volume(Cli *cli, Error **err)
{
	Target pool;
	const char *path = cli->args[1], *name = cli->n_args > 2 ? cli->args[2] : "",
		   *type = type_of(cli, path);
	if (volume_parse_pool(cli, &pool, err) < 0)
		return -1;
	if (strcmp(type, "iso") == 0 && !*name)
		return error_set(err, ERROR_INVALID,
		    "Importing ISO images requires a volume name to be set");
	return upload(pool.server, "ImportStoragePoolVolume",
	    json_pack("{s:s, s:s, s:s, s:s, s:s}", "pool", pool.name, "type", "custom", "target",
		flag_string(cli, "target"), "name", name, "file_type", type),
	    path, "Importing custom volume", err);
}

#define EXPORT_FLAGS                                                                                \
	{ "compression", 0, FLAG_STRING, NULL,                                                      \
	    "gzip, zstd, xz, bzip2, lzma or none; else what the file's name says, or the server" }, \
	{                                                                                           \
		"optimized-storage", 0, FLAG_BOOL, NULL,                                            \
		    "Use the storage driver's own format where it has one"                          \
	}

static const Flag export_flags[] = {
	EXPORT_FLAGS,
	{ "instance-only", 0, FLAG_BOOL, NULL, "Leave the snapshots out" },
	FLAG_END,
};
static const Flag import_flags[] = {
	{ "storage", 's', FLAG_STRING, NULL, "Storage pool for the instance" },
	FLAG_END,
};
static const Flag volume_export_flags[] = {
	EXPORT_FLAGS,
	FLAG_TARGET,
	{ "volume-only", 0, FLAG_BOOL, NULL, "Leave the snapshots out" },
	FLAG_END,
};
static const Flag volume_import_flags[] = {
	FLAG_TARGET,
	{ "type", 0, FLAG_STRING, NULL, "What the file is: backup or iso; else its name tells" },
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
		"again, here or on another server. A running instance stands still meanwhile, unless its storage driver can "
		"clone it at one moment.",
	    .examples = "incus export c1 backup0.tar.gz\n"
			"    Pack c1 into a file compressed with gzip.",
	    .run = export_instance,
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
	    .run = import_instance },
	{ .path = "storage volume export",
	    .usage = "[<remote>:]<pool> <volume> [<path>]",
	    .min_args = 2,
	    .max_args = 3,
	    .flags = volume_export_flags,
	    .summary = "Export a custom volume",
	    .help =
		"Packs a custom volume with its snapshots into one file (backup.tar.gz), from which incus storage volume "
		"import makes it again, here or on another server.",
	    .examples = "incus storage volume export default data data.tar.zst",
	    .run = export_volume,
	    .complete = "storage,volume" },
	{ .path = "storage volume import",
	    .usage = "[<remote>:]<pool> <backup file> [<volume name>]",
	    .min_args = 2,
	    .max_args = 3,
	    .flags = volume_import_flags,
	    .summary = "Import a volume from a file",
	    .help = "Makes a custom volume from an ISO image, or from a file that incus storage volume export "
		    "wrote. \"-\" is standard input.",
	    .examples = "incus storage volume import default debian.iso installer\n"
			"incus storage volume import default data.tar.zst",
	    .run = import_volume,
	    .complete = "storage" },
	{ 0 },
};
