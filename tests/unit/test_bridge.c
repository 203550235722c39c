/* Managed bridges on the real kernel, in a network namespace of their own: interface, addresses,
 * firewall, dnsmasq and their repair. */
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
#include <sys/stat.h>
#include "sdk/base/file.h"
#include "sdk/base/spawn.h"
#include "server/network/bridge.h"
#include "server/network/bridge_config.h"
#include "server/network/dnsmasq.h"
#include "server/network/firewall.h"
#include "server/sys/netlink.h"

static char *directory;

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

static char *ruleset(void)
{
	g_autoptr(Error) err = NULL;
	const char *const argv[] = {"nft", "list", "ruleset", NULL};
	Spawn spawn = {.argv = argv};
	char *text = NULL;
	assert_ok(spawn_run(&spawn, &text, NULL, &err), err);
	return text;
}

static gboolean has_address(const char *link, const char *text)
{
	g_autoptr(LinkList) list = NULL;
	assert_int_equal(netlink_list(-1, &list, NULL), 0);
	const Link *found = link_list_find(list, link);
	for (unsigned i = 0; found && i < found->n_addresses; i++)
		if (strcmp(found->addresses[i].text, text) == 0)
			return TRUE;
	return FALSE;
}

static void test_life(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Config) config = config_of("ipv4.address", "10.99.1.1/24", "ipv4.nat", "true",
	    "ipv6.address", bridge_have_ipv6() ? "fd42:99::1/64" : "none", "ipv6.nat", "true",
	    NULL);
	BridgeSetup setup = { .name = "tnet0",
		.directory = directory,
		.hwaddr = "00:16:3e:00:00:99",
		.config = config };
	assert_ok(bridge_apply(&setup, &err), err);
	assert_true(has_address("tnet0", "10.99.1.1"));
	if (bridge_have_ipv6())
		assert_true(has_address("tnet0", "fd42:99::1"));
	g_autofree char *rules = ruleset();
	assert_non_null(strstr(rules, "ip saddr 10.99.1.0/24 ip daddr != 10.99.1.0/24 masquerade"));
	assert_non_null(strstr(rules, "chain fwd.tnet0"));
	pid_t pid = dnsmasq_pid(directory);
	assert_true(pid > 0);

	/* The same again finds everything in place: dnsmasq is kept. */
	assert_ok(bridge_apply(&setup, &err), err);
	assert_int_equal(dnsmasq_pid(directory), pid);

	/* Another configuration: other address, mtu, no NAT; dnsmasq is another one. */
	g_autoptr(Config) changed = config_of("ipv4.address", "10.99.2.1/24", "bridge.mtu", "1400",
	    "ipv4.routes", "10.98.0.0/24", "raw.dnsmasq", "log-queries", "ipv6.address", "none",
	    NULL);
	setup.config = changed;
	setup.old_config = config;
	assert_ok(bridge_apply(&setup, &err), err);
	assert_false(has_address("tnet0", "10.99.1.1"));
	assert_false(has_address("tnet0", "fd42:99::1"));
	assert_true(has_address("tnet0", "10.99.2.1"));
	Link link;
	assert_ok(netlink_get("tnet0", &link, &err), err);
	assert_int_equal(link.mtu, 1400);
	pid_t second = dnsmasq_pid(directory);
	assert_true(second > 0 && second != pid);
	g_autofree char *rules2 = ruleset();
	assert_null(strstr(rules2, "masquerade"));

	/* Crash of dnsmasq: the next apply starts one. */
	kill(second, SIGKILL);
	for (int i = 0; i < 200 && dnsmasq_pid(directory); i++)
		g_usleep(5000);
	assert_ok(bridge_apply(&setup, &err), err);
	assert_true(dnsmasq_pid(directory) > 0);

	bridge_remove(&setup);
	assert_int_equal(dnsmasq_pid(directory), 0);
	assert_false(netlink_exists("tnet0"));
	g_autofree char *rules3 = ruleset();
	assert_null(strstr(rules3, "tnet0"));
}

static void test_bad_dnsmasq(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Config) config = config_of("ipv4.address", "10.99.3.1/24", "raw.dnsmasq",
	    "no-such-option", "ipv6.address", "none", NULL);
	BridgeSetup setup = {.name = "tnet1", .directory = directory, .config = config};
	assert_int_equal(bridge_apply(&setup, &err), -1);
	assert_non_null(strstr(err->message, "dnsmasq"));
	bridge_remove(&setup);
	assert_false(netlink_exists("tnet1"));
}

static void test_filter(void **state)
{
	g_autoptr(Error) err = NULL;
	const char *const ipv4[] = { "10.0.0.5", NULL },
			  *const ipv6[] = { "fd42::5", "fe80::/10", NULL };
	/* A project name with everything in it that nft would trip over. */
	FirewallFilter filter = { .instance = "p {};\"\n_c1",
		.device = "eth0",
		.host_name = "veth0",
		.hwaddr = "00:16:3e:00:00:05",
		.mac = TRUE,
		.ipv4 = TRUE,
		.ipv6 = TRUE,
		.ipv4_addresses = ipv4,
		.ipv6_addresses = ipv6 };
	assert_ok(firewall_filter_apply(&filter, &err), err);
	g_autofree char *rules = ruleset();
	assert_non_null(strstr(rules, "ether saddr != 00:16:3e:00:00:05 drop"));
	assert_non_null(strstr(rules, "ip saddr != 10.0.0.5 drop"));
	assert_ok(firewall_filter_remove(filter.instance, "eth0", &err), err);
	assert_ok(firewall_filter_remove(filter.instance, "eth0", &err), err);
	g_autofree char *after = ruleset();
	assert_null(strstr(after, "00:16:3e:00:00:05"));
	filter.host_name = "veth0\" accept; #";
	assert_int_equal(firewall_filter_apply(&filter, &err), -1);
}

static void test_limit(void **state)
{
	g_autoptr(Error) err = NULL;
	assert_ok(netlink_create_bridge("tnet2", NULL, &err), err);
	assert_ok(firewall_limit("tnet2", 1000000, &err), err);
	g_autofree char *rules = ruleset();
	assert_non_null(strstr(rules, "limit rate over"));
	assert_ok(firewall_limit("tnet2", 0, &err), err);
	assert_ok(netlink_delete("tnet2", &err), err);
}

static void refuse(const char *key, const char *value, ErrorKind kind)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(Config) config = config_of("ipv4.address", "10.0.0.1/24", key, value, NULL);
	assert_int_equal(bridge_config_check(config, &err), -1);
	assert_int_equal(err->kind, kind);
	assert_non_null(strstr(err->message, key));
}

static void test_config(void **state)
{
	g_autoptr(Error) err = NULL;
	refuse("ipv4.address", "10.0.0.0/24", ERROR_INVALID);
	refuse("ipv4.address", "10.0.0.1", ERROR_INVALID);
	refuse("ipv4.address", "fd42::1/64", ERROR_INVALID);
	refuse("ipv4.address", "10.0.0.1/24\n--evil", ERROR_INVALID);
	refuse("ipv6.address", "10.0.0.1/24", ERROR_INVALID);
	refuse("ipv4.nat", "maybe", ERROR_INVALID);
	refuse("ipv4.dhcp.ranges", "10.0.1.2-10.0.1.9", ERROR_INVALID);
	refuse("ipv4.dhcp.ranges", "10.0.0.9-10.0.0.2", ERROR_INVALID);
	refuse("ipv4.dhcp.expiry", "1h,--x", ERROR_INVALID);
	refuse("dns.domain", "a\nlog-facility=/etc/passwd", ERROR_INVALID);
	refuse("dns.search", "ok.example, b ad", ERROR_INVALID);
	refuse("dns.mode", "wild", ERROR_INVALID);
	refuse("bridge.mtu", "10", ERROR_INVALID);
	refuse("bridge.hwaddr", "00:16:3e:zz:00:01", ERROR_INVALID);
	refuse("bridge.external_interfaces", "eth0,../x", ERROR_INVALID);
	refuse("bridge.mode", "fan", ERROR_INVALID);
	refuse("fan.type", "ipip", ERROR_INVALID);
	refuse("bridge.driver", "openvswitch", ERROR_UNSUPPORTED);
	refuse("security.acls", "a", ERROR_UNSUPPORTED);
	refuse("tunnel.x.protocol", "vxlan", ERROR_UNSUPPORTED);
	refuse("raw.dnsmasq", "a\001b", ERROR_INVALID);
	refuse("no.such.key", "1", ERROR_INVALID);
	g_autoptr(Config) good = config_of("ipv4.address", "10.0.0.1/24", "ipv4.dhcp.ranges",
	    "10.0.0.2-10.0.0.9, 10.0.0.20-10.0.0.30", "dns.search", "a.example,b", "user.x", "y\nz",
	    "raw.dnsmasq", "log-queries\nno-hosts", NULL);
	assert_ok(bridge_config_check(good, &err), err);
}

static gboolean has_word(const GPtrArray *argv, const char *word)
{
	for (guint i = 0; i + 1 < argv->len; i++)
		if (strcmp(g_ptr_array_index(argv, i), word) == 0)
			return TRUE;
	return FALSE;
}

static void test_command(void **state)
{
	g_autoptr(Config) config = config_of("ipv4.address", "10.0.0.1/24", "ipv4.dhcp.ranges",
	    "10.0.0.2-10.0.0.9,10.0.0.20-10.0.0.30", "ipv4.dhcp.expiry", "30m", "dns.domain", "lab",
	    "ipv6.address", "fd42::1/64", "dns.search", "a.b, c", "bridge.mtu", "1400", NULL);
	DnsmasqSetup setup = {
		.bridge = "br0", .directory = "/d", .config = config, .user = "dnsmasq"
	};
	g_autoptr(GPtrArray) argv = dnsmasq_command(&setup);
	assert_true(has_word(argv, "--dhcp-range=10.0.0.2,10.0.0.9,30m"));
	assert_true(has_word(argv, "--dhcp-range=10.0.0.20,10.0.0.30,30m"));
	assert_true(has_word(argv, "--domain=lab"));
	assert_true(has_word(argv, "--listen-address=fd42::1"));
	assert_true(has_word(argv, "--dhcp-range=::,constructor:br0,ra-stateless,ra-names"));
	assert_true(has_word(argv, "--dhcp-option-force=119,a.b,c"));
	assert_true(has_word(argv, "--dhcp-option-force=26,1400"));
	assert_true(has_word(argv, "--user=dnsmasq"));
	assert_true(has_word(argv, "--conf-file=/dev/null"));
}

static void test_hosts(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *line = NULL;
	DnsmasqHost host = { .hwaddr = "00:16:3e:01:02:03",
		.ipv4 = "10.0.0.5",
		.ipv6 = "fd42::5",
		.hostname = "c1" };
	assert_ok(dnsmasq_host_line(&host, &line, &err), err);
	assert_string_equal(line, "00:16:3e:01:02:03,10.0.0.5,[fd42::5],c1\n");
	DnsmasqHost bad[] = {host, host, host, host};
	bad[0].hwaddr = "00:16:3e:01:02:03\nx";
	bad[1].ipv4 = "10.0.0.5,ignore";
	bad[2].hostname = "c1\n00:16:3e:01:02:04,evil";
	bad[3].ipv6 = "fd42::5]";
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_int_equal(dnsmasq_host_line(&bad[i], &line, NULL), -1);
}

static void test_leases(void **state)
{
	g_autoptr(GPtrArray) leases = dnsmasq_leases_parse(
	    "1700000000 00:16:3e:AA:bb:cc 10.0.0.7 c1 01:00:16:3e:aa:bb:cc\n"
	    "1700000000 00:16:3e:aa:bb:cd 10.0.0.8 * *\n"
	    "duid 00:01:00:01:2c:00:00:00:00:16:3e:00:00:01\n"
	    "1700000000 1055566 fd42::9 c3 00:01:00:01:2c:00:00:00:00:16:3e:aa:bb:cf\n"
	    "1700000000 1055567 fd42::a * 00:04:aa\n"
	    "garbage\n1700000000 00:16:3e:aa:bb:cc nonsense c1 *\n1 2\n\n");
	assert_int_equal(leases->len, 4);
	const DnsmasqLease *first = g_ptr_array_index(leases, 0),
			   *second = g_ptr_array_index(leases, 1);
	const DnsmasqLease *third = g_ptr_array_index(leases, 2),
			   *fourth = g_ptr_array_index(leases, 3);
	assert_string_equal(first->hwaddr, "00:16:3e:aa:bb:cc");
	assert_string_equal(first->hostname, "c1");
	assert_string_equal(second->hostname, "");
	assert_string_equal(third->hwaddr, "00:16:3e:aa:bb:cf");
	assert_string_equal(third->address, "fd42::9");
	assert_string_equal(fourth->hwaddr, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_config),
	    cmocka_unit_test(test_command),
	    cmocka_unit_test(test_hosts),
	    cmocka_unit_test(test_leases),
	    cmocka_unit_test(test_life),
	    cmocka_unit_test(test_bad_dnsmasq),
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_limit),
	};
	char root[] = "/var/tmp/tnet.XXXXXX";
	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIP: this user may not make network namespaces\n");
		return 77;
	}
	if (!mkdtemp(root) || chmod(root, 0711) < 0)
		return 1;
	directory = g_strdup_printf("%s/n", root);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	dnsmasq_stop(directory);
	file_remove_all(AT_FDCWD, root, NULL);
	g_free(directory);
	return failed;
}
