#include "server/storage/zfs_stream.h"
#include <string.h>

#define MAGIC G_GUINT64_CONSTANT(0x2F5BACBAC)
enum {
	TYPE_BEGIN = 0,
	KIND_SINGLE = 1,
	KIND_BITS = 2,
	OBJECTS_FILES = 2,
	OBJECTS_ZVOL = 3,
	FLAG_CLONE = 1 << 0,
	PAYLOAD_MAX = 64 << 10
};

/* Where the fields are. */
enum {
	AT_TYPE = 0,
	AT_PAYLOAD = 4,
	AT_MAGIC = 8,
	AT_VERSION = 16,
	AT_OBJECTS = 32,
	AT_FLAGS = 36,
	AT_SINCE = 48
};

/* Features that a stream may have: bits of its version above the kind. What is not here is not
 * received: deduplication, resuming, redaction, raw blocks of encrypted datasets, holds. */
enum {
	SPILL = 1 << 2,
	EMBEDDED = 1 << 16,
	LZ4 = 1 << 17,
	LARGE_BLOCKS = 1 << 19,
	COMPRESSED = 1 << 22,
	LARGE_DNODES = 1 << 23,
	ZSTD = 1 << 25,
	SWITCH_TO_LARGE_BLOCKS = 1 << 27,
	LONG_NAMES = 1 << 28,
	LARGE_MICROZAPS = 1 << 29,
};
static const uint64_t features = SPILL | EMBEDDED | LZ4 | LARGE_BLOCKS | COMPRESSED | LARGE_DNODES |
    ZSTD | SWITCH_TO_LARGE_BLOCKS | LONG_NAMES | LARGE_MICROZAPS;

static uint64_t number(const uint8_t *at, gboolean swapped)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return swapped ? GUINT64_SWAP_LE_BE(value) : value;
}

static uint32_t word(const uint8_t *at, gboolean swapped)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return swapped ? GUINT32_SWAP_LE_BE(value) : value;
}

int zfs_stream_parse(const uint8_t *head, ZfsStream *ret_stream, Error **err)
{
	gboolean swapped = number(head + AT_MAGIC, TRUE) == MAGIC; /* of a machine of that order */
	uint64_t version = number(head + AT_VERSION, swapped);
	uint32_t objects = word(head + AT_OBJECTS, swapped);
	if (number(head + AT_MAGIC, swapped) != MAGIC ||
	    word(head + AT_TYPE, swapped) != TYPE_BEGIN)
		return error_set(err, ERROR_INVALID, "This is no ZFS stream");
	if ((version & ((1 << KIND_BITS) - 1)) != KIND_SINGLE)
		return error_set(err, ERROR_INVALID,
		    "The ZFS stream is a package of datasets and properties: send without -R and -p");
	if (word(head + AT_FLAGS, swapped) & FLAG_CLONE)
		return error_set(err, ERROR_INVALID, "The ZFS stream is that of a clone");
	if (version >> KIND_BITS & ~features || word(head + AT_PAYLOAD, swapped) > PAYLOAD_MAX)
		return error_set(err, ERROR_INVALID,
		    "The ZFS stream is encrypted, redacted or of another kind that cannot be taken");
	if (objects != OBJECTS_FILES && objects != OBJECTS_ZVOL)
		return error_set(
		    err, ERROR_INVALID, "The ZFS stream is neither a file system nor a volume");
	*ret_stream = (ZfsStream){ .zvol = objects == OBJECTS_ZVOL,
		.since = number(head + AT_SINCE, swapped) };
	return 0;
}
