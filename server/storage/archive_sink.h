#pragma once
/*
 * A tar archive being written, compressed, to a file or pipe: the counterpart of archive_source.h.
 * zstd and xz compress on threads of their own; no program is started.
 */
#include "sdk/base/error.h"
#include <archive.h>
#include <archive_entry.h>

typedef struct ArchiveSink ArchiveSink;

/* "gzip", "zstd", "xz", "bzip2", "lzma", "none", and other words that backups.compression_algorithm
 * takes for them, with a level: "zstd -19". ERROR_INVALID for what cannot be written. */
int archive_sink_check(const char *compression, Error **err);
/* Borrows fd. */
int archive_sink_open(int fd, const char *compression, ArchiveSink **ret_sink, Error **err);
/* For archive_write_header() and archive_write_data(); owned by the sink. Extended headers are kept to
 * what was set on the entry. */
struct archive *archive_sink_writer(ArchiveSink *sink);
/* The failure of the writer as an error. */
int archive_sink_fail(ArchiveSink *sink, Error **err);
/* Writes the end. Without it the file is no archive. */
int archive_sink_finish(ArchiveSink *sink, Error **err);
/* NULL is fine. */
void archive_sink_free(ArchiveSink *sink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveSink, archive_sink_free)
