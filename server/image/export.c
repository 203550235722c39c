#include "server/image/export.h"
#include "sdk/base/own.h"
#include "server/storage/archive_source.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int open_file(
    Daemon *d, const char *fingerprint, gboolean rootfs, ImageFile *ret, Error **err)
{
	g_autofree char *path = image_path(d, fingerprint, rootfs);
	struct stat st;
	ret->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno,
		    "Cannot read the files of image \"%.12s\"", fingerprint);
	ret->size = (uint64_t)st.st_size;
	return 0;
}

/* Its content never changes. */
typedef struct ImageRest {
	uint64_t offset;
	const char *version;
} ImageRest;

static int send_text(Stream *stream, Pb__ImageFile *message, const char *text, Error **err)
{
	message->data.data = (uint8_t *)text;
	message->data.len = strlen(text);
	return stream_send(stream, message, err);
}

static int send_unified(
    Request *rq, const ImageFile *file, const ImageRest *rest, Stream *stream, Error **err)
{
	Pb__ImageFile head = PB__IMAGE_FILE__INIT;
	head.size = arena_printf(rq->arena, "%" G_GUINT64_FORMAT, (guint64)file->size);
	head.part_filename = (char *)file->filename;
	head.content_type = arena_strdup(rq->arena, "application/octet-stream");
	head.content_disposition = arena_printf(rq->arena, "inline;filename=%s", file->filename);
	head.version = (char *)rest->version;
	uint64_t start = rq->rest ? stream_set_file(stream, file->size) : rest->offset;
	if (stream_send(stream, &head, err) < 0)
		return -1;
	return stream_send_file(stream, file->fd, start, file->size - start, err);
}

/* gRPC: a message begins each part, also one of which the client has all. */
static int send_parts(
    Request *rq, const ImageFile *files, const ImageRest *rest, Stream *stream, Error **err)
{
	uint64_t left = rest->offset;
	for (int i = 0; i < 2; i++) {
		uint64_t start = MIN(left, files[i].size);
		left -= start;
		Pb__ImageFile head = PB__IMAGE_FILE__INIT;
		head.part = (char *)files[i].part;
		head.part_filename = (char *)files[i].filename;
		head.size = arena_printf(rq->arena, "%" G_GUINT64_FORMAT, (guint64)files[i].size);
		head.version = (char *)(i == 0 ? rest->version : "");
		if (stream_send(stream, &head, err) < 0 ||
		    stream_send_file(stream, files[i].fd, start, files[i].size - start, err) < 0)
			return -1;
	}
	return 0;
}

char *image_files_head(const ImageFiles *files, unsigned i, const char *boundary, Arena *arena)
{
	return arena_printf(arena,
	    "%s--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%s\"\r\nContent-Type: application/octet-stream\r\n\r\n",
	    i ? "\r\n" : "", boundary, files->files[i].part, files->files[i].filename);
}

/* REST: one multipart/form-data body, its length known beforehand. */
static int send_multipart(Request *rq, const ImageFiles *all, Stream *stream, Error **err)
{
	const ImageFile *files = all->files;
	char *heads[2], *end;
	char *boundary = arena_printf(rq->arena, "%08x%08x%08x%08x", g_random_int(), g_random_int(),
	    g_random_int(), g_random_int());
	uint64_t length = 0;
	for (int i = 0; i < 2; i++) {
		heads[i] = image_files_head(all, (unsigned)i, boundary, rq->arena);
		length += strlen(heads[i]) + files[i].size;
	}
	end = arena_printf(rq->arena, "\r\n--%s--\r\n", boundary);
	stream_set_length(stream, length + strlen(end));
	for (int i = 0; i < 2; i++) {
		Pb__ImageFile message = PB__IMAGE_FILE__INIT;
		if (i == 0)
			message.content_type = arena_printf(
			    rq->arena, "multipart/form-data; boundary=%s", boundary);
		if (send_text(stream, &message, heads[i], err) < 0 ||
		    stream_send_file(stream, files[i].fd, 0, files[i].size, err) < 0)
			return -1;
	}
	Pb__ImageFile last = PB__IMAGE_FILE__INIT;
	return send_text(stream, &last, end, err);
}

int image_files_open(Daemon *d, const Pb__Image *image, Arena *arena, ImageFiles *ret, Error **err)
{
	g_autofree char *rootfs = image_path(d, image->fingerprint, TRUE);
	gboolean machine = strcmp(image->type, "virtual-machine") == 0;
	ImageFile *files = ret->files;
	ret->n = access(rootfs, F_OK) == 0 ? 2 : 1;
	files[0].fd = files[1].fd = -1;
	for (unsigned i = 0; i < ret->n; i++) {
		if (open_file(d, image->fingerprint, i > 0, &files[i], err) < 0) {
			image_files_close(ret);
			return -1;
		}
		const char *extension = archive_kind_extension(archive_kind_of_fd(files[i].fd));
		const char *prefix = ret->n == 2 && i == 0 ? "meta-" : "";
		files[i].filename = arena_printf(
		    arena, "%s%s%s", prefix, image->fingerprint, extension);
	}
	files[0].part = ret->n == 2 ? "metadata" : "";
	files[1].part = machine ? "rootfs.img" : "rootfs";
	return 0;
}

void image_files_close(ImageFiles *files)
{
	own_close_fd(&files->files[0].fd);
	own_close_fd(&files->files[1].fd);
}

static int send(
    Request *rq, const ImageFiles *files, const ImageRest *rest, Stream *stream, Error **err)
{
	if (files->n == 1)
		return send_unified(rq, &files->files[0], rest, stream, err);
	return rq->rest ? send_multipart(rq, files, stream, err) :
			  send_parts(rq, files->files, rest, stream, err);
}

int image_export(Request *rq, const Pb__Image *image, const Pb__ExportImageRequest *asked,
    Stream *stream, Error **err)
{
	ImageFiles files;
	ImageRest rest = { asked->offset, image->fingerprint };
	if (image_files_open(rq->daemon, image, rq->arena, &files, err) < 0)
		return -1;
	uint64_t size = files.files[0].size + (files.n == 2 ? files.files[1].size : 0);
	int r = stream_check_offset(rest.offset, asked->version, rest.version, size, err) < 0 ?
	    -1 :
	    send(rq, &files, &rest, stream, err);
	image_files_close(&files);
	return r;
}
