#include "server/storage/archive_sink.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { BLOCK = 256 * 1024, ZSTD_LEVEL = 1, ZSTD_WORKERS_MAX = 4 };

struct ArchiveSink {
	int fd, level;
	struct archive *tar;
	ZSTD_CCtx *zstd; /* NULL: libarchive compresses itself */
	char *block;
};

/* libarchive's zstd filter of Debian 12 has no threads, so zstd is spoken to directly. */
static const struct Compression {
	const char *name;
	int (*add)(struct archive *tar);
	gboolean zstd, threads;
} compressions[] = {
	{ .name = "none" },
	{ .name = "zstd", .zstd = TRUE },
	{ .name = "pzstd", .zstd = TRUE },
	{ .name = "gzip", .add = archive_write_add_filter_gzip },
	{ .name = "pigz", .add = archive_write_add_filter_gzip },
	{ .name = "bzip2", .add = archive_write_add_filter_bzip2 },
	{ .name = "xz", .add = archive_write_add_filter_xz, .threads = TRUE },
	{ .name = "pxz", .add = archive_write_add_filter_xz, .threads = TRUE },
	{ .name = "lzma", .add = archive_write_add_filter_lzma },
};

/* "zstd -19": the word, and 19 or 0. */
static const struct Compression *parse(const char *text, int *ret_level, Error **err)
{
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	*ret_level = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(compressions); i++) {
		if (g_strcmp0(words[0], compressions[i].name) != 0)
			continue;
		for (char **word = words + 1; *word; word++)
			if (**word == '-' && g_ascii_isdigit((*word)[1]))
				*ret_level = atoi(*word + 1);
		return &compressions[i];
	}
	error_set(err, ERROR_INVALID, "Compression algorithm \"%s\" is not available: use gzip, zstd, xz, bzip2, lzma or none", text);
	return NULL;
}

int archive_sink_check(const char *compression, Error **err)
{
	int level;
	return parse(compression, &level, err) ? 0 : -1;
}

/* ---- what libarchive writes to ---- */

static la_ssize_t fail_write(struct archive *a, int errno_value)
{
	archive_set_error(a, errno_value, "Cannot write the archive: %s", g_strerror(errno_value));
	return -1;
}

static la_ssize_t write_plain(struct archive *a, void *data, const void *buffer, size_t length)
{
	ArchiveSink *sink = data;
	return file_write_all(sink->fd, buffer, length) < 0 ? fail_write(a, errno) : (la_ssize_t)length;
}

/* Gives `in` to the compressor; what comes out goes to the file. */
static int compress_block(ArchiveSink *sink, ZSTD_inBuffer *in, ZSTD_EndDirective directive)
{
	size_t left;
	do {
		ZSTD_outBuffer out = { sink->block, BLOCK, 0 };
		left = ZSTD_compressStream2(sink->zstd, &out, in, directive);
		if (ZSTD_isError(left)) {
			errno = ENOMEM; /* nothing else goes wrong with good parameters */
			return -1;
		}
		if (out.pos > 0 && file_write_all(sink->fd, sink->block, out.pos) < 0)
			return -1;
	} while (directive == ZSTD_e_end ? left > 0 : in->pos < in->size);
	return 0;
}

static la_ssize_t write_zstd(struct archive *a, void *data, const void *buffer, size_t length)
{
	ZSTD_inBuffer in = { buffer, length, 0 };
	return compress_block(data, &in, ZSTD_e_continue) < 0 ? fail_write(a, errno) : (la_ssize_t)length;
}

static int close_zstd(struct archive *a, void *data)
{
	ZSTD_inBuffer in = { NULL, 0, 0 };
	if (compress_block(data, &in, ZSTD_e_end) == 0)
		return ARCHIVE_OK;
	fail_write(a, errno);
	return ARCHIVE_FATAL;
}

/* ---- opening ---- */

static void set_zstd(ArchiveSink *sink)
{
	sink->zstd = ZSTD_createCCtx();
	sink->block = g_malloc(BLOCK);
	ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_compressionLevel, sink->level ? sink->level : ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_checksumFlag, 1);
	/* A library without threads refuses this and works as before. */
	ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_nbWorkers, (int)MIN(g_get_num_processors(), (guint)ZSTD_WORKERS_MAX));
}

static int set_filter(ArchiveSink *sink, const struct Compression *compression)
{
	g_autofree char *level = g_strdup_printf("%d", sink->level);
	if (compression->zstd)
		set_zstd(sink);
	if (!compression->add)
		return ARCHIVE_OK;
	if (compression->add(sink->tar) != ARCHIVE_OK)
		return ARCHIVE_FATAL;
	if (compression->threads && archive_write_set_filter_option(sink->tar, NULL, "threads", "0") == ARCHIVE_FATAL)
		return ARCHIVE_FATAL;
	return sink->level ? archive_write_set_filter_option(sink->tar, NULL, "compression-level", level) : ARCHIVE_OK;
}

int archive_sink_open(int fd, const char *text, ArchiveSink **ret_sink, Error **err)
{
	int level;
	const struct Compression *compression = parse(text, &level, err);
	if (!compression)
		return -1;
	g_autoptr(ArchiveSink) sink = g_new0(ArchiveSink, 1);
	sink->fd = fd;
	sink->level = level;
	sink->tar = archive_write_new();
	archive_write_set_format_pax(sink->tar);
	/* GNU tar and Incus know this spelling of extended attributes. */
	archive_write_set_format_option(sink->tar, "pax", "xattrheader", "SCHILY");
	archive_write_set_bytes_per_block(sink->tar, BLOCK);
	archive_write_set_bytes_in_last_block(sink->tar, 1);
	if (set_filter(sink, compression) != ARCHIVE_OK ||
	    archive_write_open(sink->tar, sink, NULL, compression->zstd ? write_zstd : write_plain,
		compression->zstd ? close_zstd : NULL) != ARCHIVE_OK)
		return archive_sink_fail(sink, err);
	*ret_sink = g_steal_pointer(&sink);
	return 0;
}

struct archive *archive_sink_writer(ArchiveSink *sink)
{
	return sink->tar;
}

int archive_sink_fail(ArchiveSink *sink, Error **err)
{
	const char *text = archive_error_string(sink->tar);
	return error_set(err, ERROR_INTERNAL, "%s", text ? text : "Cannot write the archive");
}

int archive_sink_finish(ArchiveSink *sink, Error **err)
{
	return archive_write_close(sink->tar) == ARCHIVE_OK ? 0 : archive_sink_fail(sink, err);
}

void archive_sink_free(ArchiveSink *sink)
{
	if (!sink)
		return;
	if (sink->tar) {
		archive_write_fail(sink->tar); /* no end is written: it must not look whole */
		archive_write_free(sink->tar);
	}
	ZSTD_freeCCtx(sink->zstd);
	g_free(sink->block);
	g_free(sink);
}
