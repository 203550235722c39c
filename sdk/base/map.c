#include "sdk/base/map.h"

#include <stdlib.h>
#include <string.h>

/* Every map entry message, whatever its value: a base, a key and one pointer (or a string). */
typedef struct DeviceEntry {
	ProtobufCMessage base;
	char *key;
	ProtobufCMessage *value;
} DeviceEntry;

/* The one field of Pb__Device: map<string, string> config. */
typedef struct DeviceMessage {
	ProtobufCMessage base;
	size_t n_config;
	MapEntry **config;
} DeviceMessage;

Config *config_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

Config *config_copy(const Config *config)
{
	Config *copy = config_new();
	GHashTableIter iter;
	void *key, *value;
	if (!config)
		return copy;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		g_hash_table_insert(copy, g_strdup(key), g_strdup(value));
	return copy;
}

void config_merge(Config *config, const Config *over)
{
	GHashTableIter iter;
	void *key, *value;
	if (!over)
		return;
	g_hash_table_iter_init(&iter, (GHashTable *)over);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(config, key, value);
}

void config_set(Config *config, const char *key, const char *value)
{
	if (value && *value)
		g_hash_table_replace(config, g_strdup(key), g_strdup(value));
	else
		g_hash_table_remove(config, key);
}

static gboolean value_in(const char *value, const char *const *words)
{
	for (; value && *words; words++)
		if (g_ascii_strcasecmp(value, *words) == 0)
			return TRUE;
	return FALSE;
}

gboolean config_true(const Config *config, const char *key)
{
	static const char *const words[] = {"true", "1", "yes", "on", NULL};
	return value_in(config_get(config, key), words);
}

gboolean config_false(const Config *config, const char *key)
{
	static const char *const words[] = {"false", "0", "no", "off", NULL};
	return value_in(config_get(config, key), words);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

gboolean config_equal(const Config *a, const Config *b)
{
	GHashTableIter iter;
	void *key, *value;
	if (!a || !b || g_hash_table_size((GHashTable *)a) != g_hash_table_size((GHashTable *)b))
		return a == b;
	g_hash_table_iter_init(&iter, (GHashTable *)a);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_strcmp0(config_get(b, key), value) != 0)
			return FALSE;
	return TRUE;
}

const char **config_sorted_keys(const Config *config, guint *ret_n)
{
	guint n = 0;
	void **keys =
	    config ? g_hash_table_get_keys_as_array((GHashTable *)config, &n) : g_new0(void *, 1);
	if (n)
		qsort(keys, n, sizeof(*keys), compare_strings);
	if (ret_n)
		*ret_n = n;
	return (const char **)keys;
}

Config *config_from_map(size_t n, const void *entries)
{
	MapEntry *const *map = entries;
	Config *config = config_new();
	for (size_t i = 0; i < n; i++)
		if (map[i]->key)
			g_hash_table_replace(config, g_strdup(map[i]->key),
			    g_strdup(map[i]->value ? map[i]->value : ""));
	return config;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp((*(MapEntry *const *)a)->key, (*(MapEntry *const *)b)->key);
}

void config_to_map(const Config *config, Arena *arena, const ProtobufCMessageDescriptor *descriptor,
    size_t *ret_n, void *ret_entries)
{
	size_t n = 0, size = config ? g_hash_table_size((GHashTable *)config) : 0;
	MapEntry **entries = size ? arena_alloc(arena, size * sizeof(*entries)) : NULL;
	MapEntry *entry = size ? arena_alloc(arena, size * sizeof(*entry)) : NULL;
	GHashTableIter iter;
	void *key, *value;
	if (size)
		g_hash_table_iter_init(&iter, (GHashTable *)config);
	for (; n < size && g_hash_table_iter_next(&iter, &key, &value); entry++) {
		protobuf_c_message_init(descriptor, entry);
		entry->key = arena_strdup(arena, key);
		entry->value = arena_strdup(arena, value);
		entries[n++] = entry;
	}
	if (n > 1)
		qsort(entries, n, sizeof(*entries), compare_entries);
	*ret_n = n;
	*(void **)ret_entries = entries;
}

const char *map_get(size_t n, const void *entries, const char *key)
{
	MapEntry *const *map = entries;
	for (size_t i = 0; i < n; i++)
		if (map[i]->key && strcmp(map[i]->key, key) == 0)
			return map[i]->value;
	return NULL;
}

Devices *devices_new(void)
{
	return g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_hash_table_unref);
}

Devices *devices_copy(const Devices *devices)
{
	Devices *copy = devices_new();
	GHashTableIter iter;
	void *name, *device;
	if (!devices)
		return copy;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &name, &device))
		devices_set(copy, name, device);
	return copy;
}

void devices_set(Devices *devices, const char *name, const Config *device)
{
	g_hash_table_replace(devices, g_strdup(name), config_copy(device));
}

Devices *devices_from_map(size_t n, const void *entries)
{
	DeviceEntry *const *map = entries;
	Devices *devices = devices_new();
	for (size_t i = 0; i < n; i++) {
		const DeviceMessage *device = (const DeviceMessage *)map[i]->value;
		if (map[i]->key)
			g_hash_table_replace(devices, g_strdup(map[i]->key),
			    device ? config_from_map(device->n_config, device->config)
				   : config_new());
	}
	return devices;
}

void devices_to_map(const Devices *devices, Arena *arena,
    const ProtobufCMessageDescriptor *descriptor, size_t *ret_n, void *ret_entries)
{
	const ProtobufCMessageDescriptor *device_type = descriptor->fields[1].descriptor;
	const ProtobufCMessageDescriptor *entry_type = device_type->fields[0].descriptor;
	guint n = 0;
	g_autofree const char **names = config_sorted_keys(devices, &n);
	DeviceEntry **entries = n ? arena_alloc(arena, n * sizeof(*entries)) : NULL;
	for (guint i = 0; i < n; i++) {
		DeviceMessage *device = arena_alloc(arena, device_type->sizeof_message);
		protobuf_c_message_init(device_type, device);
		config_to_map(devices_get(devices, names[i]), arena, entry_type, &device->n_config,
		    &device->config);
		entries[i] = arena_alloc(arena, descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, entries[i]);
		entries[i]->key = arena_strdup(arena, names[i]);
		entries[i]->value = &device->base;
	}
	*ret_n = n;
	*(void **)ret_entries = entries;
}
