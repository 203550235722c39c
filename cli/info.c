/*
 * incus info: an instance and what it uses, the server, or the server's hardware.
 */
#include "cli/info.h"
#include "cli/nouns.h"
#include "cli/output.h"
#include "cli/stream.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void print_size(const char *label, int64_t bytes)
{
	g_autofree char *text = units_format_bytes(bytes, 2);
	printf("%s: %s\n", label, text);
}

static void print_decimal_size(const char *label, int64_t bytes)
{
	g_autofree char *text = units_format_bytes_decimal(bytes, 2);
	printf("%s: %s\n", label, text);
}

static char *time_text(const char *text)
{
	int64_t seconds;
	int32_t nanoseconds;
	if (units_parse_time(text, &seconds, &nanoseconds, NULL) < 0 || seconds <= 0)
		return NULL;
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);
	return when ? g_date_time_format(when, "%Y/%m/%d %H:%M %Z") : NULL;
}

static void print_disks(const json_t *disks)
{
	const char *name;
	json_t *disk;
	bool title = false;
	json_object_foreach ((json_t *)disks, name, disk) {
		if (json_get_int(disk, "usage") <= 0)
			continue;
		if (!title)
			puts("  Disk usage:");
		title = true;
		g_autofree char *label = g_strdup_printf("    %s", name);
		print_size(label, json_get_int(disk, "usage"));
	}
}

static void print_memory(const json_t *memory)
{
	static const char *const rows[][2] = { { "usage", "    Memory (current)" },
		{ "usage_peak", "    Memory (peak)" }, { "swap_usage", "    Swap (current)" },
		{ "swap_usage_peak", "    Swap (peak)" } };
	bool title = false;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		if (json_get_int(memory, rows[i][0]) <= 0)
			continue;
		if (!title)
			puts("  Memory usage:");
		title = true;
		print_size(rows[i][1], json_get_int(memory, rows[i][0]));
	}
}

static void print_nic(const char *name, const json_t *nic)
{
	const json_t *counters = json_object_get(nic, "counters");
	g_autofree char *state = g_ascii_strup(json_get_text(nic, "state"), -1);
	size_t i;
	json_t *address;
	printf(
	    "    %s:\n      Type: %s\n      State: %s\n", name, json_get_text(nic, "type"), state);
	if (*json_get_text(nic, "host_name"))
		printf("      Host interface: %s\n", json_get_text(nic, "host_name"));
	if (*json_get_text(nic, "hwaddr"))
		printf("      MAC address: %s\n", json_get_text(nic, "hwaddr"));
	if (json_get_int(nic, "mtu") > 0)
		printf("      MTU: %" G_GINT64_FORMAT "\n", json_get_int(nic, "mtu"));
	print_decimal_size("      Bytes received", json_get_int(counters, "bytes_received"));
	print_decimal_size("      Bytes sent", json_get_int(counters, "bytes_sent"));
	printf("      Packets received: %" G_GINT64_FORMAT "\n",
	    json_get_int(counters, "packets_received"));
	printf(
	    "      Packets sent: %" G_GINT64_FORMAT "\n", json_get_int(counters, "packets_sent"));
	puts("      IP addresses:");
	json_array_foreach (json_object_get(nic, "addresses"), i, address)
		printf("        %s %s/%s (%s)\n",
		    strcmp(json_get_text(address, "family"), "inet") == 0 ? "inet: " : "inet6:",
		    json_get_text(address, "address"), json_get_text(address, "netmask"),
		    json_get_text(address, "scope"));
}

static void print_usage(const json_t *state)
{
	const char *name;
	json_t *nic;
	puts("\nResources:");
	printf("  Processes: %" G_GINT64_FORMAT "\n", json_get_int(state, "processes"));
	print_disks(json_object_get(state, "disk"));
	printf("  CPU usage:\n    CPU usage (in seconds): %" G_GINT64_FORMAT "\n",
	    json_get_int(json_object_get(state, "cpu"), "usage") / 1000000000);
	print_memory(json_object_get(state, "memory"));
	if (json_object_size(json_object_get(state, "network")) > 0)
		puts("  Network usage:");
	json_object_foreach (json_object_get(state, "network"), name, nic)
		print_nic(name, nic);
}

static void print_snapshots(const json_t *snapshots)
{
	static const char *const headers[] = { "NAME", "TAKEN AT", "EXPIRES AT", "STATEFUL", NULL };
	size_t i;
	json_t *snapshot;
	if (json_array_size(snapshots) == 0)
		return;
	g_autoptr(Table) table = table_new(headers);
	json_array_foreach (snapshots, i, snapshot) {
		g_autofree char *taken = time_text(json_get_text(snapshot, "created_at"));
		g_autofree char *expires = time_text(json_get_text(snapshot, "expires_at"));
		table_add(table, json_get_text(snapshot, "name"), taken, expires,
		    json_is_true(json_object_get(snapshot, "stateful")) ? "YES" : "NO", NULL);
	}
	g_autofree char *text = table_text(table, "table", true);
	printf("\nSnapshots:\n%s", text);
}

static int print_log(const Object *instance, Error **err)
{
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "file", json_string("lxc.log"));
	puts("\nLog:\n");
	fflush(stdout);
	return stream_to_fd(instance->server, "GetInstanceLogfile", request, STDOUT_FILENO, err);
}

/* What the server keeps of a move whose end it has not heard, or that it has. */
static void print_move(const json_t *data)
{
	const json_t *config = json_object_get(data, "config");
	json_t *journal = json_loads(json_get_text(config, "volatile.migration.journal"), 0, NULL);
	const char *phase = json_get_text(journal, "phase");
	const char *server = json_string_value(
	    json_array_get(json_object_get(journal, "servers"), 0));
	if (strcmp(phase, "left") == 0)
		puts("Moved: to another server, where it runs (delete it here)");
	else if (strcmp(phase, "leaving") == 0 && json_is_true(json_object_get(journal, "given")))
		printf(
		    "Moving: %s is out of reach and may run it; it is asked again and again (--ignore-move in \"incus start --help\")\n",
		    server ? server : "the other server");
	json_decref(journal);
}

static int instance_info(const Object *instance, Error **err)
{
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "recursion", json_integer(1));
	json_t *data = server_call(instance->server, "GetInstance", request, err);
	if (!data)
		return -1;
	const json_t *state = json_object_get(data, "state");
	const char *location = json_get_text(data, "location");
	g_autofree char *status = g_ascii_strup(json_get_text(data, "status"), -1);
	g_autofree char *created = time_text(json_get_text(data, "created_at"));
	g_autofree char *used = time_text(json_get_text(data, "last_used_at"));
	bool ephemeral = json_is_true(json_object_get(data, "ephemeral"));
	printf("Name: %s\nStatus: %s\n", json_get_text(data, "name"), status);
	printf("Type: %s%s\n", json_get_text(data, "type"), ephemeral ? " (ephemeral)" : "");
	printf("Architecture: %s\n", json_get_text(data, "architecture"));
	if (*json_get_text(data, "description"))
		printf("Description: %s\n", json_get_text(data, "description"));
	if (*location && strcmp(location, "none") != 0)
		printf("Location: %s\n", location);
	print_move(data);
	if (json_get_int(state, "pid") > 0)
		printf("PID: %" G_GINT64_FORMAT "\n", json_get_int(state, "pid"));
	if (created)
		printf("Created: %s\n", created);
	if (used)
		printf("Last Used: %s\n", used);
	if (json_get_int(state, "pid") > 0)
		print_usage(state);
	print_snapshots(json_object_get(data, "snapshots"));
	return flag_bool(instance->server->cli, "show-log") ? print_log(instance, err) : 0;
}

static int server_info(Server *server, Error **err)
{
	json_t *data = server_call(server, "GetServer", NULL, err);
	if (!data)
		return -1;
	output_yaml(data);
	return 0;
}

static int info(Cli *cli, Error **err)
{
	Object instance;
	bool resources = flag_bool(cli, "resources");
	if (cli->n_args == 0) {
		Server *server = server_get(cli, NULL, err);
		if (!server)
			return -1;
		return resources ? resources_print(server, err) : server_info(server, err);
	}
	if (object_parse(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	if (*instance.name)
		return resources ? error_set(err, ERROR_INVALID, "--resources is about a server") :
				   instance_info(&instance, err);
	return resources ? resources_print(instance.server, err) :
			   server_info(instance.server, err);
}

static const Flag info_flags[] = {
	{ "resources", 0, FLAG_BOOL, NULL, "Show the hardware of the server" },
	{ "show-log", 0, FLAG_BOOL, NULL, "Show the end of the instance's log too" },
	FLAG_TARGET,
	FLAG_END,
};

const Command info_commands[] = {
	{ .path = "info", .usage = "[<remote>:][<instance>]", .max_args = 1, .flags = info_flags,
	    .summary = "Tell about an instance or the server",
	    .examples = "incus info c1 --show-log\nincus info --resources", .run = info,
	    .complete = "instance" },
	{ 0 },
};
