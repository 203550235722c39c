#include "server/key/check.h"

#include "sdk/base/cron.h"
#include "sdk/base/units.h"

#include <stdlib.h>
#include <string.h>

/* Every part of a comma list through one check. */
static int each(const char *value, int (*check)(const char *, Error **), Error **err)
{
	g_auto(GStrv) parts = g_strsplit(value, ",", -1);
	for (char **part = parts; *part; part++)
		if (check(g_strstrip(*part), err) < 0)
			return -1;
	return 0;
}

static gboolean one_of(const char *value, const char *const *words)
{
	return g_strv_contains(words, value);
}

int check_cpuset(const char *value, Error **err)
{
	g_autoptr(GArray) cpus = NULL;
	return units_parse_cpuset(value, &cpus, err);
}

int check_cpus(const char *value, Error **err)
{
	int64_t count;
	if (units_parse_int(value, 1, 4096, &count, NULL) == 0)
		return 0;
	return check_cpuset(value, err);
}

int check_cpu_allowance(const char *value, Error **err)
{
	int percent;
	int64_t slice, period;
	if (g_str_has_suffix(value, "%")) {
		if (units_parse_percent(value, 100 * 4096, &percent, err) < 0)
			return -1;
		return percent > 0 ? 0 : error_set(err, ERROR_INVALID, "Invalid CPU allowance \"%s\": must be more than 0", value);
	}
	g_auto(GStrv) parts = g_strsplit(value, "/", 2);
	if (g_strv_length(parts) != 2 || !g_str_has_suffix(parts[0], "ms") || !g_str_has_suffix(parts[1], "ms") ||
	    units_parse_duration(parts[0], &slice, NULL) < 0 || units_parse_duration(parts[1], &period, NULL) < 0 ||
	    slice < 1 || period < 1)
		return error_set(err, ERROR_INVALID, "Invalid CPU allowance \"%s\": must be \"50%%\" or \"25ms/100ms\"", value);
	return 0;
}

int check_size(const char *value, Error **err)
{
	int64_t bytes;
	return units_parse_bytes(value, &bytes, err);
}

int check_memory(const char *value, Error **err)
{
	int percent;
	if (g_str_has_suffix(value, "%"))
		return units_parse_percent(value, 100, &percent, err);
	return check_size(value, err);
}

static gboolean rlimit_number(const char *text)
{
	return strcmp(text, "unlimited") == 0 || (*text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 20);
}

int check_rlimit(const char *value, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(value, ":", -1);
	guint n = g_strv_length(parts);
	if (n >= 1 && n <= 2 && rlimit_number(parts[0]) && (n == 1 || rlimit_number(parts[1])))
		return 0;
	return error_set(err, ERROR_INVALID, "Invalid limit \"%s\": must be \"SOFT\", \"SOFT:HARD\" or \"unlimited\"", value);
}

int check_expiry(const char *value, Error **err)
{
	int64_t expiry;
	return units_parse_expiry(value, 0, &expiry, err);
}

int check_schedule(const char *value, Error **err)
{
	g_autoptr(Cron) cron = NULL;
	return cron_parse(value, &cron, err);
}

int check_compression(const char *value, Error **err)
{
	static const char *const programs[] = {"none", "bzip2", "gzip", "lz4", "lzma", "pigz", "pzstd", "pxz", "squashfs",
		"tar2sqfs", "xz", "zstd", NULL};
	g_auto(GStrv) words = g_strsplit(value, " ", -1);
	if (name_check_line(value, err) < 0)
		return -1;
	if (!words[0] || !one_of(words[0], programs))
		return error_set(err, ERROR_INVALID, "Invalid compression algorithm \"%s\"", value);
	for (char **word = words + 1; *word; word++)
		if (**word && **word != '-' && strspn(*word, "0123456789") != strlen(*word))
			return error_set(err, ERROR_INVALID, "Invalid compression option \"%s\"", *word);
	return 0;
}

int check_stream_compression(const char *value, Error **err)
{
	static const char *const words[] = { "auto", "none", NULL };
	enum { LEVEL_MOST = 19 };
	int64_t level;
	if (one_of(value, words) || units_parse_int(value, 1, LEVEL_MOST, &level, NULL) == 0)
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Invalid compression of streams \"%s\": it is auto, none, or a level of zstd from 1 to %d",
	    value, LEVEL_MOST);
}

int check_architecture(const char *value, Error **err)
{
	static const char *const names[] = {"i686", "x86_64", "armv6l", "armv7l", "armv8l", "aarch64", "ppc", "ppc64", "ppc64le",
		"s390x", "mips", "mips64", "riscv32", "riscv64", "loongarch64", NULL};
	return one_of(value, names) ? 0 : error_set(err, ERROR_INVALID, "Architecture isn't supported: %s", value);
}

int check_pool_volume(const char *value, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(value, "/", 2);
	if (g_strv_length(parts) != 2)
		return error_set(err, ERROR_INVALID, "Invalid volume \"%s\": must be POOL/VOLUME", value);
	return name_check_pool(parts[0], err) < 0 ? -1 : name_check_volume(parts[1], err);
}

int check_modules(const char *value, Error **err)
{
	g_auto(GStrv) names = g_strsplit(value, ",", -1);
	for (char **name = names; *name; name++) {
		g_strstrip(*name);
		for (const char *c = *name; *c; c++)
			if (!g_ascii_isalnum(*c) && *c != '_' && *c != '-')
				return error_set(err, ERROR_INVALID, "Invalid kernel module name \"%s\"", *name);
		if (**name == '-' || strlen(*name) > 63)
			return error_set(err, ERROR_INVALID, "Invalid kernel module name \"%s\"", *name);
	}
	return 0;
}

int check_odd(const char *value, Error **err)
{
	int64_t number;
	if (units_parse_int(value, 0, G_MAXINT, &number, err) < 0)
		return -1;
	return number % 2 ? 0 : error_set(err, ERROR_INVALID, "Value \"%s\" must be an odd number", value);
}

int check_mode(const char *value, Error **err)
{
	size_t length = strlen(value);
	return length >= 3 && length <= 4 && strspn(value, "01234567") == length
	    ? 0
	    : error_set(err, ERROR_INVALID, "Invalid file mode \"%s\": must be octal, as 0660", value);
}

int check_member_address(const char *value, Error **err)
{
	if (name_check_listen_address(value, err) < 0)
		return -1;
	if (value[0] == ':' || g_str_has_prefix(value, "0.0.0.0") || g_str_has_prefix(value, "[::]") || strcmp(value, "::") == 0)
		return error_set(err, ERROR_INVALID, "Invalid address \"%s\": a wildcard cannot be reached by other members", value);
	return 0;
}

int check_ip_list(const char *value, Error **err)
{
	return each(value, name_check_ip, err);
}

int check_ipv4_or_none(const char *value, Error **err)
{
	return strcmp(value, "none") == 0 ? 0 : name_check_ipv4(value, err);
}

int check_ipv6_or_none(const char *value, Error **err)
{
	return strcmp(value, "none") == 0 ? 0 : name_check_ipv6(value, err);
}

static gboolean none_or_auto(const char *value)
{
	return strcmp(value, "none") == 0 || strcmp(value, "auto") == 0;
}

int check_ipv4_or_auto(const char *value, Error **err)
{
	return none_or_auto(value) ? 0 : name_check_ipv4_cidr(value, err);
}

int check_ipv6_or_auto(const char *value, Error **err)
{
	return none_or_auto(value) ? 0 : name_check_ipv6_cidr(value, err);
}

int check_ipv4_list(const char *value, Error **err)
{
	return each(value, name_check_ipv4, err);
}

int check_ipv6_list(const char *value, Error **err)
{
	return each(value, name_check_ipv6, err);
}

int check_ipv4_networks(const char *value, Error **err)
{
	return each(value, name_check_ipv4_network, err);
}

int check_ipv6_networks(const char *value, Error **err)
{
	return each(value, name_check_ipv6_network, err);
}

int check_ipv4_ranges(const char *value, Error **err)
{
	return each(value, name_check_ipv4_range, err);
}

int check_ipv6_ranges(const char *value, Error **err)
{
	return each(value, name_check_ipv6_range, err);
}

int check_vlan(const char *value, Error **err)
{
	int64_t id;
	return strcmp(value, "none") == 0 ? 0 : units_parse_int(value, 0, 4094, &id, err);
}

static int vlan_or_range(const char *value, Error **err)
{
	int64_t id, last;
	g_auto(GStrv) ends = g_strsplit(value, "-", 2);
	if (!ends[0] || units_parse_int(ends[0], 0, 4094, &id, err) < 0)
		return error_set(err, ERROR_INVALID, "Invalid VLAN \"%s\"", value);
	return ends[1] ? units_parse_int(ends[1], id, 4094, &last, err) : 0;
}

int check_vlan_list(const char *value, Error **err)
{
	return each(value, vlan_or_range, err);
}

/* "eth0" or "vlan0/eth0/100": name, parent, VLAN. */
static int interface_or_vlan(const char *value, Error **err)
{
	int64_t vlan;
	g_auto(GStrv) parts = g_strsplit(value, "/", -1);
	guint n = g_strv_length(parts);
	if (n != 1 && n != 3)
		return error_set(err, ERROR_INVALID, "Invalid interface \"%s\"", value);
	if (name_check_interface(parts[0], err) < 0)
		return -1;
	if (n == 1)
		return 0;
	return name_check_interface(parts[1], err) < 0 ? -1 : units_parse_int(parts[2], 1, 4094, &vlan, err);
}

int check_interfaces(const char *value, Error **err)
{
	return each(value, interface_or_vlan, err);
}

int check_paths(const char *value, Error **err)
{
	return each(value, name_check_absolute_path, err);
}

/* Machines of another host, or of another hypervisor, are not ours to run. */
int check_libvirt_uri(const char *value, Error **err)
{
	const char *root = strstr(value, "?root=");
	if (strcmp(value, "qemu:///system") == 0)
		return 0;
	return g_str_has_prefix(value, "qemu:///embed?root=") ?
	    name_check_absolute_path(root + strlen("?root="), err) :
	    error_set(err, ERROR_INVALID,
		"Invalid libvirt URI \"%s\": use qemu:///system or qemu:///embed?root=DIRECTORY",
		value);
}

static gboolean is_block(const char *value)
{
	return strcmp(value, "block") == 0;
}

int check_uplinks(const char *value, Error **err)
{
	return is_block(value) ? 0 : each(value, name_check_network, err);
}

static int check_zone(const char *value, Error **err)
{
	g_auto(GStrv) labels = g_strsplit(value, ".", -1);
	gboolean good = *value && strlen(value) <= 253;
	for (char **label = labels; *label; label++)
		good = good && **label && strlen(*label) <= 63 &&
		    !(*label)[strspn(*label, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_")];
	return good ? 0 : error_set(err, ERROR_INVALID, "Invalid DNS zone \"%s\"", value);
}

int check_zones(const char *value, Error **err)
{
	return is_block(value) ? 0 : each(value, check_zone, err);
}

static int check_uplink_subnet(const char *value, Error **err)
{
	const char *colon = strchr(value, ':');
	g_autofree char *uplink = colon ? g_strndup(value, (gsize)(colon - value)) : NULL;
	if (!colon)
		return error_set(err, ERROR_INVALID,
		    "Invalid subnet \"%s\": must be NETWORK:SUBNET", value);
	if (name_check_network(uplink, err) < 0)
		return -1;
	return strchr(colon + 1, ':') ? name_check_ipv6_network(colon + 1, err) :
					name_check_ipv4_network(colon + 1, err);
}

int check_uplink_subnets(const char *value, Error **err)
{
	return is_block(value) ? 0 : each(value, check_uplink_subnet, err);
}
