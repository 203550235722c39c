/* Changing configuration, devices and profiles, on a running instance too. */
#include "server/instance/backup_index.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "server/instance/cloud_init.h"
#include "server/instance/guest_api.h"
#include "server/image/metadata.h"
#include "server/key/key.h"
#include "server/project/project.h"
#include <string.h>

static void swap_expanded(Instance *i, Config *config, Devices *devices)
{
	g_mutex_lock(&i->lock);
	Config *old = i->expanded;
	Devices *old_devices = i->expanded_devices;
	i->expanded = config;
	i->expanded_devices = devices;
	g_mutex_unlock(&i->lock);
	g_hash_table_unref(old);
	g_hash_table_unref(old_devices);
}

int instance_reexpand(Instance *i, Error **err)
{
	Config *config;
	Devices *devices;
	if (row_expand(i->daemon, i->project, i->profiles, i->config, i->devices, NULL, &config,
		&devices, err) < 0)
		return -1;
	swap_expanded(i, config, devices);
	return 0;
}

typedef struct DeviceStep {
	const DeviceHost *host;
	Devices *now; /* what it has at the moment */
	const Devices *after;
	gboolean running;
} DeviceStep;

static int remove_device(const DeviceStep *s, const char *name, gboolean gone, Error **err)
{
	const DeviceType *type;
	const Config *config = devices_get(s->now, name);
	gboolean known = device_type_find(config, &type, NULL) == 0;
	if (known && s->running) {
		if (!type->detach)
			return error_set(err, ERROR_INVALID,
			    "Device \"%s\" cannot be removed while the instance is running", name);
		if (type->detach(s->host, name, config, err) < 0)
			return error_prefix(err, "Failed to remove device \"%s\"", name);
	}
	if (known && gone && type->remove)
		type->remove(s->host, name, config);
	g_hash_table_remove(s->now, name);
	return 0;
}

static int add_device(const DeviceStep *s, const char *name, Error **err)
{
	const DeviceType *type;
	const Config *config = devices_get(s->after, name);
	if (!s->running && device_type_find(config, &type, NULL) < 0) /* it does not start */
		return 0;
	if (device_type_find(config, &type, err) < 0)
		return -1;
	if (type->add && type->add(s->host, name, config, err) < 0)
		return error_prefix(err, "Failed to add device \"%s\"", name);
	if (s->running && !type->attach)
		return error_set(err, ERROR_INVALID,
		    "Device \"%s\" cannot be added while the instance is running", name);
	if (s->running && type->attach(s->host, name, config, err) < 0)
		return error_prefix(err, "Failed to add device \"%s\"", name);
	devices_set(s->now, name, config);
	return 0;
}

static int change_device(const DeviceStep *s, const char *name, Error **err)
{
	const DeviceType *type;
	const Config *old = devices_get(s->now, name), *new = devices_get(s->after, name);
	gboolean same_type = g_strcmp0(config_get(old, "type"), config_get(new, "type")) == 0;
	if (same_type && device_type_find(new, &type, NULL) == 0 && type->can_update &&
	    type->can_update(name, old, new)) {
		if (type->update && type->update(s->host, name, old, new, err) < 0)
			return -1;
		devices_set(s->now, name, new);
		return 0;
	}
	if (remove_device(s, name, !same_type, err) < 0)
		return -1;
	return add_device(s, name, err);
}

/* Takes the running instance from one set of devices to the other; `now` follows, as far as it
 * goes. */
static int apply_devices(Instance *i, Devices *now, const Devices *after, Error **err)
{
	DeviceHost host;
	guint n_old, n_new;
	g_autoptr(GArray) idmap = NULL;
	if (instance_idmap(i, &idmap, NULL, err) < 0)
		return -1;
	instance_host(i, &host, idmap);
	DeviceStep step = { .host = &host, .now = now, .after = after, .running = host.running };
	g_autofree const char **old = device_sorted(now, &n_old);
	g_autofree const char **new = device_sorted(after, &n_new);
	int result = 0;
	while (n_old-- > 0 && result == 0)
		if (!devices_get(after, old[n_old]))
			result = remove_device(&step, old[n_old], TRUE, err);
	for (guint k = 0; k < n_new && result == 0; k++) {
		const Config *was = devices_get(now, new[k]);
		if (!was)
			result = add_device(&step, new[k], err);
		else if (!config_equal(was, devices_get(after, new[k])))
			result = change_device(&step, new[k], err);
	}
	instance_host_clear(&host);
	return result;
}

/* Local fields as they were, to go back to. */
typedef struct Saved {
	Config *config, *expanded;
	Devices *devices, *expanded_devices;
	char **profiles, *description;
	gboolean ephemeral;
	int64_t architecture;
} Saved;

static Saved save(Instance *i)
{
	return (Saved){ .config = instance_config(i),
		.expanded = instance_expanded_config(i),
		.devices = instance_devices(i),
		.expanded_devices = instance_expanded_devices(i),
		.profiles = instance_profiles(i),
		.description = g_strdup(i->description),
		.ephemeral = i->ephemeral,
		.architecture = i->architecture };
}

static void saved_clear(Saved *s)
{
	g_hash_table_unref(s->config);
	g_hash_table_unref(s->expanded);
	g_hash_table_unref(s->devices);
	g_hash_table_unref(s->expanded_devices);
	g_strfreev(s->profiles);
	g_free(s->description);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Saved, saved_clear)

static void restore(Instance *i, const Saved *s)
{
	g_mutex_lock(&i->lock);
	g_hash_table_unref(i->config);
	i->config = config_copy(s->config);
	g_hash_table_unref(i->expanded);
	i->expanded = config_copy(s->expanded);
	g_hash_table_unref(i->devices);
	i->devices = devices_copy(s->devices);
	g_hash_table_unref(i->expanded_devices);
	i->expanded_devices = devices_copy(s->expanded_devices);
	g_strfreev(i->profiles);
	i->profiles = g_strdupv(s->profiles);
	g_free(i->description);
	i->description = g_strdup(s->description);
	i->ephemeral = s->ephemeral;
	i->architecture = s->architecture;
	g_mutex_unlock(&i->lock);
}

/* volatile.* belongs to the daemon: what a client leaves out or changes stays as it is, unless it
 * gives an old one back or changes it knowingly (as Incus lets administrators do). */
static Config *new_config(const Config *wanted, const Config *now)
{
	Config *config = config_copy(wanted);
	GHashTableIter iter;
	void *value;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		if (!*(char *)value)
			g_hash_table_iter_remove(&iter);
	/* Without it nobody knows any more whose the files are. */
	if (!config_get(config, "volatile.last_state.idmap"))
		config_set(config, "volatile.last_state.idmap",
		    config_get(now, "volatile.last_state.idmap"));
	return config;
}

static int set_fields(Instance *i, const InstanceChange *change, Error **err)
{
	int64_t architecture = change->architecture && *change->architecture ?
	    image_architecture_id(change->architecture) :
	    i->architecture;
	if (!architecture)
		return error_set(
		    err, ERROR_INVALID, "Unknown architecture \"%s\"", change->architecture);
	g_mutex_lock(&i->lock);
	if (change->config) {
		Config *wanted = new_config(change->config, i->config);
		g_hash_table_unref(i->config);
		i->config = wanted;
	}
	if (change->devices) {
		g_hash_table_unref(i->devices);
		i->devices = devices_copy(change->devices);
	}
	if (change->profiles) {
		g_strfreev(i->profiles);
		i->profiles = g_strdupv((char **)change->profiles);
	}
	if (change->description) {
		g_free(i->description);
		i->description = g_strdup(change->description);
	}
	if (change->ephemeral >= 0)
		i->ephemeral = change->ephemeral;
	i->architecture = architecture;
	g_mutex_unlock(&i->lock);
	return 0;
}

static int check_profiles(char *const *profiles, Error **err)
{
	for (int n = 0; profiles && profiles[n]; n++)
		for (int k = 0; k < n; k++)
			if (strcmp(profiles[n], profiles[k]) == 0)
				return error_set(err, ERROR_INVALID,
				    "Duplicate profile \"%s\" found in request", profiles[n]);
	return 0;
}

static int check_root_stays(const Devices *before, const Devices *after, Error **err)
{
	Config *old, *new;
	if (device_root_disk(before, NULL, &old, NULL) < 0 ||
	    device_root_disk(after, NULL, &new, NULL) < 0)
		return 0;
	if (g_strcmp0(config_get(old, "pool"), config_get(new, "pool")) != 0)
		return error_set(err, ERROR_INVALID,
		    "Cannot update root disk device pool name: move the instance to another pool instead");
	return 0;
}

/* They made the volume: they may go, but say nothing new of it. */
static int check_initial_stays(const Devices *before, const Devices *after, Error **err)
{
	Config *old, *new;
	GHashTableIter iter;
	void *key, *value;
	if (device_root_disk(after, NULL, &new, NULL) < 0)
		return 0;
	g_hash_table_iter_init(&iter, new);
	while (g_hash_table_iter_next(&iter, &key, &value)) {
		if (!g_str_has_prefix(key, "initial."))
			continue;
		if (device_root_disk(before, NULL, &old, NULL) < 0 ||
		    g_strcmp0(config_get(old, key), value) != 0)
			return error_set(err, ERROR_INVALID,
			    "\"%s\" cannot be set or changed once the instance is there",
			    (char *)key);
	}
	return 0;
}

/* A map is chosen by the next start; what runs keeps its own until then. */
static int note_next_idmap(Instance *i, Error **err)
{
	g_autofree char *now = instance_volatile_get(i, "idmap.next");
	g_autoptr(GArray) ranges = NULL;
	if (!now)
		return 0;
	if (idmap_for(i->expanded, &ranges, NULL, err) < 0)
		return -1;
	g_autofree char *next = id_map_json(ranges);
	return strcmp(now, next) == 0 ? 0 : instance_volatile_set(i, "idmap.next", next, err);
}

/* Fields are already new; *before holds the old. */
static int check_new(Instance *i, const Saved *before, gboolean restored, Error **err)
{
	if (check_root_stays(before->expanded_devices, i->expanded_devices, err) < 0 ||
	    check_initial_stays(before->devices, i->devices, err) < 0)
		return -1;
	return restored ? instance_check_restored(i, i->expanded, i->expanded_devices, err) :
			  instance_check(i->daemon, i->project, i->name, i->type, i->expanded,
			      i->expanded_devices, before->expanded_devices, err);
}

static int carry_out(Instance *i, const Saved *before, gboolean restored, Error **err)
{
	gboolean running = instance_running(i);
	if (instance_reexpand(i, err) < 0 || check_new(i, before, restored, err) < 0)
		return -1;
	if (instance_driver(i)->configured)
		instance_driver(i)->configured(i, before->expanded, i->expanded);
	if (running && instance_driver(i)->update(i, before->expanded, i->expanded, err) < 0)
		return -1;
	g_autoptr(GHashTable) now = devices_copy(before->expanded_devices);
	if (apply_devices(i, now, i->expanded_devices, err) < 0) {
		apply_devices(i, now, before->expanded_devices, NULL);
		return -1;
	}
	snapshot_schedule_changed(i);
	return note_next_idmap(i, err) < 0 ?
	    -1 :
	    cloud_init_note_change(i, before->expanded, before->expanded_devices, err);
}

int instance_update_locked(Instance *i, const InstanceChange *change, Error **err)
{
	if (change->check && change->check(i, change->data, err) < 0)
		return -1;
	if (change->config &&
	    key_check_instance(instance_type_name(i->type), change->config, FALSE, err) < 0)
		return -1;
	if (check_profiles(change->profiles, err) < 0)
		return -1;
	g_auto(Saved) before = save(i);
	if (set_fields(i, change, err) < 0)
		return -1;
	volatile_defer(i); /* devices' keys go with the whole row */
	int result = carry_out(i, &before, change->restored, err);
	if (result == 0)
		result = row_update(i, err);
	if (result == 0)
		guest_api_tell_change(i, before.expanded, before.expanded_devices);
	if (result < 0) {
		if (instance_running(i))
			instance_driver(i)->update(i, i->expanded, before.expanded, NULL);
		restore(i, &before);
	}
	g_mutex_lock(&i->lock);
	g_clear_pointer(&i->dirty, g_hash_table_unref);
	g_mutex_unlock(&i->lock);
	return result;
}

int instance_update(Instance *i, const InstanceChange *change, const Caller *caller, Error **err)
{
	if (instance_lock(i, err) < 0)
		return -1;
	int result = instance_update_locked(i, change, err);
	if (result == 0)
		backup_file_update(i);
	instance_unlock(i);
	if (result == 0)
		instance_event(i, "instance-updated", NULL, caller);
	return result;
}

/* Profiles. */

static gboolean uses_profile(Instance *i, const char *project, const char *profile)
{
	g_autofree char *home = NULL;
	g_auto(GStrv) profiles = instance_profiles(i);
	return g_strv_contains((const char *const *)profiles, profile) &&
	    project_effective(i->daemon, i->project, PROJECT_PROFILES, &home, NULL) == 0 &&
	    strcmp(home, project) == 0;
}

int instance_profile_changed(Daemon *d, const char *project, const char *profile, Error **err)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_autoptr(GString) failures = g_string_new(NULL);
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		Error *error = NULL;
		if (!uses_profile(i, project, profile) || instance_lock(i, NULL) < 0)
			continue;
		g_auto(Saved) before = save(i);
		volatile_defer(i);
		if (carry_out(i, &before, FALSE, &error) < 0) {
			g_string_append_printf(failures, "%s%s: %s", failures->len ? "; " : "",
			    i->name, error->message);
			g_clear_pointer(&error, error_free);
		}
		volatile_flush(i, FALSE, NULL);
		backup_file_update(i);
		instance_unlock(i);
	}
	if (failures->len)
		return error_set(err, ERROR_INVALID,
		    "The following instances failed to update (profile change still saved): %s",
		    failures->str);
	return 0;
}

void instance_profile_renamed(
    Daemon *d, const char *project, const char *profile, const char *new_name)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		if (!uses_profile(i, project, profile) || instance_lock(i, NULL) < 0)
			continue;
		g_mutex_lock(&i->lock);
		for (char **name = i->profiles; *name; name++)
			if (strcmp(*name, profile) == 0) {
				g_free(*name);
				*name = g_strdup(new_name);
			}
		g_mutex_unlock(&i->lock);
		instance_unlock(i);
	}
}

static int check_with(Instance *i, const ProfileReplacement *replaced, Error **err)
{
	g_autoptr(Config) local = instance_config(i);
	g_autoptr(GHashTable) own = instance_devices(i);
	g_autoptr(GHashTable) now = instance_expanded_devices(i);
	g_auto(GStrv) profiles = instance_profiles(i);
	g_autoptr(Config) expanded = NULL;
	g_autoptr(GHashTable) every = NULL;
	if (row_expand(i->daemon, i->project, profiles, local, own, replaced, &expanded, &every,
		err) < 0 ||
	    check_root_stays(now, every, err) < 0)
		return -1;
	return instance_check(i->daemon, i->project, i->name, i->type, expanded, every, now, err);
}

int instance_profile_check(Daemon *d, const char *project, const char *profile,
    const Config *config, const Devices *devices, Error **err)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_autoptr(GString) refusals = g_string_new(NULL);
	ProfileReplacement replaced = { .name = profile, .config = config, .devices = devices };
	ErrorKind kind = ERROR_INVALID;
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		g_autoptr(Error) error = NULL;
		if (!uses_profile(i, project, profile) || check_with(i, &replaced, &error) == 0)
			continue;
		g_string_append_printf(refusals, "%s - Project: %s, Instance: %s: %s",
		    refusals->len ? "\n" : "", i->project, i->name, error->message);
		kind = error->kind;
	}
	if (!refusals->len)
		return 0;
	return error_set(err, kind,
	    "The following instances cannot have the profile like this (nothing is changed):\n%s",
	    refusals->str);
}
