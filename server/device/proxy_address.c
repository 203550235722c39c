#include "server/device/proxy_address.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include <string.h>
#include <sys/un.h>

static const char *const kinds[] = { "tcp", "udp", "unix" };

const char *proxy_kind_name(ProxyKind kind)
{
	return kinds[kind];
}

void proxy_address_clear(ProxyAddress *address)
{
	g_free(address->host);
	g_free(address->path);
	g_clear_pointer(&address->ports, g_array_unref);
	*address = (ProxyAddress){ 0 };
}

static int parse_path(const char *text, ProxyAddress *address, Error **err)
{
	address->abstract = *text == '@';
	address->path = g_strdup(text + address->abstract);
	if (strlen(address->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_set(err, ERROR_INVALID, "The socket's path is too long");
	if (!address->abstract)
		return name_check_absolute_path(text, err);
	return *address->path ? name_check_line(address->path, err) :
				error_set(err, ERROR_INVALID, "An abstract socket has a name");
}

static int parse_ports(const char *text, ProxyAddress *address, Error **err)
{
	g_auto(GStrv) ranges = g_strsplit(text, ",", -1);
	address->ports = g_array_new(FALSE, FALSE, sizeof(guint));
	for (char **range = ranges; *range; range++) {
		int64_t first, last;
		char *dash = strchr(*range, '-');
		if (dash)
			*dash = '\0';
		if (units_parse_int(*range, 1, 65535, &first, err) < 0)
			return error_prefix(err, "Invalid port");
		last = first;
		if (dash && units_parse_int(dash + 1, first, 65535, &last, err) < 0)
			return error_prefix(err, "Invalid end of a range of ports");
		for (guint port = (guint)first; port <= (guint)last; port++)
			g_array_append_val(address->ports, port);
	}
	if (address->ports->len > PROXY_PORTS_MAX)
		return error_set(
		    err, ERROR_INVALID, "More than %d ports in one device", PROXY_PORTS_MAX);
	return address->ports->len ? 0 : error_set(err, ERROR_INVALID, "A port is missing");
}

static int parse_host(const char *text, size_t length, ProxyAddress *address, Error **err)
{
	gboolean bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
	address->host = bracketed ? g_strndup(text + 1, length - 2) : g_strndup(text, length);
	address->ipv6 = bracketed;
	if (bracketed)
		return name_check_ipv6(address->host, err);
	return *address->host ? name_check_ipv4(address->host, err) : 0;
}

int proxy_address_parse(const char *text, ProxyAddress *ret, Error **err)
{
	g_auto(ProxyAddress) address = { 0 };
	const char *colon = strchr(text, ':');
	guint kind = 0;
	while (colon && kind < G_N_ELEMENTS(kinds) &&
	    (strlen(kinds[kind]) != (size_t)(colon - text) ||
		strncmp(kinds[kind], text, (size_t)(colon - text)) != 0))
		kind++;
	if (!colon || kind == G_N_ELEMENTS(kinds))
		return error_set(err, ERROR_INVALID,
		    "Invalid address \"%s\": it begins with tcp:, udp: or unix:", text);
	address.kind = (ProxyKind)kind;
	const char *ports = strrchr(colon + 1, ':');
	if (kind == PROXY_UNIX ? parse_path(colon + 1, &address, err) < 0 :
		!ports	       ? error_set(err, ERROR_INVALID, "A port is missing") < 0 :
			 parse_host(colon + 1, (size_t)(ports - colon - 1), &address, err) < 0 ||
		    parse_ports(ports + 1, &address, err) < 0)
		return error_prefix(err, "Invalid address \"%s\"", text);
	*ret = address;
	address = (ProxyAddress){ 0 };
	return 0;
}

gboolean proxy_address_any(const ProxyAddress *address)
{
	return address->kind != PROXY_UNIX &&
	    (!*address->host || strcmp(address->host, "0.0.0.0") == 0 ||
		strcmp(address->host, "::") == 0);
}

guint proxy_address_count(const ProxyAddress *address)
{
	return address->kind == PROXY_UNIX ? 1 : address->ports->len;
}

guint proxy_address_port(const ProxyAddress *address, guint n)
{
	return g_array_index(address->ports, guint, address->ports->len == 1 ? 0 : n);
}

char *proxy_address_text(const ProxyAddress *address, guint n, const char *nowhere)
{
	if (address->kind == PROXY_UNIX)
		return g_strconcat(address->abstract ? "abstract " : "unix ", address->path, NULL);
	return g_strdup_printf("%s %s %u", kinds[address->kind],
	    *address->host ? address->host : nowhere, proxy_address_port(address, n));
}
