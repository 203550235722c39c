#include "cli/list.h"
#include <arpa/inet.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

bool key_matches(const char *brief, const char *full)
{
	for (;;) {
		size_t length = strcspn(brief, ".");
		if (strncmp(brief, full, length) != 0)
			return false;
		brief += length;
		full += strcspn(full, ".");
		if (!*brief || !*full)
			return !*brief && !*full;
		brief++;
		full++;
	}
}

/* The whole text, unless the pattern has anchors of its own. */
static bool pattern_matches(const char *pattern, const char *text)
{
	bool anchored = strpbrk(pattern, "^$") != NULL;
	g_autofree char *whole = anchored ? g_strdup(pattern) : g_strdup_printf("^(%s)$", pattern);
	regex_t compiled;
	if (regcomp(&compiled, whole, REG_EXTENDED | REG_NOSUB) != 0)
		return strcmp(pattern, text) == 0;
	bool found = regexec(&compiled, text, 0, NULL, 0) == 0;
	regfree(&compiled);
	return found;
}

static bool in_network(const char *address, const char *wanted)
{
	uint8_t a[16], b[16];
	g_autofree char *host = g_strndup(wanted, strcspn(wanted, "/"));
	const char *slash = strchr(wanted, '/');
	int family = strchr(host, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, address, a) != 1 || inet_pton(family, host, b) != 1)
		return false;
	int bits = slash ? atoi(slash + 1) : family == AF_INET ? 32 : 128;
	for (int i = 0; i < bits && i < (family == AF_INET ? 32 : 128); i++)
		if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	return true;
}

static bool has_address(const json_t *instance, const char *family, const char *wanted)
{
	const char *name;
	json_t *nic, *address;
	size_t i;
	json_object_foreach (
	    json_object_get(json_object_get(instance, "state"), "network"), name, nic)
		json_array_foreach (json_object_get(nic, "addresses"), i, address)
			if (strcmp(json_get_text(address, "family"), family) == 0 &&
			    in_network(json_get_text(address, "address"), wanted))
				return true;
	return false;
}

/* One of a shorthand's values, which commas separate. */
static bool shorthand_matches(const json_t *instance, const char *key, const char *value)
{
	if (strcmp(key, "ipv4") == 0)
		return has_address(instance, "inet", value);
	if (strcmp(key, "ipv6") == 0)
		return has_address(instance, "inet6", value);
	return g_ascii_strcasecmp(json_get_text(instance, key), value) == 0;
}

static bool is_shorthand(const char *key)
{
	static const char *const keys[] = { "type", "status", "architecture", "location", "ipv4",
		"ipv6", "project", NULL };
	return g_strv_contains(keys, key);
}

static bool pair_matches(const json_t *instance, const char *key, const char *value)
{
	const char *name;
	json_t *held;
	if (is_shorthand(key)) {
		g_auto(GStrv) values = g_strsplit(value, ",", -1);
		for (char **v = values; *v; v++)
			if (shorthand_matches(instance, key, *v))
				return true;
		return false;
	}
	if (strcmp(key, "name") == 0)
		return pattern_matches(value, json_get_text(instance, "name"));
	json_object_foreach (json_object_get(instance, "expanded_config"), name, held)
		if (key_matches(key, name) && pattern_matches(value, json_string_value(held)))
			return true;
	return false;
}

static bool filter_matches(const json_t *instance, const char *filter)
{
	const char *equals = strchr(filter, '='), *name = json_get_text(instance, "name");
	if (!equals)
		return g_str_has_prefix(name, filter) || pattern_matches(filter, name);
	g_autofree char *key = g_strndup(filter, equals - filter);
	return pair_matches(instance, key, equals + 1);
}

bool filters_match(const json_t *instance, char **filters, int n)
{
	for (int i = 0; i < n; i++)
		if (!filter_matches(instance, filters[i]))
			return false;
	return true;
}
