#pragma once
/*
 * The other end of archive_source.h: a libarchive writer of tar entries whose compressed bytes go
 * to a function. Compression is the library's own, on several threads where it can; no program is
 * started.
 */
#include "sdk/base/error.h"
#include <archive.h>
#include <archive_entry.h>

typedef struct ArchiveTarget ArchiveTarget;

/* Takes compressed bytes, in order. */
typedef int (*ArchiveSink)(void *data, const void *bytes, size_t length, Error **err);

/* compression is what images.compression_algorithm and its like hold (check_compression() accepts
 * it): "none", "zstd", "gzip -9", ... ERROR_INVALID for options and ERROR_UNSUPPORTED for programs
 * that have no meaning here. */
int archive_target_open(
    const char *compression, ArchiveSink sink, void *data, ArchiveTarget **ret_target, Error **err);
/* Uncompressed, for a reader that is there now: every entry has its times to the nanosecond. */
int archive_target_open_exact(
    ArchiveSink sink, void *data, ArchiveTarget **ret_target, Error **err);
/* Begins an entry whose content follows. */
int archive_target_entry(ArchiveTarget *target, struct archive_entry *entry, Error **err);
int archive_target_write(ArchiveTarget *target, const void *data, size_t length, Error **err);
/* Ends the archive; once. */
int archive_target_finish(ArchiveTarget *target, Error **err);
/* Without archive_target_finish() what was written is no archive. NULL is fine. */
void archive_target_free(ArchiveTarget *target);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveTarget, archive_target_free)
