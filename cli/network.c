/*
 * incus network: bridges and the other networks of the host.
 */
#include "cli/device.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>

const Noun network_noun = {
	.title = "Network",
	.method = "Network",
	.body = "network",
	.edit_help = "# The network as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# config:\n"
		     "#   ipv4.address: 10.62.42.1/24\n"
		     "#   ipv4.nat: \"true\"\n"
		     "#   ipv6.address: none\n"
		     "#\n"
		     "# Only config and description can be changed here.\n",
};

/* Keys of a nic that name its network. */
static const char *const network_keys[] = { "network", "parent", NULL };

static int edit(Cli *cli, Error **err)
{
	return noun_edit(cli, &network_noun, err);
}

static int get(Cli *cli, Error **err)
{
	return noun_get(cli, &network_noun, err);
}

static int set(Cli *cli, Error **err)
{
	return noun_set(cli, &network_noun, err);
}

static int show(Cli *cli, Error **err)
{
	return noun_show(cli, &network_noun, err);
}

static int unset(Cli *cli, Error **err)
{
	return noun_unset(cli, &network_noun, err);
}

static int rename_run(Cli *cli, Error **err)
{
	return noun_rename(cli, &network_noun, err);
}

static int delete(Cli *cli, Error **err)
{
	return noun_delete(cli, &network_noun, err);
}

static int create(Cli *cli, Error **err)
{
	Object network;
	if (object_parse_named(cli, &network_noun, cli->args[0], &network, err) < 0)
		return -1;
	json_t *data = server_keep(cli, json_object());
	if (read_pairs(cli, 1, false, json_member(data, "config"), err) < 0)
		return -1;
	json_object_set_new(data, "type", json_string(flag_string(cli, "type")));
	return object_create(&network, data, err);
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "TYPE", "MANAGED", "IPV4", "IPV6",
		"DESCRIPTION", "USED BY", "STATE", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *networks = server_list(server, "GetNetworks", NULL, err), *network;
	if (!networks)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (networks, i, network) {
		const json_t *config = json_object_get(network, "config");
		g_autofree char *state = g_ascii_strup(json_get_text(network, "status"), -1);
		if (strcmp(json_get_text(network, "type"), "loopback") == 0)
			continue;
		table_add(table, json_get_text(network, "name"), json_get_text(network, "type"),
		    json_is_true(json_object_get(network, "managed")) ? "YES" : "NO",
		    json_get_text(config, "ipv4.address"), json_get_text(config, "ipv6.address"),
		    json_get_text(network, "description"),
		    arena_printf(
			cli->arena, "%zu", json_array_size(json_object_get(network, "used_by"))),
		    state, NULL);
	}
	table_sort(table);
	return output_list(cli, table, networks, err);
}

static int list_leases(Cli *cli, Error **err)
{
	static const char *const headers[] = { "HOSTNAME", "MAC ADDRESS", "IP ADDRESS", "TYPE",
		NULL };
	Object network;
	if (object_parse_named(cli, &network_noun, cli->args[0], &network, err) < 0 ||
	    output_check_format(cli, err) < 0)
		return -1;
	json_t *leases = server_list(
		   network.server, "GetNetworkLeases", json_copy(network.key), err),
	       *lease;
	if (!leases)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (leases, i, lease) {
		g_autofree char *type = g_ascii_strup(json_get_text(lease, "type"), -1);
		table_add(table, json_get_text(lease, "hostname"), json_get_text(lease, "hwaddr"),
		    json_get_text(lease, "address"), type, NULL);
	}
	table_sort(table);
	return output_list(cli, table, leases, err);
}

static int list_allocations(Cli *cli, Error **err)
{
	static const char *const headers[] = { "USED BY", "ADDRESS", "TYPE", "NAT",
		"HARDWARE ADDRESS", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *request = json_pack("{s:b}", "all-projects", flag_bool(cli, "all-projects"));
	json_t *rows = server_list(server, "GetNetworkAllocations", request, err), *row;
	if (!rows)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (rows, i, row)
		table_add(table, json_get_text(row, "used_by"), json_get_text(row, "addresses"),
		    json_get_text(row, "type"),
		    json_is_true(json_object_get(row, "nat")) ? "YES" : "NO",
		    json_get_text(row, "hwaddr"), NULL);
	table_sort(table);
	return output_list(cli, table, rows, err);
}

/* ---- info ---- */

static void print_bytes(const char *label, int64_t bytes)
{
	g_autofree char *text = units_format_bytes_decimal(bytes, 2);
	printf("  %s: %s\n", label, text);
}

static void print_bridge(const json_t *bridge)
{
	size_t i;
	json_t *device;
	if (!json_is_object(bridge))
		return;
	printf("\nBridge:\n  ID: %s\n  STP: %s\n", json_get_text(bridge, "id"),
	    json_is_true(json_object_get(bridge, "stp")) ? "true" : "false");
	printf("  Forward delay: %" G_GINT64_FORMAT "\n", json_get_int(bridge, "forward_delay"));
	printf("  Default VLAN ID: %" G_GINT64_FORMAT "\n", json_get_int(bridge, "vlan_default"));
	printf("  VLAN filtering: %s\n  Upper devices: ",
	    json_is_true(json_object_get(bridge, "vlan_filtering")) ? "true" : "false");
	json_array_foreach (json_object_get(bridge, "upper_devices"), i, device)
		printf("%s%s", i ? ", " : "", json_string_value(device));
	putchar('\n');
}

static void print_bond(const json_t *bond)
{
	size_t i;
	json_t *device;
	if (!json_is_object(bond))
		return;
	printf("\nBond:\n  Mode: %s\n  Transmit policy: %s\n", json_get_text(bond, "mode"),
	    json_get_text(bond, "transmit_policy"));
	printf("  Up delay: %" G_GINT64_FORMAT "\n", json_get_int(bond, "up_delay"));
	printf("  Down delay: %" G_GINT64_FORMAT "\n", json_get_int(bond, "down_delay"));
	printf("  MII Frequency: %" G_GINT64_FORMAT "\n", json_get_int(bond, "mii_frequency"));
	printf("  MII State: %s\n  Lower devices: ", json_get_text(bond, "mii_state"));
	json_array_foreach (json_object_get(bond, "lower_devices"), i, device)
		printf("%s%s", i ? ", " : "", json_string_value(device));
	putchar('\n');
}

static void print_addresses(const json_t *addresses)
{
	size_t i;
	json_t *address;
	if (json_array_size(addresses) > 0)
		puts("\nIP addresses:");
	json_array_foreach (addresses, i, address)
		printf("  %s\t%s/%s (%s)\n", json_get_text(address, "family"),
		    json_get_text(address, "address"), json_get_text(address, "netmask"),
		    json_get_text(address, "scope"));
}

static int info(Cli *cli, Error **err)
{
	Object network;
	if (object_parse_named(cli, &network_noun, cli->args[0], &network, err) < 0)
		return -1;
	json_t *state = server_call(network.server, "GetNetworkState", json_copy(network.key), err);
	if (!state)
		return -1;
	const json_t *counters = json_object_get(state, "counters");
	printf("Name: %s\n", network.name);
	printf("MAC address: %s\n", json_get_text(state, "hwaddr"));
	printf("MTU: %" G_GINT64_FORMAT "\n", json_get_int(state, "mtu"));
	printf("State: %s\n", json_get_text(state, "state"));
	printf("Type: %s\n", json_get_text(state, "type"));
	print_addresses(json_object_get(state, "addresses"));
	if (json_is_object(counters)) {
		puts("\nNetwork usage:");
		print_bytes("Bytes received", json_get_int(counters, "bytes_received"));
		print_bytes("Bytes sent", json_get_int(counters, "bytes_sent"));
		printf("  Packets received: %" G_GINT64_FORMAT "\n",
		    json_get_int(counters, "packets_received"));
		printf("  Packets sent: %" G_GINT64_FORMAT "\n",
		    json_get_int(counters, "packets_sent"));
	}
	print_bond(json_object_get(state, "bond"));
	print_bridge(json_object_get(state, "bridge"));
	return 0;
}

/* ---- attach and detach ---- */

/* The nic that joins the network: by its name when it is managed, else by its interface. */
static json_t *make_nic(const json_t *network, const char *name)
{
	json_t *device = json_pack("{s:s}", "type", "nic");
	if (json_is_true(json_object_get(network, "managed"))) {
		json_object_set_new(device, "network", json_string(name));
		return device;
	}
	bool bridge = strcmp(json_get_text(network, "type"), "bridge") == 0;
	json_object_set_new(device, "nictype", json_string(bridge ? "bridged" : "macvlan"));
	json_object_set_new(device, "parent", json_string(name));
	return device;
}

static int attach_to(Cli *cli, const Noun *noun, Error **err)
{
	Object network;
	if (object_parse_named(cli, &network_noun, cli->args[0], &network, err) < 0)
		return -1;
	json_t *data = object_get(&network, err);
	if (!data)
		return -1;
	json_t *device = make_nic(data, network.name);
	const char *device_name = cli->n_args > 2 ? cli->args[2] : network.name;
	if (cli->n_args > 3)
		json_object_set_new(device, "name", json_string(cli->args[3]));
	Object owner = object_make(network.server, noun, cli->args[1]);
	return device_attach(&owner, device_name, device, err);
}

static int detach_from(Cli *cli, const Noun *noun, Error **err)
{
	Object network;
	if (object_parse_named(cli, &network_noun, cli->args[0], &network, err) < 0)
		return -1;
	Object owner = object_make(network.server, noun, cli->args[1]);
	return device_detach(
	    &owner, cli->n_args > 2 ? cli->args[2] : NULL, network_keys, network.name, err);
}

static int attach(Cli *cli, Error **err)
{
	return attach_to(cli, &instance_noun, err);
}

static int attach_profile(Cli *cli, Error **err)
{
	return attach_to(cli, &profile_noun, err);
}

static int detach(Cli *cli, Error **err)
{
	return detach_from(cli, &instance_noun, err);
}

static int detach_profile(Cli *cli, Error **err)
{
	return detach_from(cli, &profile_noun, err);
}

static const Flag key_flags[] = { FLAG_TARGET, FLAG_PROPERTY, FLAG_END };
static const Flag target_flags[] = { FLAG_TARGET, FLAG_END };
static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag allocation_flags[] = {
	FLAG_FORMAT,
	{ "project", 'p', FLAG_STRING, NULL,
	    "Act in this project instead of the remote's current one" },
	FLAG_ALL_PROJECTS,
	FLAG_END,
};
static const Flag create_flags[] = {
	FLAG_TARGET,
	{ "type", 't', FLAG_STRING, NULL, "Type of the network (bridge when not given)" },
	FLAG_END,
};

const Command network_commands[] = {
	{ .path = "network", .summary = "Manage networks and join instances to them" },
	{ .path = "network attach",
	    .usage = "[<remote>:]<network> <instance> [<device name>] [<interface name>]",
	    .min_args = 2,
	    .max_args = 4,
	    .summary = "Join an instance to a network",
	    .run = attach,
	    .complete = "network,instance" },
	{ .path = "network attach-profile",
	    .usage = "[<remote>:]<network> <profile> [<device name>] [<interface name>]",
	    .min_args = 2,
	    .max_args = 4,
	    .summary = "Join what uses a profile to a network",
	    .run = attach_profile,
	    .complete = "network,profile" },
	{ .path = "network create",
	    .usage = "[<remote>:]<network> [key=value...]",
	    .min_args = 1,
	    .max_args = -1,
	    .flags = create_flags,
	    .summary = "Create a network",
	    .examples = "incus network create br1\n"
			"    A bridge with subnets picked by the server.\n"
			"incus network create br2 ipv4.address=10.9.8.1/24 ipv6.address=none",
	    .run = create },
	{ .path = "network delete",
	    .aliases = "rm",
	    .usage = "[<remote>:]<network>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Delete a network",
	    .run = delete,
	    .complete = "network" },
	{ .path = "network detach",
	    .usage = "[<remote>:]<network> <instance> [<device name>]",
	    .min_args = 2,
	    .max_args = 3,
	    .summary = "Take an instance off a network",
	    .run = detach,
	    .complete = "network,instance" },
	{ .path = "network detach-profile",
	    .usage = "[<remote>:]<network> <profile> [<device name>]",
	    .min_args = 2,
	    .max_args = 3,
	    .summary = "Take a profile off a network",
	    .run = detach_profile,
	    .complete = "network,profile" },
	{ .path = "network edit",
	    .usage = "[<remote>:]<network>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit a network as YAML",
	    .run = edit,
	    .complete = "network" },
	{ .path = "network get",
	    .usage = "[<remote>:]<network> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = key_flags,
	    .summary = "Print one key of a network",
	    .run = get,
	    .complete = "network" },
	{ .path = "network info",
	    .usage = "[<remote>:]<network>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = target_flags,
	    .summary = "Show addresses and traffic of a network",
	    .run = info,
	    .complete = "network" },
	{ .path = "network list",
	    .aliases = "ls",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List networks",
	    .run = list,
	    .complete = "remote" },
	{ .path = "network list-allocations",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = allocation_flags,
	    .summary = "List the addresses that networks and instances use",
	    .run = list_allocations,
	    .complete = "remote" },
	{ .path = "network list-leases",
	    .usage = "[<remote>:]<network>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List the addresses that a network has given out",
	    .run = list_leases,
	    .complete = "network" },
	{ .path = "network rename",
	    .aliases = "mv",
	    .usage = "[<remote>:]<network> <new-name>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Rename a network",
	    .run = rename_run,
	    .complete = "network" },
	{ .path = "network set",
	    .usage = "[<remote>:]<network> <key>=<value>...",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = key_flags,
	    .summary = "Set keys of a network",
	    .help = "One key may also be given as \"<key> <value>\".",
	    .run = set,
	    .complete = "network" },
	{ .path = "network show",
	    .usage = "[<remote>:]<network>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = target_flags,
	    .summary = "Show a network",
	    .run = show,
	    .complete = "network" },
	{ .path = "network unset",
	    .usage = "[<remote>:]<network> <key>",
	    .min_args = 2,
	    .max_args = 2,
	    .flags = key_flags,
	    .summary = "Unset a key of a network",
	    .run = unset,
	    .complete = "network" },
	{ 0 },
};
