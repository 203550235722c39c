/* One volume that is getting its rows back. */
#include "server/image/metadata.h"
#include "server/instance/copy.h"
#include "server/instance/driver.h"
#include "server/instance/recover_private.h"
#include "server/instance/snapshot_row.h"
#include "server/key/key.h"
#include "server/project/project.h"
#include "server/storage/pool_recover.h"
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* ---- snapshots ---- */

static void *named(const GPtrArray *rows, const char *name, size_t name_offset)
{
	for (guint n = 0; n < rows->len; n++)
		if (strcmp(*(char **)((char *)rows->pdata[n] + name_offset), name) == 0)
			return rows->pdata[n];
	return NULL;
}

/* Of those on disk; what nothing is known about is as the volume is now. */
static GPtrArray *volume_rows(const RecoveryItem *item)
{
	GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)snapshot_row_free);
	for (guint n = 0; n < item->snapshots->len; n++) {
		const char *name = item->snapshots->pdata[n];
		const SnapshotRow *known = item->index ?
		    named(item->index->volume->snapshots, name, G_STRUCT_OFFSET(SnapshotRow, name)) :
		    NULL;
		SnapshotRow *row = g_new0(SnapshotRow, 1);
		row->name = g_strdup(name);
		row->description = g_strdup(known ? known->description : "");
		row->created = known ? known->created : 0;
		if (known)
			row->expires = known->expires;
		row->config = known ? config_copy(known->config) :
		    item->index	    ? config_copy(item->index->volume->config) :
				      config_new();
		g_ptr_array_add(rows, row);
	}
	return rows;
}

static GPtrArray *instance_rows(const RecoveryItem *item)
{
	GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)instance_snapshot_free);
	for (guint n = 0; n < item->snapshots->len; n++) {
		const char *name = item->snapshots->pdata[n];
		const InstanceSnapshot *known = named(
		    item->index->snapshots, name, G_STRUCT_OFFSET(InstanceSnapshot, name));
		InstanceSnapshot *s = g_new0(InstanceSnapshot, 1);
		s->name = g_strdup(name);
		s->description = g_strdup(known ? known->description : "");
		s->created = known && known->created ? known->created : time(NULL);
		if (known)
			s->expires = known->expires;
		s->config = config_copy(known ? known->config : item->index->config);
		s->devices = devices_copy(known ? known->devices : item->index->devices);
		g_ptr_array_add(rows, s);
	}
	return rows;
}

/* ---- instances ---- */

static int expand(Instance *i, Error **err)
{
	Config *config;
	Devices *devices;
	if (row_expand(i->daemon, i->project, i->profiles, i->config, i->devices, NULL, &config,
		&devices, err) < 0)
		return -1;
	g_hash_table_unref(i->expanded);
	g_hash_table_unref(i->expanded_devices);
	i->expanded = config;
	i->expanded_devices = devices;
	return 0;
}

/* The root disk is where it was found. */
static int set_root_pool(Instance *i, const Pool *pool, Error **err)
{
	Config *root = NULL;
	if (device_root_disk(i->expanded_devices, NULL, &root, err) < 0)
		return -1;
	if (g_strcmp0(config_get(root, "pool"), pool_name(pool)) == 0)
		return 0;
	copy_set_root_pool(i->devices, i->expanded_devices, pool_name(pool));
	return expand(i, err);
}

static int fill(Instance *i, const RecoveryItem *item, Error **err)
{
	const BackupIndex *index = item->index;
	struct utsname host;
	uname(&host);
	i->type = index->type;
	i->ephemeral = index->ephemeral;
	i->created = index->created ? index->created : time(NULL);
	i->architecture = image_architecture_id(
	    *index->architecture ? index->architecture : host.machine);
	if (!i->architecture)
		return error_set(
		    err, ERROR_INVALID, "Unknown architecture \"%s\"", index->architecture);
	g_free(i->description);
	i->description = g_strdup(index->description);
	g_hash_table_unref(i->config);
	i->config = config_copy(index->config);
	g_hash_table_unref(i->devices);
	i->devices = devices_copy(index->devices);
	g_strfreev(i->profiles);
	i->profiles = g_strdupv(index->profiles);
	/* Written at its last start perhaps: a start of the daemon must not bring it up by that. */
	if (g_strcmp0(config_get(i->config, "volatile.last_state.power"), "RUNNING") == 0)
		config_set(i->config, "volatile.last_state.power", "STOPPED");
	if (!config_get(i->config, "volatile.uuid")) {
		g_autofree char *uuid = g_uuid_string_random();
		config_set(i->config, "volatile.uuid", uuid);
	}
	return expand(i, err) < 0 ? -1 : set_root_pool(i, item->pool, err);
}

/* As of a new instance, but for what devices need on the host: that may be brought later. */
static int check(Instance *i, Error **err)
{
	const char *type = instance_type_name(i->type);
	if (key_check_instance(type, i->expanded, TRUE, err) < 0 ||
	    device_validate_all(NULL, i->expanded_devices, err) < 0 ||
	    instance_driver(i)->check(i->daemon, i->expanded, err) < 0)
		return -1;
	return project_allow_instance(
	    i->daemon, i->project, i->name, type, i->expanded, i->expanded_devices, err);
}

typedef struct InsertCall {
	Instance *instance;
	GPtrArray *snapshots; /* InstanceSnapshot * */
} InsertCall;

static int insert_tx(Tx *tx, void *data, Error **err)
{
	InsertCall *call = data;
	if (row_insert_in(tx, call->instance, err) < 0)
		return -1;
	for (guint n = 0; n < call->snapshots->len; n++) {
		InstanceSnapshot *s = call->snapshots->pdata[n];
		s->instance_id = call->instance->id;
		if (snapshot_insert_in(tx, s, err) < 0)
			return -1;
	}
	return 0;
}

static int insert(Instance *i, const RecoveryItem *item, Error **err)
{
	g_autoptr(GPtrArray) rows = volume_rows(item);
	g_autoptr(GPtrArray) snapshots = instance_rows(item);
	InsertCall call = { .instance = i, .snapshots = snapshots };
	return pool_recover_volume(item->pool, item->volume, item->index->volume->description,
	    item->index->volume->config, rows, insert_tx, &call, err);
}

static int recover_instance(Daemon *d, const RecoveryItem *item, Error **err)
{
	g_autoptr(Instance) i = instance_new(d, item->volume->project, item->volume->name);
	i->creating = TRUE;
	if (table_add(i, err) < 0)
		return -1;
	g_mutex_lock(&i->change);
	int result = fill(i, item, err) < 0 || check(i, err) < 0 || insert(i, item, err) < 0 ? -1 :
											       0;
	if (result < 0) {
		table_remove(i);
	} else {
		table_adopt_running(i);
		if (instance_running(i))
			instance_volatile_set(i, "last_state.power", "RUNNING", NULL);
		backup_file_update(i);
	}
	table_show(i);
	g_mutex_unlock(&i->change);
	if (result == 0)
		snapshot_schedule_changed(i);
	return result;
}

int recover_item(Daemon *d, const RecoveryItem *item, Error **err)
{
	if (item->index)
		return recover_instance(d, item, err);
	g_autoptr(GPtrArray) rows = volume_rows(item);
	return pool_recover_custom(item->pool, item->volume, rows, err);
}
