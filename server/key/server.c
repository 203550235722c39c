#include "server/key/server.h"

#include "sdk/base/log.h"
#include "sdk/base/units.h"
#include "server/db/db.h"
#include "server/key/key.h"

#include <string.h>

enum { TRIGGERS_MAX = 32 };

typedef struct Trigger {
	const char *key;
	ServerTrigger run;
	ServerStored stored;
} Trigger;

struct ServerConfig {
	GMutex change;        /* one change at a time; held while triggers run */
	GRWLock lock;         /* values */
	Config *values;
	Trigger triggers[TRIGGERS_MAX];
	unsigned n_triggers;
};

/* Rows of one database; keys that no release knows any more are left out. */
static int load_rows(Tx *tx, void *data, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err, "SELECT key, value FROM config", NULL) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		if (key_find(KEY_SERVER, NULL, rows_text(rows, 0)))
			config_set(data, rows_text(rows, 0), rows_text(rows, 1));
		else
			log_warn("Unknown server setting ignored", "key", rows_text(rows, 0));
	}
	return more;
}

int server_config_load(Daemon *d, Error **err)
{
	ServerConfig *config = g_new0(ServerConfig, 1);
	g_mutex_init(&config->change);
	g_rw_lock_init(&config->lock);
	config->values = config_new();
	if (db_read(d->db, load_rows, config->values, err) < 0 || db_local_read(d->db, load_rows, config->values, err) < 0) {
		server_config_free(config);
		return -1;
	}
	d->config = config;
	return 0;
}

void server_config_free(ServerConfig *config)
{
	if (!config)
		return;
	g_hash_table_unref(config->values);
	g_rw_lock_clear(&config->lock);
	g_mutex_clear(&config->change);
	g_free(config);
}

char *server_config_get(ServerConfig *config, const char *key)
{
	g_rw_lock_reader_lock(&config->lock);
	char *value = g_strdup(key_value(KEY_SERVER, NULL, config->values, key));
	g_rw_lock_reader_unlock(&config->lock);
	return value;
}

gboolean server_config_bool(ServerConfig *config, const char *key)
{
	g_rw_lock_reader_lock(&config->lock);
	gboolean value = key_bool(KEY_SERVER, NULL, config->values, key);
	g_rw_lock_reader_unlock(&config->lock);
	return value;
}

int64_t server_config_int(ServerConfig *config, const char *key, int64_t fallback)
{
	g_autofree char *text = server_config_get(config, key);
	int64_t value;
	return text && units_parse_int(text, INT64_MIN, INT64_MAX, &value, NULL) == 0 ? value : fallback;
}

Config *server_config_all(ServerConfig *config)
{
	g_rw_lock_reader_lock(&config->lock);
	Config *copy = config_copy(config->values);
	g_rw_lock_reader_unlock(&config->lock);
	return copy;
}

void server_config_on_change(ServerConfig *config, const char *key, ServerTrigger trigger)
{
	g_assert(config->n_triggers < TRIGGERS_MAX);
	config->triggers[config->n_triggers++] = (Trigger){ .key = key, .run = trigger };
}

void server_config_on_stored(ServerConfig *config, const char *key, ServerStored stored)
{
	g_assert(config->n_triggers < TRIGGERS_MAX);
	config->triggers[config->n_triggers++] = (Trigger){ .key = key, .stored = stored };
}

static gboolean trigger_matches(const Trigger *trigger, const char *key)
{
	size_t length = strlen(trigger->key);
	if (length > 2 && g_str_has_suffix(trigger->key, ".*"))
		return strncmp(trigger->key, key, length - 1) == 0;
	return strcmp(trigger->key, key) == 0;
}

static const char *value_or_empty(const Config *config, const char *key)
{
	const char *value = config_get(config, key);
	return value ? value : "";
}

/* Every trigger of one key; those before the one that refused are told the old value again. */
static int run_triggers(Daemon *d, const char *key, const char *old_value, const char *new_value, Error **err)
{
	ServerConfig *config = d->config;
	for (unsigned i = 0; i < config->n_triggers; i++) {
		const Trigger *trigger = &config->triggers[i];
		if (!trigger->run || !trigger_matches(trigger, key) ||
		    trigger->run(d, key, new_value, err) == 0)
			continue;
		while (i-- > 0)
			if (config->triggers[i].run && trigger_matches(&config->triggers[i], key))
				config->triggers[i].run(d, key, old_value, NULL);
		return error_prefix(err, "Cannot set \"%s\"", key);
	}
	return 0;
}

static void tell_stored(Daemon *d, const GPtrArray *changed)
{
	for (guint n = 0; n < changed->len; n++)
		for (unsigned i = 0; i < d->config->n_triggers; i++) {
			const Trigger *trigger = &d->config->triggers[i];
			if (trigger->stored && trigger_matches(trigger, changed->pdata[n]))
				trigger->stored(d, changed->pdata[n]);
		}
}

static void undo_triggers(Daemon *d, const GPtrArray *changed, guint n, const Config *old)
{
	while (n-- > 0) {
		const char *key = g_ptr_array_index(changed, n);
		run_triggers(d, key, "", value_or_empty(old, key), NULL);
	}
}

typedef struct ServerStore {
	const GPtrArray *changed;
	const Config *values;
	gboolean local;
} ServerStore;

static int store_rows(Tx *tx, void *data, Error **err)
{
	const ServerStore *store = data;
	for (guint i = 0; i < store->changed->len; i++) {
		const char *key = g_ptr_array_index(store->changed, i), *value = config_get(store->values, key);
		const Key *row = key_find(KEY_SERVER, NULL, key);
		if (!row || !!(row->flags & KEY_LOCAL) != store->local)
			continue;
		if (tx_exec(tx, err, "DELETE FROM config WHERE key = ?", "s", key) < 0)
			return -1;
		if (value && tx_exec(tx, err, "INSERT INTO config (key, value) VALUES (?, ?)", "ss", key, value) < 0)
			return -1;
	}
	return 0;
}

static Config *merged(const Config *old, const Config *changes, gboolean patch)
{
	Config *values = patch ? config_copy(old) : config_new();
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)changes);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(values, key, value);
	return values;
}

/* Names that are in one and not, or otherwise, in the other; in byte order. */
static GPtrArray *differences(const Config *old, const Config *values)
{
	g_autoptr(Config) all = merged(old, values, TRUE);
	guint n;
	g_autofree const char **keys = config_sorted_keys(all, &n);
	GPtrArray *changed = g_ptr_array_new_with_free_func(g_free);
	for (guint i = 0; i < n; i++)
		if (strcmp(value_or_empty(old, keys[i]), value_or_empty(values, keys[i])) != 0)
			g_ptr_array_add(changed, g_strdup(keys[i]));
	return changed;
}

static int apply(Daemon *d, const Config *old, const Config *values, const GPtrArray *changed, Error **err)
{
	ServerStore global = {.changed = changed, .values = values}, local = {.changed = changed, .values = values, .local = TRUE};
	for (guint i = 0; i < changed->len; i++) {
		const char *key = g_ptr_array_index(changed, i);
		if (run_triggers(d, key, value_or_empty(old, key), value_or_empty(values, key), err) < 0) {
			undo_triggers(d, changed, i, old);
			return -1;
		}
	}
	if (db_tx(d->db, store_rows, &global, err) < 0 || db_local_tx(d->db, store_rows, &local, err) < 0) {
		undo_triggers(d, changed, changed->len, old);
		return -1;
	}
	return 0;
}

int server_config_set(Daemon *d, const Config *changes, gboolean patch, char ***ret_changed, Error **err)
{
	ServerConfig *config = d->config;
	g_mutex_lock(&config->change);
	g_autoptr(Config) old = server_config_all(config);
	g_autoptr(Config) values = merged(old, changes, patch);
	g_autoptr(GPtrArray) changed = differences(old, values);
	/* The names of what is removed are checked too: a typing error should be told. */
	int failed = key_check_all(KEY_SERVER, NULL, changes, err);
	if (!failed)
		failed = apply(d, old, values, changed, err);
	if (!failed) {
		g_rw_lock_writer_lock(&config->lock);
		g_hash_table_unref(config->values);
		config->values = g_steal_pointer(&values);
		g_rw_lock_writer_unlock(&config->lock);
		tell_stored(d, changed);
	}
	g_mutex_unlock(&config->change);
	if (failed)
		return -1;
	if (ret_changed) {
		g_ptr_array_add(changed, NULL);
		*ret_changed = (char **)g_ptr_array_free(g_steal_pointer(&changed), FALSE);
	}
	return 0;
}
