/* Nics that go into the container whole: a macvlan on a parent, or the parent itself (physical). A
 * virtual machine gets a macvtap on it, which libvirt makes: of a physical one with the parent's
 * own address, and nobody else can use the parent. */
#include "server/device/nic_private.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static int check_vlan(const Config *config, Error **err)
{
	if (config_get(config, "vlan") || config_true(config, "gvrp"))
		return error_set(
		    err, ERROR_UNSUPPORTED, "VLANs of nics are not built into this server");
	return 0;
}

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (!config_get(config, "parent"))
		return error_set(err, ERROR_INVALID, "Missing \"parent\" property");
	return check_vlan(config, err);
}

/* Takes back what an earlier life left in the host's namespace. */
static void remove_link(const DeviceHost *host, const char *name)
{
	const char *link = nic_volatile(host, name, "host_name");
	if (link)
		netlink_delete(link, NULL);
	nic_volatile_set(host, name, "host_name", NULL, NULL);
}

/* pid 0: the host's namespace. The link's name in the host goes into volatile first. */
static int make_macvlan(const DeviceHost *host, const char *name, const Config *config,
    const char *link, pid_t pid, Error **err)
{
	LinkChange change = LINK_CHANGE_NONE;
	const char *parent = config_get(config, "parent");
	remove_link(host, name);
	if (nic_hwaddr(host, name, config, &change.address, err) < 0)
		return -1;
	change.mtu = nic_mtu(config, NULL, NULL);
	change.netns_pid = pid;
	if (netlink_create_macvlan(link, parent, &change, err) < 0)
		return -1;
	if (!pid && nic_volatile_set(host, name, "host_name", link, err) < 0) {
		netlink_delete(link, NULL);
		return -1;
	}
	return 0;
}

static int start_macvlan(
    const DeviceHost *host, const char *name, const Config *config, char **ret_link, Error **err)
{
	if (device_host_is_machine(host)) { /* libvirt makes a macvtap on it */
		*ret_link = g_strdup(config_get(config, "parent"));
		return 0;
	}
	g_autofree char *link = nic_random_name("mac");
	if (make_macvlan(host, name, config, link, 0, err) < 0)
		return -1;
	*ret_link = g_steal_pointer(&link);
	return 0;
}

static void stop_macvlan(const DeviceHost *host, const char *name, const Config *config)
{
	remove_link(host, name);
}

static int attach_macvlan(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const char *inside;
	if (nic_inside_name(host, name, config, &inside, err) < 0)
		return -1;
	return make_macvlan(host, name, config, inside, host->init_pid, err);
}

static int delete_inside(void *data, Error **err)
{
	return netlink_delete(data, err);
}

static int detach_macvlan(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const char *inside;
	if (nic_inside_name(host, name, config, &inside, err) < 0)
		return -1;
	int result = nic_run_inside(host->init_pid, delete_inside, (void *)inside, err);
	nic_volatile_set(host, name, "host_name", NULL, NULL);
	return result;
}

/* Remembers what the interface was, and makes it what the nic asks for. */
static int prepare_physical(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	Link link;
	LinkChange change = LINK_CHANGE_NONE;
	const char *parent = config_get(config, "parent");
	if (netlink_get(parent, &link, err) < 0)
		return error_prefix(err, "Parent device \"%s\"", parent);
	g_autofree char *mtu = g_strdup_printf("%u", link.mtu);
	if (nic_volatile_set(host, name, "last_state.mtu", mtu, err) < 0 ||
	    nic_volatile_set(host, name, "last_state.hwaddr", link.address, err) < 0 ||
	    nic_volatile_set(host, name, "host_name", parent, err) < 0)
		return -1;
	change.mtu = nic_mtu(config, NULL, NULL);
	if (device_host_is_machine(host)) { /* the macvtap brings the address */
		change.up = 1;
		return netlink_change(parent, &change, err);
	}
	change.address = config_get(config, "hwaddr");
	if (!change.address && !change.mtu)
		return 0;
	change.up = 0;
	return netlink_change(parent, &change, err);
}

static void restore_physical(const DeviceHost *host, const char *name)
{
	g_autoptr(Error) err = NULL;
	LinkChange change = LINK_CHANGE_NONE;
	g_autofree char *parent = g_strdup(nic_volatile(host, name, "host_name"));
	g_autofree char *hwaddr = g_strdup(nic_volatile(host, name, "last_state.hwaddr"));
	const char *mtu = nic_volatile(host, name, "last_state.mtu");
	change.address = hwaddr && *hwaddr ? hwaddr : NULL;
	change.mtu = mtu ? (unsigned)strtoul(mtu, NULL, 10) : 0;
	if (parent && (change.address || change.mtu) && netlink_change(parent, &change, &err) < 0)
		log_warn("Interface keeps what its instance made of it", "interface", parent, "err",
		    err->message);
	nic_volatile_set(host, name, "last_state.hwaddr", NULL, NULL);
	nic_volatile_set(host, name, "last_state.mtu", NULL, NULL);
	nic_volatile_set(host, name, "host_name", NULL, NULL);
}

static int start_physical(
    const DeviceHost *host, const char *name, const Config *config, char **ret_link, Error **err)
{
	if (prepare_physical(host, name, config, err) < 0) {
		restore_physical(host, name);
		return -1;
	}
	*ret_link = g_strdup(config_get(config, "parent"));
	return 0;
}

static void stop_physical(const DeviceHost *host, const char *name, const Config *config)
{
	restore_physical(host, name);
}

static int attach_physical(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	LinkChange change = LINK_CHANGE_NONE;
	if (nic_inside_name(host, name, config, &change.name, err) < 0 ||
	    prepare_physical(host, name, config, err) < 0)
		return -1;
	change.netns_pid = host->init_pid;
	change.up = 0;
	int result = netlink_change(config_get(config, "parent"), &change, err);
	if (result < 0)
		restore_physical(host, name);
	return result;
}

typedef struct Return {
	const char *inside, *outside;
	int netns_fd;
} Return;

static int give_back(void *data, Error **err)
{
	const Return *back = data;
	LinkChange change = LINK_CHANGE_NONE;
	change.name = back->outside;
	change.netns_fd = back->netns_fd;
	change.up = 0;
	return netlink_change(back->inside, &change, err);
}

static int detach_physical(
    const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	autofd int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	Return back = {.outside = config_get(config, "parent"), .netns_fd = own};
	if (own < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Failed to open the network namespace");
	if (nic_inside_name(host, name, config, &back.inside, err) < 0 ||
	    nic_run_inside(host->init_pid, give_back, &back, err) < 0)
		return -1;
	restore_physical(host, name);
	return 0;
}

const NicKind nic_macvlan = { "macvlan", validate, start_macvlan, stop_macvlan, attach_macvlan,
	detach_macvlan, NULL, NULL, .direct = "bridge" };
const NicKind nic_physical = { "physical", validate, start_physical, stop_physical, attach_physical,
	detach_physical, NULL, NULL, .direct = "passthrough" };
