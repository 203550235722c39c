/* Headers of disk images that strangers made: what would lead to other files is refused. */
#include "server/storage/disk_image.h"
#include "sdk/base/own.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

enum { VERSION = 4, BACKING = 8, CLUSTER = 20, SIZE = 24, ENCRYPTION = 32, INCOMPATIBLE = 72 };

static void put(guint8 *header, int at, int bytes, guint64 value)
{
	for (int n = 0; n < bytes; n++)
		header[at + n] = (guint8)(value >> 8 * (bytes - 1 - n));
}

static void good(guint8 *header)
{
	memset(header, 0, 112);
	memcpy(header, "QFI\xfb", 4);
	put(header, VERSION, 4, 3);
	put(header, CLUSTER, 4, 16);
	put(header, SIZE, 8, 1 << 20);
}

static int check(const guint8 *header, size_t length, DiskImage *image, Error **err)
{
	autofd int fd = memfd_create("image", MFD_CLOEXEC);
	assert_int_equal(write(fd, header, length), (ssize_t)length);
	*image = (DiskImage){ 0 };
	return disk_image_check(fd, image, err);
}

static void takes(void **state)
{
	DiskImage image;
	guint8 header[112];
	good(header);
	assert_int_equal(check(header, sizeof(header), &image, NULL), 0);
	assert_true(image.qcow2);
	assert_int_equal(image.size, 1 << 20);
	memset(header, 7, sizeof(header));
	assert_int_equal(check(header, sizeof(header), &image, NULL), 0);
	assert_false(image.qcow2);
	assert_int_equal(image.size, sizeof(header));
}

static void refuses(void **state)
{
	static const struct {
		int at, bytes;
		guint64 value;
	} bad[] = { { VERSION, 4, 1 }, { VERSION, 4, 4 }, { BACKING, 8, 1024 }, { CLUSTER, 4, 8 },
		{ CLUSTER, 4, 22 }, { CLUSTER, 4, 0xffffffff }, { SIZE, 8, 0 }, { SIZE, 8, 513 },
		{ SIZE, 8, G_MAXUINT64 - 511 }, { SIZE, 8, (guint64)1 << 62 }, { ENCRYPTION, 4, 1 },
		{ INCOMPATIBLE, 8, 4 } };
	for (size_t n = 0; n < G_N_ELEMENTS(bad); n++) {
		g_autoptr(Error) err = NULL;
		DiskImage image;
		guint8 header[112];
		good(header);
		put(header, bad[n].at, bad[n].bytes, bad[n].value);
		assert_int_equal(check(header, sizeof(header), &image, &err), -1);
		assert_int_equal(err->kind, ERROR_INVALID);
	}
}

static void refuses_others(void **state)
{
	static const char *const marks[] = { "KDMV", "vhdxfile", "conectix" };
	DiskImage image;
	for (size_t n = 0; n < G_N_ELEMENTS(marks); n++) {
		guint8 header[112] = { 0 };
		memcpy(header, marks[n], strlen(marks[n]));
		assert_int_equal(check(header, sizeof(header), &image, NULL), -1);
	}
	assert_int_equal(check((const guint8 *)"", 0, &image, NULL), -1);
	assert_int_equal(check((const guint8 *)"QFI\xfb", 4, &image, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
