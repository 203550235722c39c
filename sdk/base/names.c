#include "sdk/base/names.h"

#include "sdk/base/units.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define LETTERS LOWER UPPER

static int invalid(Error **err, const char *what, const char *text, const char *why)
{
	return error_set(err, ERROR_INVALID, "Invalid %s \"%s\": %s", what, text ? text : "", why);
}

static gboolean only(const char *text, const char *allowed)
{
	return text[strspn(text, allowed)] == 0;
}

static gboolean has_control(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			return TRUE;
	return FALSE;
}

int name_check_text(const char *text, Error **err)
{
	if (!text || !g_utf8_validate(text, -1, NULL))
		return error_set(err, ERROR_INVALID, "Not valid UTF-8 text");
	for (const char *c = text; *c; c++)
		if (g_ascii_iscntrl(*c) && !strchr("\n\r\t", *c))
			return error_set(err, ERROR_INVALID, "Control characters are not allowed");
	return 0;
}

int name_check_line(const char *text, Error **err)
{
	if (name_check_text(text, err) < 0)
		return -1;
	if (has_control(text))
		return error_set(
		    err, ERROR_INVALID, "Control characters and line breaks are not allowed");
	return 0;
}

/* What a name of any kind must be; `forbidden` lists more characters that it may not hold. */
static int check_plain(
    const char *what, const char *name, size_t max, const char *forbidden, Error **err)
{
	if (!name || !*name)
		return error_set(err, ERROR_INVALID, "No %s provided", what);
	if (strlen(name) > max)
		return error_set(
		    err, ERROR_INVALID, "Invalid %s: longer than %zu bytes", what, max);
	if (!g_utf8_validate(name, -1, NULL) || has_control(name))
		return error_set(
		    err, ERROR_INVALID, "Invalid %s: control characters or invalid UTF-8", what);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return invalid(err, what, name, "this name is reserved");
	size_t bad = strcspn(name, forbidden);
	if (name[bad])
		return error_set(err, ERROR_INVALID, "Invalid %s \"%s\": must not contain \"%c\"",
		    what, name, name[bad]);
	return 0;
}

/* A DNS label. */
static int check_label(const char *what, const char *name, Error **err)
{
	size_t length = name ? strlen(name) : 0;
	if (length < 1 || length > 63)
		return invalid(
		    err, what, length > 63 ? "..." : name, "must be 1-63 characters long");
	if (!only(name, LETTERS DIGITS "-"))
		return invalid(
		    err, what, name, "can only contain alphanumeric and hyphen characters");
	if (name[0] == '-' || name[length - 1] == '-')
		return invalid(err, what, name, "must not start or end with a hyphen");
	return 0;
}

int name_check_instance(const char *name, Error **err)
{
	if (check_label("instance name", name, err) < 0)
		return -1;
	/* It becomes a host name, and one of digits alone reads as an IPv4 address. */
	if (strspn(name, DIGITS) == strlen(name))
		return invalid(err, "instance name", name, "must not be a number");
	return 0;
}

int name_check_hostname(const char *name, Error **err)
{
	return check_label("host name", name, err);
}

int name_check_snapshot(const char *name, Error **err)
{
	return check_plain("snapshot name", name, 255, "/ ", err);
}

int name_check_project(const char *name, Error **err)
{
	return check_plain("project name", name, 63, "/ _'\"*", err);
}

int name_check_profile(const char *name, Error **err)
{
	return check_plain("profile name", name, 255, "/ ", err);
}

int name_check_device(const char *name, Error **err)
{
	if (check_plain("device name", name, 64, " \"'", err) < 0)
		return -1;
	if (!only(name, LETTERS DIGITS "-_.:/@+"))
		return invalid(
		    err, "device name", name, "only letters, digits and -_.:/@+ are allowed");
	if (strstr(name, "..") || name[0] == '/' || name[0] == '-')
		return invalid(
		    err, "device name", name, "must not hold \"..\" or start with \"/\" or \"-\"");
	return 0;
}

int name_check_pool(const char *name, Error **err)
{
	if (check_plain("storage pool name", name, 63, "/ '\"\\$", err) < 0)
		return -1;
	return name[0] == '-' ?
	    invalid(err, "storage pool name", name, "must not start with a hyphen") :
	    0;
}

int name_check_volume(const char *name, Error **err)
{
	if (check_plain("storage volume name", name, 255, "/ \\", err) < 0)
		return -1;
	return name[0] == '-' ?
	    invalid(err, "storage volume name", name, "must not start with a hyphen") :
	    0;
}

int name_check_bucket(const char *name, Error **err)
{
	size_t length = name ? strlen(name) : 0;
	if (length < 3 || length > 63 || !only(name, LOWER DIGITS "-.") ||
	    !g_ascii_isalnum(name[0]) || !g_ascii_isalnum(name[length - 1]) || strstr(name, ".."))
		return invalid(err, "bucket name", name,
		    "must be 3-63 lower-case letters, digits, hyphens or dots");
	return 0;
}

int name_check_network(const char *name, Error **err)
{
	if (check_plain("network name", name, 63, "/ \\:'\"", err) < 0)
		return -1;
	if (!only(name, LETTERS DIGITS "-_."))
		return invalid(err, "network name", name,
		    "only letters, digits, dots, hyphens and underscores are allowed");
	return name[0] == '-' ? invalid(err, "network name", name, "must not start with a hyphen") :
				0;
}

int name_check_acl(const char *name, Error **err)
{
	if (check_label("network ACL name", name, err) < 0)
		return -1;
	return g_ascii_isdigit(name[0]) ?
	    invalid(err, "network ACL name", name, "must not start with a number") :
	    0;
}

int name_check_zone(const char *name, Error **err)
{
	if (check_plain("network zone name", name, 253, "/ ", err) < 0)
		return -1;
	return only(name, LETTERS DIGITS "-_.") && name[0] != '.' && !strstr(name, "..")
	    ? 0
	    : invalid(err, "network zone name", name, "not a DNS name");
}

int name_check_image_alias(const char *name, Error **err)
{
	return check_plain("image alias name", name, 255, " \\", err);
}

int name_check_fingerprint(const char *text, Error **err)
{
	size_t length = text ? strlen(text) : 0;
	return length >= 1 && length <= 64 && only(text, DIGITS "abcdef") ?
	    0 :
	    invalid(err, "fingerprint", length <= 64 ? text : "...",
		"must be at most 64 hexadecimal digits");
}

int name_check_interface(const char *name, Error **err)
{
	size_t length = name ? strlen(name) : 0;
	if (length < 2 || length > 15)
		return invalid(err, "interface name", name, "must be 2-15 characters long");
	if (!only(name, LETTERS DIGITS "-_.@") || name[0] == '-')
		return invalid(
		    err, "interface name", name, "only letters, digits and -_.@ are allowed");
	if (strcmp(name, "..") == 0)
		return invalid(err, "interface name", name, "this name is reserved");
	return 0;
}

int name_check_cluster_member(const char *name, Error **err)
{
	return check_plain("cluster member name", name, 63, "/ @", err);
}

int name_check_config_key(const char *key, Error **err)
{
	if (check_plain("configuration key", key, 255, " =\"'", err) < 0)
		return -1;
	return 0;
}

int name_check_mac(const char *text, Error **err)
{
	gboolean ok = text && strlen(text) == 17;
	for (int i = 0; ok && i < 17; i++)
		ok = i % 3 == 2 ? text[i] == ':' : g_ascii_isxdigit(text[i]) != 0;
	return ok ?
	    0 :
	    invalid(err, "MAC address", text, "must be six hexadecimal pairs with colons between");
}

static gboolean address(int family, const char *text, uint8_t bytes[16])
{
	return text && inet_pton(family, text, bytes) == 1;
}

int name_check_ipv4(const char *text, Error **err)
{
	uint8_t bytes[16];
	return address(AF_INET, text, bytes) ?
	    0 :
	    error_set(err, ERROR_INVALID, "Not an IPv4 address \"%s\"", text ? text : "");
}

int name_check_ipv6(const char *text, Error **err)
{
	uint8_t bytes[16];
	return address(AF_INET6, text, bytes) ?
	    0 :
	    error_set(err, ERROR_INVALID, "Not an IPv6 address \"%s\"", text ? text : "");
}

int name_check_ip(const char *text, Error **err)
{
	uint8_t bytes[16];
	return address(AF_INET, text, bytes) || address(AF_INET6, text, bytes)
	    ? 0
	    : error_set(err, ERROR_INVALID, "Not an IP address \"%s\"", text ? text : "");
}

/* ADDRESS/PREFIX; network: the bits behind the prefix must be zero. */
static gboolean cidr(int family, const char *text, gboolean network)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	int64_t bits, max = family == AF_INET ? 32 : 128;
	uint8_t bytes[16] = {0};
	if (!slash || !only(slash + 1, DIGITS) ||
	    units_parse_int(slash + 1, 0, max, &bits, NULL) < 0)
		return FALSE;
	g_autofree char *host = g_strndup(text, (gsize)(slash - text));
	if (!address(family, host, bytes))
		return FALSE;
	for (int64_t bit = bits; network && bit < max; bit++)
		if (bytes[bit / 8] & (0x80 >> (bit % 8)))
			return FALSE;
	return TRUE;
}

int name_check_ipv4_cidr(const char *text, Error **err)
{
	return cidr(AF_INET, text, FALSE) ?
	    0 :
	    invalid(err, "IPv4 CIDR", text, "must be ADDRESS/PREFIX");
}

int name_check_ipv6_cidr(const char *text, Error **err)
{
	return cidr(AF_INET6, text, FALSE) ?
	    0 :
	    invalid(err, "IPv6 CIDR", text, "must be ADDRESS/PREFIX");
}

int name_check_ipv4_network(const char *text, Error **err)
{
	return cidr(AF_INET, text, TRUE) ?
	    0 :
	    invalid(err, "IPv4 network", text, "must be a network address and prefix");
}

int name_check_ipv6_network(const char *text, Error **err)
{
	return cidr(AF_INET6, text, TRUE) ?
	    0 :
	    invalid(err, "IPv6 network", text, "must be a network address and prefix");
}

static gboolean range(int family, const char *text)
{
	g_auto(GStrv) ends = g_strsplit(text ? text : "", "-", 2);
	uint8_t first[16] = {0}, last[16] = {0};
	return g_strv_length(ends) == 2 && address(family, g_strstrip(ends[0]), first) &&
	    address(family, g_strstrip(ends[1]), last) && memcmp(first, last, sizeof(first)) <= 0;
}

int name_check_ipv4_range(const char *text, Error **err)
{
	return range(AF_INET, text) ? 0 : invalid(err, "IPv4 range", text, "must be FIRST-LAST");
}

int name_check_ipv6_range(const char *text, Error **err)
{
	return range(AF_INET6, text) ? 0 : invalid(err, "IPv6 range", text, "must be FIRST-LAST");
}

int name_check_port(const char *text, Error **err)
{
	int64_t port;
	if (units_parse_int(text, 1, 65535, &port, NULL) < 0)
		return invalid(err, "port", text, "must be 1-65535");
	return 0;
}

int name_check_listen_address(const char *text, Error **err)
{
	if (!text || !*text || name_check_line(text, NULL) < 0 || strpbrk(text, " /@'\""))
		return invalid(
		    err, "network address", text, "must be HOST, HOST:PORT or [IPv6]:PORT");
	const char *port = NULL;
	g_autofree char *host = NULL;
	if (text[0] == '[') {
		const char *end = strchr(text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return invalid(err, "network address", text, "missing \"]\"");
		host = g_strndup(text + 1, (gsize)(end - text - 1));
		port = end[1] ? end + 2 : NULL;
		if (name_check_ipv6(host, err) < 0)
			return -1;
	} else if (name_check_ipv6(text, NULL) == 0) {
		return 0;
	} else {
		const char *colon = strrchr(text, ':');
		host = colon ? g_strndup(text, (gsize)(colon - text)) : g_strdup(text);
		port = colon ? colon + 1 : NULL;
		if (!only(host, LETTERS DIGITS "-._*"))
			return invalid(err, "network address", text, "bad host name");
		if (*host && only(host, DIGITS ".") && name_check_ipv4(host, err) < 0)
			return -1;
	}
	return port ? name_check_port(port, err) : 0;
}

int name_check_uuid(const char *text, Error **err)
{
	return text && g_uuid_string_is_valid(text) ? 0 : invalid(err, "UUID", text, "wrong form");
}

int name_check_pci(const char *text, Error **err)
{
	unsigned domain, bus, slot, function;
	int used = 0;
	size_t length = text ? strlen(text) : 0;
	gboolean ok = length && only(text, DIGITS "abcdefABCDEF:.") &&
	    ((sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) == 4 &&
		 (size_t)used == length) ||
		(sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) == 3 &&
		    (size_t)used == length));
	return ok ? 0 : invalid(err, "PCI address", text, "must be [DOMAIN:]BUS:SLOT.FUNCTION");
}

int name_check_hex_id(const char *text, Error **err)
{
	return text && strlen(text) == 4 && only(text, DIGITS "abcdefABCDEF")
	    ? 0
	    : invalid(err, "device id", text, "must be four hexadecimal digits");
}

int name_check_url(const char *text, Error **err)
{
	g_autoptr(GUri) uri = text ? g_uri_parse(text, G_URI_FLAGS_NONE, NULL) : NULL;
	const char *scheme = uri ? g_uri_get_scheme(uri) : NULL;
	if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) ||
	    !g_uri_get_host(uri) || !*g_uri_get_host(uri))
		return invalid(err, "URL", text, "must be http:// or https:// and a host");
	return 0;
}

int name_check_absolute_path(const char *text, Error **err)
{
	if (name_check_line(text, err) < 0)
		return -1;
	return text[0] == '/' ? 0 : invalid(err, "path", text, "must be absolute");
}
