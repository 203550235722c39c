/* server/rpc/websocket_frame: heads of frames both ways, and the mask. */
#include "server/rpc/websocket_frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void assert_same(const WebsocketHead *a, const WebsocketHead *b)
{
	assert_int_equal(a->opcode, b->opcode);
	assert_int_equal(a->final, b->final);
	assert_int_equal(a->masked, b->masked);
	assert_true(a->length == b->length);
	if (a->masked)
		assert_memory_equal(a->mask, b->mask, sizeof(a->mask));
}

static void test_both_ways(void **state)
{
	static const struct {
		uint64_t length;
		size_t size;
	} rows[] = { { 0, 2 }, { 125, 2 }, { 126, 4 }, { 65535, 4 }, { 65536, 10 },
		{ INT64_MAX, 10 } };
	for (size_t i = 0; i < G_N_ELEMENTS(rows) * 2; i++) {
		WebsocketHead out = { WEBSOCKET_BINARY, i % 4 < 2, i & 1, { 1, 2, 3, 4 },
			rows[i / 2].length };
		WebsocketHead in = { 0 };
		uint8_t bytes[WEBSOCKET_HEAD_MAX];
		size_t size = websocket_head_write(&out, bytes);
		assert_int_equal(size, rows[i / 2].size + (out.masked ? 4 : 0));
		assert_int_equal(websocket_head_size(bytes, 1), 2);
		assert_int_equal(websocket_head_size(bytes, 2), size);
		assert_true(websocket_head_read(bytes, &in));
		assert_same(&in, &out);
	}
}

static void test_refused(void **state)
{
	static const uint8_t rows[][WEBSOCKET_HEAD_MAX] = {
		{ 0xc2, 1 },
		{ 0xa2, 1 },
		{ 0x92, 1 }, /* reserved bits */
		{ 0x83, 1 },
		{ 0x87, 1 },
		{ 0x8b, 1 },
		{ 0x8f, 1 }, /* opcodes of nobody */
		{ 0x09, 1 },
		{ 0x88, 126, 0, 126 }, /* control in pieces, or long */
		{ 0x82, 126, 0, 125 }, /* longer than needed */
		{ 0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff },
		{ 0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0 },
	};
	WebsocketHead head;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		assert_false(websocket_head_read(rows[i], &head));
}

/* As RFC 6455 5.7 shows it, whole and from every place within. */
static void test_mask(void **state)
{
	static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	static const uint8_t masked[] = { 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
	uint8_t text[64], plain[64];
	websocket_mask(text, masked, sizeof(masked), mask, 0);
	assert_memory_equal(text, "Hello", 5);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7) ^ mask[i & 3];
	for (size_t cut = 0; cut <= sizeof(text); cut++) {
		websocket_mask(plain, text, cut, mask, 0);
		websocket_mask(plain + cut, text + cut, sizeof(text) - cut, mask, cut);
		for (size_t i = 0; i < sizeof(plain); i++)
			assert_int_equal(plain[i], (uint8_t)(i * 7));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_mask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
