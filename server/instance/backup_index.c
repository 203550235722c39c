#include "server/instance/backup_index.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "sdk/base/yaml.h"
#include "server/device/device.h"
#include "server/key/key.h"
#include "server/storage/snapshot.h"
#include "server/storage/volume.h"
#include "server/storage/unpack.h"
#include <string.h>

enum { INDEX_MAX = 16 * 1024 * 1024, SNAPSHOTS_MAX = 100000 };

void backup_index_free(BackupIndex *index)
{
	if (!index)
		return;
	g_free(index->name);
	g_free(index->pool);
	g_free(index->driver);
	g_free(index->architecture);
	g_free(index->description);
	g_free(index->volume_description);
	g_free(index->pool_description);
	g_clear_pointer(&index->pool_config, g_hash_table_unref);
	g_clear_pointer(&index->config, g_hash_table_unref);
	g_clear_pointer(&index->devices, g_hash_table_unref);
	g_clear_pointer(&index->volume_config, g_hash_table_unref);
	g_strfreev(index->profiles);
	g_clear_pointer(&index->snapshots, g_ptr_array_unref);
	g_clear_pointer(&index->volume_rows, g_ptr_array_unref);
	g_free(index);
}

static int wrong(Error **err, const char *key)
{
	return error_set(err, ERROR_INVALID, "Backup index: \"%s\" is not as it should be", key);
}

/* ---- values: every scalar of the YAML is text ---- */

/* What is not there is "". */
static int read_text(const json_t *object, const char *key, char **ret, Error **err)
{
	const json_t *value = json_object_get(object, key);
	if (value && !json_is_string(value) && !json_is_null(value))
		return wrong(err, key);
	const char *text = value && json_is_string(value) ? json_string_value(value) : "";
	if (name_check_text(text, err) < 0)
		return error_prefix(err, "Backup index: \"%s\"", key);
	*ret = g_strdup(text);
	return 0;
}

static int read_bool(const json_t *object, const char *key, gboolean *ret, Error **err)
{
	g_autofree char *text = NULL;
	if (read_text(object, key, &text, err) < 0)
		return -1;
	*ret = strcmp(text, "true") == 0;
	return *ret || !*text || strcmp(text, "false") == 0 ? 0 : wrong(err, key);
}

/* Years before 1970 are how "never" and "unknown" are written: 0. */
static int read_moment(const json_t *object, const char *key, Moment *ret, Error **err)
{
	g_autofree char *text = NULL;
	Moment moment = { 0 };
	if (read_text(object, key, &text, err) < 0)
		return -1;
	if (*text && moment_parse(text, &moment, err) < 0)
		return error_prefix(err, "Backup index: \"%s\"", key);
	*ret = moment.seconds > 0 ? moment : (Moment){ 0 };
	return 0;
}

static int read_time(const json_t *object, const char *key, int64_t *ret, Error **err)
{
	Moment moment;
	if (read_moment(object, key, &moment, err) < 0)
		return -1;
	*ret = moment.seconds;
	return 0;
}

static int read_config(const json_t *object, const char *key, Config **ret, Error **err)
{
	const json_t *map = json_object_get(object, key);
	g_autoptr(Config) config = config_new();
	const char *name;
	json_t *value;
	if (map && !json_is_object(map) && !json_is_null(map))
		return wrong(err, key);
	json_object_foreach((json_t *)map, name, value) {
		if (json_is_null(value))
			continue;
		if (!json_is_string(value) || name_check_config_key(name, NULL) < 0)
			return wrong(err, key);
		config_set(config, name, json_string_value(value));
	}
	*ret = g_steal_pointer(&config);
	return 0;
}

static int read_devices(const json_t *object, Devices **ret, Error **err)
{
	const json_t *map = json_object_get(object, "devices");
	g_autoptr(GHashTable) devices = devices_new();
	const char *name;
	json_t *value;
	if (map && !json_is_object(map) && !json_is_null(map))
		return wrong(err, "devices");
	json_object_foreach((json_t *)map, name, value) {
		g_autoptr(Config) device = NULL;
		const DeviceType *type;
		if (name_check_device(name, err) < 0)
			return error_prefix(err, "Backup index: device \"%s\"", name);
		if (read_config(map, name, &device, err) < 0 ||
		    device_type_find(device, &type, err) < 0)
			return -1;
		devices_set(devices, name, device);
	}
	*ret = g_steal_pointer(&devices);
	return 0;
}

static int read_profiles(const json_t *object, char ***ret, Error **err)
{
	const json_t *list = json_object_get(object, "profiles");
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	if (list && !json_is_array(list) && !json_is_null(list))
		return wrong(err, "profiles");
	for (size_t n = 0; n < json_array_size(list); n++) {
		const char *name = json_string_value(json_array_get(list, n));
		if (name_check_profile(name, err) < 0)
			return error_prefix(err, "Backup index: profile");
		g_ptr_array_add(names, g_strdup(name));
	}
	g_ptr_array_add(names, NULL);
	*ret = (char **)g_ptr_array_steal(names, NULL);
	return 0;
}

/* ---- keys ---- */

/* Of an instance's own notes those that say who it is and what it was made from; the rest is about
 * a host and a run that are not here. */
static gboolean may_stay(const char *key)
{
	static const char *const whole[] = { "volatile.apply_template", "volatile.base_image",
		"volatile.cloud-init.instance-id", "volatile.uuid", "volatile.uuid.generation" };
	if (!g_str_has_prefix(key, "volatile."))
		return TRUE;
	for (size_t n = 0; n < G_N_ELEMENTS(whole); n++)
		if (strcmp(key, whole[n]) == 0)
			return TRUE;
	const char *device = key + strlen("volatile."), *dot = strchr(device, '.');
	return dot && (strcmp(dot, ".hwaddr") == 0 || strcmp(dot, ".name") == 0);
}

static int read_instance_config(
    const json_t *object, const BackupIndex *index, Config **ret, Error **err)
{
	GHashTableIter iter;
	void *key;
	if (read_config(object, "config", ret, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, *ret);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (!index->own && !may_stay(key))
			g_hash_table_iter_remove(&iter);
	return key_check_instance(instance_type_name(index->type), *ret, FALSE, err);
}

/* ---- parts ---- */

static int read_snapshot(const json_t *object, BackupIndex *index, const char *name, Error **err)
{
	g_autoptr(InstanceSnapshot) s = g_new0(InstanceSnapshot, 1);
	g_autofree char *own = NULL;
	if (!json_is_object(object) || read_text(object, "name", &own, err) < 0)
		return wrong(err, "snapshots");
	const char *slash = strrchr(own, '/'); /* "c1/s1" of old versions */
	if (strcmp(slash ? slash + 1 : own, name) != 0)
		return error_set(err, ERROR_INVALID,
		    "Backup index: snapshots \"%s\" and \"%s\" contradict each other", name, own);
	s->name = g_strdup(name);
	if (read_text(object, "description", &s->description, err) < 0 ||
	    read_time(object, "created_at", &s->created, err) < 0 ||
	    read_moment(object, "expires_at", &s->expires, err) < 0 ||
	    read_instance_config(object, index, &s->config, err) < 0 ||
	    read_devices(object, &s->devices, err) < 0)
		return -1;
	g_ptr_array_add(index->snapshots, g_steal_pointer(&s));
	return 0;
}

static const json_t *named(const json_t *list, const char *name)
{
	for (size_t n = 0; n < json_array_size(list); n++) {
		const char *own = json_string_value(
		    json_object_get(json_array_get(list, n), "name"));
		const char *slash = own ? strrchr(own, '/') : NULL;
		if (g_strcmp0(slash ? slash + 1 : own, name) == 0)
			return json_array_get(list, n);
	}
	return NULL;
}

/* Of a volume's keys only the user's own: those of another driver mean nothing here. */
static void keep_config(const BackupIndex *index, Config *config)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (volume_key_is_internal(key) || (!index->own && !g_str_has_prefix(key, "user.")))
			g_hash_table_iter_remove(&iter);
}

/* Old versions say nothing of the volume's: then it is as the instance's. */
static int read_volume_row(
    const json_t *list, BackupIndex *index, const InstanceSnapshot *s, Error **err)
{
	const json_t *object = named(list, s->name);
	g_autoptr(SnapshotRow) row = g_new0(SnapshotRow, 1);
	row->name = g_strdup(s->name);
	row->created = s->created;
	row->expires = s->expires;
	if (read_text(object, "description", &row->description, err) < 0 ||
	    read_config(object, "config", &row->config, err) < 0)
		return -1;
	keep_config(index, row->config);
	g_ptr_array_add(index->volume_rows, g_steal_pointer(&row));
	return 0;
}

static int read_snapshots(
    const json_t *names, const json_t *config, BackupIndex *index, Error **err)
{
	const json_t *list = json_object_get(config, "snapshots");
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
	if ((names && !json_is_array(names) && !json_is_null(names)) ||
	    json_array_size(names) > SNAPSHOTS_MAX)
		return wrong(err, "snapshots");
	for (size_t n = 0; n < json_array_size(names); n++) {
		const char *name = json_string_value(json_array_get(names, n));
		if (name_check_snapshot(name, err) < 0)
			return error_prefix(err, "Backup index: snapshot");
		if (!g_hash_table_add(seen, (void *)name))
			return error_set(err, ERROR_INVALID,
			    "Backup index: snapshot \"%s\" is there twice", name);
		const json_t *object = json_array_size(list) == json_array_size(names) ?
		    json_array_get(list, n) :
		    NULL;
		if (read_snapshot(object, index, name, err) < 0 ||
		    read_volume_row(json_object_get(config, "volume_snapshots"), index,
			index->snapshots->pdata[n], err) < 0)
			return -1;
	}
	return json_array_size(list) == json_array_size(names) ?
	    0 :
	    error_set(err, ERROR_INVALID,
		"Backup index: the two lists of snapshots contradict each other");
}

static int read_instance(const json_t *config, BackupIndex *index, Error **err)
{
	const json_t *object = json_object_get(config, "container");
	if (!object)
		object = json_object_get(config, "instance");
	g_autofree char *name = NULL;
	if (!json_is_object(object) || read_text(object, "name", &name, err) < 0)
		return wrong(err, "container");
	if (strcmp(name, index->name) != 0)
		return error_set(err, ERROR_INVALID,
		    "Backup index: names \"%s\" and \"%s\" contradict each other", index->name,
		    name);
	return read_text(object, "architecture", &index->architecture, err) < 0 ||
		read_text(object, "description", &index->description, err) < 0 ||
		read_bool(object, "ephemeral", &index->ephemeral, err) < 0 ||
		read_time(object, "created_at", &index->created, err) < 0 ||
		read_instance_config(object, index, &index->config, err) < 0 ||
		read_devices(object, &index->devices, err) < 0 ||
		read_profiles(object, &index->profiles, err) < 0 ?
	    -1 :
	    0;
}

static int read_volume(const json_t *config, BackupIndex *index, Error **err)
{
	const json_t *object = json_object_get(config, "volume");
	if (object && !json_is_object(object) && !json_is_null(object))
		return wrong(err, "volume");
	if (read_text(object, "description", &index->volume_description, err) < 0 ||
	    read_config(object, "config", &index->volume_config, err) < 0)
		return -1;
	keep_config(index, index->volume_config);
	return 0;
}

static int read_head(const json_t *document, BackupIndex *index, Error **err)
{
	g_autofree char *type = NULL;
	if (!json_is_object(document))
		return error_set(err, ERROR_INVALID, "Backup index is not a map");
	if (read_text(document, "name", &index->name, err) < 0 ||
	    read_text(document, "pool", &index->pool, err) < 0 ||
	    read_text(document, "backend", &index->driver, err) < 0 ||
	    read_bool(document, "optimized", &index->optimized, err) < 0 ||
	    read_text(document, "type", &type, err) < 0)
		return -1;
	if (name_check_instance(index->name, err) < 0 ||
	    (*index->pool && name_check_pool(index->pool, err) < 0))
		return error_prefix(err, "Backup index");
	if (strcmp(type, "virtual-machine") == 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Backup holds a virtual machine, which this version has not");
	if (*type && strcmp(type, "container") != 0)
		return error_set(
		    err, ERROR_INVALID, "Backup holds a \"%s\", not an instance", type);
	index->type = INSTANCE_CONTAINER;
	return 0;
}

static int read_all(const json_t *document, BackupIndex *index, Error **err)
{
	if (read_head(document, index, err) < 0)
		return -1;
	const json_t *config = json_object_get(document, "config");
	if (!json_is_object(config))
		return error_set(err, ERROR_INVALID, "Backup index does not describe its instance");
	return read_instance(config, index, err) < 0 ||
		read_snapshots(json_object_get(document, "snapshots"), config, index, err) < 0 ?
	    -1 :
	    read_volume(config, index, err);
}

static int parse(const char *yaml, size_t length, gboolean own,
    int (*read)(const json_t *, BackupIndex *, Error **), BackupIndex **ret_index, Error **err)
{
	json_t *document;
	if (yaml_parse(yaml, length, &document, err) < 0)
		return error_prefix(err, "Cannot read the backup's index");
	g_autoptr(BackupIndex) index = g_new0(BackupIndex, 1);
	index->own = own;
	index->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	index->volume_rows = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_row_free);
	int result = read(document, index, err);
	json_decref(document);
	if (result == 0)
		*ret_index = g_steal_pointer(&index);
	return result;
}

int backup_index_parse(const char *yaml, size_t length, BackupIndex **ret_index, Error **err)
{
	return parse(yaml, length, FALSE, read_all, ret_index, err);
}

/* ---- backup.yaml ---- */

static int read_pool(const json_t *config, BackupIndex *index, Error **err)
{
	const json_t *object = json_object_get(config, "pool");
	if (object && !json_is_object(object) && !json_is_null(object))
		return wrong(err, "pool");
	if (read_text(object, "name", &index->pool, err) < 0 ||
	    read_text(object, "driver", &index->driver, err) < 0 ||
	    read_text(object, "description", &index->pool_description, err) < 0 ||
	    read_config(object, "config", &index->pool_config, err) < 0)
		return -1;
	return *index->pool ? name_check_pool(index->pool, err) : 0;
}

/* Here the list of snapshots is the only one. */
static json_t *snapshot_names(const json_t *config)
{
	const json_t *list = json_object_get(config, "snapshots");
	json_t *names = json_array();
	for (size_t n = 0; n < json_array_size(list); n++) {
		const char *own = json_string_value(
		    json_object_get(json_array_get(list, n), "name"));
		const char *slash = own ? strrchr(own, '/') : NULL;
		json_array_append_new(names, json_string(slash ? slash + 1 : own ? own : ""));
	}
	return names;
}

static int read_file(const json_t *config, BackupIndex *index, Error **err)
{
	g_autofree char *type = NULL;
	const json_t *object = json_object_get(config, "container");
	if (!object)
		object = json_object_get(config, "instance");
	if (!json_is_object(object) || read_text(object, "name", &index->name, err) < 0 ||
	    read_text(object, "type", &type, err) < 0 || name_check_instance(index->name, err) < 0)
		return wrong(err, "container");
	if (*type && strcmp(type, "container") != 0)
		return error_set(err, ERROR_UNSUPPORTED,
		    "\"%s\" is a \"%s\", which this version has not", index->name, type);
	index->type = INSTANCE_CONTAINER;
	json_t *names = snapshot_names(config);
	int result = read_pool(config, index, err) < 0 || read_instance(config, index, err) < 0 ||
		read_snapshots(names, config, index, err) < 0 ||
		read_volume(config, index, err) < 0 ?
	    -1 :
	    0;
	json_decref(names);
	return result;
}

int backup_file_parse(const char *yaml, size_t length, BackupIndex **ret_index, Error **err)
{
	return parse(yaml, length, TRUE, read_file, ret_index, err);
}

int backup_index_read(int archive_fd, BackupIndex **ret_index, Error **err)
{
	g_autofree char *yaml = NULL;
	size_t length;
	Error *inner = NULL;
	if (unpack_read_file(archive_fd, "backup/index.yaml", INDEX_MAX, &yaml, &length, &inner) <
	    0) {
		/* What was sent is wrong, not the path that was asked for. */
		if (inner->kind == ERROR_NOT_FOUND)
			inner->kind = ERROR_INVALID;
		error_propagate(err, inner);
		return error_prefix(err, "Invalid backup");
	}
	return backup_index_parse(yaml, length, ret_index, err);
}
