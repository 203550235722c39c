/* Making, deleting and renaming instances. */
#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/instance/copy.h"
#include "server/instance/cloud_init.h"
#include "server/instance/driver.h"
#include "server/instance/live_private.h"
#include "server/instance/snapshot.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/units.h"
#include "server/key/key.h"
#include "server/operation/operation.h"
#include "server/project/project.h"
#include "server/image/metadata.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static int expand_spec(
    Daemon *d, const InstanceSpec *spec, Config **ret_config, Devices **ret_devices, Error **err)
{
	return row_expand(d, spec->project, spec->profiles, spec->config, spec->devices, NULL,
	    ret_config, ret_devices, err);
}

static int check_host(
    const DeviceHost *host, const InstanceDriver *driver, gboolean restored, Error **err)
{
	Error *error = NULL;
	if (key_check_instance(host->type, host->config, TRUE, err) < 0 ||
	    device_validate_all(host, host->devices, err) < 0)
		return -1;
	if (driver->check(host->daemon, host->config, &error) < 0) {
		if (!restored || error->kind != ERROR_UNSUPPORTED)
			return error_propagate(err, error);
		error_free(error);
	}
	return project_allow_instance(host->daemon, host->project, host->instance, host->type,
	    host->config, host->devices, err);
}

int instance_check(Daemon *d, const char *project, const char *name, InstanceType type,
    const Config *config, const Devices *devices, const Devices *before, Error **err)
{
	const DeviceHost host = { .daemon = d,
		.project = project,
		.instance = name,
		.type = instance_type_name(type),
		.config = config,
		.devices = devices,
		.before = before };
	return check_host(&host, instance_driver_of(type), FALSE, err);
}

int instance_check_restored(
    const Instance *i, const Config *config, const Devices *devices, Error **err)
{
	const DeviceHost host = { .daemon = i->daemon,
		.project = i->project,
		.instance = i->name,
		.type = instance_type_name(i->type),
		.config = config,
		.devices = devices,
		.before = devices };
	return check_host(&host, instance_driver(i), TRUE, err);
}

int instance_create_check(Daemon *d, const InstanceSpec *spec, Error **err)
{
	g_autoptr(Config) config = NULL;
	g_autoptr(GHashTable) devices = NULL;
	if (name_check_instance(spec->name, err) < 0)
		return -1;
	if (instance_driver_of(spec->type)->available(err) < 0)
		return -1;
	for (int n = 0; spec->profiles && spec->profiles[n]; n++)
		for (int k = 0; k < n; k++)
			if (strcmp(spec->profiles[n], spec->profiles[k]) == 0)
				return error_set(err, ERROR_INVALID,
				    "Duplicate profile \"%s\" found in request", spec->profiles[n]);
	if (key_check_instance(instance_type_name(spec->type), spec->config, FALSE, err) < 0 ||
	    project_allow_volatile(d, spec->project, spec->config, NULL, err) < 0 ||
	    expand_spec(d, spec, &config, &devices, err) < 0)
		return -1;
	return instance_check(d, spec->project, spec->name, spec->type, config, devices, NULL, err);
}

static void add_devices(Instance *i, gboolean add, Error **err, int *result)
{
	DeviceHost host;
	GHashTableIter iter;
	void *name, *config;
	instance_host(i, &host, NULL);
	g_hash_table_iter_init(&iter, (GHashTable *)host.devices);
	while (*result == 0 && g_hash_table_iter_next(&iter, &name, &config)) {
		const DeviceType *type;
		if (device_type_find(config, &type, NULL) < 0)
			continue;
		if (add && type->add)
			*result = fault_point("device add", err) < 0 ?
			    -1 :
			    type->add(&host, name, config, err);
		else if (!add && type->remove)
			type->remove(&host, name, config);
	}
	instance_host_clear(&host);
}

static void image_keys(Config *config, const Config *properties)
{
	GHashTableIter iter;
	void *key, *value;
	if (!properties)
		return;
	g_hash_table_iter_init(&iter, (GHashTable *)properties);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		g_autofree char *name = g_strconcat("image.", key, NULL);
		config_set(config, name, value);
	}
}

static void set_own(Instance *i, const char *key, const char *value)
{
	config_set(i->config, key, value);
	config_set(i->expanded, key, value);
}

/* As Incus has them from the first day on: its servers do not let them go missing in a refresh. A
 * base of its own is chosen by the first start. */
static int note_idmap(Instance *i, Error **err)
{
	g_autoptr(GArray) ranges = NULL;
	if (idmap_for(i->expanded, &ranges, NULL, err) < 0)
		return -1;
	g_autofree char *next = id_map_json(ranges);
	if (!config_get(i->config, "volatile.idmap.base"))
		set_own(i, "volatile.idmap.base", "0");
	set_own(i, "volatile.idmap.next", next);
	return 0;
}

static int fill(Instance *i, const InstanceSpec *spec, Error **err)
{
	g_autoptr(Config) config = config_copy(spec->config);
	g_autofree char *uuid = g_uuid_string_random();
	g_autofree char *cloud = g_uuid_string_random();
	image_keys(config, spec->image_properties);
	gboolean copied = spec->origin || spec->arrive, known = spec->archive || spec->same;
	/* One that comes back, or moves here, is who it was. */
	gboolean named = known || spec->arrive;
	if (!named || !config_get(config, "volatile.uuid")) {
		config_set(config, "volatile.uuid", uuid);
		config_set(config, "volatile.uuid.generation", uuid);
	}
	if (!named || !config_get(config, "volatile.cloud-init.instance-id"))
		config_set(config, "volatile.cloud-init.instance-id", cloud);
	if (!copied && !spec->archive) /* their keys have it */
		config_set(config, "volatile.base_image", spec->image);
	if (!spec->archive && !spec->same)
		config_set(config, "volatile.apply_template", copied ? "copy" : "create");
	/* What comes from elsewhere has the ids of inside; a copy of here has its origin's. */
	config_set(config, "volatile.last_state.idmap", "[]");
	if (spec->origin && copy_owners(spec->origin, config, err) < 0)
		return -1;
	g_hash_table_unref(i->config);
	i->config = g_steal_pointer(&config);
	g_hash_table_unref(i->devices);
	i->devices = devices_copy(spec->devices);
	g_strfreev(i->profiles);
	i->profiles = spec->profiles ? g_strdupv((char **)spec->profiles) : g_new0(char *, 1);
	g_free(i->description);
	i->description = g_strdup(spec->description ? spec->description : "");
	i->type = spec->type;
	i->ephemeral = spec->ephemeral;
	struct utsname host;
	uname(&host);
	const char *architecture = spec->architecture && *spec->architecture ? spec->architecture :
									       host.machine;
	i->architecture = image_architecture_id(architecture);
	if (!i->architecture)
		return error_set(err, ERROR_INVALID, "Unknown architecture \"%s\"", architecture);
	g_clear_pointer(&i->expanded, g_hash_table_unref);
	g_clear_pointer(&i->expanded_devices, g_hash_table_unref);
	if (row_expand(i->daemon, i->project, i->profiles, i->config, i->devices, NULL,
		&i->expanded, &i->expanded_devices, err) < 0) {
		i->expanded = config_new();
		i->expanded_devices = devices_new();
		return -1;
	}
	return spec->type == INSTANCE_CONTAINER ? note_idmap(i, err) : 0;
}

/* Volume keys of a root disk's "initial.*". */
static Config *initial_config(const Config *root)
{
	Config *config = config_new();
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)root);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_str_has_prefix(key, "initial."))
			config_set(config, (const char *)key + strlen("initial."), value);
	return config;
}

static int make_volume(Instance *i, const InstanceSpec *spec, Operation *op, Error **err)
{
	Config *root;
	g_autoptr(Pool) pool = NULL;
	const char *type = instance_type_name(i->type);
	if (device_root_disk(i->expanded_devices, NULL, &root, err) < 0 ||
	    pool_get(i->daemon, config_get(root, "pool"), &pool, err) < 0)
		return -1;
	if (spec->origin)
		return copy_root(i, pool, spec->origin, op, err);
	const char *size = config_get(root, "size");
	int64_t bytes = 0;
	if (size && units_parse_bytes(size, &bytes, err) < 0)
		return -1;
	g_autoptr(Config) initial = initial_config(root);
	if (size) /* it is made with that: a disk never shrinks, and a device would do so slowly */
		config_set(initial, "size", size);
	config_set(initial, "size.state", config_get(root, "size.state"));
	int result = spec->arrive ? spec->arrive(i, pool, spec->arrival, op, err) :
	    spec->archive	  ? restore_root(i, pool, spec->archive, bytes, op, err) :
	    spec->image		  ? pool_instance_create_from_image(
					pool, i->project, i->name, type, spec->image, initial, op, err) :
			  pool_instance_create(pool, i->project, i->name, type, initial, err);
	if (result < 0)
		return -1;
	if (size && (spec->arrive || spec->archive) &&
	    pool_instance_set_size(pool, i->project, i->name, type, bytes, err) < 0) {
		pool_instance_delete(pool, i->project, i->name, type, NULL);
		return -1;
	}
	return 0;
}

/* The row first, the volume second: a row without a volume is what the next start removes. */
int instance_create(
    Daemon *d, const InstanceSpec *spec, Operation *op, Instance **ret_instance, Error **err)
{
	if (instance_create_check(d, spec, err) < 0)
		return -1;
	g_autoptr(Instance) i = instance_new(d, spec->project, spec->name);
	i->creating = TRUE;
	if (table_add(i, err) < 0)
		return -1;
	g_mutex_lock(&i->change);
	int result = fill(i, spec, err);
	if (result == 0) {
		add_devices(i, TRUE, err, &result);
		if (result == 0)
			result = row_insert(i, err);
		if (result == 0 && (result = make_volume(i, spec, op, err)) < 0)
			row_delete(i, NULL);
		if (result < 0) {
			int ignored = 0;
			add_devices(i, FALSE, NULL, &ignored);
		}
	}
	if (result < 0)
		table_remove(i);
	else
		backup_file_update(i);
	table_show(i);
	g_mutex_unlock(&i->change);
	if (result < 0)
		return -1;
	g_autofree char *context = g_strdup_printf(
	    "{\"type\":\"%s\",\"location\":\"none\"}", instance_type_name(i->type));
	instance_event(i, "instance-created", context, spec->caller);
	snapshot_schedule_changed(i);
	if (ret_instance)
		*ret_instance = g_steal_pointer(&i);
	return 0;
}

static int check_delete(Instance *i, Error **err)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	if (config_true(config, "security.protection.delete"))
		return error_set(err, ERROR_INVALID, "Instance is protected");
	return live_check_delete(i, err);
}

static int delete_locked(Instance *i, gboolean checked, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Instance is running");
	if (checked && check_delete(i, err) < 0)
		return -1;
	Error *error = NULL;
	if (instance_pool(i, &pool, &error) < 0) {
		/* Without a pool there is no volume to delete: the row may go. */
		gboolean missing = error->kind == ERROR_NOT_FOUND || error->kind == ERROR_INVALID;
		if (!missing)
			return error_propagate(err, error);
		error_free(error);
	}
	const char *type = instance_type_name(i->type);
	if (pool ? pool_instance_delete_with(
		       pool, i->project, i->name, type, row_delete_in, i, err) < 0 :
		   row_delete(i, err) < 0)
		return -1;
	int ignored = 0;
	add_devices(i, FALSE, NULL, &ignored);
	g_autofree char *file_name = instance_file_name(i);
	backup_place_clear(i->daemon, &instance_backups, file_name);
	table_remove(i);
	g_autofree char *logs = instance_log_path(i);
	file_remove_all(AT_FDCWD, logs, NULL);
	return 0;
}

static int delete_with(Instance *i, gboolean checked, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	g_auto(LiveJournal) journal = live_journal_read(i);
	int result = delete_locked(i, checked, err);
	instance_unlock(i);
	if (result < 0)
		return -1;
	live_deleted(&journal);
	instance_event(i, "instance-deleted", NULL, caller);
	return 0;
}

int instance_delete(Instance *i, const Caller *caller, Error **err)
{
	return delete_with(i, TRUE, caller, err);
}

int instance_discard(Instance *i, Error **err)
{
	return delete_with(i, FALSE, NULL, err);
}

/* A crash between the two is found at the next start: the volume's row has the new name then. */
static int rename_rows(Instance *i, Pool *pool, const char *old, const char *name, Error **err)
{
	const char *type = instance_type_name(i->type);
	if (instance_volatile_set(i, "rename", name, err) < 0 ||
	    pool_instance_rename(pool, i->project, old, type, name, err) < 0) {
		instance_volatile_set(i, "rename", NULL, NULL);
		return -1;
	}
	if (fault_point("instance rename", err) < 0 || row_rename(i, name, err) < 0) {
		if (pool_instance_rename(pool, i->project, name, type, old, NULL) == 0)
			instance_volatile_set(i, "rename", NULL, NULL);
		return -1;
	}
	instance_volatile_set(i, "rename", NULL, NULL);
	return 0;
}

static int rename_locked(Instance *i, const char *name, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	const char *old = i->name;
	if (name_check_instance(name, err) < 0)
		return -1;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Renaming of running instance not allowed");
	if (instance_pool(i, &pool, err) < 0)
		return -1;
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *old_file_name = instance_file_name(i);
	int ignored = 0;
	if (table_rename(i, name, err) < 0)
		return -1;
	g_autofree char *file_name = instance_file_name(i);
	int result = backup_place_begin(
	    i->daemon, &instance_backups, old_file_name, file_name, err);
	if (result == 0)
		result = rename_rows(i, pool, old, name, err);
	backup_place_end(
	    i->daemon, &instance_backups, old_file_name, file_name, result == 0);
	if (result < 0) {
		table_rename(i, old, NULL);
		return -1;
	}
	g_autofree char *new_logs = instance_log_path(i);
	file_remove_all(AT_FDCWD, new_logs, NULL);
	rename(logs, new_logs);
	add_devices(i, FALSE, NULL, &ignored);
	ignored = 0;
	g_autoptr(Error) error = NULL;
	add_devices(i, TRUE, &error, &ignored);
	if (ignored < 0)
		log_warn(
		    "A device does not know the new name", "instance", name, "err", error->message);
	instance_volatile_set(i, "apply_template", "rename", NULL);
	cloud_init_renew(i, NULL);
	backup_file_update(i);
	return 0;
}

int instance_rename(Instance *i, const char *name, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	const char *old = i->name;
	int result = rename_locked(i, name, err);
	instance_unlock(i);
	if (result < 0)
		return -1;
	g_autofree char *context = g_strdup_printf("{\"old_name\":\"%s\"}", old);
	instance_event(i, "instance-renamed", context, caller);
	return 0;
}

/* ---- rebuild ---- */

static int check_rebuild(Instance *i, Error **err)
{
	g_autoptr(GPtrArray) snapshots = NULL;
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "Instance must be stopped to be rebuilt");
	if (instance_check(i->daemon, i->project, i->name, i->type, i->expanded,
		i->expanded_devices, i->expanded_devices, err) < 0 ||
	    instance_snapshot_list(i, &snapshots, err) < 0)
		return -1;
	return snapshots->len ?
	    error_set(err, ERROR_INVALID, "Cannot rebuild instance with snapshots") :
	    0;
}

/* Keys of another image; *ret_old are those from before. */
static void change_image_keys(
    Instance *i, const char *image, const Config *properties, Config **ret_old)
{
	GHashTableIter iter;
	void *key;
	g_mutex_lock(&i->lock);
	*ret_old = config_copy(i->config);
	g_hash_table_iter_init(&iter, i->config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (g_str_has_prefix(key, "image."))
			g_hash_table_iter_remove(&iter);
	image_keys(i->config, properties);
	config_set(i->config, "volatile.base_image", image);
	config_set(i->config, "volatile.apply_template", "create");
	g_mutex_unlock(&i->lock);
}

static void restore_keys(Instance *i, Config *old)
{
	g_mutex_lock(&i->lock);
	g_hash_table_unref(i->config);
	i->config = config_copy(old);
	g_mutex_unlock(&i->lock);
	row_update(i, NULL);
}

static int set_root_size(Instance *i, Pool *pool, Error **err)
{
	uint64_t bytes;
	if (device_root_size(i->expanded_devices, &bytes, err) < 0)
		return -1;
	return bytes == 0 ? 0 :
			    pool_instance_set_size(pool, i->project, i->name,
				instance_type_name(i->type), (int64_t)bytes, err);
}

/* The keys first: they are what can be put back. */
static int rebuild_locked(
    Instance *i, const char *image, const Config *properties, Operation *op, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Config) old = NULL;
	if (check_rebuild(i, err) < 0 || live_check_start(i, err) < 0 ||
	    instance_pool(i, &pool, err) < 0)
		return -1;
	g_autoptr(GArray) unshifted = g_array_new(FALSE, TRUE, sizeof(IdRange));
	if (owners_become(i, pool, unshifted, err) < 0)
		return -1;
	change_image_keys(i, image, properties, &old);
	if (row_update(i, err) < 0 ||
	    pool_instance_rebuild(
		pool, i->project, i->name, instance_type_name(i->type), image, op, err) < 0) {
		restore_keys(i, old);
		return -1;
	}
	return instance_reexpand(i, err) < 0 ? -1 : set_root_size(i, pool, err);
}

int instance_rebuild(Instance *i, const char *image, const Config *image_properties, Operation *op,
    const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = rebuild_locked(i, image, image_properties, op, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, "instance-rebuilt", NULL, caller);
	return result;
}
