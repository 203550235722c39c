#include "cli/archive_name.h"
#include "cli/image_commands.h"
#include "cli/progress.h"
#include "cli/stream.h"
#include "sdk/base/own.h"
#include "incus/v1/image.pb-c.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file being written; its name is known once its first bytes tell what it is. */
typedef struct Export {
	const char *fingerprint;
	const char *target; /* NULL: named after the fingerprint, in the current directory */
	bool directory;     /* target is one */
	bool split;
	bool rootfs; /* the second file of a split image */
	int fd;
	char *path;
	uint64_t done, total;
	Progress progress;
} Export;

/* "meta-FP.tar.xz" and "FP.squashfs", or "TARGET.tar.xz" and "TARGET.root.squashfs". */
static char *name_file(const Export *export, const char *extension)
{
	bool meta = export->split && !export->rootfs;
	if (export->target && !export->directory)
		return g_strconcat(export->target, export->rootfs ? ".root" : "", extension, NULL);
	g_autofree char *name = g_strconcat(
	    meta ? "meta-" : "", export->fingerprint, extension, NULL);
	return export->target ? g_build_filename(export->target, name, NULL) :
				g_steal_pointer(&name);
}

static int close_file(Export *export, Error **err)
{
	int result = 0;
	if (export->fd >= 0 && close(export->fd) < 0)
		result = error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", export->path);
	export->fd = -1;
	g_clear_pointer(&export->path, g_free);
	return result;
}

static int open_file(Export *export, const Pb__ImageFile *file, Error **err)
{
	export->path = name_file(export, archive_extension(file->data.data, file->data.len));
	export->fd = open(export->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (export->fd < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", export->path);
	return 0;
}

static int take(Export *export, const Pb__ImageFile *file, Error **err)
{
	if (*file->size)
		export->total += g_ascii_strtoull(file->size, NULL, 10);
	if (*file->part) {
		if (close_file(export, err) < 0)
			return -1;
		export->split = true;
		export->rootfs = strcmp(file->part, "metadata") != 0;
	}
	if (file->data.len == 0)
		return 0;
	if (export->fd < 0 && open_file(export, file, err) < 0)
		return -1;
	export->done += file->data.len;
	progress_bytes(&export->progress, export->done, export->total);
	return write_all(export->fd, file->data.data, file->data.len, err);
}

static int receive(Export *export, Download *from, Error **err)
{
	ProtobufCMessage *message;
	while (download_receive(from, &message, err) == 0) {
		if (!message)
			return close_file(export, err);
		int result = take(export, (const Pb__ImageFile *)message, err);
		stream_message_free(message);
		if (result < 0)
			return -1;
	}
	return -1;
}

/* Where the file of an export comes to stand; it is in `directory` under the server's name for it.
 */
static int place_file(const Export *export, const char *from, Error **err)
{
	uint8_t start[512];
	autofd int fd = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, start, sizeof(start));
	if (n < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", from);
	g_autofree char *to = name_file(export, archive_extension(start, (size_t)n));
	if (g_rename(from, to) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", to);
	return 0;
}

/* Beside the target first, so that a failed download leaves nothing under its name. */
static int export_streams(
    Cli *cli, const Remote *remote, const char *name, Export *export, Error **err)
{
	json_t *data = image_streams_get(cli, remote, name, err);
	if (!data)
		return -1;
	export->fingerprint = json_get_text(data, "fingerprint");
	g_autofree char *beside = export->directory ? g_strdup(export->target) :
	    export->target			    ? g_path_get_dirname(export->target) :
						      g_strdup(".");
	g_autofree char *directory = g_build_filename(beside, ".incus_image_XXXXXX", NULL);
	const char *image, *rootfs;
	if (!g_mkdtemp_full(directory, 0700))
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot create a folder in \"%s\"", beside);
	int result = image_streams_download(
	    cli, remote, export->fingerprint, directory, &image, &rootfs, err);
	if (result == 0) {
		export->split = rootfs != NULL;
		result = place_file(export, image, err);
		export->rootfs = true;
		if (result == 0 && rootfs)
			result = place_file(export, rootfs, err);
		g_unlink(image);
		if (rootfs)
			g_unlink(rootfs);
	}
	g_rmdir(directory);
	return result;
}

static int export_server(Cli *cli, Export *export, Error **err)
{
	Object image;
	Pb__ExportImageRequest in = PB__EXPORT_IMAGE_REQUEST__INIT;
	if (image_parse(cli, cli->args[0], &image, err) < 0)
		return -1;
	json_t *data = object_get(&image, err); /* the whole fingerprint names the files */
	if (!data)
		return -1;
	export->fingerprint = json_get_text(data, "fingerprint");
	in.fingerprint = (char *)export->fingerprint;
	in.project = (char *)(image.server->project ? image.server->project : "");
	g_autoptr(Download) from = download_open(image.server, "ExportImage", &in.base, err);
	if (!from)
		return -1;
	progress_start(&export->progress, cli->quiet ? NULL : "Exporting the image");
	int result = receive(export, from, err);
	progress_end(&export->progress);
	if (result == 0)
		return 0;
	if (export->path)
		g_unlink(export->path);
	close_file(export, NULL);
	return -1;
}

int image_export(Cli *cli, Error **err)
{
	Export export = { .fd = -1, .target = cli->n_args > 1 ? cli->args[1] : NULL };
	const char *name;
	const Remote *streams = image_streams_remote(cli, cli->args[0], &name);
	export.directory = export.target && g_file_test(export.target, G_FILE_TEST_IS_DIR);
	if ((streams ? export_streams(cli, streams, name, &export, err) :
		       export_server(cli, &export, err)) < 0)
		return -1;
	if (!cli->quiet)
		puts("Image exported successfully!");
	return 0;
}
