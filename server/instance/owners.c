/* Which ids the owners of a container's files have on disk: volatile.last_state.idmap says it. */
#include "server/instance/flow.h"
#include "server/instance/private.h"
#include "server/instance/snapshot.h"
#include "server/storage/shift.h"

#define OWNERS "volatile.last_state.idmap"

int owners_of(const Config *config, GArray **ret_map, Error **err)
{
	return id_map_parse(config_get(config, OWNERS), ret_map, err);
}

int owners_now(Instance *i, GArray **ret_map, Error **err)
{
	g_autofree char *json = instance_volatile_get(i, "last_state.idmap");
	return id_map_parse(json, ret_map, err);
}

static int note(void *data, const GArray *map, Error **err)
{
	Instance *i = data;
	g_autofree char *json = id_map_json(map);
	return instance_volatile_set(i, "last_state.idmap", json, err) < 0 ?
	    -1 :
	    volatile_sync(i, err);
}

static Shift shift_of(Instance *i, Pool *pool, const Volume *volume)
{
	return (Shift){
		.pool = pool, .volume = volume, .folder = "rootfs", .note = note, .data = i
	};
}

int owners_become(Instance *i, Pool *pool, const GArray *map, Error **err)
{
	g_autoptr(GArray) now = NULL;
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CONTAINER, i->project, i->name);
	Shift shift = shift_of(i, pool, volume);
	if (i->type != INSTANCE_CONTAINER)
		return 0;
	if (owners_now(i, &now, err) < 0)
		return -1;
	if (id_map_equal(now, map))
		return 0;
	if (!volume_wait_unmounted(pool, volume))
		return error_set(err, ERROR_BUSY, "Storage volume \"%s\" is in use", i->name);
	return shift_run_alone(&shift, now, map, err);
}

int owners_finish(Instance *i, Pool *pool, Error **err)
{
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CONTAINER, i->project, i->name);
	Shift shift = shift_of(i, pool, volume);
	return i->type == INSTANCE_CONTAINER ? shift_resume(&shift, err) : 0;
}

int owners_settle(Instance *i, Pool *pool, const char *path, const GArray *idmap,
    gboolean *ret_mapped, Error **err)
{
	gboolean can = FALSE;
	g_autoptr(GArray) now = NULL;
	g_autoptr(GArray) none = g_array_new(FALSE, TRUE, sizeof(IdRange));
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CONTAINER, i->project, i->name);
	Shift shift = shift_of(i, pool, volume);
	if (owners_now(i, &now, err) < 0 ||
	    (idmap->len > 0 && shift_can_map(i->daemon, path, &can, err) < 0))
		return -1;
	const GArray *wanted = can ? none : idmap;
	g_autofree char *json = id_map_json(wanted);
	*ret_mapped = can;
	if (id_map_equal(now, wanted))
		return instance_volatile_set(i, "last_state.idmap", json, err);
	g_autoptr(Config) expanded = instance_expanded_config(i);
	if (config_true(expanded, "security.protection.shift"))
		return error_set(err, ERROR_INVALID,
		    "Container is protected against filesystem shifting");
	return shift_run_alone(&shift, now, wanted, err);
}

void owners_repair(Daemon *d)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		g_autoptr(Pool) pool = NULL;
		g_autoptr(Error) error = NULL;
		if (instance_pool(i, &pool, NULL) == 0 && owners_finish(i, pool, &error) < 0)
			log_warn("Owners of an instance's files stay half shifted", "instance",
			    i->name, "project", i->project, "err", error->message);
	}
}

int owners_of_snapshots(const GPtrArray *snapshots, GPtrArray **ret_maps, Error **err)
{
	g_autoptr(GPtrArray) maps = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
	for (guint n = 0; n < snapshots->len; n++) {
		GArray *map;
		if (owners_of(((InstanceSnapshot *)snapshots->pdata[n])->config, &map, err) < 0)
			return -1;
		g_ptr_array_add(maps, map);
	}
	*ret_maps = g_steal_pointer(&maps);
	return 0;
}
