/* Handlers of NetworkService. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/network/bridge_config.h"
#include "server/network/network.h"
#include "server/network/state.h"
#include "server/network/usage.h"
#include "server/project/project.h"
#include "server/rpc/access.h"
#include <string.h>

/* One snapshot of what several networks are rendered from. */
typedef struct View {
	LinkList *links;   /* NULL where only managed networks are looked at */
	GPtrArray *uses;
} View;

static void view_clear(View *view)
{
	link_list_free(view->links);
	if (view->uses)
		g_ptr_array_unref(view->uses);
}

static int view_load(Request *rq, View *view, Error **err)
{
	if (netlink_list(-1, &view->links, err) < 0)
		return -1;
	return network_uses_load(rq->daemon->db, &view->uses, err);
}

static void fill_used_by(Request *rq, const View *view, const char *project, Pb__Network *out)
{
	out->used_by = arena_alloc(rq->arena, (view->uses->len + 1) * sizeof *out->used_by);
	for (guint i = 0; i < view->uses->len; i++) {
		const NetworkUse *use = g_ptr_array_index(view->uses, i);
		if (!network_use_matches(use, project, out->name))
			continue;
		g_autofree char *url = network_use_url(use);
		/* Two nics of one instance follow one another. */
		if (out->n_used_by && strcmp(out->used_by[out->n_used_by - 1], url) == 0)
			continue;
		out->used_by[out->n_used_by++] = request_strdup(rq, url);
	}
}

/* What the ETag is of, too: everything but used_by. */
static void fill_managed(Request *rq, Network *network, Pb__Network *out)
{
	g_autoptr(Config) config = network_config(network);
	g_autofree char *description = network_description(network);
	out->name = request_strdup(rq, network_name(network));
	out->type = request_strdup(rq, network_type(network));
	out->description = request_strdup(rq, description);
	out->managed = TRUE;
	out->status = request_strdup(rq, network_status(network));
	out->locations = arena_alloc(rq->arena, sizeof *out->locations);
	out->locations[0] = request_strdup(rq, "none");
	out->n_locations = 1;
	config_to_map(config, rq->arena, &pb__network__config_entry__descriptor, &out->n_config,
	    &out->config);
}

static void fill_interface(Request *rq, const Link *link, Pb__Network *out)
{
	out->name = request_strdup(rq, link->name);
	out->type = request_strdup(rq, network_interface_type(link));
}

static void add_item(Pb__GetNetworksResponse *out, Pb__Network *item)
{
	out->items[out->n_items++] = item;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(Pb__Network *const *)a)->name, (*(Pb__Network *const *)b)->name);
}

static void list_interfaces(Request *rq, const Project *asking, const View *view,
    GHashTable *managed, Pb__GetNetworksResponse *out)
{
	for (unsigned i = 0; i < view->links->n_links; i++) {
		const Link *link = &view->links->links[i];
		if (g_hash_table_contains(managed, link->name) || !network_interface_shown(link) ||
		    !project_allows_network(asking, link->name, FALSE))
			continue;
		Pb__Network *item = arena_message(rq->arena, Pb__Network, pb__network);
		fill_interface(rq, link, item);
		fill_used_by(rq, view, NULL, item);
		add_item(out, item);
	}
}

int api_get_networks(
    Request *rq, const Pb__GetNetworksRequest *in, Pb__GetNetworksResponse *out, Error **err)
{
	g_autofree char *project = NULL;
	g_autoptr(Project) asking = NULL;
	View view = {0};
	if (project_get(rq->daemon, rq->project, FALSE, &asking, err) < 0 ||
	    project_effective(rq->daemon, rq->project, PROJECT_NETWORKS, &project, err) < 0)
		return -1;
	if (view_load(rq, &view, err) < 0) {
		view_clear(&view);
		return -1;
	}
	g_autoptr(GPtrArray) networks = network_list(rq->daemon, project);
	g_autoptr(GHashTable) managed = g_hash_table_new(g_str_hash, g_str_equal);
	out->items = arena_alloc(
	    rq->arena, (networks->len + view.links->n_links + 1) * sizeof *out->items);
	for (guint i = 0; i < networks->len; i++) {
		Network *network = g_ptr_array_index(networks, i);
		g_hash_table_add(managed, (char *)(uintptr_t)network_name(network));
		if (!project_allows_network(asking, network_name(network), TRUE))
			continue;
		Pb__Network *item = arena_message(rq->arena, Pb__Network, pb__network);
		fill_managed(rq, network, item);
		fill_used_by(rq, &view, project, item);
		add_item(out, item);
	}
	if (strcmp(project, "default") == 0)
		list_interfaces(rq, asking, &view, managed, out);
	qsort(out->items, out->n_items, sizeof *out->items, by_name);
	view_clear(&view);
	return 0;
}

/* A managed network or, in "default", an interface: *ret_network stays NULL for the latter. */
static int find(
    Request *rq, const char *name, Network **ret_network, char **ret_project, Error **err)
{
	g_autofree char *project = NULL;
	g_autoptr(Project) asking = NULL;
	g_autoptr(Network) network = NULL;
	if (project_get(rq->daemon, rq->project, FALSE, &asking, err) < 0 ||
	    project_effective(rq->daemon, rq->project, PROJECT_NETWORKS, &project, err) < 0)
		return -1;
	if (network_get(rq->daemon, rq->project, name, &network, NULL) < 0 &&
	    (strcmp(project, "default") != 0 || !netlink_exists(name)))
		return error_set(err, ERROR_NOT_FOUND, "Network not found");
	if (!project_allows_network(asking, name, network != NULL))
		return error_set(err, ERROR_NOT_FOUND, "Network not found");
	*ret_network = g_steal_pointer(&network);
	*ret_project = g_steal_pointer(&project);
	return 0;
}

int api_get_network(Request *rq, const Pb__GetNetworkRequest *in, Pb__Network *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	g_autofree char *project = NULL;
	View view = {0};
	Link link;
	if (find(rq, in->name, &network, &project, err) < 0)
		return -1;
	if (network)
		fill_managed(rq, network, out);
	else if (netlink_get(in->name, &link, err) < 0)
		return -1;
	else
		fill_interface(rq, &link, out);
	int result = network_uses_load(rq->daemon->db, &view.uses, err);
	if (result == 0)
		fill_used_by(rq, &view, network ? project : NULL, out);
	view_clear(&view);
	return result;
}

static void send_event(
    Request *rq, Network *network, const char *action, const char *name, const char *context)
{
	g_autofree char *source = g_strdup_printf("/1.0/networks/%s", name);
	event_lifecycle(rq->daemon->events, network ? network_project(network) : "default", action,
	    source, context, rq->caller);
}

int api_create_network(
    Request *rq, const Pb__CreateNetworkRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__NetworksPost *post = in->network;
	if (!post || !post->name || !*post->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	g_autoptr(Config) config = config_from_map(post->n_config, post->config);
	NetworkSpec spec = { .project = rq->project,
		.name = post->name,
		.description = post->description,
		.type = post->type,
		.config = config };
	network_change_lock(rq->daemon);
	int result = network_create(rq->daemon, &spec, err);
	network_change_unlock(rq->daemon);
	if (result == 0)
		send_event(rq, NULL, "network-created", post->name, NULL);
	return result;
}

/* Managed networks only: there is nothing to change about others. */
static int find_managed(Request *rq, const char *name, Network **ret_network, Error **err)
{
	g_autofree char *project = NULL;
	if (find(rq, name, ret_network, &project, err) < 0)
		return -1;
	if (!*ret_network)
		return error_set(
		    err, ERROR_INVALID, "Network \"%s\" is not managed by this server", name);
	return 0;
}

static int check_etag(Request *rq, Network *network, Error **err)
{
	Pb__Network present = PB__NETWORK__INIT;
	fill_managed(rq, network, &present);
	return request_check_etag(rq, &present, err);
}

/* config is taken. */
static int change(
    Request *rq, Network *network, const char *description, const Config *config, Error **err)
{
	if (check_etag(rq, network, err) < 0 ||
	    network_update(rq->daemon, network, description, config, err) < 0)
		return -1;
	send_event(rq, network, "network-updated", network_name(network), NULL);
	return 0;
}

int api_update_network(
    Request *rq, const Pb__UpdateNetworkRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	if (find_managed(rq, in->name, &network, err) < 0)
		return -1;
	g_autoptr(Config) config = in->network ?
	    config_from_map(in->network->n_config, in->network->config) :
	    config_new();
	const char *description = in->network && in->network->description ?
	    in->network->description :
	    "";
	network_change_lock(rq->daemon);
	int result = change(rq, network, description, config, err);
	network_change_unlock(rq->daemon);
	return result;
}

int api_patch_network(
    Request *rq, const Pb__PatchNetworkRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	if (find_managed(rq, in->name, &network, err) < 0)
		return -1;
	g_autoptr(Config) changes = in->network ?
	    config_from_map(in->network->n_config, in->network->config) :
	    config_new();
	const char *description = mask_has(in->update_mask, in->n_update_mask, "description") ?
	    (in->network ? in->network->description : "") :
	    NULL;
	network_change_lock(rq->daemon);
	g_autoptr(Config) config = network_config(network);
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, changes);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(config, key, value);
	int result = change(rq, network, description, config, err);
	network_change_unlock(rq->daemon);
	return result;
}

int api_rename_network(
    Request *rq, const Pb__RenameNetworkRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	const char *name = in->network ? in->network->name : NULL;
	if (!name || !*name)
		return error_set(err, ERROR_INVALID, "New network name not provided");
	if (find_managed(rq, in->name, &network, err) < 0)
		return -1;
	network_change_lock(rq->daemon);
	int result = network_rename(rq->daemon, network, name, err);
	network_change_unlock(rq->daemon);
	if (result < 0)
		return -1;
	g_autoptr(GString) context = g_string_new("{\"old_name\":");
	json_text_append(context, in->name);
	g_string_append_c(context, '}');
	send_event(rq, network, "network-renamed", name, context->str);
	return 0;
}

int api_delete_network(
    Request *rq, const Pb__DeleteNetworkRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	if (find_managed(rq, in->name, &network, err) < 0)
		return -1;
	network_change_lock(rq->daemon);
	int result = network_delete(rq->daemon, network, err);
	network_change_unlock(rq->daemon);
	if (result == 0)
		send_event(rq, network, "network-deleted", in->name, NULL);
	return result;
}

int api_get_network_leases(Request *rq, const Pb__GetNetworkLeasesRequest *in,
    Pb__GetNetworkLeasesResponse *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	g_autoptr(GPtrArray) leases = NULL;
	if (find_managed(rq, in->name, &network, err) < 0 ||
	    network_leases(network, rq->project, &leases, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (leases->len + 1) * sizeof *out->items);
	for (guint i = 0; i < leases->len; i++) {
		const NetworkLease *lease = g_ptr_array_index(leases, i);
		Pb__NetworkLease *item = arena_message(
		    rq->arena, Pb__NetworkLease, pb__network_lease);
		item->hostname = request_strdup(rq, lease->hostname);
		item->hwaddr = request_strdup(rq, lease->hwaddr);
		item->address = request_strdup(rq, lease->address);
		item->type = request_strdup(rq, lease->type);
		item->location = request_strdup(rq, "none");
		out->items[out->n_items++] = item;
	}
	return 0;
}

/* Everything that is asked of one network's addresses. */
typedef struct Allocations {
	Request *rq;
	const char *project; /* whose instances; NULL: all */
	Network *network;
	const Config *config; /* the network's */
	const GPtrArray *uses;
	GPtrArray *items;
} Allocations;

static gboolean may_view(Request *rq, const char *project)
{
	return access_check_object(rq, "network", "can_view", project, NULL) == 0;
}

static Pb__NetworkAllocation *add_allocation(Allocations *a, const char *address)
{
	Pb__NetworkAllocation *item = arena_message(
	    a->rq->arena, Pb__NetworkAllocation, pb__network_allocation);
	item->addresses = request_strdup(a->rq, address);
	item->nat = config_true(a->config, strchr(address, ':') ? "ipv6.nat" : "ipv4.nat");
	g_ptr_array_add(a->items, item);
	return item;
}

static const NetworkUse *use_of_lease(const Allocations *a, const NetworkLease *lease)
{
	for (guint i = 0; i < a->uses->len; i++) {
		const NetworkUse *use = g_ptr_array_index(a->uses, i);
		if (use->instance && use->hwaddr &&
		    g_ascii_strcasecmp(use->hwaddr, lease->hwaddr) == 0 &&
		    network_use_matches(use, network_project(a->network), network_name(a->network)))
			return use;
	}
	return NULL;
}

/* Gateways and strangers have no nic of ours. */
static void add_lease_allocation(Allocations *a, const NetworkLease *lease)
{
	const NetworkUse *use = use_of_lease(a, lease);
	if (!use || !may_view(a->rq, use->project))
		return;
	g_autofree char *url = network_use_url(use);
	g_autofree char *address = g_strconcat(
	    lease->address, strchr(lease->address, ':') ? "/128" : "/32", NULL);
	Pb__NetworkAllocation *item = add_allocation(a, address);
	item->used_by = request_strdup(a->rq, url);
	item->type = request_strdup(a->rq, "instance");
	item->hwaddr = request_strdup(a->rq, lease->hwaddr);
}

static int add_network_allocations(Allocations *a, Error **err)
{
	static const char *const families[] = {"ipv4", "ipv6"};
	g_autoptr(GPtrArray) leases = NULL;
	const char *project = network_project(a->network);
	gboolean other = strcmp(project, "default") != 0;
	for (gsize i = 0; i < G_N_ELEMENTS(families); i++) {
		const char *address = bridge_config_address(a->config, families[i]);
		if (!address)
			continue;
		Pb__NetworkAllocation *item = add_allocation(a, address);
		item->used_by = arena_printf(a->rq->arena, "/1.0/networks/%s%s%s",
		    network_name(a->network), other ? "?project=" : "", other ? project : "");
		item->type = request_strdup(a->rq, "network");
	}
	if (network_leases(a->network, a->project, &leases, err) < 0)
		return -1;
	for (guint i = 0; i < leases->len; i++)
		add_lease_allocation(a, g_ptr_array_index(leases, i));
	return 0;
}

int api_get_network_allocations(Request *rq, const Pb__GetNetworkAllocationsRequest *in,
    Pb__GetNetworkAllocationsResponse *out, Error **err)
{
	g_autofree char *project = NULL;
	g_autoptr(GPtrArray) uses = NULL;
	if (in->all_projects && *in->project)
		return error_set(
		    err, ERROR_INVALID, "Cannot specify a project when requesting all projects");
	if (project_effective(rq->daemon, rq->project, PROJECT_NETWORKS, &project, err) < 0 ||
	    network_uses_load(rq->daemon->db, &uses, err) < 0)
		return -1;
	g_autoptr(GPtrArray) items = g_ptr_array_new(); /* of the arena */
	Allocations a = { .rq = rq,
		.project = in->all_projects ? NULL : rq->project,
		.uses = uses,
		.items = items };
	g_autoptr(GPtrArray) networks = network_list(rq->daemon, in->all_projects ? NULL : project);
	for (guint i = 0; i < networks->len; i++) {
		a.network = g_ptr_array_index(networks, i);
		g_autoptr(Config) config = network_config(a.network);
		a.config = config;
		if (in->all_projects && !may_view(rq, network_project(a.network)))
			continue;
		if (add_network_allocations(&a, err) < 0)
			return -1;
	}
	out->n_items = items->len;
	out->items = arena_memdup(rq->arena, items->pdata, items->len * sizeof *out->items);
	return 0;
}

int api_get_network_state(
    Request *rq, const Pb__GetNetworkStateRequest *in, Pb__NetworkState *out, Error **err)
{
	g_autoptr(Network) network = NULL;
	g_autofree char *project = NULL;
	if (find(rq, in->name, &network, &project, err) < 0)
		return -1;
	return network_state_render(in->name, rq->arena, out, err);
}
