#pragma once
/*
 * String maps as generated messages hold them (`map<string,string>` is an array of entry messages)
 * and as code works with them (GHashTable, owned keys and values). Every generated entry type of a
 * string map has the layout of MapEntry; the tree is built with -fno-strict-aliasing for it.
 */
#include "sdk/base/arena.h"

typedef struct MapEntry {
	ProtobufCMessage base;
	char *key;
	char *value;
} MapEntry;

typedef GHashTable Config; /* char * -> char *, both owned */

Config *config_new(void);
Config *config_copy(const Config *config);
static inline const char *config_get(const Config *config, const char *key)
{
	return g_hash_table_lookup((GHashTable *)config, key);
}
/* An empty or NULL value removes the key. */
void config_set(Config *config, const char *key, const char *value);
/* Lays `over` (may be NULL) over config; what is "" there removes. */
void config_merge(Config *config, const Config *over);
/* The same keys with the same values; NULL equals only NULL. */
gboolean config_equal(const Config *a, const Config *b);
/* True for "true", "1", "yes", "on" (any case), as Incus reads booleans. */
gboolean config_true(const Config *config, const char *key);
gboolean config_false(const Config *config, const char *key);
/* Keys in byte order; free with g_free (the strings belong to the config). */
const char **config_sorted_keys(const Config *config, guint *ret_n);

/* From the fields `n_config`, `config` of any generated message. */
Config *config_from_map(size_t n, const void *entries);
/* Fills n and entries with arena memory, sorted by key; `descriptor` is that of the entry message,
 * for example &pb__profile__config_entry__descriptor. */
void config_to_map(const Config *config, Arena *arena, const ProtobufCMessageDescriptor *descriptor,
    size_t *ret_n, void *ret_entries);
/* NULL when absent. */
const char *map_get(size_t n, const void *entries, const char *key);

/* Device maps: device name -> Config. Generated as entries {name, Pb__Device {config}}. */
typedef GHashTable Devices; /* char * -> Config *, both owned */
Devices *devices_new(void);
Devices *devices_copy(const Devices *devices);
static inline Config *devices_get(const Devices *devices, const char *name)
{
	return g_hash_table_lookup((GHashTable *)devices, name);
}
/* Takes neither; copies both. */
void devices_set(Devices *devices, const char *name, const Config *device);
Devices *devices_from_map(size_t n, const void *entries);
void devices_to_map(const Devices *devices, Arena *arena,
    const ProtobufCMessageDescriptor *descriptor, size_t *ret_n, void *ret_entries);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, g_hash_table_unref)
