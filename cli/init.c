/*
 * incus admin init: the first set-up of a server, by questions, by defaults, or from a document.
 */
#include "cli/ask.h"
#include "cli/noun.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include "cli/preseed.h"
#include "cli/prompt.h"
#include "cli/yaml.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

#define DEFAULT_PORT "8443"
#define ADDRESS_HELP "(CIDR subnet notation, \"auto\" or \"none\")"

/* ---- questions ---- */

/* ---- pieces of the document ---- */

static json_t *list_of(json_t *preseed, const char *key)
{
	if (!json_object_get(preseed, key))
		json_object_set_new(preseed, key, json_array());
	return json_object_get(preseed, key);
}

static json_t *default_profile_devices(json_t *preseed)
{
	json_t *profiles = list_of(preseed, "profiles");
	if (json_array_size(profiles) == 0)
		json_array_append_new(
		    profiles, json_pack("{s:s, s:{}}", "name", "default", "devices"));
	return json_object_get(json_array_get(profiles, 0), "devices");
}

static void add_pool(json_t *preseed, const char *name, const char *driver, json_t *config)
{
	json_array_append_new(list_of(preseed, "storage_pools"),
	    json_pack("{s:s, s:s, s:o}", "name", name, "driver", driver, "config", config));
	json_object_set_new(default_profile_devices(preseed), "root",
	    json_pack("{s:s, s:s, s:s}", "type", "disk", "path", "/", "pool", name));
}

static void add_network(json_t *preseed, const char *name, const char *ipv4, const char *ipv6)
{
	json_array_append_new(list_of(preseed, "networks"),
	    json_pack("{s:s, s:s, s:{s:s, s:s}}", "name", name, "type", "bridge", "config",
		"ipv4.address", ipv4, "ipv6.address", ipv6));
	json_object_set_new(default_profile_devices(preseed), "eth0",
	    json_pack("{s:s, s:s, s:s}", "type", "nic", "name", "eth0", "network", name));
}

static void set_address(json_t *preseed, const char *address, const char *port)
{
	bool v6 = strchr(address, ':') != NULL && *address != '[';
	const char *host = strcmp(address, "all") == 0 ? "" : address;
	g_autofree char *text = g_strdup_printf(v6 ? "[%s]:%s" : "%s:%s", host, port);
	json_object_set_new(
	    json_member(preseed, "config"), "core.https_address", json_string(text));
}

/* A name "incusbrN" that nothing on the server has. */
static char *free_bridge_name(const json_t *networks)
{
	for (unsigned n = 0;; n++) {
		char *name = g_strdup_printf("incusbr%u", n);
		if (!find_item(networks, "name", name))
			return name;
		g_free(name);
	}
}

static bool has_managed(const json_t *networks)
{
	size_t i;
	json_t *network;
	json_array_foreach (networks, i, network)
		if (json_is_true(json_object_get(network, "managed")))
			return true;
	return false;
}

static char *supported_drivers(Server *server)
{
	json_t *facts = server_call(server, "GetServer", NULL, NULL), *driver;
	GString *out = g_string_new(NULL);
	size_t i;
	json_array_foreach (
	    json_object_get(json_object_get(facts, "environment"), "storage_supported_drivers"), i,
	    driver)
		if (!json_is_true(json_object_get(driver, "Remote")))
			g_string_append_printf(
			    out, "%s%s", out->len ? ", " : "", json_get_text(driver, "Name"));
	if (out->len == 0)
		g_string_append(out, "dir");
	return g_string_free(out, FALSE);
}

/* ---- without questions ---- */

static json_t *pool_config_of_flags(Cli *cli)
{
	json_t *config = json_object();
	const char *device = flag_string(cli, "storage-create-device"),
		   *pool = flag_string(cli, "storage-pool");
	long loop = flag_int(cli, "storage-create-loop");
	if (*device)
		json_object_set_new(config, "source", json_string(device));
	else if (*pool)
		json_object_set_new(config, "source", json_string(pool));
	if (loop > 0)
		json_object_set_new(
		    config, "size", json_string(arena_printf(cli->arena, "%ldGiB", loop)));
	return config;
}

static int check_auto_flags(Cli *cli, Error **err)
{
	const char *backend = flag_string(cli, "storage-backend");
	bool dir = !*backend || strcmp(backend, "dir") == 0;
	if (dir &&
	    (flag_given(cli, "storage-create-device") || flag_given(cli, "storage-create-loop") ||
		flag_given(cli, "storage-pool")))
		return error_set(err, ERROR_INVALID,
		    "None of --storage-pool, --storage-create-device or --storage-create-loop may be used with the "
		    "'dir' backend");
	if (flag_given(cli, "storage-create-device") && flag_given(cli, "storage-create-loop"))
		return error_set(err, ERROR_INVALID,
		    "Only one of --storage-create-device or --storage-create-loop can be specified");
	if (flag_given(cli, "network-port") && !flag_given(cli, "network-address"))
		return error_set(
		    err, ERROR_INVALID, "--network-port can't be used without --network-address");
	return 0;
}

static int run_auto(Cli *cli, Server *server, json_t *preseed, Error **err)
{
	const char *backend = flag_string(cli, "storage-backend");
	json_t *pools = server_list(server, "GetStoragePools", NULL, err);
	json_t *networks = pools ? server_list(server, "GetNetworks", NULL, err) : NULL;
	if (!networks || check_auto_flags(cli, err) < 0)
		return -1;
	Object profile = object_make(server, &profile_noun, "default");
	const json_t *devices = json_object_get(object_get(&profile, NULL), "devices");
	if (json_array_size(pools) == 0)
		add_pool(preseed, "default", *backend ? backend : "dir", pool_config_of_flags(cli));
	if (!has_managed(networks) && !json_object_get(devices, "eth0")) {
		g_autofree char *name = free_bridge_name(networks);
		add_network(preseed, name, "auto", "auto");
	}
	if (flag_given(cli, "network-address")) {
		long port = flag_int(cli, "network-port");
		set_address(preseed, flag_string(cli, "network-address"),
		    port > 0 ? arena_printf(cli->arena, "%ld", port) : DEFAULT_PORT);
	}
	return 0;
}

/* ---- with questions ---- */

static int check_backend(const char *name, Error **err)
{
	static const char *const known[] = { "dir", "btrfs", "lvm", "zfs", "ceph", "cephfs", NULL };
	return g_strv_contains(known, name) ? 0 : error_set(err, ERROR_INVALID, "no such backend");
}

static int ask_pool(Server *server, json_t *preseed, Error **err)
{
	int wanted = ask_yes("Do you want to configure a new storage pool?", true, err);
	if (wanted <= 0)
		return wanted;
	g_autofree char *name = NULL;
	for (;;) {
		g_free(name);
		name = ask_checked("Name of the new storage pool", "default", name_check_pool, err);
		if (!name)
			return -1;
		Object pool = object_make(server, &storage_noun, name);
		if (!object_get(&pool, NULL))
			break;
		printf(
		    "The requested storage pool \"%s\" already exists. Please choose another name.\n",
		    name);
	}
	g_autofree char *drivers = supported_drivers(server);
	g_autofree char *question =
	    g_strdup_printf("Name of the storage backend to use (%s)", drivers);
	g_autofree char *backend = ask_checked(question, "dir", check_backend, err);
	if (!backend)
		return -1;
	json_t *config = json_object();
	if (strcmp(backend, "dir") != 0) {
		g_autofree char *source =
		    ask("Path of an empty block device to use (empty: make a loop file)", "", err);
		if (source && *source)
			json_object_set_new(config, "source", json_string(source));
	}
	add_pool(preseed, name, backend, config);
	return 0;
}

static int check_ipv4(const char *text, Error **err)
{
	if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0)
		return 0;
	return name_check_ipv4_cidr(text, err);
}

static int check_ipv6(const char *text, Error **err)
{
	if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0)
		return 0;
	return name_check_ipv6_cidr(text, err);
}

static int ask_existing_network(const json_t *networks, json_t *preseed, Error **err)
{
	int wanted = ask_yes(
	    "Would you like to use an existing bridge or host interface?", false, err);
	if (wanted <= 0)
		return wanted;
	for (;;) {
		g_autofree char *name = ask(
		    "Name of the existing bridge or host interface", NULL, err);
		if (!name)
			return -1;
		const json_t *network = find_item(networks, "name", name);
		if (!network) {
			printf(
			    "The requested interface doesn't exist. Please choose another one.\n");
			continue;
		}
		json_t *device = json_pack("{s:s, s:s}", "type", "nic", "name", "eth0");
		if (json_is_true(json_object_get(network, "managed"))) {
			json_object_set_new(device, "network", json_string(name));
		} else {
			bool bridge = strcmp(json_get_text(network, "type"), "bridge") == 0;
			json_object_set_new(
			    device, "nictype", json_string(bridge ? "bridged" : "macvlan"));
			json_object_set_new(device, "parent", json_string(name));
		}
		json_object_set_new(default_profile_devices(preseed), "eth0", device);
		return 0;
	}
}

static int ask_network(Server *server, json_t *preseed, Error **err)
{
	json_t *networks = server_list(server, "GetNetworks", NULL, err);
	if (!networks)
		return -1;
	int wanted = ask_yes("Would you like to create a new local network bridge?", true, err);
	if (wanted < 0)
		return -1;
	if (!wanted)
		return ask_existing_network(networks, preseed, err);
	g_autofree char *suggestion = free_bridge_name(networks), *name = NULL;
	for (;;) {
		g_free(name);
		name = ask_checked(
		    "What should the new bridge be called?", suggestion, name_check_interface, err);
		if (!name)
			return -1;
		if (!find_item(networks, "name", name))
			break;
		printf(
		    "The requested network bridge \"%s\" already exists. Please choose another name.\n",
		    name);
	}
	g_autofree char *ipv4 =
	    ask_checked("What IPv4 address should be used? " ADDRESS_HELP, "auto", check_ipv4, err);
	g_autofree char *ipv6 = ipv4 ?
	    ask_checked(
		"What IPv6 address should be used? " ADDRESS_HELP, "auto", check_ipv6, err) :
	    NULL;
	if (!ipv6)
		return -1;
	add_network(preseed, name, ipv4, ipv6);
	return 0;
}

static int check_bind(const char *text, Error **err)
{
	return strcmp(text, "all") == 0 ? 0 : name_check_ip(text, err);
}

static int ask_server(json_t *preseed, Error **err)
{
	int wanted = ask_yes(
	    "Would you like the server to be available over the network?", false, err);
	if (wanted < 0)
		return -1;
	if (wanted) {
		g_autofree char *address =
		    ask_checked("Address to bind to (not including port)", "all", check_bind, err);
		g_autofree char *port = address ?
		    ask_checked("Port to bind to", DEFAULT_PORT, name_check_port, err) :
		    NULL;
		if (!port)
			return -1;
		set_address(preseed, address, port);
	}
	int update = ask_yes(
	    "Would you like stale cached images to be updated automatically?", true, err);
	if (update == 0)
		json_object_set_new(json_member(preseed, "config"), "images.auto_update_interval",
		    json_string("0"));
	return update < 0 ? -1 : 0;
}

static int run_questions(Server *server, json_t *preseed, Error **err)
{
	int cluster = ask_yes("Would you like to use clustering?", false, err);
	if (cluster != 0)
		return cluster < 0 ?
		    -1 :
		    error_set(err, ERROR_UNSUPPORTED, "Clusters are not supported by this version");
	if (ask_pool(server, preseed, err) < 0 || ask_network(server, preseed, err) < 0 ||
	    ask_server(preseed, err) < 0)
		return -1;
	int show = ask_yes("Would you like a YAML \"init\" preseed to be printed?", false, err);
	if (show > 0) {
		putchar('\n');
		output_yaml(preseed);
	}
	return show < 0 ? -1 : 0;
}

/* ---- the command ---- */

static int run_preseed(Cli *cli, Server *server, Error **err)
{
	const char *text;
	size_t length;
	if (read_stdin(cli, &text, &length, err) < 0)
		return -1;
	json_t *preseed = yaml_to_json(text, length, err);
	if (!preseed)
		return -1;
	server_keep(cli, preseed);
	if (!json_is_object(preseed))
		return error_set(err, ERROR_INVALID, "Invalid preseed: a map is expected");
	return preseed_apply(server, preseed, err);
}

static int run_dump(Server *server, Error **err)
{
	json_t *dump = preseed_dump(server, err);
	if (!dump)
		return -1;
	output_yaml(dump);
	putchar('\n');
	return 0;
}

static int check_modes(Cli *cli, bool automatic, Error **err)
{
	static const char *const only_auto[] = { "network-address", "network-port",
		"storage-backend", "storage-create-device", "storage-create-loop", "storage-pool" };
	int modes = flag_bool(cli, "auto") + flag_bool(cli, "minimal") + flag_bool(cli, "preseed") +
	    flag_bool(cli, "dump");
	if (modes > 1)
		return error_set(err, ERROR_INVALID,
		    "Only one of --auto, --minimal, --preseed and --dump can be used");
	for (size_t i = 0; i < G_N_ELEMENTS(only_auto) && !automatic; i++)
		if (flag_given(cli, only_auto[i]))
			return error_set(err, ERROR_INVALID, "Configuration flags require --auto");
	return 0;
}

static int init(Cli *cli, Error **err)
{
	bool automatic = flag_bool(cli, "auto") || flag_bool(cli, "minimal");
	if (check_modes(cli, automatic, err) < 0)
		return -1;
	Server *server = server_get(cli, "local", err);
	if (!server)
		return -1;
	if (flag_bool(cli, "preseed"))
		return run_preseed(cli, server, err);
	if (flag_bool(cli, "dump"))
		return run_dump(server, err);
	json_t *preseed = server_keep(cli, json_object());
	if ((automatic ? run_auto(cli, server, preseed, err) :
			 run_questions(server, preseed, err)) < 0)
		return -1;
	return preseed_apply(server, preseed, err);
}

static const Flag init_flags[] = {
	{ "auto", 0, FLAG_BOOL, NULL, "Ask nothing, use sensible defaults and the flags" },
	{ "dump", 0, FLAG_BOOL, NULL, "Print the set-up of the server as YAML" },
	{ "minimal", 0, FLAG_BOOL, NULL, "Ask nothing, use the least that works" },
	{ "network-address", 0, FLAG_STRING, NULL, "Address to listen on (with --auto)" },
	{ "network-port", 0, FLAG_INT, "-1",
	    "Port to listen on (with --auto, 8443 when not given)" },
	{ "preseed", 0, FLAG_BOOL, NULL, "Read the set-up as YAML from the standard input" },
	{ "storage-backend", 0, FLAG_STRING, NULL, "Driver of the storage pool (with --auto)" },
	{ "storage-create-device", 0, FLAG_STRING, NULL,
	    "Device for the storage pool (with --auto)" },
	{ "storage-create-loop", 0, FLAG_INT, "-1", "Size in GiB of a loop file (with --auto)" },
	{ "storage-pool", 0, FLAG_STRING, NULL,
	    "Name of a pool or volume group to use (with --auto)" },
	FLAG_END,
};

const Command init_commands[] = {
	{ .path = "admin init", .max_args = 0, .flags = init_flags,
	    .summary = "Set up the server: storage, network, access",
	    .examples = "incus admin init --auto\n"
			"incus admin init --dump > setup.yaml\n"
			"incus admin init --preseed < setup.yaml",
	    .run = init },
	{ 0 },
};
