/* Creating, changing, renaming and deleting networks. */
#include "server/network/bridge_config.h"
#include "server/network/network.h"
#include "server/network/network_private.h"
#include "server/network/usage.h"
#include "server/project/project.h"
#include "server/sys/netlink.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The name becomes an interface, a file name, a word of nft and of dnsmasq: keep to what all take.
 */
static int check_name(const char *name, Error **err)
{
	size_t good = strspn(
	    name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
	size_t length = strlen(name);
	if (length < 2)
		return error_set(
		    err, ERROR_INVALID, "Network interface is too short (minimum 2 characters)");
	if (length > 15)
		return error_set(
		    err, ERROR_INVALID, "Network interface is too long (maximum 15 characters)");
	if (good != length)
		return error_set(
		    err, ERROR_INVALID, "Network interface contains invalid characters");
	if (*name == '-' || strcmp(name, "..") == 0)
		return error_set(err, ERROR_INVALID, "Network interface must not start with \"-\"");
	return 0;
}

/* Subnets that a new network must keep clear of: the host's routes and addresses, other networks'.
 */
static int taken_subnets(Daemon *d, GPtrArray **ret_taken, Error **err)
{
	g_autoptr(GPtrArray) taken = g_ptr_array_new_with_free_func(g_free);
	static const int families[] = {AF_INET, AF_INET6};
	for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
		g_autoptr(GPtrArray) routes = NULL;
		if (netlink_route_list(families[i], &routes, err) < 0)
			return -1;
		for (guint j = 0; j < routes->len; j++)
			g_ptr_array_add(taken, g_strdup(g_ptr_array_index(routes, j)));
	}
	g_autoptr(LinkList) links = NULL;
	if (netlink_list(-1, &links, err) < 0)
		return -1;
	for (unsigned i = 0; i < links->n_links; i++)
		for (unsigned j = 0; j < links->links[i].n_addresses; j++) {
			const LinkAddress *a = &links->links[i].addresses[j];
			if (strcmp(a->scope, "global") == 0)
				g_ptr_array_add(
				    taken, g_strdup_printf("%s/%d", a->text, a->prefix));
		}
	g_autoptr(GPtrArray) networks = network_list(d, NULL);
	for (guint i = 0; i < networks->len; i++) {
		g_autoptr(Config) config = network_config(g_ptr_array_index(networks, i));
		const char *const cidrs[] = { bridge_config_address(config, "ipv4"),
			bridge_config_address(config, "ipv6") };
		for (size_t j = 0; j < G_N_ELEMENTS(cidrs); j++)
			if (cidrs[j])
				g_ptr_array_add(taken, g_strdup(cidrs[j]));
	}
	*ret_taken = g_steal_pointer(&taken);
	return 0;
}

static int resolve_auto(Daemon *d, Config *config, Error **err)
{
	g_autoptr(GPtrArray) taken = NULL;
	if (g_strcmp0(config_get(config, "ipv4.address"), "auto") != 0 &&
	    g_strcmp0(config_get(config, "ipv6.address"), "auto") != 0)
		return 0;
	if (taken_subnets(d, &taken, err) < 0)
		return -1;
	return bridge_config_resolve(config, taken, err);
}

static void drop_empty(Config *config)
{
	GHashTableIter iter;
	void *value;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		if (!*(char *)value)
			g_hash_table_iter_remove(&iter);
}

static int check_create(
    Daemon *d, const NetworkSpec *spec, const char *type, char **ret_project, Error **err)
{
	Network *present = NULL;
	if (check_name(spec->name, err) < 0 || network_type_check(type, err) < 0 ||
	    project_effective(d, spec->project, PROJECT_NETWORKS, ret_project, err) < 0)
		return -1;
	if (strcmp(*ret_project, "default") != 0)
		return error_set(err, ERROR_INVALID,
		    "Network type \"%s\" is only possible in project \"default\"", type);
	if (network_get(d, "default", spec->name, &present, NULL) == 0) {
		network_unref(present);
		return error_set(err, ERROR_EXISTS, "The network already exists");
	}
	if (netlink_exists(spec->name))
		return error_set(
		    err, ERROR_EXISTS, "Network interface \"%s\" already exists", spec->name);
	return 0;
}

static void add_to_table(Daemon *d, Network *network)
{
	g_mutex_lock(&d->networks->lock);
	g_ptr_array_add(d->networks->networks, network);
	g_mutex_unlock(&d->networks->lock);
}

/* Row first (state Pending), so that a crash in the middle is seen and cleaned at the next start.
 */
static int make(Daemon *d, Network *network, Error **err)
{
	NetworkSetup setup;
	if (network_row_insert(d, network, err) < 0)
		return -1;
	network_setup(network, &setup);
	int result = bridge_apply(&setup.bridge, err);
	if (result == 0)
		result = network_row_set_state(d, network->id, NETWORK_CREATED, err);
	if (result < 0) {
		bridge_remove(&setup.bridge);
		file_remove_all(AT_FDCWD, setup.directory, NULL);
		network_row_delete(d, network->id, NULL);
	}
	network_setup_clear(&setup);
	return result;
}

int network_create(Daemon *d, const NetworkSpec *spec, Error **err)
{
	const char *type = spec->type && *spec->type ? spec->type : "bridge";
	g_autofree char *project = NULL;
	if (check_create(d, spec, type, &project, err) < 0)
		return -1;
	g_autoptr(Network) network = network_new(
	    d, 0, project, spec->name, network_type_name(network_type_number(type)));
	g_hash_table_unref(network->config);
	network->config = config_copy(spec->config);
	network->description = g_strdup(spec->description ? spec->description : "");
	drop_empty(network->config);
	bridge_config_defaults(network->config, bridge_have_ipv6());
	if (bridge_config_check(network->config, err) < 0 ||
	    resolve_auto(d, network->config, err) < 0 || make(d, network, err) < 0)
		return -1;
	network->state = NETWORK_CREATED;
	add_to_table(d, g_steal_pointer(&network));
	return 0;
}

/* The caller looked it up before it had the change lock: it may be gone by now. */
static int check_present(Daemon *d, Network *network, Error **err)
{
	g_mutex_lock(&d->networks->lock);
	gboolean present = g_ptr_array_find(d->networks->networks, network, NULL);
	g_mutex_unlock(&d->networks->lock);
	return present ? 0 : error_set(err, ERROR_NOT_FOUND, "Network not found");
}

/* The host follows first; the row is written once that worked, and undone with it. */
static int apply_new(Daemon *d, Network *network, const char *description, const Config *old,
    const Config *config, Error **err)
{
	NetworkSetup setup;
	network_setup(network, &setup);
	setup.bridge.config = config;
	setup.bridge.old_config = old;
	gboolean changed = !config_equal(old, config);
	int result = changed ? bridge_apply(&setup.bridge, err) : 0;
	if (result == 0)
		result = network_row_update(d, network, description, config, err);
	if (result < 0 && changed) {
		g_autoptr(Error) back = NULL;
		setup.bridge.config = old;
		setup.bridge.old_config = config;
		if (bridge_apply(&setup.bridge, &back) < 0)
			log_warn("Network could not go back to what it was", "network",
			    network->name, "err", back->message);
	}
	network_setup_clear(&setup);
	return result;
}

int network_update(
    Daemon *d, Network *network, const char *description, const Config *wanted, Error **err)
{
	g_autoptr(Config) old = network_config(network);
	g_autoptr(Config) config = config_copy(wanted);
	drop_empty(config);
	if (check_present(d, network, err) < 0 || network_type_check(network->type, err) < 0 ||
	    bridge_config_check(config, err) < 0 || resolve_auto(d, config, err) < 0 ||
	    apply_new(d, network, description, old, config, err) < 0)
		return -1;
	g_mutex_lock(&network->lock);
	g_hash_table_unref(network->config);
	network->config = g_steal_pointer(&config);
	network->state = NETWORK_CREATED;
	if (description) {
		g_free(network->description);
		network->description = g_strdup(description);
	}
	g_mutex_unlock(&network->lock);
	return 0;
}

static int check_unused(Daemon *d, Network *network, Error **err)
{
	g_autoptr(GPtrArray) uses = NULL;
	if (network_uses_load(d->db, &uses, err) < 0)
		return -1;
	for (guint i = 0; i < uses->len; i++)
		if (network_use_matches(
			g_ptr_array_index(uses, i), network->project, network_name(network)))
			return error_set(err, ERROR_INVALID, "The network is currently in use");
	return 0;
}

int network_rename(Daemon *d, Network *network, const char *new_name, Error **err)
{
	NetworkSetup setup;
	const char *old_name = network_name(network);
	if (strcmp(old_name, new_name) == 0)
		return 0;
	if (check_present(d, network, err) < 0 || network_type_check(network->type, err) < 0 ||
	    check_name(new_name, err) < 0 || check_unused(d, network, err) < 0)
		return -1;
	if (netlink_exists(new_name))
		return error_set(
		    err, ERROR_EXISTS, "Network interface \"%s\" already exists", new_name);
	network_setup(network, &setup);
	g_autofree char *target = g_strdup_printf("%s/networks/%s", d->dir, new_name);
	bridge_remove(&setup.bridge);
	int result = 0;
	if (rename(setup.directory, target) < 0)
		result = error_errno(
		    err, ERROR_INTERNAL, errno, "Failed to rename \"%s\"", setup.directory);
	if (result == 0)
		result = network_row_rename(d, network->id, new_name, err);
	if (result < 0)
		(void)rename(target, setup.directory);
	if (result == 0) {
		g_mutex_lock(&network->lock);
		network->name = g_intern_string(new_name);
		g_mutex_unlock(&network->lock);
	}
	network_setup_clear(&setup);
	network_setup(network, &setup);
	int up = bridge_apply(&setup.bridge, result == 0 ? err : NULL);
	network_setup_clear(&setup);
	return result < 0 ? -1 : up;
}

int network_delete(Daemon *d, Network *network, Error **err)
{
	NetworkSetup setup;
	if (check_present(d, network, err) < 0 || check_unused(d, network, err) < 0)
		return -1;
	/* Pending in the database: a crash from here on ends the work at the next start. */
	if (network_row_set_state(d, network->id, NETWORK_PENDING, err) < 0)
		return -1;
	network_setup(network, &setup);
	if (network_type_check(network->type, NULL) == 0) /* else the interface is the host's */
		bridge_remove(&setup.bridge);
	g_autoptr(Error) files = NULL;
	if (file_remove_all(AT_FDCWD, setup.directory, &files) < 0)
		log_warn("Files of a deleted network stay", "network", network->name, "err",
		    files->message);
	network_setup_clear(&setup);
	if (network_row_delete(d, network->id, err) < 0)
		return -1;
	g_mutex_lock(&d->networks->lock);
	g_ptr_array_remove(d->networks->networks, network);
	g_mutex_unlock(&d->networks->lock);
	return 0;
}
