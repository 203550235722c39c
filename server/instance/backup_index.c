#include "server/instance/backup_index.h"
#include "sdk/base/names.h"
#include "sdk/base/yaml.h"
#include "server/device/device.h"
#include "server/key/key.h"
#include "server/storage/index_value.h"
#include "server/storage/volume.h"
#include <string.h>

void backup_index_free(BackupIndex *index)
{
	if (!index)
		return;
	volume_index_free(index->volume);
	g_free(index->architecture);
	g_free(index->description);
	g_free(index->pool_description);
	g_clear_pointer(&index->pool_config, g_hash_table_unref);
	g_clear_pointer(&index->config, g_hash_table_unref);
	g_clear_pointer(&index->devices, g_hash_table_unref);
	g_strfreev(index->profiles);
	g_clear_pointer(&index->snapshots, g_ptr_array_unref);
	g_free(index);
}

static int read_devices(const json_t *object, Devices **ret, Error **err)
{
	const json_t *map = json_object_get(object, "devices");
	g_autoptr(GHashTable) devices = devices_new();
	const char *name;
	json_t *value;
	if (map && !json_is_object(map) && !json_is_null(map))
		return index_wrong(err, "devices");
	json_object_foreach((json_t *)map, name, value) {
		g_autoptr(Config) device = NULL;
		const DeviceType *type;
		if (name_check_device(name, err) < 0)
			return error_prefix(err, "Backup index: device \"%s\"", name);
		if (index_config(map, name, &device, err) < 0 ||
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
		return index_wrong(err, "profiles");
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
	if (index_config(object, "config", ret, err) < 0)
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
	if (!json_is_object(object) || index_text(object, "name", &own, err) < 0)
		return index_wrong(err, "snapshots");
	const char *slash = strrchr(own, '/'); /* "c1/s1" of old versions */
	if (strcmp(slash ? slash + 1 : own, name) != 0)
		return error_set(err, ERROR_INVALID,
		    "Backup index: snapshots \"%s\" and \"%s\" contradict each other", name, own);
	s->name = g_strdup(name);
	if (index_text(object, "description", &s->description, err) < 0 ||
	    index_time(object, "created_at", &s->created, err) < 0 ||
	    index_moment(object, "expires_at", &s->expires, err) < 0 ||
	    index_bool(object, "stateful", &s->stateful, err) < 0 ||
	    read_instance_config(object, index, &s->config, err) < 0 ||
	    read_devices(object, &s->devices, err) < 0)
		return -1;
	g_ptr_array_add(index->snapshots, g_steal_pointer(&s));
	return 0;
}

/* Old versions say nothing of the volume's: then it is as the instance's. */
static void complete_rows(BackupIndex *index)
{
	for (guint n = 0; n < index->snapshots->len; n++) {
		const InstanceSnapshot *s = index->snapshots->pdata[n];
		SnapshotRow *row = index->volume->snapshots->pdata[n];
		row->created = s->created;
		row->expires = s->expires;
	}
}

static int read_snapshots(const json_t *config, BackupIndex *index, Error **err)
{
	const json_t *list = json_object_get(config, "snapshots");
	const GPtrArray *rows = index->volume->snapshots;
	for (guint n = 0; n < rows->len; n++) {
		const json_t *object =
		    json_array_size(list) == rows->len ? json_array_get(list, n) : NULL;
		if (read_snapshot(object, index, ((SnapshotRow *)rows->pdata[n])->name, err) < 0)
			return -1;
	}
	complete_rows(index);
	return json_array_size(list) == rows->len ?
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
	if (!json_is_object(object) || index_text(object, "name", &name, err) < 0)
		return index_wrong(err, "container");
	if (strcmp(name, index->volume->name) != 0)
		return error_set(err, ERROR_INVALID,
		    "Backup index: names \"%s\" and \"%s\" contradict each other", index->volume->name,
		    name);
	return index_text(object, "architecture", &index->architecture, err) < 0 ||
		index_text(object, "description", &index->description, err) < 0 ||
		index_bool(object, "ephemeral", &index->ephemeral, err) < 0 ||
		index_time(object, "created_at", &index->created, err) < 0 ||
		read_instance_config(object, index, &index->config, err) < 0 ||
		read_devices(object, &index->devices, err) < 0 ||
		read_profiles(object, &index->profiles, err) < 0 ?
	    -1 :
	    0;
}

/* Of a volume's keys only the user's own: those of another driver mean nothing here. */
static void keep_keys(const BackupIndex *index, Config *config)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (volume_key_is_internal(key) || (!index->own && !g_str_has_prefix(key, "user.")))
			g_hash_table_iter_remove(&iter);
}

static int check_volume(const json_t *document, BackupIndex *index, Error **err)
{
	const char *type = index->volume->type;
	if (name_check_instance(index->volume->name, err) < 0)
		return error_prefix(err, "Backup index");
	gboolean machine = strcmp(type, "virtual-machine") == 0;
	if (!machine && *type && strcmp(type, "container") != 0)
		return error_set(
		    err, ERROR_INVALID, "Backup holds a \"%s\", not an instance", type);
	if (!json_is_object(json_object_get(document, "config")))
		return error_set(err, ERROR_INVALID, "Backup index does not describe its instance");
	if (index->volume->content != CONTENT_FILESYSTEM &&
	    !(machine && index->volume->content == CONTENT_BLOCK))
		return index_wrong(err, "content_type");
	keep_keys(index, index->volume->config);
	for (guint n = 0; n < index->volume->snapshots->len; n++)
		keep_keys(index, ((SnapshotRow *)index->volume->snapshots->pdata[n])->config);
	index->type = machine ? INSTANCE_MACHINE : INSTANCE_CONTAINER;
	return 0;
}

static int read_all(const json_t *document, BackupIndex *index, Error **err)
{
	const json_t *config = json_object_get(document, "config");
	return volume_index_parse(document, &index->volume, err) < 0 ||
		check_volume(document, index, err) < 0 || read_instance(config, index, err) < 0 ||
		read_snapshots(config, index, err) < 0 ?
	    -1 :
	    0;
}

static int parse(
    const json_t *document, gboolean own, BackupIndex **ret_index, Error **err)
{
	g_autoptr(BackupIndex) index = g_new0(BackupIndex, 1);
	index->own = own;
	index->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	if (read_all(document, index, err) < 0)
		return -1;
	*ret_index = g_steal_pointer(&index);
	return 0;
}

int backup_index_parse(const json_t *document, BackupIndex **ret_index, Error **err)
{
	return parse(document, FALSE, ret_index, err);
}

/* ---- backup.yaml ---- */

/* Its list of snapshots is the only one. */
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

static void take(json_t *document, const char *key, const json_t *from, const char *name)
{
	json_t *value = json_object_get(from, name);
	if (value)
		json_object_set(document, key, value);
}

/* The head that an archive's index has around such a text. */
static json_t *with_head(json_t *config)
{
	json_t *document = json_object();
	const json_t *object = json_object_get(config, "container");
	const json_t *pool = json_object_get(config, "pool");
	if (!object)
		object = json_object_get(config, "instance");
	take(document, "name", object, "name");
	take(document, "type", object, "type");
	take(document, "pool", pool, "name");
	take(document, "backend", pool, "driver");
	json_object_set_new(document, "snapshots", snapshot_names(config));
	json_object_set_new(document, "config", config);
	return document;
}

static int read_pool(const json_t *document, BackupIndex *index, Error **err)
{
	const json_t *object = json_object_get(json_object_get(document, "config"), "pool");
	if (object && !json_is_object(object) && !json_is_null(object))
		return index_wrong(err, "pool");
	return index_text(object, "description", &index->pool_description, err) < 0 ?
	    -1 :
	    index_config(object, "config", &index->pool_config, err);
}

int backup_file_parse(const char *yaml, size_t length, BackupIndex **ret_index, Error **err)
{
	g_autoptr(BackupIndex) index = NULL;
	json_t *config;
	if (yaml_parse(yaml, length, &config, err) < 0)
		return error_prefix(err, "Cannot read backup.yaml");
	json_t *document = with_head(config);
	int result = parse(document, TRUE, &index, err);
	if (result == 0)
		result = read_pool(document, index, err);
	json_decref(document);
	if (result == 0)
		*ret_index = g_steal_pointer(&index);
	return result;
}
