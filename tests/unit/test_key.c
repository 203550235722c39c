/* Configuration keys: every row is sound; values good and bad; removed features by name. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "server/key/key.h"

#include <jansson.h>
#include <string.h>

static void test_rows(void **state)
{
	for (int scope = 0; scope < KEY_SCOPES; scope++) {
		const Key *table = key_table((KeyScope)scope);
		assert_non_null(table);
		for (const Key *row = table; row->name; row++) {
			assert_true(row->help && g_str_has_suffix(row->help, "."));
			assert_true(row->minimum <= row->maximum);
			for (const Key *other = row + 1; other->name;
			     other++) /* no two rows for one key and kind */
				if (strcmp(row->name, other->name) == 0)
					assert_true(row->kinds && other->kinds &&
					    strcmp(row->kinds, other->kinds) != 0);
		}
	}
}

static void test_values(void **state)
{
	static const struct { KeyScope scope; const char *kind, *name, *value, *says;
	} cases[] = {
		{ KEY_INSTANCE, "container", "limits.cpu", "2", NULL },
		{ KEY_INSTANCE, "container", "limits.cpu", "0-1,3", NULL },
		{ KEY_INSTANCE, "container", "limits.cpu", "many", "Invalid" },
		{ KEY_INSTANCE, "container", "limits.cpu.allowance", "50%", NULL },
		{ KEY_INSTANCE, "container", "limits.cpu.allowance", "25ms/100ms", NULL },
		{ KEY_INSTANCE, "container", "limits.cpu.allowance", "fast", "Invalid" },
		{ KEY_INSTANCE, "container", "limits.memory", "512MiB", NULL },
		{ KEY_INSTANCE, "container", "limits.memory", "50%", NULL },
		{ KEY_INSTANCE, "container", "limits.memory", "-1", "Invalid" },
		{ KEY_INSTANCE, "container", "limits.processes", "x", "integer" },
		{ KEY_INSTANCE, "container", "limits.kernel.nofile", "1024:2048", NULL },
		{ KEY_INSTANCE, "container", "limits.kernel.nofile", "1024:", "Invalid" },
		{ KEY_INSTANCE, "container", "security.nesting", "maybe", "boolean" },
		{ KEY_INSTANCE, "container", "user.anything", "two\nlines", NULL },
		{ KEY_INSTANCE, "container", "environment.FOO", "bar", NULL },
		{ KEY_INSTANCE, "container", "environment.FOO", "a\nlxc.hook.start = /x",
		    "Control" },
		{ KEY_INSTANCE, "container", "raw.lxc", "# halt\nlxc.signal.halt = SIGTERM\n",
		    NULL },
		{ KEY_INSTANCE, "container", "raw.lxc", "lxc.signal.halt", "Invalid raw.lxc line" },
		{ KEY_INSTANCE, "container", "raw.lxc", "lxc.include = /x",
		    "not allowed in raw.lxc" },
		{ KEY_INSTANCE, "container", "environment.", "bar",
		    "Unknown configuration key: environment." },
		{ KEY_INSTANCE, "container", "environment.A B", "bar", "must not contain" },
		{ KEY_INSTANCE, "container", "volatile.eth0.hwaddr", "00:16:3e:00:00:00", NULL },
		{ KEY_INSTANCE, "container", "volatile.my.dev.host_name", "veth1", NULL },
		{ KEY_INSTANCE, "container", "security.secureboot", "true",
		    "Unknown configuration key" },
		{ KEY_INSTANCE, "virtual-machine", "security.secureboot", "true", NULL },
		{ KEY_INSTANCE, NULL, "nonsense", "1", "Unknown configuration key: nonsense" },
		{ KEY_INSTANCE, NULL, "snapshots.schedule", "@daily, @startup", NULL },
		{ KEY_INSTANCE, NULL, "snapshots.schedule", "0 6 * * 1-5", NULL },
		{ KEY_INSTANCE, NULL, "snapshots.schedule", "0 99 * * *", "Invalid schedule" },
		{ KEY_SERVER, NULL, "core.https_address", "127.0.0.1:8443", NULL },
		{ KEY_SERVER, NULL, "core.https_address", "a b", "Invalid network address" },
		{ KEY_SERVER, NULL, "core.trust_password", "x",
		    "no longer supported: clients are added" },
		{ KEY_SERVER, NULL, "candid.api.url", "x", "no longer supported" },
		{ KEY_SERVER, NULL, "rbac.api.url", "x", "no longer supported" },
		{ KEY_SERVER, NULL, "maas.api.key", "x", "no longer supported" },
		{ KEY_SERVER, NULL, "cluster.max_voters", "4", "odd" },
		{ KEY_SERVER, NULL, "cluster.offline_threshold", "5", "between" },
		{ KEY_SERVER, NULL, "images.compression_algorithm", "zstd -19", NULL },
		{ KEY_SERVER, NULL, "images.compression_algorithm", "sh -c x",
		    "Invalid compression" },
		{ KEY_PROJECT, NULL, "features.images", "x", "boolean" },
		{ KEY_PROJECT, NULL, "limits.instances", "5", NULL },
		{ KEY_NETWORK, "bridge", "bridge.mode", "fan", "no longer supported" },
		{ KEY_NETWORK, "bridge", "fan.type", "ipip", "no longer supported" },
		{ KEY_NETWORK, "bridge", "ipv4.address", "10.1.2.1/24", NULL },
		{ KEY_NETWORK, "bridge", "ipv4.address", "10.1.2.1", "CIDR" },
		{ KEY_NETWORK, "bridge", "tunnel.t1.id", "10", NULL },
		{ KEY_NETWORK, "macvlan", "tunnel.t1.id", "10", "Unknown" },
		{ KEY_POOL, "dir", "volume.size", "10GiB", NULL },
		{ KEY_POOL, "dir", "volume.size", "10", NULL },
		{ KEY_POOL, "dir", "volume.zfs.blocksize", "4096", "Unknown" },
		{ KEY_POOL, "dir", "zfs.pool_name", "x", "Unknown" },
		{ KEY_VOLUME, "dir", "size", "huge", "Invalid" },
		{ KEY_DEVICE, "disk", "readonly", "true", NULL },
		{ KEY_DEVICE, "nic-bridged", "hwaddr", "zz", "Invalid MAC" },
		{ KEY_DEVICE, "none", "path", "/", "Unknown" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(Error) err = NULL;
		int result = key_check(
		    cases[i].scope, cases[i].kind, cases[i].name, cases[i].value, &err);
		if (result != (cases[i].says ? -1 : 0) ||
		    (cases[i].says && !strstr(err->message, cases[i].says)))
			fail_msg("%s=%s: %s", cases[i].name, cases[i].value,
			    err ? err->message : "accepted");
	}
}

static void test_instance(void **state)
{
	g_autoptr(Config) config = config_new();
	g_autoptr(Error) err = NULL;
	config_set(config, "volatile.uuid", "6f1c3f0e-5b0e-4f6c-9c3a-2f1f6f3f0a11");
	assert_int_equal(key_check_instance("container", config, FALSE, &err), 0);
	assert_int_equal(key_check_instance(NULL, config, FALSE, &err), -1);
	assert_string_equal(err->message, "Volatile keys can only be set on instances");
	g_clear_pointer(&err, error_free);
	config_set(config, "raw.seccomp", "x");
	config_set(config, "security.syscalls.deny", "x");
	assert_int_equal(key_check_instance("container", config, FALSE, &err), 0);
	assert_int_equal(key_check_instance("container", config, TRUE, &err), -1);
	g_autoptr(Config) empty = config_new();
	assert_true(key_bool(KEY_SERVER, NULL, empty, "images.auto_update_cached"));
	assert_string_equal(key_value(KEY_SERVER, NULL, empty, "core.shutdown_timeout"), "5");
}

static void test_reference(void **state)
{
	json_t *root = json_loads(key_reference_json(), 0, NULL);
	assert_non_null(root);
	json_t *keys = json_object_get(
	    json_object_get(
		json_object_get(json_object_get(root, "configs"), "instance"), "limits"),
	    "keys");
	assert_true(json_array_size(keys) > 10);
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_instance),
		cmocka_unit_test(test_reference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
