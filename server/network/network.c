/* The table of networks: loading, looking up, bringing up and taking down. */
#include "server/network/network.h"
#include "server/network/bridge_config.h"
#include "server/network/network_private.h"
#include "server/project/project.h"
#include "server/warning/warning.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include <fcntl.h>
#include <string.h>

Network *network_new(Daemon *d, int64_t id, const char *project, const char *name, const char *type)
{
	Network *network = g_new0(Network, 1);
	network->refs = 1;
	network->daemon = d;
	network->id = id;
	network->project = g_intern_string(project);
	network->name = g_intern_string(name);
	network->type = type;
	network->config = config_new();
	g_mutex_init(&network->lock);
	return network;
}

Network *network_ref(Network *network)
{
	g_atomic_int_inc(&network->refs);
	return network;
}

void network_unref(Network *network)
{
	if (!network || !g_atomic_int_dec_and_test(&network->refs))
		return;
	g_hash_table_unref(network->config);
	g_free(network->description);
	g_mutex_clear(&network->lock);
	g_free(network);
}

/* Locally administered by Xen's prefix, which Incus took over; the rest is this server's and row's.
 */
char *network_stable_mac(const Daemon *d, int64_t id)
{
	g_autofree char *seed = g_strdup_printf("%s/%" G_GINT64_FORMAT,
	    d->server_cert_fingerprint ? d->server_cert_fingerprint : d->dir, id);
	g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, seed, -1);
	return g_strdup_printf("00:16:3e:%.2s:%.2s:%.2s", hash, hash + 2, hash + 4);
}

void network_setup(Network *network, NetworkSetup *ret_setup)
{
	ret_setup->config = network_config(network);
	ret_setup->directory = network_directory(network);
	ret_setup->hwaddr = network_stable_mac(network->daemon, network->id);
	ret_setup->bridge = (BridgeSetup){ .name = network_name(network),
		.directory = ret_setup->directory,
		.hwaddr = ret_setup->hwaddr,
		.config = ret_setup->config };
}

void network_setup_clear(NetworkSetup *setup)
{
	g_clear_pointer(&setup->config, g_hash_table_unref);
	g_clear_pointer(&setup->directory, g_free);
	g_clear_pointer(&setup->hwaddr, g_free);
}

/* A row of a type that only others have: what LXD had, or a later version. */
static int start(const Network *network, const NetworkSetup *setup, Error **err)
{
	return network_type_check(network->type, err) < 0 ? -1 : bridge_apply(&setup->bridge, err);
}

static void bring_up(Network *network)
{
	g_autoptr(Error) err = NULL;
	NetworkSetup setup;
	network_setup(network, &setup);
	/* Half-made by a daemon that died in the middle: nobody was told that it exists. */
	if (network->state == NETWORK_PENDING) {
		bridge_remove(&setup.bridge);
		if (file_remove_all(AT_FDCWD, setup.directory, &err) < 0 ||
		    network_row_delete(network->daemon, network->id, &err) < 0)
			log_warn("Half-made network stays", "network", network->name, "err",
			    err->message);
	} else if (start(network, &setup, &err) < 0) {
		network->state = NETWORK_ERRORED;
		log_error("Network failed to start", "network", network->name, "err", err->message);
	} else {
		network->state = NETWORK_CREATED;
	}
	if (network->state != NETWORK_PENDING)
		warning_report(network->daemon, WARNING_NETWORK_UNAVAILABLE, WARNING_ENTITY_NETWORK,
		    network->id, network->project, err ? err->message : NULL);
	network_setup_clear(&setup);
}

int network_table_start(Daemon *d, Error **err)
{
	NetworkTable *table = g_new0(NetworkTable, 1);
	g_mutex_init(&table->change);
	g_mutex_init(&table->lock);
	g_mutex_init(&table->leases);
	table->networks = g_ptr_array_new_with_free_func((GDestroyNotify)network_unref);
	d->networks = table;
	if (network_rows_load(d, table->networks, err) < 0) {
		network_table_stop(d);
		return error_prefix(err, "Failed to load networks");
	}
	for (guint i = table->networks->len; i-- > 0;) {
		Network *network = g_ptr_array_index(table->networks, i);
		gboolean half_made = network->state == NETWORK_PENDING;
		bring_up(network);
		if (half_made)
			g_ptr_array_remove_index(table->networks, i);
	}
	return 0;
}

void network_table_stop(Daemon *d)
{
	NetworkTable *table = d->networks;
	if (!table)
		return;
	d->networks = NULL;
	g_ptr_array_unref(table->networks);
	g_mutex_clear(&table->change);
	g_mutex_clear(&table->lock);
	g_mutex_clear(&table->leases);
	g_free(table);
}

void network_table_shutdown(Daemon *d)
{
	if (!d->networks)
		return;
	g_autoptr(GPtrArray) list = network_list(d, NULL);
	network_change_lock(d);
	for (guint i = 0; i < list->len; i++) {
		NetworkSetup setup;
		Network *network = g_ptr_array_index(list, i);
		if (network_type_check(network->type, NULL) < 0)
			continue;
		network_setup(network, &setup);
		bridge_remove(&setup.bridge);
		network_setup_clear(&setup);
	}
	network_change_unlock(d);
}

void network_change_lock(Daemon *d)
{
	g_mutex_lock(&d->networks->change);
}

void network_change_unlock(Daemon *d)
{
	g_mutex_unlock(&d->networks->change);
}

int network_get(
    Daemon *d, const char *project, const char *name, Network **ret_network, Error **err)
{
	g_autofree char *effective = NULL;
	if (project_effective(d, project, PROJECT_NETWORKS, &effective, err) < 0)
		return -1;
	g_autoptr(GPtrArray) list = network_list(d, effective);
	for (guint i = 0; i < list->len; i++) {
		Network *network = g_ptr_array_index(list, i);
		if (strcmp(network_name(network), name) != 0)
			continue;
		*ret_network = network_ref(network);
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND, "Network not found");
}

static int by_name(gconstpointer a, gconstpointer b)
{
	return strcmp(network_name(*(Network *const *)a), network_name(*(Network *const *)b));
}

GPtrArray *network_list(Daemon *d, const char *project)
{
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)network_unref);
	NetworkTable *table = d->networks;
	g_mutex_lock(&table->lock);
	for (guint i = 0; i < table->networks->len; i++) {
		Network *network = g_ptr_array_index(table->networks, i);
		if (!project || strcmp(network->project, project) == 0)
			g_ptr_array_add(list, network_ref(network));
	}
	g_mutex_unlock(&table->lock);
	g_ptr_array_sort(list, by_name);
	return list;
}

int64_t network_id(const Network *network)
{
	return network->id;
}

const char *network_name(const Network *network)
{
	Network *n = (Network *)network;
	g_mutex_lock(&n->lock);
	const char *name = n->name;
	g_mutex_unlock(&n->lock);
	return name;
}

const char *network_project(const Network *network)
{
	return network->project;
}

const char *network_type(const Network *network)
{
	return network->type;
}

const char *network_bridge_name(const Network *network)
{
	return network_name(network);
}

Config *network_config(Network *network)
{
	g_mutex_lock(&network->lock);
	Config *config = config_copy(network->config);
	g_mutex_unlock(&network->lock);
	return config;
}

unsigned network_mtu(Network *network)
{
	g_autoptr(Config) config = network_config(network);
	return bridge_config_mtu(config);
}

char *network_description(Network *network)
{
	g_mutex_lock(&network->lock);
	char *description = g_strdup(network->description ? network->description : "");
	g_mutex_unlock(&network->lock);
	return description;
}

const char *network_status(Network *network)
{
	static const char *const names[] = {"Pending", "Created", "Errored"};
	g_mutex_lock(&network->lock);
	const char *name = names[network->state];
	g_mutex_unlock(&network->lock);
	return name;
}

char *network_directory(Network *network)
{
	return g_strdup_printf("%s/networks/%s", network->daemon->dir, network_name(network));
}

char *network_domain(Network *network)
{
	g_autoptr(Config) config = network_config(network);
	const char *domain = config_get(config, "dns.domain");
	return g_strdup(domain && *domain ? domain : "incus");
}
