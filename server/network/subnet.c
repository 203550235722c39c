#include "server/network/subnet.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { PICK_TRIES = 1000 };

size_t subnet_size(const Subnet *subnet)
{
	return subnet->family == AF_INET ? 4 : 16;
}

int subnet_parse(const char *text, Subnet *ret_subnet, Error **err)
{
	Subnet s = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	const char *slash = strchr(text, '/');
	g_autofree char *address = slash ? g_strndup(text, slash - text) : g_strdup(text);
	guint64 prefix = subnet_size(&s) * 8;
	if (inet_pton(s.family, address, s.address) != 1)
		return error_set(err, ERROR_INVALID, "\"%s\" is not an IP address", address);
	if (slash && !g_ascii_string_to_unsigned(slash + 1, 10, 0, prefix, &prefix, NULL))
		return error_set(err, ERROR_INVALID, "\"%s\" has no valid prefix length", text);
	s.prefix = prefix;
	*ret_subnet = s;
	return 0;
}

static gboolean same_prefix(const Subnet *a, const Subnet *b, unsigned prefix)
{
	if (a->family != b->family || memcmp(a->address, b->address, prefix / 8) != 0)
		return FALSE;
	if (prefix % 8 == 0)
		return TRUE;
	uint8_t mask = 0xff << (8 - prefix % 8);
	return ((a->address[prefix / 8] ^ b->address[prefix / 8]) & mask) == 0;
}

gboolean subnet_contains(const Subnet *subnet, const Subnet *address)
{
	return address->prefix >= subnet->prefix && same_prefix(subnet, address, subnet->prefix);
}

gboolean subnet_overlaps(const Subnet *a, const Subnet *b)
{
	return same_prefix(a, b, MIN(a->prefix, b->prefix));
}

static void fill_host_bits(Subnet *s, uint8_t value)
{
	for (unsigned bit = s->prefix; bit < subnet_size(s) * 8; bit++) {
		uint8_t mask = 0x80 >> (bit % 8);
		s->address[bit / 8] = (s->address[bit / 8] & ~mask) | (value & mask);
	}
}

static char *bytes_text(const Subnet *s)
{
	char text[INET6_ADDRSTRLEN];
	return g_strdup(inet_ntop(s->family, s->address, text, sizeof text));
}

char *subnet_address_text(const Subnet *subnet)
{
	return bytes_text(subnet);
}

char *subnet_network_text(const Subnet *subnet)
{
	Subnet s = *subnet;
	fill_host_bits(&s, 0);
	g_autofree char *address = bytes_text(&s);
	return g_strdup_printf("%s/%u", address, s.prefix);
}

char *subnet_host_text(const Subnet *subnet, int64_t n)
{
	Subnet s = *subnet;
	/* -1 is the last address: all host bits set, and then count back. */
	fill_host_bits(&s, n < 0 ? 0xff : 0);
	int64_t carry = n < 0 ? n + 1 : n;
	for (size_t i = subnet_size(&s); i-- > 0 && carry;) {
		int64_t sum = s.address[i] + (carry % 256);
		carry /= 256;
		if (sum < 0) {
			sum += 256;
			carry--;
		} else if (sum > 255) {
			sum -= 256;
			carry++;
		}
		s.address[i] = sum;
	}
	return bytes_text(&s);
}

char *subnet_eui64_text(const Subnet *subnet, const char *mac)
{
	unsigned m[6];
	if (subnet->family != AF_INET6 || subnet->prefix != 64 ||
	    sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		return NULL;
	Subnet s = *subnet;
	const uint8_t host[8] = {m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
	memcpy(s.address + 8, host, sizeof host);
	return bytes_text(&s);
}

static gboolean is_taken(const Subnet *wanted, const GPtrArray *taken)
{
	for (guint i = 0; taken && i < taken->len; i++) {
		Subnet other;
		if (subnet_parse(g_ptr_array_index(taken, i), &other, NULL) == 0 &&
		    other.prefix > 0 && subnet_overlaps(wanted, &other))
			return TRUE;
	}
	return FALSE;
}

static int pick(Subnet *s, size_t random_at, size_t random_size, const GPtrArray *taken,
    char **ret_cidr, Error **err)
{
	for (int i = 0; i < PICK_TRIES; i++) {
		if (getrandom(s->address + random_at, random_size, 0) != (ssize_t)random_size)
			return error_set(err, ERROR_INTERNAL, "Failed to read random bytes");
		if (is_taken(s, taken))
			continue;
		g_autofree char *address = bytes_text(s);
		*ret_cidr = g_strdup_printf("%s/%u", address, s->prefix);
		return 0;
	}
	return error_set(
	    err, ERROR_INTERNAL, "Failed to find an unused subnet; set the address by hand");
}

int subnet_pick_ipv4(const GPtrArray *taken, char **ret_cidr, Error **err)
{
	Subnet s = {.family = AF_INET, .address = {10, 0, 0, 1}, .prefix = 24};
	return pick(&s, 1, 2, taken, ret_cidr, err);
}

int subnet_pick_ipv6(const GPtrArray *taken, char **ret_cidr, Error **err)
{
	Subnet s = {.family = AF_INET6, .address = {0xfd, 0x42}, .prefix = 64};
	s.address[15] = 1;
	return pick(&s, 2, 6, taken, ret_cidr, err);
}

char **subnet_split_list(const char *text)
{
	GPtrArray *words = g_ptr_array_new();
	g_auto(GStrv) parts = g_strsplit(text ? text : "", ",", -1);
	for (char **part = parts; *part; part++)
		if (*g_strstrip(*part))
			g_ptr_array_add(words, g_strdup(*part));
	g_ptr_array_add(words, NULL);
	return (char **)g_ptr_array_free(words, FALSE);
}
