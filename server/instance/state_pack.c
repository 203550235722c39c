#include "server/instance/state_pack.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { CHUNK = 1 << 20, LEVEL = 1, THREADS_MOST = 8 };

/* More than any of ours has; a header may ask for gigabytes. */
enum { WINDOW_LOG_MOST = 27 };

static ssize_t read_some(int fd, void *buffer)
{
	ssize_t n;
	do
		n = read(fd, buffer, CHUNK);
	while (n < 0 && errno == EINTR);
	return n;
}

static int fail(Error **err, const char *what)
{
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot %s the state", what);
}

static int pack_all(ZSTD_CCtx *zstd, int in, int out, Error **err)
{
	g_autofree char *from = g_malloc(CHUNK), *to = g_malloc(CHUNK);
	ssize_t n;
	do {
		n = read_some(in, from);
		if (n < 0)
			return fail(err, "read");
		ZSTD_inBuffer source = { from, (size_t)n, 0 };
		size_t left = 1;
		while (n == 0 ? left > 0 : source.pos < source.size) {
			ZSTD_outBuffer target = { to, CHUNK, 0 };
			left = ZSTD_compressStream2(
			    zstd, &target, &source, n ? ZSTD_e_continue : ZSTD_e_end);
			if (ZSTD_isError(left))
				return error_set(err, ERROR_INTERNAL, "Cannot pack the state: %s",
				    ZSTD_getErrorName(left));
			if (file_write_all(out, to, target.pos) < 0)
				return fail(err, "write");
		}
	} while (n > 0);
	return 0;
}

int state_pack(int in, int out, Error **err)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	int threads = (int)MIN(g_get_num_processors(), THREADS_MOST);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_nbWorkers, threads); /* refused where it has none */
	int result = lseek(in, 0, SEEK_SET) < 0 ? fail(err, "read") : pack_all(zstd, in, out, err);
	ZSTD_freeCCtx(zstd);
	return result;
}

int state_copy(int in, int out, Error **err)
{
	g_autofree char *piece = g_malloc(CHUNK);
	for (ssize_t n; (n = read_some(in, piece)) != 0;)
		if (n < 0 || file_write_all(out, piece, (size_t)n) < 0)
			return fail(err, n < 0 ? "read" : "pass on");
	return 0;
}

static int unpack_all(ZSTD_DCtx *zstd, int in, int out, Error **err)
{
	g_autofree char *from = g_malloc(CHUNK), *to = g_malloc(CHUNK);
	size_t left = 1;
	ssize_t n;
	while ((n = read_some(in, from)) > 0) {
		ZSTD_inBuffer source = { from, (size_t)n, 0 };
		ZSTD_outBuffer target = { to, CHUNK, 0 };
		while (source.pos < source.size || (left != 0 && target.pos == target.size)) {
			target.pos = 0;
			left = ZSTD_decompressStream(zstd, &target, &source);
			if (ZSTD_isError(left))
				return error_set(err, ERROR_INVALID,
				    "The saved state is damaged: %s", ZSTD_getErrorName(left));
			if (file_write_all(out, to, target.pos) < 0)
				return fail(err, "pass on");
		}
	}
	if (n < 0)
		return fail(err, "read");
	return left == 0 ? 0 : error_set(err, ERROR_INVALID, "The saved state is cut short");
}

int state_unpack(int in, int out, Error **err)
{
	unsigned char head[4] = { 0 };
	if (lseek(in, 0, SEEK_SET) < 0 || pread(in, head, sizeof head, 0) < 0)
		return fail(err, "read");
	if (memcmp(head, "\x28\xb5\x2f\xfd", sizeof head) != 0)
		return state_copy(in, out, err);
	ZSTD_DCtx *zstd = ZSTD_createDCtx();
	ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MOST);
	int result = unpack_all(zstd, in, out, err);
	ZSTD_freeDCtx(zstd);
	return result;
}
