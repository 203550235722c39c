#include "server/instance/backup.h"
#include "server/instance/checkpoint.h"
#include "server/instance/live_private.h"
#include "server/instance/vm.h"
#include "server/instance/copy.h"
#include "server/instance/snapshot.h"
#include "server/instance/flow.h"
#include "server/device/watch.h"
#include "server/storage/pool_recover.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char *table_key(const char *project, const char *name)
{
	return g_strconcat(project, "/", name, NULL);
}

Instance *instance_new(Daemon *d, const char *project, const char *name)
{
	Instance *i = g_new0(Instance, 1);
	i->refs = 1;
	i->daemon = d;
	i->project = g_intern_string(project);
	i->name = g_intern_string(name);
	i->config = config_new();
	i->expanded = config_new();
	i->devices = devices_new();
	i->expanded_devices = devices_new();
	i->profiles = g_new0(char *, 1);
	i->description = g_strdup("");
	g_mutex_init(&i->change);
	g_mutex_init(&i->lock);
	return i;
}

Instance *instance_ref(Instance *i)
{
	g_atomic_int_inc(&i->refs);
	return i;
}

void instance_unref(Instance *i)
{
	if (!i || !g_atomic_int_dec_and_test(&i->refs))
		return;
	g_hash_table_unref(i->config);
	g_hash_table_unref(i->expanded);
	g_hash_table_unref(i->devices);
	g_hash_table_unref(i->expanded_devices);
	g_clear_pointer(&i->dirty, g_hash_table_unref);
	g_strfreev(i->profiles);
	g_free(i->description);
	runtime_unref(i->runtime);
	g_mutex_clear(&i->change);
	g_mutex_clear(&i->lock);
	g_free(i);
}

int instance_lock(Instance *i, Error **err)
{
	g_mutex_lock(&i->change);
	if (!i->gone)
		return 0;
	g_mutex_unlock(&i->change);
	return error_set(err, ERROR_NOT_FOUND, "Instance not found");
}

int instance_trylock(Instance *i, Error **err)
{
	if (!g_mutex_trylock(&i->change))
		return error_set(
		    err, ERROR_BUSY, "Instance \"%s\" is busy with another change", i->name);
	if (!i->gone)
		return 0;
	g_mutex_unlock(&i->change);
	return error_set(err, ERROR_NOT_FOUND, "Instance not found");
}

void instance_unlock(Instance *i)
{
	g_mutex_unlock(&i->change);
}

int table_add(Instance *i, Error **err)
{
	InstanceTable *table = i->daemon->instances;
	g_autofree char *key = table_key(i->project, i->name);
	g_mutex_lock(&table->lock);
	gboolean taken = g_hash_table_contains(table->by_name, key);
	if (!taken)
		g_hash_table_insert(table->by_name, g_steal_pointer(&key), instance_ref(i));
	g_mutex_unlock(&table->lock);
	return taken ? error_set(err, ERROR_EXISTS, "Instance \"%s\" already exists", i->name) : 0;
}

void table_remove(Instance *i)
{
	InstanceTable *table = i->daemon->instances;
	g_autofree char *key = table_key(i->project, i->name);
	g_mutex_lock(&table->lock);
	if (g_hash_table_lookup(table->by_name, key) == i)
		g_hash_table_remove(table->by_name, key);
	g_mutex_unlock(&table->lock);
	i->gone = TRUE;
}

int table_move(Instance *i, const char *project, const char *name, Error **err)
{
	InstanceTable *table = i->daemon->instances;
	g_autofree char *from = table_key(i->project, i->name);
	g_autofree char *to = table_key(project, name);
	g_mutex_lock(&table->lock);
	gboolean same = strcmp(from, to) == 0,
		 taken = !same && g_hash_table_contains(table->by_name, to);
	if (!taken && !same) {
		g_hash_table_insert(table->by_name, g_steal_pointer(&to), instance_ref(i));
		g_hash_table_remove(table->by_name, from);
		g_mutex_lock(&i->lock);
		i->name = g_intern_string(name);
		i->project = g_intern_string(project);
		g_mutex_unlock(&i->lock);
	}
	g_mutex_unlock(&table->lock);
	return taken ? error_set(err, ERROR_EXISTS, "Name \"%s\" already in use", name) : 0;
}

int table_rename(Instance *i, const char *name, Error **err)
{
	return table_move(i, i->project, name, err);
}

void table_show(Instance *i)
{
	InstanceTable *table = i->daemon->instances;
	g_mutex_lock(&table->lock);
	i->creating = FALSE;
	g_mutex_unlock(&table->lock);
}

int instance_get(
    Daemon *d, const char *project, const char *name, Instance **ret_instance, Error **err)
{
	g_autofree char *key = table_key(project, name);
	g_mutex_lock(&d->instances->lock);
	Instance *found = g_hash_table_lookup(d->instances->by_name, key);
	if (found && !found->creating)
		instance_ref(found);
	else
		found = NULL;
	g_mutex_unlock(&d->instances->lock);
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "Instance not found");
	*ret_instance = found;
	return 0;
}

static int compare_instances(const void *a, const void *b)
{
	const Instance *x = *(Instance *const *)a, *y = *(Instance *const *)b;
	int order = strcmp(x->project, y->project);
	return order ? order : strcmp(x->name, y->name);
}

GPtrArray *instance_list(Daemon *d, const char *project)
{
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)instance_unref);
	GHashTableIter iter;
	void *value;
	g_mutex_lock(&d->instances->lock);
	g_hash_table_iter_init(&iter, d->instances->by_name);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		Instance *i = value;
		if (!i->creating && (!project || strcmp(i->project, project) == 0))
			g_ptr_array_add(list, instance_ref(i));
	}
	g_mutex_unlock(&d->instances->lock);
	g_ptr_array_sort(list, compare_instances);
	return list;
}

int64_t instance_id(const Instance *i) { return i->id; }
InstanceType instance_type(const Instance *i) { return i->type; }
const char *instance_project(const Instance *i) { return i->project; }
const char *instance_name(const Instance *i) { return i->name; }

const char *instance_type_name(InstanceType type)
{
	return type == INSTANCE_MACHINE ? "virtual-machine" : "container";
}

const char *instance_status_name(InstanceStatus status)
{
	switch (status) {
	case INSTANCE_STOPPED: return "Stopped";
	case INSTANCE_RUNNING: return "Running";
	case INSTANCE_STARTING: return "Starting";
	case INSTANCE_STOPPING: return "Stopping";
	case INSTANCE_FROZEN: return "Frozen";
	case INSTANCE_ERROR: return "Error";
	case INSTANCE_READY:
		return "Ready";
	}
	return "Error";
}

char *instance_file_name_as(const char *project, const char *name)
{
	if (strcmp(project, "default") == 0)
		return g_strdup(name);
	return g_strconcat(project, "_", name, NULL);
}

char *instance_file_name(const Instance *i)
{
	return instance_file_name_as(i->project, i->name);
}

Daemon *instance_daemon(const Instance *i) { return i->daemon; }

char *instance_cgroup(Instance *i)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	return g_strdup(r ? r->cgroup : "");
}

char *instance_lxcpath(const Daemon *d)
{
	return g_build_filename(d->dir, "run", NULL);
}

static char *below(const char *directory, const char *folder, const Instance *i)
{
	g_autofree char *name = instance_file_name(i);
	return g_build_filename(directory, folder, name, NULL);
}

char *instance_path(Instance *i)
{
	return below(
	    i->daemon->dir, i->type == INSTANCE_MACHINE ? "virtual-machines" : "containers", i);
}

char *instance_log_path(Instance *i)
{
	return below(i->daemon->log_dir, "", i);
}

/* Copies made under the short lock. */
#define GETTER(type, name, field, copy)                                                            \
	type name(Instance *i)                                                                     \
	{                                                                                          \
		g_mutex_lock(&i->lock);                                                            \
		type value = copy(i->field);                                                       \
		g_mutex_unlock(&i->lock);                                                          \
		return value;                                                                      \
	}
GETTER(Config *, instance_config, config, config_copy)
GETTER(Config *, instance_expanded_config, expanded, config_copy)
GETTER(Devices *, instance_devices, devices, devices_copy)
GETTER(Devices *, instance_expanded_devices, expanded_devices, devices_copy)
GETTER(char **, instance_profiles, profiles, g_strdupv)

char *instance_expanded_get(Instance *i, const char *key)
{
	g_mutex_lock(&i->lock);
	char *value = g_strdup(config_get(i->expanded, key));
	g_mutex_unlock(&i->lock);
	return value;
}

char *instance_volatile_get(Instance *i, const char *key)
{
	g_autofree char *full = g_strconcat("volatile.", key, NULL);
	g_mutex_lock(&i->lock);
	char *value = g_strdup(config_get(i->config, full));
	g_mutex_unlock(&i->lock);
	return value;
}

int instance_volatile_set(Instance *i, const char *key, const char *value, Error **err)
{
	g_autofree char *full = g_strconcat("volatile.", key, NULL);
	g_mutex_lock(&i->lock);
	gboolean same = g_strcmp0(config_get(i->config, full), value && *value ? value : NULL) == 0;
	config_set(i->config, full, value);
	config_set(i->expanded, full, value);
	gboolean deferred = i->dirty != NULL;
	if (deferred && !same)
		g_hash_table_add(i->dirty, g_strdup(full));
	g_mutex_unlock(&i->lock);
	if (deferred || same || !i->id)
		return 0;
	g_autoptr(GHashTable) keys = g_hash_table_new(g_str_hash, g_str_equal);
	g_hash_table_add(keys, full);
	return row_config_write(i, keys, FALSE, err);
}

void volatile_defer(Instance *i)
{
	g_mutex_lock(&i->lock);
	if (!i->dirty)
		i->dirty = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_mutex_unlock(&i->lock);
}

int volatile_flush(Instance *i, gboolean used_now, Error **err)
{
	g_mutex_lock(&i->lock);
	g_autoptr(GHashTable) dirty = g_steal_pointer(&i->dirty);
	g_mutex_unlock(&i->lock);
	if (i->gone || ((!dirty || g_hash_table_size(dirty) == 0) && !used_now))
		return 0;
	return row_config_write(i, dirty, used_now, err);
}

int volatile_sync(Instance *i, Error **err)
{
	/* Only the holder of `change` touches what is dirty, so no lock is needed to read it. */
	if (i->gone || !i->id || !i->dirty || g_hash_table_size(i->dirty) == 0)
		return 0;
	if (row_config_write(i, i->dirty, FALSE, err) < 0)
		return -1;
	g_mutex_lock(&i->lock);
	g_hash_table_remove_all(i->dirty);
	g_mutex_unlock(&i->lock);
	return 0;
}

void instance_event_below(Instance *i, const char *below, const char *action,
    const char *context_json, const Caller *caller)
{
	g_autofree char *source = g_strconcat("/1.0/instances/", i->name, below, NULL);
	event_lifecycle(i->daemon->events, i->project, action, source, context_json, caller);
}

void instance_event(Instance *i, const char *action, const char *context_json, const Caller *caller)
{
	instance_event_below(i, "", action, context_json, caller);
}

/* What devices see. */

static const char *host_volatile_get(const DeviceHost *host, const char *key)
{
	Instance *i = host->instance_private;
	g_autofree char *value = instance_volatile_get(i, key);
	return value ? g_intern_string(value) :
		       NULL; /* few and repeated: hwaddr, interface names */
}

static int host_volatile_set(
    const DeviceHost *host, const char *key, const char *value, Error **err)
{
	return instance_volatile_set(host->instance_private, key, value, err);
}

static int host_volatile_sync(const DeviceHost *host, Error **err)
{
	return volatile_sync(host->instance_private, err);
}

static int host_unprivileged_map(const DeviceHost *host, GArray **ret_map, Error **err)
{
	return idmap_for(host->config, ret_map, NULL, err);
}

static int host_mount_add(const DeviceHost *host, const DeviceMount *mount, Error **err)
{
	return instance_mount_add(host->instance_private, mount, err);
}

static int host_mount_remove(const DeviceHost *host, const char *target, Error **err)
{
	return instance_mount_remove(host->instance_private, target, err);
}

static int host_device_rule(
    const DeviceHost *host, const char *rule, gboolean allow, Error **err)
{
	return instance_device_rule(host->instance_private, rule, allow, err);
}

static int host_part_add(const DeviceHost *host, const DevicePart *part, Error **err)
{
	return vm_part_add(host->instance_private, part, err);
}

static int host_part_remove(const DeviceHost *host, const DevicePart *part, Error **err)
{
	return vm_part_remove(host->instance_private, part, err);
}

static int host_root_grown(const DeviceHost *host, int64_t bytes, Error **err)
{
	return vm_root_grown(host->instance_private, bytes, err);
}

void instance_host(Instance *i, DeviceHost *ret_host, GArray *idmap)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	*ret_host = (DeviceHost){
		.daemon = i->daemon,
		.project = i->project,
		.instance = i->name,
		.type = instance_type_name(i->type),
		.config = instance_expanded_config(i),
		.devices = instance_expanded_devices(i),
		.running = r != NULL,
		.init_pid = r ? r->init : 0,
		.idmap = idmap,
		.instance_private = i,
		.volatile_get = host_volatile_get,
		.volatile_set = host_volatile_set, .volatile_sync = host_volatile_sync,
		.unprivileged_map = host_unprivileged_map,
		.mount_add = host_mount_add,
		.mount_remove = host_mount_remove,
		.device_rule = host_device_rule,
		.part_add = host_part_add,
		.part_remove = host_part_remove,
		.root_grown = host_root_grown,
	};
}

void instance_host_clear(DeviceHost *host)
{
	g_hash_table_unref((GHashTable *)host->config);
	g_hash_table_unref((GHashTable *)host->devices);
}

/* Start and stop of the table itself. */

/* An instance without a root volume is one whose creation or deletion was cut short: gone with it.
 */
static gboolean half_made(Instance *i, GHashTable *volumes)
{
	g_autofree char *key = g_strdup_printf("%s/%s/%d", i->project, i->name,
	    i->type == INSTANCE_MACHINE ? 3 : 0);
	return !g_hash_table_contains(volumes, key);
}

static int read_volumes(Tx *tx, void *data, Error **err)
{
	GHashTable *volumes = data;
	g_autoptr(Rows) rows = NULL;
	g_hash_table_remove_all(volumes);
	if (tx_query(tx, &rows, err,
	        "SELECT p.name, v.name, v.type FROM storage_volumes AS v"
	        " JOIN projects AS p ON p.id = v.project_id WHERE v.type IN (0, 3)", "") < 0)
		return -1;
	int got;
	while ((got = rows_next(rows, err)) > 0)
		g_hash_table_add(volumes, g_strdup_printf("%s/%s/%d", rows_text(rows, 0),
		    rows_text(rows, 1), (int)rows_int(rows, 2)));
	return got;
}

/* Takes the reference. Its end, which is watched for from now on, waits for the lock that the caller
 * holds. */
static void adopt(Instance *i, Runtime *runtime)
{
	g_autoptr(Pool) pool = NULL;
	if (instance_pool(i, &pool, NULL) == 0)
		pool_instance_mount(
		    pool, i->project, i->name, instance_type_name(i->type), NULL, NULL);
	runtime_publish(i, runtime);
	devices_adopt(i);
	checkpoint_settle(i); /* what a start or a snapshot that was cut off has left */
}

void table_adopt_running(Instance *i)
{
	g_autoptr(Error) error = NULL;
	Runtime *runtime = NULL;
	if (runtime_adopt(i, &runtime, &error) < 0)
		log_warn("Instance's running state is not known", "instance", i->name, "err",
		    error->message);
	else if (runtime)
		adopt(i, runtime);
}

static void load_one(InstanceTable *table, Instance *i, GHashTable *volumes)
{
	Error *error = NULL;
	Runtime *runtime = NULL;
	if (runtime_adopt(i, &runtime, &error) < 0) {
		log_warn("Instance's running state is not known", "instance", i->name, "err",
		    error->message);
		g_clear_pointer(&error, error_free);
	}
	g_autofree char *renaming = instance_volatile_get(i, "rename");
	if (renaming && half_made(i, volumes)) { /* its volume has the new name already */
		const char *old = i->name;
		i->name = g_intern_string(renaming);
		if (half_made(i, volumes) || row_rename(i, renaming, NULL) < 0)
			i->name = old;
	}
	if (renaming)
		instance_volatile_set(i, "rename", NULL, NULL);
	if (half_made(i, volumes)) {
		log_info(
		    "Removing a half-made instance", "instance", i->name, "project", i->project);
		if (row_delete(i, &error) < 0)
			log_error(
			    "Half-made instance stays", "instance", i->name, "err", error->message);
		g_clear_pointer(&error, error_free);
		runtime_unref(runtime);
		return;
	}
	g_hash_table_insert(table->by_name, table_key(i->project, i->name), instance_ref(i));
	g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&i->change);
	if (runtime)
		adopt(i, runtime);
	else
		devices_left(i);
}

/* Containers whose instance row is gone: their creation was cut short after they started. Where the
 * root volume is there, rows were lost, and `incus admin recover` may bring them back. */
static void remove_orphans(InstanceTable *table)
{
	g_autofree char *folder = g_build_filename(table->daemon->dir, "run", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GHashTableIter iter;
	void *value;
	g_hash_table_iter_init(&iter, table->by_name);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		g_hash_table_add(known, instance_file_name(value));
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		if (!g_hash_table_contains(known, name) &&
		    !pool_recover_has_container(table->daemon, name))
			runtime_kill_orphan(table->daemon, name);
}

static int ids_tx(Tx *tx, void *data, Error **err)
{
	GHashTable *ids = data;
	g_autoptr(Rows) rows = NULL;
	g_hash_table_remove_all(ids);
	if (tx_query(tx, &rows, err, "SELECT id FROM instances", "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		g_hash_table_add(ids, g_memdup2(&id, sizeof(id)));
	}
	return more;
}

int instance_table_sync(Daemon *d, Error **err)
{
	g_autoptr(GHashTable) ids = g_hash_table_new_full(
	    g_int64_hash, g_int64_equal, g_free, NULL);
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	if (db_read(d->db, ids_tx, ids, err) < 0)
		return -1;
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		if (g_hash_table_contains(ids, &i->id) || instance_lock(i, NULL) < 0)
			continue;
		table_remove(i);
		instance_unlock(i);
	}
	return 0;
}

int instance_table_start(Daemon *d, Error **err)
{
	g_autoptr(GPtrArray) all = NULL;
	g_autoptr(GHashTable) volumes = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, NULL);
	InstanceTable *table = g_new0(InstanceTable, 1);
	table->daemon = d;
	table->by_name = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, (GDestroyNotify)instance_unref);
	g_mutex_init(&table->lock);
	d->instances = table;
	device_watch_open(d, devices_changed);
	g_autofree char *run = g_build_filename(d->dir, "run", NULL);
	if (mkdir(run, 0711) < 0 && errno != EEXIST)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", run);
	if (watcher_start(table, err) < 0 || row_load_all(d, &all, err) < 0 ||
	    db_read(d->db, read_volumes, volumes, err) < 0)
		return error_prefix(err, "Cannot load the instances");
	for (guint n = 0; n < all->len; n++)
		load_one(table, all->pdata[n], volumes);
	owners_repair(d);
	remove_orphans(table);
	limits_balance(d);
	if (instance_move_repair(d, err) < 0 || instance_snapshot_repair(d, 0, err) < 0)
		return -1;
	live_repair(d);
	return instance_backup_repair(d, err);
}

void instance_table_stop(Daemon *d)
{
	InstanceTable *table = d->instances;
	if (!table)
		return;
	device_watch_close();
	watcher_stop(table);
	d->instances = NULL;
	g_hash_table_unref(table->by_name);
	g_mutex_clear(&table->lock);
	g_free(table);
}
