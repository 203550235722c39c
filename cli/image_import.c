#include "cli/image_commands.h"
#include "cli/message.h"
#include "cli/stream.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "incus/v1/image.pb-c.h"
#include "incus/v1/operation.pb-c.h"
#include <errno.h>
#include <fcntl.h>
#include <incus/transfer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Import {
	Cli *cli;
	Server *server;
	const char *image;  /* file, directory or URL */
	const char *rootfs; /* NULL: unified */
	json_t *properties;
	const char *project; /* "": the current one */
} Import;

/* ---- arguments ---- */

/* After the image come, in any order: a rootfs file, "remote:", and properties. */
static int parse(Import *import, Error **err)
{
	Cli *cli = import->cli;
	const char *remote = NULL;
	for (int i = 0; i < cli->n_args; i++) {
		const char *arg = cli->args[i];
		struct stat st;
		if (i > 0 && strchr(arg, '=') && stat(arg, &st) < 0) {
			if (read_pair(arg, import->properties, err) < 0)
				return -1;
		} else if (g_str_has_suffix(arg, ":") && !strchr(arg, '/')) {
			remote = arena_strndup(cli->arena, arg, strlen(arg) - 1);
		} else if (!import->image) {
			import->image = arg;
		} else if (!import->rootfs) {
			import->rootfs = arg;
		} else {
			return error_set(err, ERROR_INVALID, "Unexpected argument \"%s\"", arg);
		}
	}
	if (!import->image)
		return error_set(err, ERROR_INVALID, "Missing image file");
	import->server = server_get(cli, remote, err);
	return import->server ? 0 : -1;
}

/* ---- the request ---- */

char *image_properties_query(Cli *cli, const json_t *properties)
{
	g_autoptr(GString) out = g_string_new(NULL);
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)properties, key, value) {
		g_autofree char *k = g_uri_escape_string(key, NULL, FALSE);
		g_autofree char *v = g_uri_escape_string(json_string_value(value), NULL, FALSE);
		g_string_append_printf(out, "%s%s=%s", out->len ? "&" : "", k, v);
	}
	return arena_strdup(cli->arena, out->str);
}

static char *project_of(const Server *server, const char *project)
{
	return (char *)(*project ? project : server->project ? server->project : "");
}

static Pb__CreateImageRequest first_message(const Import *import, const char *properties)
{
	Pb__CreateImageRequest in = PB__CREATE_IMAGE_REQUEST__INIT;
	in.project = project_of(import->server, import->project);
	in.public_ = (char *)(flag_bool(import->cli, "public") ? "1" : "");
	in.properties = (char *)properties;
	return in;
}

static int open_image(const char *path, Error **err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, ERROR_INVALID, errno, "Cannot open \"%s\"", path) : fd;
}

static bool is_disk_image(int fd)
{
	char magic[4];
	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	    memcmp(magic, "QFI\xfb", 4) == 0;
}

static json_t *start(Server *server, Stream *stream, Error **err)
{
	ProtobufCMessage *reply;
	if (stream_finish(stream, &reply, err) < 0)
		return NULL;
	json_t *operation = server_keep(server->cli, message_to_json(reply, true));
	stream_message_free(reply);
	return operation;
}

static json_t *upload(Import *import, const char *path, Error **err)
{
	char *properties = image_properties_query(import->cli, import->properties);
	Pb__CreateImageRequest in = first_message(import, properties);
	g_autofree char *image_name = g_path_get_basename(import->image);
	g_autofree char *rootfs_name = import->rootfs ? g_path_get_basename(import->rootfs) : NULL;
	autofd int image_fd = open_image(path, err);
	autofd int rootfs_fd = -1;
	if (image_fd < 0 || (rootfs_name && (rootfs_fd = open_image(import->rootfs, err)) < 0))
		return NULL;
	incus_upload_file files[2] = { { .fd = image_fd }, { .fd = rootfs_fd } };
	in.filename = rootfs_name ? rootfs_name : image_name;
	if (rootfs_name) {
		files[0].part = "metadata";
		files[0].part_filename = image_name;
		files[1].part = is_disk_image(rootfs_fd) ? "rootfs.img" : "rootfs";
		files[1].part_filename = rootfs_name;
	}
	json_t *operation = upload_files(import->server, "CreateImage", &in.base, files,
	    rootfs_name ? 2 : 1, "Transferring image", err);
	return operation ? server_wait(import->server, operation, "Importing image", err) : NULL;
}

json_t *image_upload(Server *server, const char *image, const char *rootfs, json_t *properties,
    const char *project, Error **err)
{
	Import import = { .cli = server->cli, .server = server, .image = image, .rootfs = rootfs,
		.properties = properties, .project = project };
	return upload(&import, image, err);
}

json_t *image_create_start(Server *server, json_t *post, const char *project, Error **err)
{
	Pb__CreateImageRequest in = PB__CREATE_IMAGE_REQUEST__INIT;
	server_keep(server->cli, post);
	in.project = project_of(server, project);
	in.image = (Pb__ImagesPost *)message_from_json(
	    &pb__images_post__descriptor, post, server->cli->arena, err);
	if (!in.image)
		return NULL;
	g_autoptr(Stream) stream = stream_open(server, "CreateImage", &in.base, err);
	return stream ? start(server, stream, err) : NULL;
}

json_t *image_create(
    Server *server, json_t *post, const char *project, const char *label, Error **err)
{
	json_t *source = json_object_get(post, "source"), *done = NULL;
	char **servers = image_take_servers(server->cli, source, "server");
	g_autoptr(Error) problem = NULL;
	server_keep(server->cli, post);
	for (int i = 0; servers[i] && !done; i++) {
		g_clear_pointer(&problem, error_free);
		if (*servers[i])
			json_object_set_new(source, "server", json_string(servers[i]));
		json_t *operation = image_create_start(
		    server, json_incref(post), project, &problem);
		done = operation ? server_wait(server, operation, label, &problem) : NULL;
	}
	if (!done)
		error_propagate(err, g_steal_pointer(&problem));
	return done;
}

/* ---- directories ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds what is in the directory to the arguments, metadata.yaml first: readers look for it there.
 */
static int add_entries(GPtrArray *argv, const char *directory, Error **err)
{
	g_autoptr(GError) failure = NULL;
	g_autoptr(GDir) dir = g_dir_open(directory, 0, &failure);
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	const char *name;
	bool found = false;
	if (!dir)
		return error_set(
		    err, ERROR_INVALID, "Cannot read \"%s\": %s", directory, failure->message);
	while ((name = g_dir_read_name(dir))) {
		if (strcmp(name, "metadata.yaml") == 0)
			found = true;
		else
			g_ptr_array_add(names, g_strconcat("./", name, NULL));
	}
	qsort(names->pdata, names->len, sizeof(void *), by_name);
	g_ptr_array_add(argv, g_strdup("metadata.yaml"));
	for (guint i = 0; i < names->len; i++)
		g_ptr_array_add(argv, names->pdata[i]);
	g_ptr_array_add(argv, NULL);
	return found ? 0 :
		       error_set(err, ERROR_INVALID, "\"%s\" holds no metadata.yaml", directory);
}

static int run_tar(const char *directory, const char *archive, Error **err)
{
	static const char *const options[] = { "tar", "--numeric-owner", "--xattrs",
		"--xattrs-include=*", "--sort=name", "-cJf" };
	static const char *const environment[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"XZ_DEFAULTS=-T0", NULL
	};
	g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
	for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
		g_ptr_array_add(argv, g_strdup(options[i]));
	g_ptr_array_add(argv, g_strdup(archive));
	g_ptr_array_add(argv, g_strdup("-C"));
	g_ptr_array_add(argv, g_strdup(directory));
	if (add_entries(argv, directory, err) < 0)
		return -1;
	Spawn spawn = { .argv = (const char *const *)argv->pdata, .environment = environment };
	return spawn_run(&spawn, NULL, NULL, err);
}

/* Packs a directory into a temporary file; its name, NULL on error. */
static char *pack_directory(const char *directory, Error **err)
{
	g_autofree char *path = g_strdup_printf("%s/incus_image_XXXXXX.tar.xz", g_get_tmp_dir());
	if (geteuid() != 0) {
		error_set(err, ERROR_FORBIDDEN, "Must run as root to import from directory");
		return NULL;
	}
	autofd int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
		return NULL;
	}
	if (run_tar(directory, path, err) == 0)
		return g_steal_pointer(&path);
	unlink(path);
	return NULL;
}

static json_t *import_directory(Import *import, Error **err)
{
	if (import->rootfs) {
		error_set(err, ERROR_INVALID, "A directory needs no separate root file system");
		return NULL;
	}
	g_autofree char *packed = pack_directory(import->image, err);
	if (!packed)
		return NULL;
	json_t *done = upload(import, packed, err);
	unlink(packed);
	return done;
}

static json_t *import_any(Import *import, Error **err)
{
	if (g_str_has_prefix(import->image, "http://")) {
		error_set(err, ERROR_INVALID, "Only https:// is supported for remote image import");
		return NULL;
	}
	if (g_str_has_prefix(import->image, "https://"))
		return image_create(import->server,
		    json_pack("{s:{s:s, s:s, s:s}, s:b, s:O}", "source", "type", "url", "mode",
			"pull", "url", import->image, "public", flag_bool(import->cli, "public"),
			"properties", import->properties),
		    "", "Importing image", err);
	if (g_file_test(import->image, G_FILE_TEST_IS_DIR))
		return import_directory(import, err);
	return upload(import, import->image, err);
}

int image_import(Cli *cli, Error **err)
{
	Import import = {
		.cli = cli, .project = "", .properties = server_keep(cli, json_object())
	};
	unsigned n;
	const char *const *aliases = flag_list(cli, "alias", &n);
	if (parse(&import, err) < 0)
		return -1;
	json_t *done = import_any(&import, err);
	if (!done)
		return -1;
	const char *fingerprint = json_get_text(json_object_get(done, "metadata"), "fingerprint");
	for (unsigned i = 0; i < n; i++)
		if (image_alias_set(import.server, aliases[i], fingerprint, err) < 0)
			return -1;
	if (!cli->quiet)
		printf("Image imported with fingerprint: %s\n", fingerprint);
	return 0;
}
