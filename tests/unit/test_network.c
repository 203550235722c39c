/* The table of networks with a real database and kernel, and nics on them, in a network namespace
 * of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/db/db.h"
#include "server/device/device.h"
#include "server/network/dnsmasq.h"
#include "server/network/network.h"
#include "server/network/usage.h"
#include "server/sys/netlink.h"

static Daemon test_daemon;

static Config *config_of(const char *first, ...)
{
	Config *config = config_new();
	va_list list;
	va_start(list, first);
	for (const char *key = first; key; key = va_arg(list, const char *))
		config_set(config, key, va_arg(list, const char *));
	va_end(list);
	return config;
}

/* A macro, so that the call is made before err is looked at. */
#define assert_ok(call, err)                                                                       \
	do {                                                                                       \
		int assert_result = (call);                                                        \
		if (assert_result < 0 && (err))                                                    \
			fail_msg("%s", (err)->message);                                            \
		assert_int_equal(assert_result, 0);                                                \
	} while (0)

static void assert_fails(int result, Error **err, ErrorKind kind, const char *part)
{
	assert_int_equal(result, -1);
	assert_non_null(*err);
	if ((*err)->kind != kind || !strstr((*err)->message, part))
		fail_msg("kind %d: %s", (*err)->kind, (*err)->message);
	g_clear_pointer(err, error_free);
}

static int create(const char *name, const Config *config, Error **err)
{
	NetworkSpec spec = {
		.project = "default", .name = name, .description = "d", .config = config
	};
	network_change_lock(&test_daemon);
	int result = network_create(&test_daemon, &spec, err);
	network_change_unlock(&test_daemon);
	return result;
}

static int delete(const char *name, Error **err)
{
	g_autoptr(Network) network = NULL;
	if (network_get(&test_daemon, "default", name, &network, err) < 0)
		return -1;
	network_change_lock(&test_daemon);
	int result = network_delete(&test_daemon, network, err);
	network_change_unlock(&test_daemon);
	return result;
}

static void test_life(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Network) network = NULL;
	g_autoptr(Config) empty = config_new();
	assert_ok(create("tn0", empty, &err), err);
	assert_fails(create("tn0", empty, &err), &err, ERROR_EXISTS, "already exists");
	assert_fails(create("lo", empty, &err), &err, ERROR_EXISTS, "already exists");
	assert_fails(create("x", empty, &err), &err, ERROR_INVALID, "too short");
	assert_fails(create("a/b", empty, &err), &err, ERROR_INVALID, "invalid characters");
	assert_fails(create("../../etc", empty, &err), &err, ERROR_INVALID, "invalid characters");
	assert_fails(create("0123456789abcdef", empty, &err), &err, ERROR_INVALID, "too long");
	assert_ok(network_get(&test_daemon, "default", "tn0", &network, &err), err);
	g_autoptr(Config) config = network_config(network);
	assert_true(g_str_has_prefix(config_get(config, "ipv4.address"), "10."));
	assert_string_equal(config_get(config, "ipv4.nat"), "true");
	assert_true(netlink_exists("tn0"));
	g_autofree char *directory = network_directory(network);
	pid_t pid = dnsmasq_pid(directory);
	assert_true(pid > 0);

	/* incusd restarts: the same network, the same dnsmasq. */
	network_table_stop(&test_daemon);
	gint64 before = g_get_monotonic_time();
	assert_ok(network_table_start(&test_daemon, &err), err);
	printf("restart with one network: %.1f ms\n", (g_get_monotonic_time() - before) / 1000.0);
	g_clear_pointer(&network, network_unref);
	assert_ok(network_get(&test_daemon, "default", "tn0", &network, &err), err);
	assert_string_equal(network_status(network), "Created");
	assert_int_equal(dnsmasq_pid(directory), pid);

	/* A change that fails leaves everything as it was. */
	g_autoptr(Config) bad = config_copy(config);
	config_set(bad, "raw.dnsmasq", "no-such-option");
	network_change_lock(&test_daemon);
	assert_fails(network_update(&test_daemon, network, NULL, bad, &err), &err, ERROR_INTERNAL,
	    "dnsmasq");
	assert_true(dnsmasq_pid(directory) > 0);
	config_set(config, "user.x", "y");
	assert_ok(network_update(&test_daemon, network, "other", config, &err), err);
	assert_ok(network_rename(&test_daemon, network, "tn1", &err), err);
	network_change_unlock(&test_daemon);
	assert_false(netlink_exists("tn0"));
	assert_true(netlink_exists("tn1"));
	assert_ok(delete("tn1", &err), err);
	assert_false(netlink_exists("tn1"));
	assert_fails(delete("tn1", &err), &err, ERROR_NOT_FOUND, "Network not found");
}

static int add_instance_rows(Tx *tx, void *data, Error **err)
{
	int64_t id, device;
	if (tx_insert(tx, &id, err,
		"INSERT INTO instances (node_id, name, architecture, type, project_id, description) VALUES (1, ?, 2, 0, 1, '')",
		"s", (const char *)data) < 0 ||
	    tx_insert(tx, &device, err,
		"INSERT INTO instances_devices (instance_id, name, type) VALUES (?, 'eth0', 1)",
		"i", id) < 0)
		return -1;
	g_autoptr(Config) config = config_of("network", "tn2", "ipv4.address", "10.77.1.50", NULL);
	return tx_config_replace(
	    tx, "instances_devices_config", "instance_device_id", device, config, err);
}

static void test_uses(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(GPtrArray) uses = NULL, leases = NULL;
	g_autoptr(Network) network = NULL;
	g_autoptr(Config) config = config_of(
	    "ipv4.address", "10.77.1.1/24", "ipv6.address", "none", NULL);
	assert_ok(create("tn2", config, &err), err);
	assert_ok(db_tx(test_daemon.db, add_instance_rows, (void *)"c1", &err), err);
	assert_ok(network_uses_load(test_daemon.db, &uses, &err), err);
	gboolean found = FALSE;
	for (guint i = 0; i < uses->len; i++) {
		g_autofree char *url = network_use_url(g_ptr_array_index(uses, i));
		found |= network_use_matches(g_ptr_array_index(uses, i), "default", "tn2") &&
		    strcmp(url, "/1.0/instances/c1") == 0;
	}
	assert_true(found);
	assert_fails(delete("tn2", &err), &err, ERROR_INVALID, "in use");
	assert_ok(network_get(&test_daemon, "default", "tn2", &network, &err), err);
	assert_ok(network_leases(network, "default", &leases, &err), err);
	assert_int_equal(leases->len, 2);
	const NetworkLease *gateway = g_ptr_array_index(leases, 0),
			   *fixed = g_ptr_array_index(leases, 1);
	assert_string_equal(gateway->address, "10.77.1.1");
	assert_string_equal(gateway->type, "gateway");
	assert_string_equal(fixed->address, "10.77.1.50");
	assert_string_equal(fixed->hostname, "c1");

	NetworkNic nic = { .project = "default",
		.instance = "c2",
		.device = "a-b/c",
		.hwaddr = "00:16:3e:00:00:02",
		.ipv4 = "10.77.1.50" };
	assert_fails(
	    network_lease_update(network, &nic, &err), &err, ERROR_INVALID, "already defined");
	nic.ipv4 = "10.78.1.50";
	assert_fails(network_lease_update(network, &nic, &err), &err, ERROR_INVALID, "not within");
	nic.ipv4 = "10.77.1.1";
	assert_fails(network_lease_update(network, &nic, &err), &err, ERROR_INVALID, "itself");
	nic.ipv4 = "10.77.1.51";
	assert_ok(network_lease_update(network, &nic, &err), err);
	g_autofree char *directory = network_directory(network);
	g_autofree char *path = g_strdup_printf("%s/dnsmasq.hosts/c2.a--b-c", directory);
	g_autofree char *line = NULL;
	assert_ok(file_read(AT_FDCWD, path, FILE_LINKS_NONE, 4096, &line, NULL, &err), err);
	assert_string_equal(line, "00:16:3e:00:00:02,10.77.1.51,c2\n");
	network_lease_remove(network, &nic);
	assert_int_equal(access(path, F_OK), -1);
}

/* A nic's instance: volatile keys in a table, a process with a network namespace as its init. */
typedef struct Guest {
	DeviceHost host;
	GHashTable *keys;
	Devices *devices;
	Config *config;
} Guest;

static const char *guest_get(const DeviceHost *host, const char *key)
{
	return g_hash_table_lookup(((Guest *)host->instance_private)->keys, key);
}

static int guest_set(const DeviceHost *host, const char *key, const char *value, Error **err)
{
	config_set(((Guest *)host->instance_private)->keys, key, value);
	return 0;
}

static int guest_sync(const DeviceHost *host, Error **err)
{
	return 0; /* nothing is kept back */
}

static pid_t guest_init(void)
{
	int ready[2];
	char byte;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "x", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void guest_make(Guest *guest, const char *device, Config *config)
{
	*guest = (Guest){.keys = config_new(), .devices = devices_new(), .config = config_new()};
	devices_set(guest->devices, device, config);
	guest->host = (DeviceHost){ .daemon = &test_daemon,
		.project = "default",
		.instance = "g1",
		.type = "container",
		.config = guest->config,
		.devices = guest->devices,
		.running = TRUE,
		.init_pid = guest_init(),
		.instance_private = guest,
		.volatile_get = guest_get,
		.volatile_set = guest_set,
		.volatile_sync = guest_sync };
}

static void guest_end(Guest *guest)
{
	kill(guest->host.init_pid, SIGKILL);
	waitpid(guest->host.init_pid, NULL, 0);
	g_hash_table_unref(guest->keys);
	g_hash_table_unref(guest->devices);
	g_hash_table_unref(guest->config);
}

static LinkList *links_of(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/ns/net", (int)pid);
	autofd int netns = open(path, O_RDONLY | O_CLOEXEC);
	autofd int socket_fd = netlink_open(netns, NULL);
	LinkList *list = NULL;
	assert_int_equal(netlink_list(socket_fd, &list, NULL), 0);
	return list;
}

static char *ruleset(void)
{
	const char *const argv[] = {"nft", "list", "ruleset", NULL};
	Spawn spawn = {.argv = argv};
	char *text = NULL;
	assert_int_equal(spawn_run(&spawn, &text, NULL, NULL), 0);
	return text;
}

static void test_bridged(void **state)
{
	g_autoptr(Error) err = NULL;
	Guest guest;
	Link link;
	g_autoptr(Config) config = config_of("type", "nic", "network", "tn2",
	    "security.mac_filtering", "true", "security.ipv4_filtering", "true", "limits.ingress",
	    "10Mbit", "limits.egress", "5Mbit", NULL);
	guest_make(&guest, "eth0", config);
	assert_ok(device_nic.validate(&guest.host, "eth0", config, &err), err);
	gint64 before = g_get_monotonic_time();
	assert_ok(device_nic.attach(&guest.host, "eth0", config, &err), err);
	printf("attach with filters and limits: %.1f ms\n",
	    (g_get_monotonic_time() - before) / 1000.0);
	const char *host_name = config_get(guest.keys, "eth0.host_name");
	assert_non_null(host_name);
	assert_true(g_str_has_prefix(host_name, "veth"));
	assert_true(g_str_has_prefix(config_get(guest.keys, "eth0.hwaddr"), "00:16:3e:"));
	assert_ok(netlink_get(host_name, &link, &err), err);
	assert_int_equal(link.master, if_nametoindex("tn2"));
	LinkList *inside = links_of(guest.host.init_pid);
	const Link *eth0 = link_list_find(inside, "eth0");
	assert_non_null(eth0);
	assert_string_equal(eth0->address, config_get(guest.keys, "eth0.hwaddr"));
	link_list_free(inside);
	g_autofree char *rules = ruleset();
	assert_non_null(strstr(rules, "chain in.g1.eth0"));
	assert_non_null(strstr(rules, "limit rate over"));

	g_autoptr(Config) open_config = config_of("type", "nic", "network", "tn2", NULL);
	assert_true(device_nic.can_update("eth0", config, open_config));
	assert_ok(device_nic.update(&guest.host, "eth0", config, open_config, &err), err);
	g_autofree char *rules2 = ruleset();
	assert_null(strstr(rules2, "g1.eth0"));
	assert_null(strstr(rules2, "limit rate over"));
	g_autofree char *kept = g_strdup(host_name);
	assert_ok(device_nic.detach(&guest.host, "eth0", open_config, &err), err);
	assert_false(netlink_exists(kept));
	device_nic.remove(&guest.host, "eth0", open_config);
	assert_int_equal(g_hash_table_size(guest.keys), 0);
	guest_end(&guest);
}

static void test_macvlan(void **state)
{
	g_autoptr(Error) err = NULL;
	Guest guest;
	g_autoptr(Config) config = config_of(
	    "type", "nic", "nictype", "macvlan", "parent", "tn2", "name", "mv0", NULL);
	guest_make(&guest, "lan", config);
	assert_ok(device_nic.validate(&guest.host, "lan", config, &err), err);
	assert_ok(device_nic.attach(&guest.host, "lan", config, &err), err);
	LinkList *inside = links_of(guest.host.init_pid);
	assert_non_null(link_list_find(inside, "mv0"));
	link_list_free(inside);
	assert_ok(device_nic.detach(&guest.host, "lan", config, &err), err);
	inside = links_of(guest.host.init_pid);
	assert_null(link_list_find(inside, "mv0"));
	link_list_free(inside);
	guest_end(&guest);
}

static void test_physical(void **state)
{
	g_autoptr(Error) err = NULL;
	Guest guest;
	Link link;
	LinkChange change = LINK_CHANGE_NONE;
	change.address = "02:00:00:00:00:01";
	assert_ok(netlink_create_bridge("tphys", &change, &err), err);
	g_autoptr(Config) config = config_of("type", "nic", "nictype", "physical", "parent",
	    "tphys", "hwaddr", "02:00:00:00:00:02", NULL);
	guest_make(&guest, "eth0", config);
	assert_ok(device_nic.validate(&guest.host, "eth0", config, &err), err);
	int result = device_nic.attach(&guest.host, "eth0", config, &err);
	if (result < 0) /* bridges stay where they are born; that is the refusal wanted then */
		assert_ok(netlink_get("tphys", &link, NULL), err);
	else
		assert_ok(device_nic.detach(&guest.host, "eth0", config, &err), err);
	assert_ok(netlink_get("tphys", &link, NULL), err);
	assert_string_equal(link.address, "02:00:00:00:00:01");
	g_clear_pointer(&err, error_free);
	netlink_delete("tphys", NULL);
	guest_end(&guest);
}

static void refuse(ErrorKind kind, const char *part, Config *config)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Config) owned = config;
	config_set(config, "type", "nic");
	assert_fails(device_nic.validate(NULL, "eth0", config, &err), &err, kind, part);
}

static void test_bad_nics(void **state)
{
	refuse(ERROR_INVALID, "nictype", config_of("name", "eth0", NULL));
	refuse(ERROR_INVALID, "nictype", config_of("network", "tn2", "nictype", "bridged", NULL));
	refuse(ERROR_INVALID, "parent", config_of("network", "tn2", "parent", "br0", NULL));
	refuse(ERROR_INVALID, "parent", config_of("nictype", "bridged", NULL));
	refuse(ERROR_INVALID, "nictype", config_of("nictype", "magic", NULL));
	refuse(ERROR_UNSUPPORTED, "ovn", config_of("nictype", "ovn", NULL));
	refuse(ERROR_INVALID, "hwaddr", config_of("nictype", "p2p", "hwaddr", "nonsense", NULL));
	refuse(
	    ERROR_INVALID, "name", config_of("nictype", "p2p", "name", "eth0\nlxc.hook=x", NULL));
	refuse(ERROR_INVALID, "host_name", config_of("nictype", "p2p", "host_name", "a/b", NULL));
	refuse(ERROR_INVALID, "limits.max",
	    config_of("nictype", "p2p", "limits.max", "1Mbit", "limits.egress", "1Mbit", NULL));
	refuse(ERROR_INVALID, "", config_of("nictype", "p2p", "ipv4.address", "10.0.0.1", NULL));
	refuse(ERROR_INVALID, "ipv4.address",
	    config_of("nictype", "bridged", "parent", "x", "ipv4.address", "10.0.0.1,x", NULL));
	refuse(ERROR_UNSUPPORTED, "vlan",
	    config_of("nictype", "bridged", "parent", "x", "vlan", "5", NULL));
}

static int setup(const char *root)
{
	g_autoptr(Error) err = NULL;
	test_daemon = (Daemon){ .dir = g_strdup_printf("%s/d", root),
		.server_cert_fingerprint = (char *)"test" };
	g_autofree char *database = g_strdup_printf("%s/database", test_daemon.dir);
	if (mkdir(test_daemon.dir, 0711) < 0 || mkdir(database, 0700) < 0)
		return -1;
	if (db_open(database, &test_daemon.db, &err) < 0 ||
	    network_table_start(&test_daemon, &err) < 0) {
		printf("%s\n", err->message);
		return -1;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_life),
	    cmocka_unit_test(test_uses),
	    cmocka_unit_test(test_bridged),
	    cmocka_unit_test(test_macvlan),
	    cmocka_unit_test(test_physical),
	    cmocka_unit_test(test_bad_nics),
	};
	char root[] = "/var/tmp/tnet.XXXXXX";
	LinkChange up = LINK_CHANGE_NONE;
	up.up = 1;
	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIP: this user may not make network namespaces\n");
		return 77;
	}
	if (!mkdtemp(root) || chmod(root, 0711) < 0 || netlink_change("lo", &up, NULL) < 0 ||
	    setup(root) < 0)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	network_table_shutdown(&test_daemon);
	network_table_stop(&test_daemon);
	db_close(test_daemon.db);
	g_free(test_daemon.dir);
	file_remove_all(AT_FDCWD, root, NULL);
	return failed;
}
