/*
 * Proxies: what comes to an address on one side goes to an address on the other. A forwarder
 * (helper/spawner/proxy.c) does it, a process that outlives the server; with nat=true rules of the
 * firewall do.
 */
#include "server/device/proxy_address.h"
#include "server/device/device_private.h"
#include "server/helper/client.h"
#include "server/key/key.h"
#include "server/network/firewall.h"
#include "server/sys/id_map.h"
#include "server/sys/process.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

enum { START_PATIENCE_MS = 30000, STOP_PATIENCE_MS = 5000 };

typedef struct Proxy {
	ProxyAddress listen, connect;
	gboolean nat, inside; /* where it listens */
} Proxy;

static void proxy_clear(Proxy *proxy)
{
	proxy_address_clear(&proxy->listen);
	proxy_address_clear(&proxy->connect);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Proxy, proxy_clear)

static int proxy_read(const Config *config, Proxy *proxy, Error **err)
{
	const char *bind = config_get(config, "bind");
	const char *listens = config_get(config, "listen"),
		   *connects = config_get(config, "connect");
	*proxy = (Proxy){ .nat = config_true(config, "nat"),
		.inside = bind && strcmp(bind, "host") != 0 };
	if (!listens || !connects)
		return error_set(
		    err, ERROR_INVALID, "Missing \"%s\" property", listens ? "connect" : "listen");
	if (proxy_address_parse(listens, &proxy->listen, err) < 0)
		return error_prefix(err, "Invalid \"listen\"");
	return proxy_address_parse(connects, &proxy->connect, err) < 0 ?
	    error_prefix(err, "Invalid \"connect\"") :
	    0;
}

/* ---- what fits together ---- */

static int check_pair(const Proxy *proxy, Error **err)
{
	guint from = proxy_address_count(&proxy->listen), to = proxy_address_count(&proxy->connect);
	if (proxy->listen.kind == PROXY_UDP && proxy->connect.kind != PROXY_UDP)
		return error_set(err, ERROR_INVALID, "Proxying udp <-> %s is not supported",
		    proxy_kind_name(proxy->connect.kind));
	if (to > 1 && from != to)
		return error_set(err, ERROR_INVALID,
		    "Mismatch between listen port(s) and connect port(s) count");
	return 0;
}

static int check_socket_keys(const Proxy *proxy, const Config *config, Error **err)
{
	static const char *const keys[] = { "uid", "gid", "mode" };
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		if (config_get(config, keys[i]) &&
		    (proxy->listen.kind != PROXY_UNIX || proxy->listen.abstract))
			return error_set(err, ERROR_INVALID,
			    "Only proxy devices for non-abstract unix sockets can carry uid, gid, or mode properties");
	if (config_true(config, "proxy_protocol") &&
	    (proxy->connect.kind != PROXY_TCP || proxy->nat))
		return error_set(err, ERROR_INVALID,
		    "The PROXY header can only be sent to tcp servers in non-nat mode");
	return 0;
}

/* The address inside that packets are sent to: one that the instance is known to have. */
static const char *nat_target(const DeviceHost *host, const Proxy *proxy)
{
	GHashTableIter iter;
	void *nic;
	const char *key = proxy->listen.ipv6 ? "ipv6.address" : "ipv4.address", *first = NULL;
	g_hash_table_iter_init(&iter, (GHashTable *)host->devices);
	while (g_hash_table_iter_next(&iter, NULL, &nic)) {
		const char *address = config_get(nic, key);
		if (g_strcmp0(config_get(nic, "type"), "nic") != 0 || !address ||
		    strcmp(address, "none") == 0)
			continue;
		if (proxy_address_any(&proxy->connect) ? !first || strcmp(address, first) < 0 :
							 strcmp(address, proxy->connect.host) == 0)
			first = address;
	}
	return first;
}

static int check_nat(const DeviceHost *host, const Proxy *proxy, Error **err)
{
	const char *family = proxy->listen.ipv6 ? "IPv6" : "IPv4";
	if (!proxy->nat)
		return device_host_is_machine(host) ?
		    error_set(err, ERROR_INVALID,
			"Only NAT mode is supported for proxies on VM instances") :
		    0;
	if (proxy->inside)
		return error_set(err, ERROR_INVALID, "Only host-bound proxies can use NAT");
	if (proxy->listen.kind == PROXY_UNIX || proxy->listen.kind != proxy->connect.kind)
		return error_set(err, ERROR_INVALID,
		    "Proxying %s <-> %s is not supported when using NAT",
		    proxy_kind_name(proxy->listen.kind), proxy_kind_name(proxy->connect.kind));
	if (proxy_address_any(&proxy->listen))
		return error_set(err, ERROR_INVALID,
		    "Cannot listen on wildcard address \"%s\" when in nat mode",
		    proxy->listen.host);
	if (*proxy->connect.host && proxy->listen.ipv6 != proxy->connect.ipv6)
		return error_set(err, ERROR_INVALID,
		    "Cannot mix IP versions between listen and connect in nat mode");
	if (host && !nat_target(host, proxy))
		return proxy_address_any(&proxy->connect) ?
		    error_set(err, ERROR_INVALID,
			"Instance has no static %s address assigned to be used as the connect IP",
			family) :
		    error_set(err, ERROR_INVALID,
			"Connect IP \"%s\" must be one of the instance's static %s addresses",
			proxy->connect.host, family);
	return 0;
}

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_auto(Proxy) proxy = { 0 };
	if (key_check_all(KEY_DEVICE, "proxy", config, err) < 0 ||
	    proxy_read(config, &proxy, err) < 0 || check_pair(&proxy, err) < 0 ||
	    check_socket_keys(&proxy, config, err) < 0)
		return -1;
	return check_nat(host, &proxy, err);
}

/* ---- by the firewall ---- */

static int nat_start(const DeviceHost *host, const char *name, const Proxy *proxy, Error **err)
{
	const char *target = nat_target(host, proxy);
	guint n = proxy_address_count(&proxy->listen);
	g_autofree char *instance = device_host_file_name(host);
	g_autofree FirewallNat *rules = g_new0(FirewallNat, n);
	if (!target)
		return error_set(err, ERROR_INVALID, "The instance has no static address");
	for (guint i = 0; i < n; i++)
		rules[i] = (FirewallNat){ .protocol = proxy_kind_name(proxy->listen.kind),
			.ipv6 = proxy->listen.ipv6,
			.listen = proxy->listen.host,
			.listen_port = proxy_address_port(&proxy->listen, i),
			.connect = target,
			.connect_port = proxy_address_port(&proxy->connect, i) };
	return firewall_nat_apply(instance, name, rules, n, err);
}

static void nat_stop(const DeviceHost *host, const char *name)
{
	g_autofree char *instance = device_host_file_name(host);
	g_autoptr(Error) error = NULL;
	if (firewall_nat_remove(instance, name, &error) < 0)
		log_warn("Rules of a proxy are not removed", "instance", host->instance, "device",
		    name, "err", error->message);
}

/* ---- by a forwarder ---- */

static int64_t number(const Config *config, const char *key, int base, int64_t otherwise)
{
	const char *value = config_get(config, key);
	return value ? (int64_t)strtoll(value, NULL, base) : otherwise;
}

static Packet *request(
    const DeviceHost *host, const Config *config, const Proxy *proxy, const char *note)
{
	Packet *rq = packet_new(SPAWN_PROXY);
	guint n = proxy_address_count(&proxy->listen);
	packet_add(rq, note);
	for (guint i = 0; i < n; i++) {
		g_autofree char *from = proxy_address_text(&proxy->listen, i, "::");
		g_autofree char *to = proxy_address_text(&proxy->connect, i, "127.0.0.1");
		packet_add(rq, from);
		packet_add(rq, to);
	}
	rq->n[0] = proxy->inside;
	rq->n[1] = config_true(config, "proxy_protocol");
	rq->n[2] = n;
	rq->n[3] = number(config, "mode", 8, 0644);
	rq->n[4] = number(config, "uid", 10, 0);
	rq->n[5] = number(config, "gid", 10, 0);
	rq->n[6] = number(config, "security.uid", 10, 0);
	rq->n[7] = number(config, "security.gid", 10, 0);
	return rq;
}

static int forwarder_start(
    const DeviceHost *host, const char *name, const Config *config, const Proxy *proxy, Error **err)
{
	autofd int init = (int)syscall(SYS_pidfd_open, host->init_pid, 0);
	g_autofree char *note = NULL;
	if (init < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "The instance has ended");
	if (device_file_make(host, "proxy", name, &note, err) < 0)
		return -1;
	Packet *rq = request(host, config, proxy, note);
	packet_add_fd(rq, init);
	SpawnerCall call = { .timeout_ms = START_PATIENCE_MS };
	return spawner_call(host->daemon->spawner, rq, &call, NULL, err);
}

static void forwarder_stop(const DeviceHost *host, const char *name)
{
	g_autofree char *note = device_file_path(host, "proxy", name);
	autofd int process = process_open_noted(note);
	if (process >= 0)
		process_end(process, STOP_PATIENCE_MS);
	device_file_remove(note);
}

/* ---- the row ---- */

static int begin(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	g_auto(Proxy) proxy = { 0 };
	if (proxy_read(config, &proxy, err) < 0)
		return -1;
	return proxy.nat ? nat_start(host, name, &proxy, err) :
			   forwarder_start(host, name, config, &proxy, err);
}

static void stop(const DeviceHost *host, const char *name, const Config *config)
{
	if (config_true(config, "nat"))
		nat_stop(host, name);
	else
		forwarder_stop(host, name);
}

static int detach(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	stop(host, name, config);
	return 0;
}

static void adopt(const DeviceHost *host, const char *name, const Config *config)
{
	g_autofree char *note = device_file_path(host, "proxy", name);
	g_autoptr(Error) error = NULL;
	autofd int process = config_true(config, "nat") ? -1 : process_open_noted(note);
	if (process < 0 && begin(host, name, config, &error) < 0)
		log_warn("Proxy is not there again", "instance", host->instance, "device", name,
		    "err", error->message);
}

const DeviceType device_proxy = {
	.type = "proxy",
	.validate = validate,
	.started = begin,
	.stop = stop,
	.adopt = adopt,
	.attach = begin,
	.detach = detach,
};
