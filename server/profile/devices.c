/* Device rows of profiles, instances and snapshots: devices_load and devices_replace of profile.h.
 */
#include "server/profile/profile.h"

#include <string.h>

int devices_load(Tx *tx, const char *prefix, const char *owner_column, const char *device_column,
    int64_t owner, Devices **ret_devices, Error **err)
{
	g_autofree char *sql = g_strdup_printf(
	    "SELECT d.name, d.type, c.key, c.value FROM %s_devices AS d LEFT JOIN %s_devices_config AS c ON c.%s = d.id"
	    " WHERE d.%s = ?",
	    prefix, prefix, device_column, owner_column);
	g_autoptr(GHashTable) devices = devices_new();
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err, sql, "i", owner) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Config *device = devices_get(devices, rows_text(rows, 0));
		if (!device) {
			device = config_new();
			config_set(device, "type", device_type_from_number((int)rows_int(rows, 1)));
			g_hash_table_insert(devices, g_strdup(rows_text(rows, 0)), device);
		}
		if (!rows_null(rows, 2))
			config_set(device, rows_text(rows, 2), rows_text(rows, 3));
	}
	if (more < 0)
		return -1;
	*ret_devices = g_steal_pointer(&devices);
	return 0;
}

static int insert_device(Tx *tx, const char *prefix, const char *device_column, int64_t device_id,
    const Config *device, Error **err)
{
	g_autofree char *sql = g_strdup_printf(
	    "INSERT INTO %s_devices_config (%s, key, value) VALUES (?, ?, ?)", prefix,
	    device_column);
	guint n;
	g_autofree const char **keys = config_sorted_keys(device, &n);
	for (guint i = 0; i < n; i++) {
		const char *value = config_get(device, keys[i]);
		if (strcmp(keys[i], "type") != 0 && *value &&
		    tx_exec(tx, err, sql, "iss", device_id, keys[i], value) < 0)
			return -1;
	}
	return 0;
}

int devices_replace(Tx *tx, const char *prefix, const char *owner_column, const char *device_column,
    int64_t owner, const Devices *devices, Error **err)
{
	g_autofree char *erase = g_strdup_printf(
	    "DELETE FROM %s_devices WHERE %s = ?", prefix, owner_column);
	g_autofree char *insert = g_strdup_printf(
	    "INSERT INTO %s_devices (%s, name, type) VALUES (?, ?, ?)", prefix, owner_column);
	guint n;
	g_autofree const char **names = config_sorted_keys(devices, &n);
	if (tx_exec(tx, err, erase, "i", owner) < 0)
		return -1;
	for (guint i = 0; i < n; i++) {
		const Config *device = devices_get(devices, names[i]);
		int type = device_type_number(config_get(device, "type"));
		int64_t id;
		if (type < 0)
			return error_set(
			    err, ERROR_INVALID, "Device \"%s\" has no valid type", names[i]);
		if (tx_insert(tx, &id, err, insert, "isi", owner, names[i], (int64_t)type) < 0 ||
		    insert_device(tx, prefix, device_column, id, device, err) < 0)
			return -1;
	}
	return 0;
}
