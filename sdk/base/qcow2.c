#include "sdk/base/qcow2.h"
#include <string.h>

/* Numbers are big endian, at these places. */
enum {
	AT_VERSION = 4,
	AT_BACKING = 8,
	AT_CLUSTER_BITS = 20,
	AT_SIZE = 24,
	AT_ENCRYPTION = 32,
	AT_INCOMPATIBLE = 72,
	EXTERNAL_DATA = 1 << 2,
};
#define DISK_MOST ((uint64_t)16 << 40)

static guint32 number32(const uint8_t *at)
{
	guint32 value;
	memcpy(&value, at, sizeof(value));
	return GUINT32_FROM_BE(value);
}

static guint64 number64(const uint8_t *at)
{
	guint64 value;
	memcpy(&value, at, sizeof(value));
	return GUINT64_FROM_BE(value);
}

gboolean qcow2_is(const uint8_t header[QCOW2_HEADER])
{
	return memcmp(header, "QFI\xfb", 4) == 0;
}

static const char *refusal(const uint8_t *header)
{
	guint32 version = number32(header + AT_VERSION);
	guint32 cluster_bits = number32(header + AT_CLUSTER_BITS);
	guint64 size = number64(header + AT_SIZE);
	if (version != 2 && version != 3)
		return "its version of qcow2 is unknown";
	if (number64(header + AT_BACKING))
		return "it has a backing file, which would be another file of this host";
	if (number32(header + AT_ENCRYPTION))
		return "it is encrypted";
	if (version == 3 && number64(header + AT_INCOMPATIBLE) & EXTERNAL_DATA)
		return "it has an external data file, which would be another file of this host";
	if (cluster_bits < 9 || cluster_bits > 21)
		return "it is damaged";
	return size == 0 || size > DISK_MOST || size % 512 ?
	    "the size of its disk is not possible" :
	    NULL;
}

int qcow2_check(const uint8_t header[QCOW2_HEADER], int64_t *ret_size, Error **err)
{
	const char *why = refusal(header);
	if (why)
		return error_set(err, ERROR_INVALID, "%s", why);
	*ret_size = (int64_t)number64(header + AT_SIZE);
	return 0;
}
