/* Host facts and hardware lists: what every host has. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "incus/v1/server.pb-c.h"
#include "server/sys/host.h"
#include "server/sys/resources.h"

#include <string.h>
#include <unistd.h>

static void test_host(void **state)
{
	const HostFacts *facts = host_facts();
	assert_string_equal(facts->kernel, "Linux");
	assert_string_equal(facts->architectures[0], facts->architecture);
	assert_true(host_cpu_count() >= 1);
	assert_string_equal(host_architecture_name(host_architecture_number("x86_64")), "x86_64");
	assert_int_equal(host_architecture_number("nonsense"), 0);
}

static void test_resources(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__Resources *out = arena_message(arena, Pb__Resources, pb__resources);
	gint64 start = g_get_monotonic_time();
	assert_int_equal(resources_read(arena, out, NULL), 0);
	print_message("resources: %d us\n", (int)(g_get_monotonic_time() - start));
	assert_true(out->cpu->total >= host_cpu_count());
	assert_true(out->cpu->n_sockets >= 1 && out->cpu->sockets[0]->n_cores >= 1);
	assert_true(out->memory->total > out->memory->used && out->memory->used > 0);
	for (size_t i = 0; i < out->pci->n_devices; i++)
		assert_int_equal(strlen(out->pci->devices[i]->pci_address), 12);
	for (size_t i = 0; i < out->storage->n_disks; i++)
		assert_non_null(strchr(out->storage->disks[i]->device, ':'));
	/* whole and encodable */
	assert_true(protobuf_c_message_get_packed_size(&out->base) > 100);
	assert_true(protobuf_c_message_check(&out->base));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_host),
		cmocka_unit_test(test_resources) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
