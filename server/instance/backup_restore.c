/* Instances from backups. */
#include "sdk/base/units.h"
#include "server/instance/backup.h"
#include "server/instance/backup_index.h"
#include "server/instance/checkpoint.h"
#include "server/instance/copy.h"
#include "server/instance/private.h"
#include "server/instance/snapshot_row.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include "server/storage/volume_archive.h"
#include "server/db/db.h"
#include <string.h>

/* What the new instance is to be, made from the index. */
typedef struct Plan {
	Config *config;
	Devices *devices;
	char *pool;
	InstanceSpec spec;
} Plan;

static void plan_clear(Plan *plan)
{
	g_clear_pointer(&plan->config, g_hash_table_unref);
	g_clear_pointer(&plan->devices, g_hash_table_unref);
	g_free(plan->pool);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

static void forget_identity(Config *config)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (g_str_has_prefix(key, "volatile.") && strcmp(key, "volatile.base_image") != 0)
			g_hash_table_iter_remove(&iter);
}

/* Under another name it is another instance: what must be unique in the world is made anew. So it
 * is where the project does not let a backup say it. */
static void choose_identity(Daemon *d, const char *project, const char *name,
    const BackupIndex *index, Config *config)
{
	if (strcmp(name, index->volume->name) != 0) {
		forget_identity(config);
		config_set(config, "volatile.apply_template", "copy");
		return;
	}
	if (project_allow_volatile(d, project, config, NULL, NULL) == 0)
		return;
	forget_identity(config);
	for (guint n = 0; n < index->snapshots->len; n++)
		forget_identity(((InstanceSnapshot *)index->snapshots->pdata[n])->config);
}

/* The pool that is asked for, else the backup's, else what the profiles (whose devices these are)
 * say. */
static int choose_pool(Daemon *d, const char *asked, const BackupIndex *index,
    const Devices *profiles, char **ret_pool, Error **err)
{
	g_autoptr(Pool) pool = NULL;
	Config *root = NULL;
	device_root_disk(profiles, NULL, &root, NULL);
	const char *usual = root ? config_get(root, "pool") : NULL;
	const char *names[] = { *index->volume->pool ? index->volume->pool : NULL, usual };
	if (asked && *asked) {
		*ret_pool = g_strdup(asked);
		return pool_get(d, asked, &pool, err);
	}
	for (size_t n = 0; n < G_N_ELEMENTS(names); n++) {
		g_clear_pointer(&pool, pool_unref);
		if (names[n] && pool_get(d, names[n], &pool, NULL) == 0) {
			*ret_pool = g_strdup(names[n]);
			return 0;
		}
	}
	return error_set(err, ERROR_NOT_FOUND,
	    "Storage pool \"%s\" of the backup is not here, and no profile names another",
	    index->volume->pool);
}

static void add_root(Devices *devices, const char *pool)
{
	g_autoptr(Config) root = config_new();
	g_autofree char *name = g_strdup("root");
	for (unsigned n = 0; devices_get(devices, name); n++) {
		g_free(name);
		name = g_strdup_printf("root%u", n);
	}
	config_set(root, "type", "disk");
	config_set(root, "path", "/");
	config_set(root, "pool", pool);
	devices_set(devices, name, root);
}

static int plan_devices(Daemon *d, const char *project, const char *pool, const BackupIndex *index,
    Plan *plan, Error **err)
{
	g_autoptr(Config) config = NULL;
	g_autoptr(Config) unused = NULL;
	g_autoptr(GHashTable) expanded = NULL, profiles = NULL, none = devices_new();
	plan->devices = devices_copy(index->devices);
	if (row_expand(d, project, index->profiles, index->config, index->devices, NULL, &config,
		&expanded, err) < 0 ||
	    row_expand(d, project, index->profiles, index->config, none, NULL, &unused, &profiles,
		err) < 0 ||
	    choose_pool(d, pool, index, profiles, &plan->pool, err) < 0)
		return -1;
	if (device_root_disk(expanded, NULL, NULL, NULL) < 0)
		add_root(plan->devices, plan->pool);
	else
		copy_set_root_pool(plan->devices, expanded, plan->pool);
	return 0;
}

static int make_plan(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, const Caller *caller, Plan *plan, Error **err)
{
	const BackupIndex *index = archive->index;
	plan->config = config_copy(index->config);
	g_autoptr(Pool) place = NULL;
	choose_identity(d, project, name, index, plan->config);
	if (plan_devices(d, project, pool, index, plan, err) < 0 ||
	    pool_get(d, plan->pool, &place, err) < 0 ||
	    volume_archive_check(place, index->volume, err) < 0)
		return -1;
	plan->spec = (InstanceSpec){ .project = project,
		.name = name,
		.type = index->type,
		.architecture = index->architecture,
		.description = index->description,
		.ephemeral = index->ephemeral,
		.config = plan->config,
		.devices = plan->devices,
		.profiles = index->profiles,
		.archive = archive,
		.caller = caller };
	return instance_create_check(d, &plan->spec, err);
}

int instance_restore_check(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, Error **err)
{
	g_auto(Plan) plan = { 0 };
	return make_plan(d, project, name, pool, archive, NULL, &plan, err);
}

int instance_restore(Daemon *d, const char *project, const char *name, const char *pool,
    const InstanceArchive *archive, struct Operation *op, const Caller *caller, Error **err)
{
	g_auto(Plan) plan = { 0 };
	return make_plan(d, project, name, pool, archive, caller, &plan, err) < 0 ? -1 :
	    instance_create(d, &plan.spec, op, NULL, err);
}

/* ---- for create.c ---- */

int restore_root(Instance *i, Pool *pool, const InstanceArchive *archive, int64_t size,
    struct Operation *op, Error **err)
{
	const BackupIndex *index = archive->index;
	g_autoptr(Volume) volume = copy_root_volume(i, pool);
	CopiedSnapshots copied = { i, pool, index->snapshots };
	for (guint n = 0; n < index->snapshots->len; n++) {
		InstanceSnapshot *s = index->snapshots->pdata[n];
		if (i->type == INSTANCE_CONTAINER) /* as archives have the files */
			config_set(s->config, "volatile.last_state.idmap", "[]");
		s->stateful = s->stateful && checkpoint_trusted(i);
	}
	VolumeArchive unpack = { .pool = pool,
		.volume = volume,
		.snapshots = index->volume->snapshots,
		.names = i->type == INSTANCE_MACHINE ? &volume_archive_machine :
						       &volume_archive_container,
		.optimized = index->volume->optimized,
		.op = op,
		.description = index->volume->description,
		.config = index->volume->config,
		.limit = (uint64_t)size,
		.also = copy_insert_snapshots,
		.also_data = &copied };
	if (volume_archive_unpack(&unpack, archive->fd, err) < 0)
		return -1;
	schedule_changed(i->daemon); /* snapshots may expire */
	return 0;
}
