#include "server/storage/archive_source.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, CHUNKS = 8 };

/* A ring of decompressed chunks between the two threads. The reader holds the chunk at `tail` until
 * it asks for the next one. */
struct ArchiveSource {
	int fd;
	uint64_t total;
	gint64 taken; /* atomic by lock */
	off_t offset;
	struct archive *raw, *tar;
	archive_read_callback *read; /* of `tar` */
	GThread *thread;	     /* NULL: a pipe */
	GMutex lock;
	GCond changed;
	char *chunks[CHUNKS];
	size_t lengths[CHUNKS];
	unsigned head, tail; /* chunks written and chunks given back, ever growing */
	gboolean holding, ended, closing;
	char *failure;
	char input[CHUNK];
};

static const struct {
	ArchiveKind kind;
	size_t offset, length;
	const char *magic, *extension;
} kinds[] = {
	{ ARCHIVE_KIND_GZIP, 0, 2, "\x1f\x8b", ".tar.gz" },
	{ ARCHIVE_KIND_BZIP2, 0, 3, "BZh", ".tar.bz2" },
	{ ARCHIVE_KIND_XZ, 0, 6, "\xfd" "7zXZ\0", ".tar.xz" },
	{ ARCHIVE_KIND_LZMA, 0, 3, "\x5d\0\0", ".tar.lzma" },
	{ ARCHIVE_KIND_ZSTD, 0, 4, "\x28\xb5\x2f\xfd", ".tar.zst" },
	{ ARCHIVE_KIND_SQUASHFS, 0, 4, "hsqs", ".squashfs" },
	{ ARCHIVE_KIND_QCOW2, 0, 4, "QFI\xfb", ".qcow2" },
	{ ARCHIVE_KIND_TAR, 257, 5, "ustar", ".tar" },
};

ArchiveKind archive_kind(const void *head, size_t length)
{
	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (length >= kinds[i].offset + kinds[i].length &&
		    memcmp((const char *)head + kinds[i].offset, kinds[i].magic, kinds[i].length) ==
			0)
			return kinds[i].kind;
	return ARCHIVE_KIND_UNKNOWN;
}

ArchiveKind archive_kind_of_fd(int fd)
{
	char head[512];
	ssize_t n = pread(fd, head, sizeof head, 0);
	return n > 0 ? archive_kind(head, (size_t)n) : ARCHIVE_KIND_UNKNOWN;
}

const char *archive_kind_extension(ArchiveKind kind)
{
	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].extension;
	return "";
}

static la_ssize_t raw_read(struct archive *a, void *data, const void **ret_buffer)
{
	ArchiveSource *source = data;
	ssize_t n = pread(source->fd, source->input, sizeof source->input, source->offset);
	if (n < 0) {
		archive_set_error(a, errno, "Cannot read the archive");
		return ARCHIVE_FATAL;
	}
	source->offset += n;
	g_mutex_lock(&source->lock);
	source->taken += n;
	g_mutex_unlock(&source->lock);
	*ret_buffer = source->input;
	return n;
}

/* Waits for a free slot; FALSE when the reader has gone. */
static gboolean slot_wait(ArchiveSource *source)
{
	g_mutex_lock(&source->lock);
	while (!source->closing && source->head - source->tail == CHUNKS)
		g_cond_wait(&source->changed, &source->lock);
	gboolean open = !source->closing;
	g_mutex_unlock(&source->lock);
	return open;
}

static void slot_publish(ArchiveSource *source, size_t length)
{
	g_mutex_lock(&source->lock);
	source->lengths[source->head % CHUNKS] = length;
	source->head++;
	g_cond_broadcast(&source->changed);
	g_mutex_unlock(&source->lock);
}

static void source_end(ArchiveSource *source, const char *failure)
{
	g_mutex_lock(&source->lock);
	source->ended = TRUE;
	source->failure = g_strdup(failure);
	g_cond_broadcast(&source->changed);
	g_mutex_unlock(&source->lock);
}

static const char *raw_failure(ArchiveSource *source)
{
	const char *text = archive_error_string(source->raw);
	return text ? text : "damaged data";
}

static void *decompress(void *data)
{
	ArchiveSource *source = data;
	struct archive_entry *entry;
	int rc = archive_read_next_header(source->raw, &entry);
	if (rc == ARCHIVE_EOF) {
		source_end(source, NULL);
		return NULL;
	}
	if (rc < ARCHIVE_WARN) {
		source_end(source, raw_failure(source));
		return NULL;
	}
	while (slot_wait(source)) {
		char *chunk = source->chunks[source->head % CHUNKS];
		size_t fill = 0;
		ssize_t n = 0;
		while (fill < CHUNK &&
		    (n = archive_read_data(source->raw, chunk + fill, CHUNK - fill)) > 0)
			fill += (size_t)n;
		if (fill > 0)
			slot_publish(source, fill);
		if (n <= 0) {
			source_end(source, n < 0 ? raw_failure(source) : NULL);
			return NULL;
		}
	}
	return NULL;
}

static la_ssize_t tar_read(struct archive *a, void *data, const void **ret_buffer)
{
	ArchiveSource *source = data;
	la_ssize_t length = 0;
	g_mutex_lock(&source->lock);
	if (source->holding) {
		source->tail++;
		source->holding = FALSE;
		g_cond_broadcast(&source->changed);
	}
	while (source->head == source->tail && !source->ended)
		g_cond_wait(&source->changed, &source->lock);
	if (source->head != source->tail) {
		*ret_buffer = source->chunks[source->tail % CHUNKS];
		length = (la_ssize_t)source->lengths[source->tail % CHUNKS];
		source->holding = TRUE;
	} else if (source->failure) {
		archive_set_error(a, EIO, "%s", source->failure);
		length = ARCHIVE_FATAL;
	}
	g_mutex_unlock(&source->lock);
	return length;
}

static la_ssize_t pipe_read(struct archive *a, void *data, const void **ret_buffer)
{
	ArchiveSource *source = data;
	ssize_t n;
	do
		n = read(source->fd, source->input, sizeof source->input);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		archive_set_error(a, errno, "Cannot read the stream");
		return ARCHIVE_FATAL;
	}
	source->taken += n;
	*ret_buffer = source->input;
	return n;
}

static int raw_open(ArchiveSource *source)
{
	source->raw = archive_read_new();
	if (!source->raw)
		return ARCHIVE_FATAL;
	archive_read_support_filter_gzip(source->raw);
	archive_read_support_filter_bzip2(source->raw);
	archive_read_support_filter_xz(source->raw);
	archive_read_support_filter_lzma(source->raw);
	archive_read_support_filter_zstd(source->raw);
	archive_read_support_format_raw(source->raw);
	archive_read_support_format_empty(source->raw);
	return archive_read_open(source->raw, source, NULL, raw_read, NULL);
}

static int tar_open(ArchiveSource *source)
{
	source->tar = archive_read_new();
	if (!source->tar)
		return ARCHIVE_FATAL;
	archive_read_support_format_tar(source->tar);
	/* Names that are not UTF-8 pass through as bytes: the process's locale has no say. */
	archive_read_set_format_option(source->tar, "tar", "hdrcharset", "UTF-8");
	return archive_read_open(source->tar, source, NULL, source->read, NULL);
}

static ArchiveSource *source_new(int fd, archive_read_callback *read)
{
	ArchiveSource *source = g_new0(ArchiveSource, 1);
	source->fd = fd;
	source->read = read;
	g_mutex_init(&source->lock);
	g_cond_init(&source->changed);
	return source;
}

static int open_pipe(int fd, ArchiveSource **ret_source, Error **err)
{
	g_autoptr(ArchiveSource) source = source_new(fd, pipe_read);
	if (tar_open(source) != ARCHIVE_OK)
		return archive_source_fail(source, err);
	*ret_source = g_steal_pointer(&source);
	return 0;
}

int archive_source_open(int fd, ArchiveSource **ret_source, Error **err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read the archive");
	if (S_ISFIFO(st.st_mode))
		return open_pipe(fd, ret_source, err);
	g_autoptr(ArchiveSource) source = source_new(fd, tar_read);
	source->total = (uint64_t)st.st_size;
	for (int i = 0; i < CHUNKS; i++)
		source->chunks[i] = g_malloc(CHUNK);
	ArchiveKind kind = archive_kind_of_fd(fd);
	if (kind == ARCHIVE_KIND_SQUASHFS || kind == ARCHIVE_KIND_QCOW2)
		return error_set(err, ERROR_INVALID, "The file is not a tar archive");
	if (raw_open(source) != ARCHIVE_OK)
		return error_set(
		    err, ERROR_INVALID, "Cannot read the archive: %s", raw_failure(source));
	source->thread = g_thread_new("unpack", decompress, source);
	if (tar_open(source) != ARCHIVE_OK)
		return archive_source_fail(source, err);
	*ret_source = g_steal_pointer(&source);
	return 0;
}

void archive_source_close(ArchiveSource *source)
{
	if (!source)
		return;
	g_mutex_lock(&source->lock);
	source->closing = TRUE;
	g_cond_broadcast(&source->changed);
	g_mutex_unlock(&source->lock);
	if (source->thread)
		g_thread_join(source->thread);
	archive_read_free(source->tar);
	archive_read_free(source->raw);
	for (int i = 0; i < CHUNKS; i++)
		g_free(source->chunks[i]);
	g_free(source->failure);
	g_mutex_clear(&source->lock);
	g_cond_clear(&source->changed);
	g_free(source);
}

struct archive *archive_source_reader(ArchiveSource *source)
{
	return source->tar;
}

int archive_source_next(ArchiveSource *source, struct archive_entry **ret_entry, Error **err)
{
	int rc = archive_read_next_header(source->tar, ret_entry);
	if (rc == ARCHIVE_OK || rc == ARCHIVE_WARN)
		return 1;
	if (rc != ARCHIVE_EOF)
		return archive_source_fail(source, err);
	/* A tar reader stops at the end marker; what follows must still decompress, or a truncated
	 * or damaged file would pass. */
	const void *rest;
	while (source->read(source->tar, source, &rest) > 0)
		;
	g_mutex_lock(&source->lock);
	gboolean failed = source->failure != NULL;
	g_mutex_unlock(&source->lock);
	return failed ? archive_source_fail(source, err) : 0;
}

void archive_source_progress(ArchiveSource *source, uint64_t *ret_done, uint64_t *ret_total)
{
	g_mutex_lock(&source->lock);
	*ret_done = (uint64_t)source->taken;
	*ret_total = source->total;
	g_mutex_unlock(&source->lock);
}

int archive_source_fail(ArchiveSource *source, Error **err)
{
	g_mutex_lock(&source->lock);
	g_autofree char *failure = g_strdup(source->failure);
	g_mutex_unlock(&source->lock);
	const char *text = failure;
	if (!text && source->tar)
		text = archive_error_string(source->tar);
	return error_set(err, ERROR_INVALID, "Cannot read the archive: %s",
	    text ? text : "it is damaged or cut short");
}
