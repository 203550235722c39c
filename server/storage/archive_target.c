#include "server/storage/archive_target.h"
#include "sdk/base/units.h"
#include <string.h>

enum { BLOCK = 256 * 1024 };

struct ArchiveTarget {
	struct archive *archive;
	ArchiveSink sink;
	void *data;
	Error *error; /* of the sink */
	gboolean giving_up;
};

typedef struct Compression {
	const char *name;
	int filter;
	int64_t level_max;
	gboolean threads;
} Compression;

static const Compression compressions[] = {
	{ "none", ARCHIVE_FILTER_NONE, 0, FALSE },
	{ "zstd", ARCHIVE_FILTER_ZSTD, 19, TRUE },
	{ "pzstd", ARCHIVE_FILTER_ZSTD, 19, TRUE },
	{ "gzip", ARCHIVE_FILTER_GZIP, 9, FALSE },
	{ "pigz", ARCHIVE_FILTER_GZIP, 9, FALSE },
	{ "bzip2", ARCHIVE_FILTER_BZIP2, 9, FALSE },
	{ "xz", ARCHIVE_FILTER_XZ, 9, TRUE },
	{ "pxz", ARCHIVE_FILTER_XZ, 9, TRUE },
	{ "lzma", ARCHIVE_FILTER_LZMA, 9, FALSE },
};

static const Compression *compression_find(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(compressions); i++)
		if (strcmp(compressions[i].name, name) == 0)
			return &compressions[i];
	return NULL;
}

/* The level "-9"; hints about how, not what, to write are taken and left out. */
static int read_option(
    const Compression *compression, const char *word, char **ret_level, Error **err)
{
	static const char *const hints[] = { "--rsyncable", "-n", "--no-name", "-q", "--quiet" };
	int64_t level;
	for (size_t i = 0; i < G_N_ELEMENTS(hints); i++)
		if (strcmp(hints[i], word) == 0)
			return 0;
	if (word[0] != '-' ||
	    units_parse_int(word + 1, 1, compression->level_max, &level, NULL) < 0)
		return error_set(err, ERROR_INVALID,
		    "Compression option \"%s\" of \"%s\" is not supported", word,
		    compression->name);
	g_free(*ret_level);
	*ret_level = g_strdup(word + 1);
	return 0;
}

static int add_filter(struct archive *archive, const char *text, Error **err)
{
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	g_autofree char *level = NULL;
	const Compression *compression = compression_find(words[0] ? words[0] : "");
	if (!compression)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Compression \"%s\" is not available: use zstd, gzip, xz, bzip2 or none", text);
	for (char **word = words + 1; *word; word++)
		if (**word && read_option(compression, *word, &level, err) < 0)
			return -1;
	/* A warning would mean that a program outside does the work. */
	if (archive_write_add_filter(archive, compression->filter) != ARCHIVE_OK)
		return error_set(err, ERROR_UNSUPPORTED, "This build has no compression \"%s\"",
		    compression->name);
	if (level &&
	    archive_write_set_filter_option(archive, NULL, "compression-level", level) !=
		ARCHIVE_OK)
		return error_set(err, ERROR_INVALID,
		    "Compression level %s of \"%s\" is not supported", level, compression->name);
	if (compression->threads) {
		g_autofree char *threads = g_strdup_printf("%u", MIN(g_get_num_processors(), 16));
		archive_write_set_filter_option(
		    archive, NULL, "threads", threads); /* older libraries have one */
	}
	/* The same tree gives the same bytes, whenever it is packed. */
	if (compression->filter == ARCHIVE_FILTER_GZIP)
		archive_write_set_filter_option(archive, "gzip", "timestamp", NULL);
	return 0;
}

/* The library loses memory when this fails (archive_write_free() does not end its client then), so
 * it never does: whoever writes looks at target->error. */
static la_ssize_t pass_on(struct archive *archive, void *data, const void *bytes, size_t length)
{
	ArchiveTarget *target = data;
	if (!target->giving_up && !target->error)
		target->sink(target->data, bytes, length, &target->error);
	return (la_ssize_t)length;
}

static int fail(ArchiveTarget *target, Error **err)
{
	if (target->error)
		return error_propagate(err, g_steal_pointer(&target->error));
	const char *text = archive_error_string(target->archive);
	return error_set(
	    err, ERROR_INTERNAL, "Cannot write the archive: %s", text ? text : "unknown failure");
}

/* Names are bytes, whatever the locale. */
static int open_format(ArchiveTarget *target, int (*set_format)(struct archive *), Error **err)
{
	struct archive *archive = target->archive;
	if (set_format(archive) != ARCHIVE_OK ||
	    archive_write_set_format_option(archive, NULL, "hdrcharset", "BINARY") != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(archive, BLOCK) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
	    archive_write_open2(archive, target, NULL, pass_on, NULL, NULL) != ARCHIVE_OK)
		return fail(target, err);
	return 0;
}

static ArchiveTarget *target_new(ArchiveSink sink, void *data)
{
	ArchiveTarget *target = g_new0(ArchiveTarget, 1);
	target->sink = sink;
	target->data = data;
	target->archive = archive_write_new();
	return target;
}

int archive_target_open(
    const char *compression, ArchiveSink sink, void *data, ArchiveTarget **ret_target, Error **err)
{
	g_autoptr(ArchiveTarget) target = target_new(sink, data);
	/* Extended headers only where a plain one cannot say it. */
	if (add_filter(target->archive, compression, err) < 0 ||
	    open_format(target, archive_write_set_format_pax_restricted, err) < 0)
		return -1;
	*ret_target = g_steal_pointer(&target);
	return 0;
}

int archive_target_open_exact(
    ArchiveSink sink, void *data, ArchiveTarget **ret_target, Error **err)
{
	g_autoptr(ArchiveTarget) target = target_new(sink, data);
	if (open_format(target, archive_write_set_format_pax, err) < 0)
		return -1;
	*ret_target = g_steal_pointer(&target);
	return 0;
}

int archive_target_entry(ArchiveTarget *target, struct archive_entry *entry, Error **err)
{
	int rc = archive_write_header(target->archive, entry);
	return (rc == ARCHIVE_OK || rc == ARCHIVE_WARN) && !target->error ? 0 : fail(target, err);
}

int archive_target_write(ArchiveTarget *target, const void *data, size_t length, Error **err)
{
	const char *p = data;
	while (length > 0) {
		la_ssize_t n = archive_write_data(target->archive, p, length);
		if (n <= 0 || target->error)
			return fail(target, err);
		p += n;
		length -= (size_t)n;
	}
	return 0;
}

int archive_target_finish(ArchiveTarget *target, Error **err)
{
	return archive_write_close(target->archive) == ARCHIVE_OK && !target->error ?
	    0 :
	    fail(target, err);
}

void archive_target_free(ArchiveTarget *target)
{
	if (!target)
		return;
	target->giving_up = TRUE; /* free closes what is open, and would write an end */
	archive_write_free(target->archive);
	error_free(target->error);
	g_free(target);
}
