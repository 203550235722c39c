#pragma once
/*
 * The compressed bytes of an archive as a libarchive reader of its tar entries. Decompression runs
 * on a thread of its own, so that it overlaps with whatever the reader does with the entries.
 * gzip, bzip2, xz, lzma, zstd and plain tar are read; nothing else is, and no program is started.
 */
#include "sdk/base/error.h"
#include <archive.h>
#include <archive_entry.h>
#include <stdint.h>

typedef struct ArchiveSource ArchiveSource;

/* Compression by magic bytes; an unknown one is ARCHIVE_KIND_UNKNOWN. */
typedef enum ArchiveKind {
	ARCHIVE_KIND_UNKNOWN,
	ARCHIVE_KIND_TAR,
	ARCHIVE_KIND_GZIP,
	ARCHIVE_KIND_BZIP2,
	ARCHIVE_KIND_XZ,
	ARCHIVE_KIND_LZMA,
	ARCHIVE_KIND_ZSTD,
	ARCHIVE_KIND_SQUASHFS,
	ARCHIVE_KIND_QCOW2,
} ArchiveKind;

ArchiveKind archive_kind(const void *head, size_t length);
/* Reads the head of a file. */
ArchiveKind archive_kind_of_fd(int fd);
/* ".tar.gz", ".squashfs", ...; "" when unknown. */
const char *archive_kind_extension(ArchiveKind kind);

/* Borrows fd, which is read from offset 0 with pread; or of a pipe, which holds plain tar, to its
 * end. ERROR_INVALID when it is no archive. */
int archive_source_open(int fd, ArchiveSource **ret_source, Error **err);
/* Stops the decompression wherever it stands. NULL is fine. */
void archive_source_close(ArchiveSource *source);
/* The tar reader: for archive_read_next_header() and the data calls; owned by the source. */
struct archive *archive_source_reader(ArchiveSource *source);
/* 1 and the next entry, 0 at the end, -1. */
int archive_source_next(ArchiveSource *source, struct archive_entry **ret_entry, Error **err);
/* Compressed bytes taken so far, and all there are: for progress. */
void archive_source_progress(ArchiveSource *source, uint64_t *ret_done, uint64_t *ret_total);
/* The failure of the decompression or of the reader, as ERROR_INVALID "... archive ...". */
int archive_source_fail(ArchiveSource *source, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveSource, archive_source_close)
