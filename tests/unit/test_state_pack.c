/* Memory of virtual machines, packed and unpacked; what is cut short, damaged or not packed. */
#include "server/instance/state_pack.h"
#include "sdk/base/own.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LENGTH = 5 << 20 };

static int file_new(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static char *memory_new(void)
{
	char *memory = g_malloc0(LENGTH);
	for (int n = 0; n < LENGTH / 2; n += 7)
		memory[n] = (char)(n * 2654435761U >> 24);
	return memory;
}

static int packed_new(const char *memory, size_t length)
{
	autofd int in = file_new();
	int out = file_new();
	assert_int_equal(write(in, memory, length), length);
	assert_int_equal(state_pack(in, out, NULL), 0);
	return out;
}

static void same(int fd, const char *memory, size_t length)
{
	g_autofree char *back = g_malloc(length + 1);
	assert_int_equal(pread(fd, back, length + 1, 0), length);
	assert_memory_equal(back, memory, length);
}

static void round_trip(void **state)
{
	static const size_t lengths[] = { 0, 1, 1 << 20, LENGTH };
	g_autofree char *memory = memory_new();
	for (size_t n = 0; n < G_N_ELEMENTS(lengths); n++) {
		autofd int packed = packed_new(memory, lengths[n]);
		autofd int back = file_new();
		assert_int_equal(state_unpack(packed, back, NULL), 0);
		same(back, memory, lengths[n]);
		assert_true(lseek(packed, 0, SEEK_END) < (off_t)lengths[n] / 2 + 100);
	}
}

static void not_packed(void **state)
{
	g_autofree char *memory = memory_new();
	autofd int in = file_new();
	autofd int back = file_new();
	memcpy(memory, "LibvirtQemudSave", 16);
	assert_int_equal(write(in, memory, LENGTH), LENGTH);
	assert_int_equal(state_unpack(in, back, NULL), 0);
	same(back, memory, LENGTH);
}

static void cut_short(void **state)
{
	g_autofree char *memory = memory_new();
	autofd int packed = packed_new(memory, LENGTH);
	off_t length = lseek(packed, 0, SEEK_END);
	for (off_t at = length - 1; at > 4; at = at > 1000 ? at / 3 : at - 1) {
		g_autoptr(Error) error = NULL;
		autofd int back = file_new();
		assert_int_equal(ftruncate(packed, at), 0);
		assert_int_equal(state_unpack(packed, back, &error), -1);
		assert_int_equal(error->kind, ERROR_INVALID);
	}
}

static void damaged(void **state)
{
	g_autofree char *memory = memory_new();
	autofd int packed = packed_new(memory, LENGTH);
	autofd int back = file_new();
	g_autoptr(Error) error = NULL;
	char byte;
	assert_int_equal(pread(packed, &byte, 1, 100000), 1);
	byte ^= 0x55;
	assert_int_equal(pwrite(packed, &byte, 1, 100000), 1);
	assert_int_equal(state_unpack(packed, back, &error), -1);
	assert_int_equal(error->kind, ERROR_INVALID);
}

/* Whoever reads gave up: that is for him to explain. */
static void reader_goes(void **state)
{
	g_autofree char *memory = memory_new();
	autofd int packed = packed_new(memory, LENGTH);
	g_autoptr(Error) error = NULL;
	int ends[2];
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	assert_int_equal(state_unpack(packed, ends[1], &error), -1);
	assert_int_equal(error->kind, ERROR_INTERNAL);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(not_packed),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(damaged),
		cmocka_unit_test(reader_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
