#include "server/storage/shift.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "server/helper/client.h"
#include "server/storage/pool_private.h"
#include <errno.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- where it is not needed ---- */

static int ask(Daemon *d, const char *directory, gboolean *ret_can, Error **err)
{
	g_autoptr(Packet) answer = NULL;
	Packet *rq = packet_new(SPAWN_MAPPABLE);
	packet_add(rq, directory);
	packet_add(rq, "u 0 1000000 1\ng 0 1000000 1\n");
	if (spawner_call(d->spawner, rq, NULL, &answer, err) < 0)
		return -1;
	*ret_can = answer->n[0] != 0;
	return 0;
}

int shift_can_map(Daemon *d, const char *directory, gboolean *ret_can, Error **err)
{
	static GMutex lock;
	static GHashTable *known; /* kind of file system -> answer + 1 */
	struct statfs fs;
	*ret_can = FALSE;
	if (g_strcmp0(g_getenv("INCUS_IDMAPPED_MOUNTS_DISABLE"), "1") == 0)
		return 0;
	if (statfs(directory, &fs) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot look at \"%s\"", directory);
	g_mutex_lock(&lock);
	if (!known)
		known = g_hash_table_new(NULL, NULL);
	void *kind = GSIZE_TO_POINTER((gsize)fs.f_type);
	int answer = GPOINTER_TO_INT(g_hash_table_lookup(known, kind)), result = 0;
	if (answer == 0) {
		gboolean can = FALSE;
		result = ask(d, directory, &can, err);
		answer = can + 1;
		if (result == 0)
			g_hash_table_insert(known, kind, GINT_TO_POINTER(answer));
	}
	g_mutex_unlock(&lock);
	*ret_can = answer == TRUE + 1;
	return result;
}

/* ---- journals ---- */

static char *journal_folder(const Pool *pool, VolumeType type)
{
	return g_build_filename(
	    pool->daemon->dir, "shifts", pool->name, driver_folder(type), NULL);
}

static char *journal_path(const Pool *pool, const Volume *volume)
{
	g_autofree char *folder = journal_folder(pool, volume->type);
	return g_build_filename(folder, volume->disk_name, NULL);
}

static gboolean is_interrupted(const Pool *pool, const Volume *volume)
{
	g_autofree char *path = journal_path(pool, volume);
	return !volume->snapshot && access(path, F_OK) == 0;
}

int shift_check(const Pool *pool, const Volume *volume, Error **err)
{
	return is_interrupted(pool, volume) ?
	    error_set(err, ERROR_BUSY,
		"The owners of storage volume \"%s\" are not all shifted: start what uses it to finish that",
		volume->name) :
	    0;
}

void shift_forget(const Pool *pool, const Volume *volume)
{
	g_autofree char *path = journal_path(pool, volume);
	unlink(path);
}

/* As volume_new() put it together. */
static Volume *volume_of(const Pool *pool, VolumeType type, const char *disk_name)
{
	const char *divider = strchr(disk_name, '_');
	g_autofree char *project = divider ?
	    g_strndup(disk_name, (gsize)(divider - disk_name)) :
	    g_strdup("default");
	return volume_new(pool, type, project, divider ? divider + 1 : disk_name);
}

GPtrArray *shift_interrupted(Pool *pool, VolumeType type)
{
	GPtrArray *volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
	g_autofree char *folder = journal_folder(pool, type);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		Volume *volume = volume_of(pool, type, name);
		g_autoptr(Error) error = NULL;
		if (volume_row_find(pool, volume, NULL, NULL, &error) == 0 ||
		    error->kind != ERROR_NOT_FOUND) {
			g_ptr_array_add(volumes, volume);
			continue;
		}
		shift_forget(pool, volume);
		volume_free(volume);
	}
	return volumes;
}

/* ---- shifting ---- */

/* What the spawner is asked; from NULL: nothing but to finish. *ret_map: what the owners are now,
 * NULL when nothing was done. */
static int call_spawner(const Shift *shift, const GArray *from, const GArray *to,
    const char *journal, GArray **ret_map, Error **err)
{
	g_autoptr(Packet) answer = NULL;
	g_autofree char *from_text = from ? id_map_text(from) : NULL;
	g_autofree char *to_text = to ? id_map_text(to) : NULL;
	g_autofree char *label = to ? id_map_json(to) : NULL;
	g_autofree char *path = shift->folder ?
	    g_build_filename(shift->volume->path, shift->folder, NULL) :
	    g_strdup(shift->volume->path);
	Packet *rq = packet_new(SPAWN_SHIFT);
	rq->n[0] = from == NULL;
	packet_add(rq, path);
	packet_add(rq, from_text);
	packet_add(rq, to_text);
	packet_add(rq, label);
	packet_add(rq, journal);
	*ret_map = NULL;
	if (spawner_call(shift->pool->daemon->spawner, rq, NULL, &answer, err) < 0)
		return -1;
	return answer->n[0] ? id_map_parse(packet_next(answer), ret_map, err) : 0;
}

/* The note comes before the journal's end: cut off in between, what the journal says is done, and
 * noted, once more. */
static int carry_out(const Shift *shift, const GArray *from, const GArray *to, GArray **ret_map,
    Error **err)
{
	g_autofree char *journal = journal_path(shift->pool, shift->volume);
	g_autofree char *folder = g_path_get_dirname(journal);
	g_autoptr(GArray) map = NULL;
	if (file_mkdir_all(folder, 0700, err) < 0)
		return -1;
	if (call_spawner(shift, from, to, journal, &map, err) < 0) {
		/* Of a journal that is not whole nothing was done. */
		if (from && call_spawner(shift, NULL, NULL, journal, &map, NULL) == 0 && !map)
			unlink(journal);
		return -1;
	}
	if (fault_point("owners", err) < 0 ||
	    (map && shift->note(shift->data, map, err) < 0) ||
	    fault_point("owners noted", err) < 0)
		return -1;
	unlink(journal);
	if (ret_map)
		*ret_map = g_steal_pointer(&map);
	return 0;
}

static int carry_out_mounted(const Shift *shift, const GArray *from, const GArray *to,
    GArray **ret_map, Error **err)
{
	if (volume_mount_locked(shift->pool, shift->volume, err) < 0)
		return -1;
	int result = carry_out(shift, from, to, ret_map, err);
	return volume_unmount_locked(shift->pool, shift->volume, result == 0 ? err : NULL) < 0 ?
	    -1 :
	    result;
}

int shift_resume(const Shift *shift, Error **err)
{
	if (!is_interrupted(shift->pool, shift->volume))
		return 0;
	log_info("Finishing to shift the owners of a volume", "pool", shift->pool->name, "volume",
	    shift->volume->disk_name);
	return carry_out_mounted(shift, NULL, NULL, NULL, err);
}

int shift_run(const Shift *shift, const GArray *from, const GArray *to, Error **err)
{
	g_autoptr(GArray) now = NULL, done = NULL;
	if (is_interrupted(shift->pool, shift->volume)) {
		if (carry_out_mounted(shift, NULL, NULL, &now, err) < 0)
			return -1;
		from = now ? now : from;
	}
	if (id_map_equal(from, to))
		return 0;
	log_info("Shifting the owners of a volume", "pool", shift->pool->name, "volume",
	    shift->volume->disk_name);
	return carry_out_mounted(shift, from, to, &done, err);
}

int shift_run_alone(const Shift *shift, const GArray *from, const GArray *to, Error **err)
{
	g_autoptr(VolumeLock) lock = volume_lock(
	    shift->pool->locks, shift->volume->path, FALSE);
	return shift_run(shift, from, to, err);
}
