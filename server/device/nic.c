/* Network cards: the device row, and what all kinds of them share. */
#include "server/device/nic_private.h"
#include "server/db/db.h"
#include "server/key/key.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const NicKind *const kinds[] = { &nic_bridged, &nic_p2p, &nic_routed, &nic_macvlan,
	&nic_physical };
static const char *const unbuilt_kinds[] = { "ipvlan", "ovn", "sriov", NULL };

const char *nic_volatile(const DeviceHost *host, const char *name, const char *key)
{
	g_autofree char *full = g_strdup_printf("%s.%s", name, key);
	if (host->volatile_get)
		return host->volatile_get(host, full);
	/* A configuration that is only being checked. */
	g_autofree char *row = g_strconcat("volatile.", full, NULL);
	return host->config ? config_get(host->config, row) : NULL;
}

/* Writes only what changes: every write is a transaction. */
int nic_volatile_set(
    const DeviceHost *host, const char *name, const char *key, const char *value, Error **err)
{
	g_autofree char *full = g_strdup_printf("%s.%s", name, key);
	if (g_strcmp0(host->volatile_get(host, full), value) == 0)
		return 0;
	return host->volatile_set(host, full, value, err);
}

char *nic_random_name(const char *prefix)
{
	uint32_t number;
	if (getrandom(&number, sizeof number, 0) != sizeof number)
		number = g_random_int();
	return g_strdup_printf("%s%08x", prefix, number);
}

static int count_hwaddr(Tx *tx, void *data, Error **err)
{
	int64_t n;
	if (tx_int(tx, &n, err,
		"SELECT COUNT(*) FROM instances_config WHERE value = ? AND key LIKE 'volatile.%.hwaddr'",
		"s", (const char *)data) < 0)
		return -1;
	/* Taken is told from broken by the kind of error. */
	return n ? error_set(err, ERROR_EXISTS, "MAC address is taken") : 0;
}

static int new_hwaddr(const DeviceHost *host, char **ret_hwaddr, Error **err)
{
	for (;;) {
		uint8_t b[3];
		g_autoptr(Error) why = NULL;
		if (getrandom(b, sizeof b, 0) != sizeof b)
			return error_set(err, ERROR_INTERNAL, "Failed to read random bytes");
		g_autofree char *hwaddr = g_strdup_printf(
		    "00:16:3e:%02x:%02x:%02x", b[0], b[1], b[2]);
		if (!host->daemon->db ||
		    db_read(host->daemon->db, count_hwaddr, hwaddr, &why) == 0) {
			*ret_hwaddr = g_steal_pointer(&hwaddr);
			return 0;
		}
		if (why->kind != ERROR_EXISTS)
			return error_propagate(err, g_steal_pointer(&why));
	}
}

int nic_hwaddr(const DeviceHost *host, const char *name, const Config *config,
    const char **ret_hwaddr, Error **err)
{
	const char *value = config_get(config, "hwaddr");
	if (!value || !*value)
		value = nic_volatile(host, name, "hwaddr");
	if (!value) {
		g_autofree char *made = NULL;
		if (new_hwaddr(host, &made, err) < 0 ||
		    nic_volatile_set(host, name, "hwaddr", made, err) < 0)
			return -1;
		value = nic_volatile(host, name, "hwaddr");
	}
	*ret_hwaddr = value;
	return 0;
}

static gboolean inside_name_taken(const DeviceHost *host, const char *self, const char *wanted)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)host->devices);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		if (g_strcmp0(config_get(value, "type"), "nic") != 0 || strcmp(key, self) == 0)
			continue;
		const char *name = config_get(value, "name");
		if (g_strcmp0(name ? name : nic_volatile(host, key, "name"), wanted) == 0)
			return TRUE;
	}
	return FALSE;
}

int nic_inside_name(const DeviceHost *host, const char *name, const Config *config,
    const char **ret_name, Error **err)
{
	const char *value = config_get(config, "name");
	if (!value || !*value)
		value = nic_volatile(host, name, "name");
	for (int i = 0; !value; i++) {
		g_autofree char *wanted = g_strdup_printf("eth%d", i);
		if (inside_name_taken(host, name, wanted))
			continue;
		if (nic_volatile_set(host, name, "name", wanted, err) < 0)
			return -1;
		value = nic_volatile(host, name, "name");
	}
	*ret_name = value;
	return 0;
}

int nic_parent(const DeviceHost *host, const Config *config, char **ret_parent,
    Network **ret_network, Error **err)
{
	const char *name = config_get(config, "network");
	const char *parent = config_get(config, "parent");
	if (name) {
		if (network_get(host->daemon, host->project, name, ret_network, err) < 0 ||
		    network_type_check(network_type(*ret_network), err) < 0)
			return error_prefix(err, "Error loading network config for \"%s\"", name);
		*ret_parent = g_strdup(network_bridge_name(*ret_network));
		return 0;
	}
	if (!netlink_exists(parent))
		return error_set(err, ERROR_INVALID, "Parent device \"%s\" doesn't exist", parent);
	/* The parent may be a managed bridge all the same: its DHCP should know the nic. */
	if (network_get(host->daemon, "default", parent, ret_network, NULL) == 0 &&
	    network_type_check(network_type(*ret_network), NULL) < 0)
		g_clear_pointer(ret_network, network_unref);
	*ret_parent = g_strdup(parent);
	return 0;
}

unsigned nic_mtu(const Config *config, Network *network, const char *parent)
{
	Link link;
	const char *value = config_get(config, "mtu");
	unsigned mtu = value ? (unsigned)strtoul(value, NULL, 10) :
	    network	     ? network_mtu(network) :
			       0;
	if (!mtu && parent && netlink_get(parent, &link, NULL) == 0)
		mtu = link.mtu;
	return mtu;
}

typedef struct InsideJob {
	int netns_fd;
	int (*fn)(void *data, Error **err);
	void *data;
	int result;
	Error *err;
} InsideJob;

static void *run_inside(void *data)
{
	InsideJob *job = data;
	if (setns(job->netns_fd, CLONE_NEWNET) < 0)
		job->result = error_errno(
		    &job->err, ERROR_INTERNAL, errno, "Failed to enter the network namespace");
	else
		job->result = job->fn(job->data, &job->err);
	return NULL;
}

int nic_run_inside(pid_t pid, int (*fn)(void *data, Error **err), void *data, Error **err)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/ns/net", (int)pid);
	autofd int netns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (netns_fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Failed to open \"%s\"", path);
	InsideJob job = {.netns_fd = netns_fd, .fn = fn, .data = data};
	pthread_t thread;
	int failed = pthread_create(&thread, NULL, run_inside, &job);
	if (failed)
		return error_errno(err, ERROR_INTERNAL, failed, "Failed to start a thread");
	pthread_join(thread, NULL);
	if (job.result < 0)
		return error_propagate(err, job.err);
	return 0;
}

/* A managed network decides the kind: all of ours are bridges. */
static int find_kind(const Config *config, const NicKind **ret_kind, Error **err)
{
	const char *nictype = config_get(config, "nictype"),
		   *network = config_get(config, "network");
	if (network && nictype)
		return error_set(err, ERROR_INVALID,
		    "Cannot use \"nictype\" property in conjunction with \"network\" property");
	if (network)
		nictype = "bridged";
	if (!nictype || !*nictype)
		return error_set(err, ERROR_INVALID, "Missing \"nictype\" or \"network\" property");
	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		if (strcmp(kinds[i]->nictype, nictype) != 0)
			continue;
		*ret_kind = kinds[i];
		return 0;
	}
	if (g_strv_contains(unbuilt_kinds, nictype))
		return error_set(err, ERROR_UNSUPPORTED,
		    "Nics of type \"%s\" are not built into this server", nictype);
	return error_set(err, ERROR_INVALID, "Unknown nictype \"%s\"", nictype);
}

static int check_managed_keys(const Config *config, Error **err)
{
	static const char *const managed[] = {"parent", "mtu"};
	if (!config_get(config, "network"))
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(managed); i++)
		if (config_get(config, managed[i]))
			return error_set(err, ERROR_INVALID,
			    "Cannot use \"%s\" property in conjunction with \"network\" property",
			    managed[i]);
	return 0;
}

/* The managed network that gives the nic's instance a DNS name; NULL: there is none. */
static char *naming_network(const DeviceHost *host, const Config *config)
{
	const NicKind *kind = NULL;
	g_autofree char *parent = NULL;
	g_autoptr(Network) network = NULL;
	if (!device_host_serves(host) || g_strcmp0(config_get(config, "type"), "nic") != 0 ||
	    config_get(config, "vlan") || find_kind(config, &kind, NULL) < 0 ||
	    strcmp(kind->nictype, "bridged") != 0 ||
	    nic_parent(host, config, &parent, &network, NULL) < 0 || !network)
		return NULL;
	g_autoptr(Config) settings = network_config(network);
	return g_strcmp0(config_get(settings, "dns.mode"), "none") == 0 ?
	    NULL :
	    g_steal_pointer(&parent);
}

int nic_check_dns_names(const DeviceHost *host, const Devices *devices, Error **err)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GHashTableIter iter;
	void *name, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &config)) {
		g_autofree char *network = naming_network(host, config);
		const char *other = network ? g_hash_table_lookup(seen, network) : NULL;
		if (other)
			return error_set(err, ERROR_INVALID,
			    "Instance DNS name \"%s\" conflict between \"%s\" and \"%s\" because"
			    " both are connected to same network",
			    host->instance, other, (char *)name);
		if (network)
			g_hash_table_insert(seen, g_steal_pointer(&network), name);
	}
	return 0;
}

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const NicKind *kind = NULL;
	if (find_kind(config, &kind, err) < 0 || check_managed_keys(config, err) < 0)
		return -1;
	g_autofree char *scope = g_strdup_printf("nic-%s", kind->nictype);
	if (key_check_all(KEY_DEVICE, scope, config, err) < 0)
		return -1;
	if (config_get(config, "name") && host &&
	    inside_name_taken(host, name, config_get(config, "name")))
		return error_set(err, ERROR_INVALID, "Another nic has the name \"%s\"",
		    config_get(config, "name"));
	return kind->validate ? kind->validate(host, name, config, err) : 0;
}

/* What the network must know also while the instance is stopped. */
static int add(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const NicKind *kind = NULL;
	const char *hwaddr;
	return find_kind(config, &kind, err) < 0 ||
		nic_hwaddr(host, name, config, &hwaddr, err) < 0 ?
	    -1 :
	    0;
}

static void forget(const DeviceHost *host, const char *name, const Config *config)
{
	static const char *const keys[] = { "hwaddr", "host_name", "name", "last_state.created",
		"last_state.hwaddr", "last_state.mtu", "last_state.ip_addresses" };
	nic_routed_down(host, name); /* of a life that was cut off */
	g_autofree char *parent = NULL;
	g_autoptr(Network) network = NULL;
	if ((config_get(config, "network") || config_get(config, "parent")) &&
	    nic_parent(host, config, &parent, &network, NULL) == 0 && network) {
		NetworkNic nic = {
			.project = host->project, .instance = host->instance, .device = name
		};
		network_lease_remove(network, &nic);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		nic_volatile_set(host, name, keys[i], NULL, NULL);
}

/* Of a card that is there. One that the machine has to itself keeps the address that the network
 * knows it by. */
static int card_hwaddr(const NicKind *kind, const DeviceHost *host, const char *name,
    const Config *config, const char **ret_hwaddr, Error **err)
{
	const char *own = kind == &nic_physical ? nic_volatile(host, name, "last_state.hwaddr") :
						  NULL;
	if (!own || config_get(config, "hwaddr"))
		return nic_hwaddr(host, name, config, ret_hwaddr, err);
	*ret_hwaddr = own;
	return 0;
}

/* A virtual machine's card, once the host's side of it is there. */
static int start_card(const NicKind *kind, const DeviceHost *host, const char *name,
    const Config *config, DevicePart **ret_part, Error **err)
{
	const char *hwaddr;
	g_autoptr(DevicePart) part = device_part_new(PART_CARD, name, config);
	if (kind->start(host, name, config, &part->link, err) < 0)
		return -1;
	if (card_hwaddr(kind, host, name, config, &hwaddr, err) < 0) {
		kind->stop(host, name, config);
		return -1;
	}
	part->hwaddr = g_strdup(hwaddr);
	part->direct = kind->direct;
	part->mtu = nic_mtu(config, NULL, part->link);
	*ret_part = g_steal_pointer(&part);
	return 0;
}

static int start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	const NicKind *kind = NULL;
	const char *inside;
	DevicePart *part;
	if (device_host_is_machine(host)) {
		if (find_kind(config, &kind, err) < 0 ||
		    start_card(kind, host, name, config, &part, err) < 0)
			return -1;
		g_ptr_array_add(out->parts, part);
		return 0;
	}
	g_autofree char *link = NULL;
	if (find_kind(config, &kind, err) < 0 ||
	    nic_inside_name(host, name, config, &inside, err) < 0 ||
	    kind->start(host, name, config, &link, err) < 0)
		return -1;
	unsigned n = out->n_nics++;
	const char *const words[][2] = { { "type", "phys" }, { "flags", "up" }, { "link", link },
		{ "name", inside } };
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g_autofree char *key = g_strdup_printf("lxc.net.%u.%s", n, words[i][0]);
		device_start_config(out, key, "%s", words[i][1]);
	}
	if (kind->inside)
		kind->inside(config, out, n);
	return 0;
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	const NicKind *kind = NULL;
	if (find_kind(config, &kind, NULL) == 0)
		kind->stop(host, name, config);
}

static int attach_card(const NicKind *kind, const DeviceHost *host, const char *name,
    const Config *config, Error **err)
{
	g_autoptr(DevicePart) part = NULL;
	if (start_card(kind, host, name, config, &part, err) < 0)
		return -1;
	if (host->part_add(host, part, err) == 0)
		return 0;
	kind->stop(host, name, config);
	return -1;
}

static int detach_card(const NicKind *kind, const DeviceHost *host, const char *name,
    const Config *config, Error **err)
{
	const char *hwaddr;
	g_autoptr(DevicePart) part = device_part_new(PART_CARD, name, config);
	if (card_hwaddr(kind, host, name, config, &hwaddr, err) < 0)
		return -1;
	part->hwaddr = g_strdup(hwaddr);
	if (host->part_remove(host, part, err) < 0)
		return -1;
	kind->stop(host, name, config);
	return 0;
}

static int attach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const NicKind *kind = NULL;
	if (find_kind(config, &kind, err) < 0)
		return -1;
	return device_host_is_machine(host) ? attach_card(kind, host, name, config, err) :
					      kind->attach(host, name, config, err);
}

static int detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	const NicKind *kind = NULL;
	if (find_kind(config, &kind, err) < 0)
		return -1;
	return device_host_is_machine(host) ? detach_card(kind, host, name, config, err) :
					      kind->detach(host, name, config, err);
}

static gboolean only_live_keys(const NicKind *kind, const Config *a, const Config *b)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)a);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_strcmp0(config_get(b, key), value) != 0 &&
		    !g_strv_contains(kind->live_keys, key))
			return FALSE;
	return TRUE;
}

static gboolean can_update(const char *name, const Config *old_config, const Config *new_config)
{
	const NicKind *old_kind = NULL, *kind = NULL;
	if (find_kind(old_config, &old_kind, NULL) < 0 || find_kind(new_config, &kind, NULL) < 0 ||
	    kind != old_kind || !kind->live_keys)
		return FALSE;
	return only_live_keys(kind, old_config, new_config) &&
	    only_live_keys(kind, new_config, old_config);
}

static int update(const DeviceHost *host, const char *name, const Config *old_config,
    const Config *new_config, Error **err)
{
	const NicKind *kind = NULL;
	if (find_kind(new_config, &kind, err) < 0)
		return -1;
	return kind->update(host, name, old_config, new_config, err);
}

const DeviceType device_nic = {
    .type = "nic",
    .validate = validate,
    .add = add,
    .remove = forget,
    .start = start,
    .stop = stop,
    .attach = attach,
    .detach = detach,
    .can_update = can_update,
    .update = update,
};
