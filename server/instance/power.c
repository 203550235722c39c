/* Starting and stopping containers, and what follows when they stop by themselves. */
#include "server/instance/backup_index.h"
#include "server/instance/cgroup.h"
#include "server/instance/checkpoint.h"
#include "server/instance/flow.h"
#include "server/instance/private.h"
#include "server/warning/warning.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { START_PATIENCE = 120000, KILL_PATIENCE = 60000 };

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
	gboolean v1 = cgroup_version("freezer") == CGROUP_V1;
	g_autofree char *state = *r->cgroup ?
	    cgroup_read("freezer", r->cgroup, v1 ? "freezer.state" : "cgroup.freeze") :
	    NULL;
	gboolean frozen = state && (v1 ? strcmp(state, "THAWED") != 0 : strcmp(state, "1") == 0);
	return frozen ? INSTANCE_FROZEN : INSTANCE_RUNNING;
}

static void set_transition(Instance *i, InstanceStatus status)
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

/* Devices. */

/* The first n, last first. */
static void stop_some(const DeviceHost *host, const char **names, guint n)
{
	while (n-- > 0) {
		const DeviceType *type;
		Config *config = devices_get(host->devices, names[n]);
		if (device_type_find(config, &type, NULL) == 0 && type->stop)
			type->stop(host, names[n], config);
	}
}

void power_adopt(Instance *i)
{
	guint n;
	DeviceHost host;
	instance_host(i, &host, NULL);
	g_autofree const char **names = device_sorted(host.devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Config *config = devices_get(host.devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->adopt)
			type->adopt(&host, names[k], config);
	}
	instance_host_clear(&host);
}

static void stop_devices(const DeviceHost *host)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	stop_some(host, names, n);
}

static int start_one(const DeviceHost *host, const char *name, DeviceStart *out, Error **err)
{
	const DeviceType *type;
	Config *config = devices_get(host->devices, name);
	if (device_type_find(config, &type, err) < 0)
		return -1;
	if (type->start &&
	    (fault_point("device start", err) < 0 || type->start(host, name, config, out, err) < 0))
		return error_prefix(err, "Failed to start device \"%s\"", name);
	return 0;
}

/* All or none: one that was not started must not be stopped, for what it counts may be another's.
 */
static int start_devices(const DeviceHost *host, DeviceStart *out, Error **err)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	for (guint k = 0; k < n; k++) {
		if (start_one(host, names[k], out, err) < 0) {
			stop_some(host, names, k);
			return -1;
		}
	}
	return 0;
}

static void devices_started(const DeviceHost *host)
{
	guint n;
	g_autofree const char **names = device_sorted(host->devices, &n);
	for (guint k = 0; k < n; k++) {
		const DeviceType *type;
		Error *error = NULL;
		Config *config = devices_get(host->devices, names[k]);
		if (device_type_find(config, &type, NULL) == 0 && type->started &&
		    type->started(host, names[k], config, &error) < 0)
			log_warn("Device is not fully started", "instance", host->instance,
			    "device", names[k], "err", error->message);
		g_clear_pointer(&error, error_free);
	}
}

/* The start request. */

static void add_mount(Packet *rq, const DeviceMount *m)
{
	g_autofree char *flags = g_strconcat(m->readonly ? "ro," : "", m->recursive ? "rec," : "",
	    m->shift ? "shift," : "", m->is_file ? "file," : "", m->optional ? "opt," : "", NULL);
	packet_add(rq, m->source);
	packet_add(rq, m->beneath);
	packet_add(rq, m->target);
	packet_add(rq, m->propagation);
	packet_add(rq, m->filesystem);
	packet_add(rq, m->options);
	packet_add(rq, flags);
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

static void rotate_log(Instance *i)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *log = g_build_filename(logs, "lxc.log", NULL);
	g_autofree char *old = g_build_filename(logs, "lxc.log.old", NULL);
	rename(log, old);
}

/* What liblxc was told, for people who look for a fault. */
static void write_config_copy(Instance *i, GPtrArray *pairs)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *path = g_build_filename(logs, "lxc.conf", NULL);
	g_autoptr(GString) text = g_string_new(NULL);
	for (guint n = 0; n + 1 < pairs->len; n += 2)
		g_string_append_printf(
		    text, "%s = %s\n", (char *)pairs->pdata[n], (char *)pairs->pdata[n + 1]);
	file_write_plain(path, text->str, 0640, NULL);
}

typedef struct StartPlan {
	DeviceHost host;
	GArray *idmap;
	char *idmap_text, *path, *directory;
	DeviceStart devices;
	GPtrArray *pairs;
	gboolean mounted, devices_up;
	gboolean mapped; /* the root file system is mounted with the id map */
	Pool *pool;
} StartPlan;

static void plan_clear(StartPlan *plan)
{
	instance_host_clear(&plan->host);
	g_clear_pointer(&plan->idmap, g_array_unref);
	g_free(plan->idmap_text);
	g_free(plan->path);
	g_free(plan->directory);
	g_ptr_array_unref(plan->devices.lxc_config);
	g_ptr_array_unref(plan->devices.mounts);
	g_ptr_array_unref(plan->pairs);
	pool_unref(plan->pool);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StartPlan, plan_clear)

static int spawn_container(Instance *i, StartPlan *plan, Runtime **ret_runtime, Error **err)
{
	g_autofree char *name = instance_file_name(i);
	g_autofree char *lxcpath = instance_lxcpath(i->daemon);
	g_autofree char *rootfs = g_build_filename(plan->path, "rootfs", NULL);
	Packet *rq = packet_new(SPAWN_START);
	g_autoptr(Packet) answer = NULL;
	packet_add(rq, name);
	packet_add(rq, lxcpath);
	packet_add(rq, rootfs);
	packet_add(rq, plan->directory);
	packet_add(rq, plan->idmap_text);
	rq->n[0] = plan->mapped;
	rq->n[1] = plan->pairs->len / 2;
	rq->n[2] = plan->devices.mounts->len;
	for (guint n = 0; n < plan->pairs->len; n++)
		packet_add(rq, plan->pairs->pdata[n]);
	for (guint n = 0; n < plan->devices.mounts->len; n++)
		add_mount(rq, plan->devices.mounts->pdata[n]);
	if (checkpoint_request(i, plan->path, rq, err) < 0) {
		packet_free(rq);
		return -1;
	}
	SpawnerCall call = { .timeout_ms = START_PATIENCE };
	if (spawner_call(i->daemon->spawner, rq, &call, &answer, err) < 0)
		return -1;
	Runtime *r = runtime_new();
	r->init = (pid_t)answer->n[0];
	r->monitor = (pid_t)answer->n[1];
	r->init_start = (uint64_t)answer->n[2];
	r->monitor_start = (uint64_t)answer->n[3];
	r->cgroup = g_strdup(packet_next(answer));
	r->init_fd = packet_take_fd(answer, 0);
	r->monitor_fd = packet_take_fd(answer, 1);
	r->netlink_fd = packet_take_fd(answer, 2);
	*ret_runtime = r;
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

static int note_idmap(Instance *i, const StartPlan *plan, Error **err)
{
	g_autofree char *json = id_map_json(plan->idmap);
	return instance_volatile_set(i, "idmap.current", json, err) < 0 ?
	    -1 :
	    instance_volatile_set(i, "idmap.next", json, err);
}

/* Not beneath processes that go on: they have the files open. */
static int apply_templates(Instance *i, const StartPlan *plan, Error **err)
{
	if (i->stateful)
		return 0;
	g_autofree char *pending = instance_volatile_get(i, "apply_template");
	if (pending &&
	    (template_apply(i, plan->path, pending, err) < 0 ||
		instance_volatile_set(i, "apply_template", NULL, err) < 0))
		return -1;
	return template_apply(i, plan->path, "start", err);
}

static int prepare(Instance *i, StartPlan *plan, Error **err)
{
	if (idmap_choose(i, err) < 0 || new_ids(i, err) < 0 ||
	    instance_idmap(i, &plan->idmap, &plan->idmap_text, err) < 0)
		return -1;
	/* Only now: the map is made from what was just chosen. */
	instance_host_clear(&plan->host);
	instance_host(i, &plan->host, plan->idmap);
	if (instance_pool(i, &plan->pool, err) < 0 || owners_finish(i, plan->pool, err) < 0 ||
	    pool_instance_mount(
		plan->pool, i->project, i->name, instance_type_name(i->type), &plan->path, err) < 0)
		return -1;
	plan->mounted = TRUE;
	if (owners_settle(i, plan->pool, plan->path, plan->idmap, &plan->mapped, err) < 0 ||
	    idmap_own(plan->path, plan->idmap, err) < 0 ||
	    prepare_directory(i, &plan->directory, err) < 0 || note_idmap(i, plan, err) < 0 ||
	    apply_templates(i, plan, err) < 0)
		return -1;
	if (start_devices(&plan->host, &plan->devices, err) < 0)
		return -1;
	plan->devices_up = TRUE;
	if (fault_point("container configuration", err) < 0 ||
	    lxc_config_build(i, plan->host.config, plan->idmap_text, plan->pairs, err) < 0)
		return -1;
	if (plan->devices.n_nics == 0) { /* a network namespace of its own, with nothing in it */
		g_ptr_array_add(plan->pairs, g_strdup("lxc.net.0.type"));
		g_ptr_array_add(plan->pairs, g_strdup("empty"));
	}
	for (guint n = 0; n < plan->devices.lxc_config->len; n++)
		g_ptr_array_add(plan->pairs, g_strdup(plan->devices.lxc_config->pdata[n]));
	rotate_log(i);
	write_config_copy(i, plan->pairs);
	return 0;
}

static void undo_start(Instance *i, StartPlan *plan)
{
	if (plan->devices_up)
		stop_devices(&plan->host);
	if (plan->mounted)
		pool_instance_unmount(
		    plan->pool, i->project, i->name, instance_type_name(i->type), NULL);
	seccomp_remove(i);
	apparmor_unload(i);
	runtime_directory_remove(i);
}

/* The reason of a failed start is in liblxc's log: its last error lines. */
static void explain(Instance *i, Error **err)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *log = g_build_filename(logs, "lxc.log", NULL);
	g_autofree char *text = NULL;
	if (!err || !*err || !g_file_get_contents(log, &text, NULL, NULL))
		return;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		char *at = strstr(*line, " ERROR ");
		char *said = at ? strstr(at, " - ") : NULL;
		said = said ? strstr(said + 3, " - ") : NULL;
		if (!said)
			continue;
		g_autofree char *message = g_strdup_printf("%s: %s", (*err)->message, said + 3);
		g_free((*err)->message);
		(*err)->message = g_steal_pointer(&message);
		return;
	}
}

int power_start_locked(Instance *i, Error **err)
{
	if (instance_running(i))
		return error_set(err, ERROR_INVALID, "The instance is already running");
	if (i->type != INSTANCE_CONTAINER)
		return error_set(
		    err, ERROR_UNSUPPORTED, "Virtual machines are not built in this version");
	g_auto(StartPlan) plan = {
		.devices = { .lxc_config = g_ptr_array_new_with_free_func(g_free),
		    .mounts = g_ptr_array_new_with_free_func((GDestroyNotify)device_mount_free) },
		.pairs = g_ptr_array_new_with_free_func(g_free)
	};
	Runtime *r = NULL;
	volatile_defer(i);
	set_transition(i, INSTANCE_STARTING);
	instance_host(i, &plan.host, NULL);
	int result = prepare(i, &plan, err);
	if (result == 0) {
		result = spawn_container(i, &plan, &r, err);
		if (result < 0 && i->stateful)
			checkpoint_explain(i, err);
		else if (result < 0)
			explain(i, err);
	}
	if (result < 0) {
		undo_start(i, &plan);
	} else {
		instance_volatile_set(i, "last_state.power", "RUNNING", NULL);
		runtime_publish(i, r);
		checkpoint_spent(i);
		plan.host.running = TRUE;
		plan.host.init_pid = r->init;
		devices_started(&plan.host);
	}
	set_transition(i, 0);
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

/* Stopping. */

/* SIGRTMIN+3 is what systemd calls halt; it blocks that signal to read it from a file descriptor.
 */
static int halt_signal(Instance *i, pid_t init)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)init);
	g_autofree char *text = NULL;
	g_autofree char *raw = instance_expanded_get(i, "raw.lxc");
	const char *said = raw ? strstr(raw, "lxc.signal.halt") : NULL;
	if (said && (said = strchr(said, '='))) {
		static const struct {
			const char *name;
			int number;
		} names[] = { { "SIGPWR", SIGPWR }, { "SIGTERM", SIGTERM }, { "SIGINT", SIGINT },
			{ "SIGKILL", SIGKILL }, { "SIGUSR1", SIGUSR1 }, { "SIGUSR2", SIGUSR2 },
			{ "SIGHUP", SIGHUP } };
		while (*++said == ' ')
			;
		for (guint n = 0; n < G_N_ELEMENTS(names); n++)
			if (g_str_has_prefix(said, names[n].name))
				return names[n].number;
		int number = atoi(said);
		if (number > 0 && number < NSIG)
			return number;
	}
	const char *blocked = g_file_get_contents(path, &text, NULL, NULL) ?
	    strstr(text, "SigBlk:") :
	    NULL;
	guint64 mask = blocked ? g_ascii_strtoull(blocked + 7, NULL, 16) : 0;
	return mask & (G_GUINT64_CONSTANT(1) << (SIGRTMIN + 3 - 1)) ? SIGRTMIN + 3 : SIGPWR;
}

static int thaw(Runtime *r, gboolean frozen, Error **err)
{
	gboolean v1 = cgroup_version("freezer") == CGROUP_V1;
	return cgroup_write("freezer", r->cgroup, v1 ? "freezer.state" : "cgroup.freeze",
	    v1 ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0"), err);
}

void power_cleanup_locked(Instance *i)
{
	DeviceHost host;
	g_autoptr(Pool) pool = NULL;
	runtime_publish(i, NULL);
	instance_host(i, &host, NULL);
	stop_devices(&host);
	instance_host_clear(&host);
	if (instance_pool(i, &pool, NULL) == 0)
		pool_instance_unmount(pool, i->project, i->name, instance_type_name(i->type), NULL);
	seccomp_remove(i);
	apparmor_unload(i);
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

static int kill_and_wait(Instance *i, Runtime *r, Error **err)
{
	syscall(SYS_pidfd_send_signal, r->init_fd, SIGKILL, NULL, 0);
	if (instance_status(i) == INSTANCE_FROZEN)
		thaw(r, FALSE, NULL);
	if (!runtime_wait(r, KILL_PATIENCE))
		return error_set(err, ERROR_TIMEOUT, "The instance's monitor did not end");
	return 0;
}

static int stop_with(Instance *i, int timeout_s, gboolean force, const char *power, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance is already stopped");
	if (!force && instance_status(i) == INSTANCE_FROZEN)
		thaw(r, FALSE, NULL);
	set_transition(i, force ? INSTANCE_STOPPING : 0);
	int result = 0;
	if (force) {
		result = kill_and_wait(i, r, err);
	} else {
		syscall(SYS_pidfd_send_signal, r->init_fd, halt_signal(i, r->init), NULL, 0);
		if (!runtime_wait(r, timeout_s > 0 ? timeout_s * 1000 : -1))
			result = error_set(err, ERROR_TIMEOUT,
			    "Failed shutting down instance, status is \"Running\": context deadline exceeded");
	}
	set_transition(i, 0);
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
	set_transition(i, INSTANCE_STOPPING);
	int result = checkpoint_save(i, r, err);
	if (result == 0 && !runtime_wait(r, KILL_PATIENCE))
		result = error_set(err, ERROR_TIMEOUT, "The instance's monitor did not end");
	set_transition(i, 0);
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

static int check_state(Instance *i, StartFrom from, Error **err)
{
	if (from == START_STATE && !i->stateful)
		return error_set(err, ERROR_INVALID, "Instance has no existing state to restore");
	return from == START_NOTHING && !instance_running(i) ? checkpoint_drop(i, err) : 0;
}

int instance_start(Instance *i, StartFrom from, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	gboolean frozen = instance_status(i) == INSTANCE_FROZEN;
	int result = frozen ? 1 : check_state(i, from, err) < 0 ? -1 : start_afresh(i, err);
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
	return r ? thaw(r, frozen, err) :
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
	else
		result = thaw(r, frozen, err);
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

/* "reboot" or "stop", as liblxc's hook wrote it. */
static gboolean wants_reboot(Instance *i)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *path = g_build_filename(directory, "stopped", NULL);
	g_autofree char *text = NULL;
	return g_file_get_contents(path, &text, NULL, NULL) && g_str_has_prefix(text, "reboot");
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
	gboolean reboot = wants_reboot(i);
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
		if (instance_running(i) || !(config_true(config, "boot.autostart") || was_running))
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

int instance_mount_add(Instance *i, const DeviceMount *mount, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	g_autofree char *idmap = NULL;
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance isn't running");
	if (instance_idmap(i, NULL, &idmap, err) < 0)
		return -1;
	Packet *rq = packet_new(SPAWN_MOUNT);
	add_mount(rq, mount);
	packet_add(rq, idmap);
	packet_add_fd(rq, r->init_fd);
	return spawner_call(i->daemon->spawner, rq, NULL, NULL, err);
}

int instance_mount_remove(Instance *i, const char *target, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return 0;
	Packet *rq = packet_new(SPAWN_UNMOUNT);
	packet_add(rq, target);
	packet_add_fd(rq, r->init_fd);
	return spawner_call(i->daemon->spawner, rq, NULL, NULL, err);
}
