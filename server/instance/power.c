/* Starting and stopping instances, and what follows when they stop by themselves. */
#include "server/instance/backup_index.h"
#include "server/instance/cgroup.h"
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "server/instance/guest_api.h"
#include "server/instance/live_private.h"
#include "server/warning/warning.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <string.h>
#include <unistd.h>

InstanceStatus instance_status(Instance *i)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	g_mutex_lock(&i->lock);
	InstanceStatus transition = i->transition;
	g_mutex_unlock(&i->lock);
	if (transition)
		return transition;
	if (!r)
		return INSTANCE_STOPPED;
	return instance_driver(i)->frozen(r) ? INSTANCE_FROZEN : INSTANCE_RUNNING;
}

InstanceStatus instance_status_shown(Instance *i)
{
	InstanceStatus status = instance_status(i);
	return status == INSTANCE_RUNNING && guest_api_is_ready(i) ? INSTANCE_READY : status;
}

gboolean instance_moving(Instance *i)
{
	return g_atomic_int_get(&i->moving);
}

void power_transition(Instance *i, InstanceStatus status)
{
	g_mutex_lock(&i->lock);
	i->transition = status;
	g_mutex_unlock(&i->lock);
}

int instance_pool(Instance *i, Pool **ret_pool, Error **err)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	Config *root;
	if (device_root_disk(devices, NULL, &root, err) < 0)
		return -1;
	return pool_get(i->daemon, config_get(root, "pool"), ret_pool, err);
}

static int prepare_directory(Instance *i, char **ret_directory, Error **err)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *mounts = g_build_filename(directory, "mounts", NULL);
	g_autofree char *stopped = g_build_filename(directory, "stopped", NULL);
	g_autofree char *state = g_build_filename(directory, "state", NULL);
	if (fault_point("runtime directory", err) < 0 || file_mkdir_all(mounts, 0711, err) < 0)
		return -1;
	unlink(stopped);
	unlink(state);
	*ret_directory = g_steal_pointer(&directory);
	return 0;
}

static int new_ids(Instance *i, Error **err)
{
	static const char *const keys[] = { "uuid", "uuid.generation", "cloud-init.instance-id" };
	for (guint n = 0; n < G_N_ELEMENTS(keys); n++) {
		g_autofree char *now = instance_volatile_get(i, keys[n]);
		g_autofree char *uuid = n == 1 ? instance_volatile_get(i, "uuid") :
						 g_uuid_string_random();
		if (!now && instance_volatile_set(i, keys[n], uuid, err) < 0)
			return -1;
	}
	return 0;
}

static void plan_clear(StartPlan *plan)
{
	instance_host_clear(&plan->host);
	g_clear_pointer(&plan->idmap, g_array_unref);
	g_free(plan->idmap_text);
	g_free(plan->path);
	g_free(plan->directory);
	g_ptr_array_unref(plan->devices.lxc_config);
	g_ptr_array_unref(plan->devices.mounts);
	g_ptr_array_unref(plan->devices.device_rules);
	g_ptr_array_unref(plan->devices.parts);
	pool_unref(plan->pool);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StartPlan, plan_clear)

static int prepare(Instance *i, StartPlan *plan, Error **err)
{
	const InstanceDriver *driver = instance_driver(i);
	if (new_ids(i, err) < 0 || driver->choose(i, plan, err) < 0)
		return -1;
	/* Only now: the map is made from what was just chosen. */
	instance_host_clear(&plan->host);
	instance_host(i, &plan->host, plan->idmap);
	/* What came from elsewhere (LXD) may have what cannot be had here. */
	if (instance_config_check(i->type, plan->host.config, err) < 0 ||
	    instance_pool(i, &plan->pool, err) < 0 || owners_finish(i, plan->pool, err) < 0 ||
	    device_root_settle(&plan->host, err) < 0 ||
	    pool_instance_mount(
		plan->pool, i->project, i->name, instance_type_name(i->type), &plan->path, err) < 0)
		return -1;
	plan->mounted = TRUE;
	if (prepare_directory(i, &plan->directory, err) < 0 || driver->settle(i, plan, err) < 0 ||
	    devices_start(&plan->host, &plan->devices, err) < 0)
		return -1;
	plan->devices_up = TRUE;
	return 0;
}

static void undo_start(Instance *i, StartPlan *plan)
{
	if (plan->devices_up)
		devices_stop(&plan->host);
	instance_driver(i)->release(i);
	if (plan->mounted)
		pool_instance_unmount(
		    plan->pool, i->project, i->name, instance_type_name(i->type), NULL);
	runtime_directory_remove(i);
}

/* What runs without one of its devices is not what was asked for: it goes again. Not when its
 * processes went on from saved state, which would be lost. */
static int finish_start(Instance *i, const StartPlan *plan, gboolean restored, Error **err)
{
	g_autoptr(Error) error = NULL, why = NULL;
	if (devices_started(&plan->host, &why) == 0)
		return 0;
	if (restored) {
		log_warn("Device is not fully started", "instance", i->name, "err", why->message);
		return 0;
	}
	g_autoptr(Runtime) r = instance_runtime(i);
	if (r && instance_driver(i)->kill(i, r, &error) < 0)
		log_error("An instance that lacks a device does not stop", "instance", i->name,
		    "err", error->message);
	else
		power_cleanup_locked(i);
	instance_volatile_set(i, "last_state.power", "STOPPED", NULL);
	return error_propagate(err, g_steal_pointer(&why));
}

static int start_with(Instance *i, const StartGate *gate, Error **err)
{
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "The instance is already running");
	g_auto(StartPlan) plan = { .gate = gate, .devices = { .lxc_config =
						    g_ptr_array_new_with_free_func(g_free),
				       .mounts = g_ptr_array_new_with_free_func(
					   (GDestroyNotify)device_mount_free),
				       .device_rules = g_ptr_array_new_with_free_func(g_free),
				       .parts = g_ptr_array_new_with_free_func(
					   (GDestroyNotify)device_part_free) } };
	Runtime *r = NULL;
	gboolean restored = gate || i->stateful;
	volatile_defer(i);
	power_transition(i, INSTANCE_STARTING);
	instance_host(i, &plan.host, NULL);
	int result = prepare(i, &plan, err);
	if (result == 0)
		result = instance_driver(i)->spawn(i, &plan, &r, err);
	if (result < 0) {
		undo_start(i, &plan);
	} else {
		instance_volatile_set(i, "last_state.power", "RUNNING", NULL);
		guest_api_forget_ready(i);
		runtime_publish(i, r);
		checkpoint_spent(i);
		plan.host.running = TRUE;
		plan.host.init_pid = r->init;
		result = finish_start(i, &plan, restored, err);
	}
	power_transition(i, 0);
	Error *error = NULL;
	if (volatile_flush(i, result == 0, &error) < 0)
		log_error(
		    "Volatile keys are not stored", "instance", i->name, "err", error->message);
	g_clear_pointer(&error, error_free);
	if (result == 0) {
		limits_balance(i->daemon);
		backup_file_update(i); /* with the keys of this run */
	}
	return result;
}

int power_start_locked(Instance *i, Error **err)
{
	return live_check_start(i, err) < 0 ? -1 : start_with(i, NULL, err);
}

int power_restore_locked(Instance *i, const StartGate *gate, Error **err)
{
	return start_with(i, gate, err);
}

/* Stopping. */

void power_cleanup_locked(Instance *i)
{
	DeviceHost host;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Runtime) r = instance_runtime(i);
	if (r && runtime_was_restored(i))
		cgroup_remove(r->cgroup);
	runtime_publish(i, NULL);
	instance_host(i, &host, NULL);
	devices_stop(&host);
	instance_host_clear(&host);
	instance_driver(i)->release(i);
	if (instance_pool(i, &pool, NULL) == 0)
		pool_instance_unmount(pool, i->project, i->name, instance_type_name(i->type), NULL);
	runtime_directory_remove(i);
}

static void stopped(Instance *i, const char *power)
{
	Error *error = NULL;
	volatile_defer(i);
	power_cleanup_locked(i);
	instance_volatile_set(i, "last_state.power", power, NULL);
	instance_volatile_set(i, "last_state.ready", NULL, NULL);
	if (volatile_flush(i, FALSE, &error) < 0)
		log_error(
		    "Volatile keys are not stored", "instance", i->name, "err", error->message);
	g_clear_pointer(&error, error_free);
	limits_balance(i->daemon);
}

void power_left_locked(Instance *i)
{
	stopped(i, "STOPPED");
}

static int stop_with(Instance *i, int timeout_s, gboolean force, const char *power, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance is already stopped");
	const InstanceDriver *driver = instance_driver(i);
	if (!force && instance_status(i) == INSTANCE_FROZEN) {
		if (live_check_start(i, err) < 0)
			return -1;
		driver->freeze(i, r, FALSE, NULL);
	}
	power_transition(i, force ? INSTANCE_STOPPING : 0);
	int result = 0;
	if (force) {
		result = driver->kill(i, r, err);
	} else {
		result = driver->shut_down(i, r, err);
		if (result == 0 && !runtime_wait(r, timeout_s > 0 ? timeout_s * 1000 : -1))
			result = error_set(err, ERROR_TIMEOUT,
			    "Failed shutting down instance, status is \"Running\": context deadline exceeded");
	}
	power_transition(i, 0);
	if (result == 0)
		stopped(i, power);
	return result;
}

int power_stop_locked(Instance *i, int timeout_s, gboolean force, Error **err)
{
	return stop_with(i, timeout_s, force, "STOPPED", err);
}

int power_save_locked(Instance *i, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance is already stopped");
	if (i->ephemeral)
		return error_set(err, ERROR_INVALID,
		    "The instance is ephemeral: its state would be deleted with it");
	if (!instance_driver(i)->save)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The state of this kind of instance is not kept in this version");
	if (live_check_start(i, err) < 0)
		return -1;
	power_transition(i, INSTANCE_STOPPING);
	int result = instance_driver(i)->save(i, r, err);
	power_transition(i, 0);
	if (result == 0)
		stopped(i, "STOPPED");
	return result;
}

/* The flows. */

/* With the snapshot that snapshots.schedule may want of what the instance starts from. */
static int start_afresh(Instance *i, Error **err)
{
	if (!instance_running(i))
		snapshot_at_startup(i);
	return power_start_locked(i, err);
}

/* Before its state is thrown away. */
static int check_start(Instance *i, StartFrom from, Error **err)
{
	if (live_check_start(i, err) < 0)
		return -1;
	if (from == START_STATE && !i->stateful)
		return error_set(err, ERROR_INVALID, "Instance has no existing state to restore");
	return from == START_NOTHING && !instance_running(i) ? checkpoint_drop(i, err) : 0;
}

int instance_start(Instance *i, StartFrom from, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	gboolean frozen = instance_status(i) == INSTANCE_FROZEN;
	int result = frozen ? 1 : check_start(i, from, err) < 0 ? -1 : start_afresh(i, err);
	instance_unlock(i);
	if (result == 1)
		return instance_unfreeze(i, caller, err);
	if (result == 0)
		instance_event(i, "instance-started", NULL, caller);
	return result;
}

int instance_stop(Instance *i, int timeout_s, gboolean force, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = power_stop_locked(i, timeout_s, force, err);
	instance_unlock(i);
	if (result < 0)
		return -1;
	instance_event(i, force ? "instance-stopped" : "instance-shutdown", NULL, caller);
	return i->ephemeral ? instance_delete(i, caller, err) : 0;
}

int instance_save(Instance *i, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = power_save_locked(i, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, "instance-stopped", NULL, caller);
	return result;
}

int instance_restart(Instance *i, int timeout_s, gboolean force, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = power_stop_locked(i, timeout_s, force, err);
	if (result == 0)
		result = start_afresh(i, err);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, "instance-restarted", NULL, caller);
	return result;
}

int power_freeze_locked(Instance *i, gboolean frozen, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	return r ? instance_driver(i)->freeze(i, r, frozen, err) :
		   error_set(err, ERROR_INVALID, "The instance isn't running");
}

static int set_frozen(Instance *i, gboolean frozen, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	g_autoptr(Runtime) r = instance_runtime(i);
	int result = 0;
	if (!r)
		result = error_set(err, ERROR_INVALID, "The instance isn't running");
	else if ((instance_status(i) == INSTANCE_FROZEN) == frozen)
		result = error_set(err, ERROR_INVALID,
		    frozen ? "The instance is already frozen" : "The instance is already running");
	else if (!frozen && live_check_start(i, err) < 0)
		result = -1;
	else
		result = instance_driver(i)->freeze(i, r, frozen, err);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, frozen ? "instance-paused" : "instance-resumed", NULL, caller);
	return result;
}

int instance_freeze(Instance *i, const Caller *caller, Error **err)
{
	return set_frozen(i, TRUE, caller, err);
}

int instance_unfreeze(Instance *i, const Caller *caller, Error **err)
{
	return set_frozen(i, FALSE, caller, err);
}

void power_ended(Instance *i, Runtime *r)
{
	Error *error = NULL;
	if (instance_lock(i, NULL) < 0)
		return;
	g_mutex_lock(&i->lock);
	gboolean current = i->runtime == r;
	g_mutex_unlock(&i->lock);
	if (!current || g_atomic_int_get(&i->daemon->shutting_down) > 1) {
		instance_unlock(i);
		return;
	}
	gboolean reboot = instance_driver(i)->wants_reboot(i);
	stopped(i, reboot ? "RUNNING" : "STOPPED");
	int result = reboot ? start_afresh(i, &error) : 0;
	instance_unlock(i);
	if (result < 0)
		log_error(
		    "Instance does not start again", "instance", i->name, "err", error->message);
	else
		instance_event(i, reboot ? "instance-restarted" : "instance-shutdown", NULL, NULL);
	if (!reboot && i->ephemeral && instance_delete(i, NULL, &error) < 0)
		log_error("Ephemeral instance is not deleted", "instance", i->name, "err",
		    error->message);
	g_clear_pointer(&error, error_free);
}

/* Daemon start and host shutdown. */

static int64_t number_of(Instance *i, const char *key, int64_t otherwise)
{
	g_autofree char *text = instance_expanded_get(i, key);
	return text ? g_ascii_strtoll(text, NULL, 10) : otherwise;
}

static int compare_autostart(const void *a, const void *b)
{
	Instance *x = *(Instance *const *)a, *y = *(Instance *const *)b;
	int64_t p = number_of(x, "boot.autostart.priority", 0),
		q = number_of(y, "boot.autostart.priority", 0);
	return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

void instance_autostart(Daemon *d)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_ptr_array_sort(all, compare_autostart);
	for (guint n = 0; n < all->len && !g_atomic_int_get(&d->shutting_down); n++) {
		Instance *i = all->pdata[n];
		Error *error = NULL;
		g_autoptr(Config) config = instance_expanded_config(i);
		g_autofree char *power = instance_volatile_get(i, "last_state.power");
		gboolean was_running = g_strcmp0(power, "RUNNING") == 0 &&
		    !config_false(config, "boot.autostart");
		if (instance_running(i) || live_check_start(i, NULL) < 0 || !(config_true(config, "boot.autostart") || was_running))
			continue;
		if (instance_start(i, START_ANY, NULL, &error) < 0)
			log_error(
			    "Instance does not start", "instance", i->name, "err", error->message);
		warning_report(d, WARNING_AUTOSTART_FAILURE, WARNING_ENTITY_INSTANCE, i->id,
		    i->project, error ? error->message : NULL);
		g_clear_pointer(&error, error_free);
		int64_t delay = number_of(i, "boot.autostart.delay", 0);
		if (delay > 0)
			g_usleep((gulong)(delay * G_USEC_PER_SEC));
	}
}

static int compare_shutdown(const void *a, const void *b)
{
	Instance *x = *(Instance *const *)a, *y = *(Instance *const *)b;
	int64_t p = number_of(x, "boot.stop.priority", 0),
		q = number_of(y, "boot.stop.priority", 0);
	return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static void shut_down_one(void *data, void *user_data)
{
	Instance *i = data;
	Error *error = NULL;
	if (instance_lock(i, NULL) < 0)
		return;
	int patience = (int)number_of(i, "boot.host_shutdown_timeout", 30);
	if (instance_running(i) && stop_with(i, patience, patience == 0, "RUNNING", &error) < 0) {
		g_clear_pointer(&error, error_free);
		stop_with(i, 0, TRUE, "RUNNING", &error);
	}
	g_clear_pointer(&error, error_free);
	instance_unlock(i);
	if (i->ephemeral)
		instance_delete(i, NULL, NULL);
}

/* Equal priorities stop side by side. */
void instance_shutdown_all(Daemon *d)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_ptr_array_sort(all, compare_shutdown);
	for (guint n = 0; n < all->len;) {
		int64_t priority = number_of(all->pdata[n], "boot.stop.priority", 0);
		GThreadPool *pool = g_thread_pool_new(shut_down_one, NULL, 16, FALSE, NULL);
		for (;
		     n < all->len && number_of(all->pdata[n], "boot.stop.priority", 0) == priority;
		     n++)
			if (instance_running(all->pdata[n]))
				g_thread_pool_push(pool, all->pdata[n], NULL);
		g_thread_pool_free(pool, FALSE, TRUE);
	}
	cgroup_tidy();
}
