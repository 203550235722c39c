/* server/sys/netlink against the kernel, in a network namespace of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include "sdk/base/own.h"
#include "server/sys/netlink.h"

static void assert_ok(int result, Error **err)
{
	if (result < 0 && *err)
		fail_msg("%s", (*err)->message);
	assert_true(result >= 0);
}

static void assert_fails(int result, Error **err, ErrorKind kind)
{
	assert_int_equal(result, -1);
	assert_non_null(*err);
	assert_int_equal((*err)->kind, kind);
	g_clear_pointer(err, error_free);
}

static void test_bridge(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(LinkList) list = NULL;
	LinkChange change = LINK_CHANGE_NONE;
	change.address = "00:16:3e:01:02:03";
	change.mtu = 1400;
	change.up = 1;
	assert_ok(netlink_create_bridge("tbr0", &change, &err), &err);
	assert_fails(netlink_create_bridge("tbr0", NULL, &err), &err, ERROR_EXISTS);
	assert_ok(netlink_address_add("tbr0", "10.9.8.1/24", 0, &err), &err);
	assert_ok(netlink_address_add("tbr0", "10.9.8.1/24", 0, &err), &err);
	assert_ok(netlink_list(-1, &list, &err), &err);
	const Link *bridge = link_list_find(list, "tbr0");
	assert_non_null(bridge);
	assert_string_equal(bridge->kind, "bridge");
	assert_string_equal(bridge->address, "00:16:3e:01:02:03");
	assert_int_equal(bridge->mtu, 1400);
	assert_true(bridge->flags & IFF_UP);
	assert_string_equal(bridge->bridge_id, "8000.00163e010203");
	assert_int_equal(bridge->n_addresses, 1);
	assert_string_equal(bridge->addresses[0].text, "10.9.8.1");
	assert_int_equal(bridge->addresses[0].prefix, 24);
	assert_string_equal(bridge->addresses[0].scope, "global");
	assert_string_equal(link_type(bridge), "broadcast");
	assert_string_equal(link_type(link_list_find(list, "lo")), "loopback");
	assert_ok(netlink_address_flush("tbr0", AF_UNSPEC, &err), &err);
	assert_ok(netlink_address_delete("tbr0", "10.9.8.1/24", &err), &err);
	assert_ok(netlink_delete("tbr0", &err), &err);
	assert_fails(netlink_delete("tbr0", &err), &err, ERROR_NOT_FOUND);
}

static void test_veth(void **state)
{
	g_autoptr(Error) err = NULL;
	Link link;
	LinkChange near = LINK_CHANGE_NONE, far = LINK_CHANGE_NONE;
	assert_ok(netlink_create_bridge("tbr1", NULL, &err), &err);
	near.master = "tbr1";
	near.up = 1;
	near.isolated = 1;
	near.tx_queue = 500;
	far.address = "00:16:3e:aa:bb:cc";
	far.mtu = 1300;
	assert_ok(netlink_create_veth("tva", "tvb", &near, &far, &err), &err);
	assert_ok(netlink_get("tva", &link, &err), &err);
	assert_string_equal(link.kind, "veth");
	assert_int_equal(link.master, if_nametoindex("tbr1"));
	assert_int_equal(link.parent, if_nametoindex("tvb"));
	assert_ok(netlink_get("tvb", &link, &err), &err);
	assert_string_equal(link.address, "00:16:3e:aa:bb:cc");
	assert_int_equal(link.mtu, 1300);
	LinkChange rename = LINK_CHANGE_NONE;
	rename.name = "tvz";
	rename.isolated = 0;
	assert_ok(netlink_change("tva", &rename, &err), &err);
	assert_false(netlink_exists("tva"));
	assert_ok(netlink_get("tvz", &link, &err), &err);
	assert_true(link.flags & IFF_UP);
	assert_ok(netlink_delete("tvb", &err), &err);
	assert_false(netlink_exists("tvz"));
	assert_ok(netlink_delete("tbr1", &err), &err);
}

static void test_other_namespace(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(LinkList) list = NULL;
	autofd int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(home >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	autofd int away = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(away >= 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	LinkChange far = LINK_CHANGE_NONE;
	far.netns_fd = away;
	assert_ok(netlink_create_veth("tv0", "eth0", NULL, &far, &err), &err);
	autofd int socket_fd = netlink_open(away, &err);
	assert_ok(socket_fd, &err);
	assert_ok(netlink_list(socket_fd, &list, &err), &err);
	assert_int_equal(list->n_links, 2);
	assert_non_null(link_list_find(list, "eth0"));
	assert_false(netlink_exists("eth0"));
	assert_ok(netlink_delete("tv0", &err), &err);
}

static void test_routes_and_limits(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(GPtrArray) routes = NULL;
	LinkChange up = LINK_CHANGE_NONE;
	up.up = 1;
	assert_ok(netlink_create_bridge("tbr2", &up, &err), &err);
	assert_ok(netlink_address_add("tbr2", "10.7.7.1/24", 0, &err), &err);
	LinkRoute route = {.link = "tbr2", .cidr = "10.6.0.0/16", .gateway = "10.7.7.2"};
	assert_ok(netlink_route_add(&route, &err), &err);
	assert_ok(netlink_route_add(&route, &err), &err);
	assert_ok(netlink_route_list(AF_INET, &routes, &err), &err);
	gboolean found = FALSE;
	for (guint i = 0; i < routes->len; i++)
		found |= g_str_equal(g_ptr_array_index(routes, i), "10.6.0.0/16");
	assert_true(found);
	assert_ok(netlink_route_delete(&route, &err), &err);
	assert_ok(netlink_route_delete(&route, &err), &err);
	assert_ok(netlink_limit_set("tbr2", 10 * 1000 * 1000, &err), &err);
	assert_ok(netlink_limit_set("tbr2", 20 * 1000 * 1000, &err), &err);
	assert_ok(netlink_limit_set("tbr2", 0, &err), &err);
	assert_ok(netlink_limit_set("tbr2", 0, &err), &err);
	assert_ok(netlink_delete("tbr2", &err), &err);
}

static void test_bad_input(void **state)
{
	g_autoptr(Error) err = NULL;
	Link link;
	LinkChange change = LINK_CHANGE_NONE;
	assert_fails(
	    netlink_create_bridge("this-name-is-too-long", NULL, &err), &err, ERROR_INVALID);
	assert_fails(netlink_create_bridge("", NULL, &err), &err, ERROR_INVALID);
	change.address = "00:16:3e:zz:00:00";
	assert_fails(netlink_create_bridge("tbr3", &change, &err), &err, ERROR_INVALID);
	assert_fails(netlink_get("nosuch0", &link, &err), &err, ERROR_NOT_FOUND);
	assert_fails(netlink_address_add("lo", "10.0.0.300/24", 0, &err), &err, ERROR_INVALID);
	assert_fails(netlink_address_add("lo", "10.0.0.3/33", 0, &err), &err, ERROR_INVALID);
	assert_fails(netlink_address_add("nosuch0", "10.0.0.3/24", 0, &err), &err, ERROR_NOT_FOUND);
	assert_fails(netlink_create_macvlan("tmv", "nosuch0", NULL, &err), &err, ERROR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bridge),
	    cmocka_unit_test(test_veth),
	    cmocka_unit_test(test_other_namespace),
	    cmocka_unit_test(test_routes_and_limits),
	    cmocka_unit_test(test_bad_input),
	};
	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIP: this user may not make network namespaces\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
