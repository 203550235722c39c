#include "server/storage/store.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/key/server.h"
#include "server/storage/custom_volume.h"
#include "server/storage/snapshot.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a change waits for imports and backups that are under way. */
enum { PATIENCE_US = 20 * G_USEC_PER_SEC };

static const struct {
	const char *folder, *key;
	const char *parts[3]; /* folders in it */
} kinds[STORE_COUNT] = {
	[STORE_BACKUPS] = { "backups", "storage.backups_volume", { "custom", "instances" } },
	[STORE_IMAGES] = { "images", "storage.images_volume", { 0 } },
};

/* A place is POOL/VOLUME, or "" for the folder in INCUS_DIR. */
typedef struct StoreState {
	char *place;
	char *before; /* after a change, until it is stored or taken back; NULL: there is none */
	guint holders;
	gboolean moving, unavailable;
} StoreState;

struct Stores {
	GMutex lock;
	GCond changed;
	StoreState states[STORE_COUNT];
};

static char *folder_path(const Daemon *d, Store store)
{
	return g_build_filename(d->dir, kinds[store].folder, NULL);
}

static char *moving_path(const Daemon *d, Store store)
{
	return g_strdup_printf("%s/%s.moving", d->dir, kinds[store].folder);
}

/* ---- volumes ---- */

typedef struct Target {
	Pool *pool;
	Volume *volume;
} Target;

static void target_clear(Target *target)
{
	g_clear_pointer(&target->pool, pool_unref);
	g_clear_pointer(&target->volume, volume_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Target, target_clear)

static int target_find(Daemon *d, const char *place, Target *target, Error **err)
{
	g_auto(GStrv) parts = g_strsplit(place, "/", 2);
	if (g_strv_length(parts) != 2)
		return error_set(err, ERROR_INVALID, "Invalid volume \"%s\"", place);
	if (pool_get(d, parts[0], &target->pool, err) < 0)
		return error_prefix(err, "Cannot use \"%s\"", place);
	target->volume = volume_new(target->pool, VOLUME_CUSTOM, "default", parts[1]);
	if (volume_load(target->pool, target->volume, NULL, NULL, err) < 0)
		return error_prefix(err, "Cannot use \"%s\"", place);
	return 0;
}

static int place_mount(Daemon *d, const char *place, char **ret_path, Error **err)
{
	g_auto(Target) target = { 0 };
	if (target_find(d, place, &target, err) < 0 ||
	    volume_mount(target.pool, target.volume, err) < 0)
		return -1;
	*ret_path = g_strdup(target.volume->path);
	return 0;
}

static void place_unmount(Daemon *d, const char *place)
{
	g_auto(Target) target = { 0 };
	g_autoptr(Error) error = NULL;
	if (!*place)
		return;
	if (target_find(d, place, &target, &error) < 0 ||
	    volume_unmount(target.pool, target.volume, &error) < 0)
		log_warn("Storage volume not unmounted", "volume", place, "err", error->message);
}

/* What a path in INCUS_DIR is: a place, or NULL for a link that an administrator made. */
static char *place_at(const Daemon *d, const char *path)
{
	g_autofree char *target = g_file_read_link(path, NULL);
	g_autofree char *pools = g_strdup_printf("%s/storage-pools/", d->dir);
	if (!target)
		return g_strdup("");
	if (!g_str_has_prefix(target, pools))
		return NULL;
	g_auto(GStrv) parts = g_strsplit(target + strlen(pools), "/", 4);
	if (g_strv_length(parts) != 3 || strcmp(parts[1], "custom") != 0 ||
	    !g_str_has_prefix(parts[2], "default_"))
		return NULL;
	return g_strdup_printf("%s/%s", parts[0], parts[2] + strlen("default_"));
}

/* mkfs made lost+found, and it stays. */
static gboolean is_content(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lost+found") != 0;
}

static int check_empty(const char *path, Error **err)
{
	autodir DIR *dir = opendir(path);
	if (!dir)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
	for (struct dirent *e; (e = readdir(dir));)
		if (is_content(e->d_name))
			return error_set(err, ERROR_INVALID, "The storage volume is not empty");
	return 0;
}

static int empty(const char *path, Error **err)
{
	autofd int fd = file_open_directory(path, err);
	autodir DIR *dir = fd < 0 ? NULL : opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));)
		if (is_content(e->d_name) && file_remove_all(fd, e->d_name, err) < 0)
			return -1;
	return fd < 0 ? -1 : 0;
}

/* Snapshots would keep what the server has deleted, and a user of it could plant links. */
static int check_volume(Daemon *d, const char *place, Error **err)
{
	g_auto(Target) target = { 0 };
	g_autoptr(GPtrArray) snapshots = NULL;
	if (target_find(d, place, &target, err) < 0)
		return -1;
	if (target.volume->content != CONTENT_FILESYSTEM)
		return error_set(
		    err, ERROR_INVALID, "Storage volume \"%s\" holds no file system", place);
	if (snapshot_row_list(target.pool, target.volume, &snapshots, err) < 0)
		return -1;
	if (snapshots->len)
		return error_set(err, ERROR_INVALID,
		    "Storage volumes of the server itself cannot have snapshots");
	return custom_check_unused(target.pool, "default", target.volume->name, err);
}

/* ---- holders ---- */

static gboolean all_released(Stores *stores, StoreState *state)
{
	gint64 end = g_get_monotonic_time() + PATIENCE_US;
	while (state->holders && g_cond_wait_until(&stores->changed, &stores->lock, end))
		;
	return state->holders == 0;
}

static int begin_move(Daemon *d, Store store, Error **err)
{
	StoreState *state = &d->stores->states[store];
	g_mutex_lock(&d->stores->lock);
	gboolean ours = all_released(d->stores, state);
	state->moving = ours;
	g_mutex_unlock(&d->stores->lock);
	return ours ?
	    0 :
	    error_set(err, ERROR_BUSY, "Files in \"%s\" are being written: try again later",
		kinds[store].folder);
}

static void end_move(Daemon *d, Store store)
{
	StoreState *state = &d->stores->states[store];
	g_mutex_lock(&d->stores->lock);
	state->moving = FALSE;
	g_clear_pointer(&state->before, g_free);
	g_cond_broadcast(&d->stores->changed);
	g_mutex_unlock(&d->stores->lock);
}

static void set_place(Daemon *d, Store store, char *place)
{
	StoreState *state = &d->stores->states[store];
	g_mutex_lock(&d->stores->lock);
	g_free(state->place);
	state->place = place;
	state->unavailable = FALSE;
	g_mutex_unlock(&d->stores->lock);
}

int store_hold(Daemon *d, Store store, Error **err)
{
	StoreState *state = &d->stores->states[store];
	g_mutex_lock(&d->stores->lock);
	while (state->moving)
		g_cond_wait(&d->stores->changed, &d->stores->lock);
	gboolean unavailable = state->unavailable;
	state->holders += !unavailable;
	g_mutex_unlock(&d->stores->lock);
	return unavailable ? error_set(err, ERROR_UNAVAILABLE,
				 "The volume of \"%s\" is not available", kinds[store].key) :
			     0;
}

void store_release(Daemon *d, Store store)
{
	g_mutex_lock(&d->stores->lock);
	d->stores->states[store].holders--;
	g_cond_broadcast(&d->stores->changed);
	g_mutex_unlock(&d->stores->lock);
}

int store_temporary(Daemon *d, Store store, Error **err)
{
	g_autofree char *folder = folder_path(d, store);
	if (store_hold(d, store, err) < 0)
		return -1;
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		error_errno(err, ERROR_INTERNAL, errno, "Cannot make a file in \"%s\"", folder);
	store_release(d, store);
	return fd;
}

gboolean store_on_volume(Daemon *d, const char *pool, const char *project, const char *volume)
{
	g_autofree char *place = g_strdup_printf("%s/%s", pool, volume);
	gboolean found = FALSE;
	if (strcmp(project, "default") != 0 || !d->stores)
		return FALSE;
	g_mutex_lock(&d->stores->lock);
	for (int i = 0; i < STORE_COUNT; i++)
		found = found || strcmp(d->stores->states[i].place, place) == 0 ||
		    g_strcmp0(d->stores->states[i].before, place) == 0;
	g_mutex_unlock(&d->stores->lock);
	return found;
}

int store_check_volume(
    Daemon *d, const char *pool, const char *project, const char *volume, Error **err)
{
	return store_on_volume(d, pool, project, volume) ?
	    error_set(
		err, ERROR_INVALID, "Storage volume \"%s\" is used by the server itself", volume) :
	    0;
}

/* ---- the two sides ---- */

static int empty_volume(Daemon *d, const char *place, Error **err)
{
	g_autofree char *mounted = NULL;
	if (place_mount(d, place, &mounted, err) < 0)
		return -1;
	int result = empty(mounted, err);
	place_unmount(d, place);
	return result;
}

/* The side that is not used, and what it holds. A link that an administrator made goes alone. */
static int clear_side(Daemon *d, Store store, Error **err)
{
	g_autofree char *path = moving_path(d, store);
	g_autofree char *folder = folder_path(d, store);
	g_autofree char *place = place_at(d, path);
	g_autofree char *used = place_at(d, folder);
	if (place && !*place)
		return file_remove_all(AT_FDCWD, path, err);
	if (place && g_strcmp0(place, used) != 0 && empty_volume(d, place, err) < 0)
		return -1;
	return unlink(path) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot remove the link \"%s\"", path) :
	    0;
}

static void drop_side(Daemon *d, Store store)
{
	g_autoptr(Error) error = NULL;
	if (clear_side(d, store, &error) < 0)
		log_warn("Files that have moved stay until the next start", "folder",
		    kinds[store].folder, "err", error->message);
}

/* Mounted, when it is a volume. */
static int make_side(Daemon *d, Store store, const char *place, Error **err)
{
	g_autofree char *path = moving_path(d, store);
	g_autofree char *mounted = NULL;
	if (clear_side(d, store, err) < 0) /* of a change whose end failed */
		return -1;
	if (!*place)
		return mkdir(path, 0700) < 0 ?
		    error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", path) :
		    0;
	if (check_volume(d, place, err) < 0 || place_mount(d, place, &mounted, err) < 0)
		return -1;
	if (check_empty(mounted, err) == 0) {
		if (symlink(mounted, path) == 0)
			return 0;
		error_errno(err, ERROR_INTERNAL, errno, "Cannot make the link \"%s\"", path);
	}
	place_unmount(d, place);
	return -1;
}

/* On disk before the other side goes. */
static int fill_side(Daemon *d, Store store, Error **err)
{
	g_autofree char *from = folder_path(d, store);
	g_autofree char *to = moving_path(d, store);
	autofd int source = file_open_directory(from, err);
	autofd int target = source < 0 ? -1 : file_open_directory(to, err);
	if (target < 0 || fault_point("store copy", err) < 0 ||
	    file_copy_tree(source, target, NULL, err) < 0)
		return -1;
	return syncfs(target) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", to) :
	    0;
}

static int exchange(Daemon *d, Store store, Error **err)
{
	g_autofree char *path = folder_path(d, store);
	g_autofree char *other = moving_path(d, store);
	if (fault_point("store exchange", err) < 0)
		return -1;
	return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot replace \"%s\"", path) :
	    0;
}

/* ---- changes ---- */

static int move_to(Daemon *d, Store store, const char *place, Error **err)
{
	StoreState *state = &d->stores->states[store];
	if (make_side(d, store, place, err) < 0)
		return -1;
	if (fill_side(d, store, err) < 0 || exchange(d, store, err) < 0) {
		drop_side(d, store);
		place_unmount(d, place);
		return -1;
	}
	state->before = g_strdup(state->place);
	set_place(d, store, g_strdup(place));
	return 0;
}

/* The change was not stored. Nothing was written to the new side, for nobody was let in. */
static int move_back(Daemon *d, Store store, Error **err)
{
	StoreState *state = &d->stores->states[store];
	if (exchange(d, store, err) < 0)
		return -1;
	drop_side(d, store);
	place_unmount(d, state->place);
	set_place(d, store, g_strdup(state->before));
	end_move(d, store);
	return 0;
}

static Store store_of(const char *key)
{
	return strcmp(key, kinds[STORE_BACKUPS].key) == 0 ? STORE_BACKUPS : STORE_IMAGES;
}

static int setting_changed(Daemon *d, const char *key, const char *value, Error **err)
{
	Store store = store_of(key);
	StoreState *state = &d->stores->states[store];
	if (g_strcmp0(state->before, value) == 0)
		return move_back(d, store, err);
	if (strcmp(state->place, value) == 0)
		return 0;
	if (state->unavailable)
		return error_set(err, ERROR_UNAVAILABLE,
		    "Storage volume \"%s\" is not available: what it holds cannot be moved",
		    state->place);
	if (begin_move(d, store, err) < 0)
		return -1;
	if (move_to(d, store, value, err) == 0)
		return 0;
	end_move(d, store);
	return -1;
}

static void setting_stored(Daemon *d, const char *key)
{
	Store store = store_of(key);
	StoreState *state = &d->stores->states[store];
	if (!state->before)
		return;
	if (fault_point("store clean-up", NULL) == 0)
		drop_side(d, store);
	place_unmount(d, state->before);
	end_move(d, store);
}

/* ---- start and stop ---- */

static int make_parts(Daemon *d, Store store, Error **err)
{
	g_autofree char *folder = folder_path(d, store);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", folder);
	for (int i = 0; kinds[store].parts[i]; i++) {
		g_autofree char *path = g_build_filename(folder, kinds[store].parts[i], NULL);
		if (file_mkdir_all(path, 0700, err) < 0)
			return -1;
	}
	return 0;
}

/* A change that was interrupted: the setting says which side it is. */
static int settle(Daemon *d, Store store, const char *setting, Error **err)
{
	g_autofree char *path = folder_path(d, store);
	g_autofree char *other = moving_path(d, store);
	struct stat st;
	if (lstat(other, &st) < 0)
		return 0;
	g_autofree char *used = place_at(d, path);
	g_autofree char *left = place_at(d, other);
	log_info("Settling an interrupted move", "folder", kinds[store].folder);
	if (g_strcmp0(used, setting) != 0 && g_strcmp0(left, setting) == 0 &&
	    exchange(d, store, err) < 0)
		return -1;
	return clear_side(d, store, err);
}

static int start_one(Daemon *d, Store store, Error **err)
{
	g_autofree char *setting = server_config_get(d->config, kinds[store].key);
	g_autofree char *path = folder_path(d, store);
	g_autofree char *mounted = NULL;
	if (!setting)
		setting = g_strdup("");
	if (settle(d, store, setting, err) < 0)
		return -1;
	g_autofree char *place = place_at(d, path);
	g_free(d->stores->states[store].place);
	d->stores->states[store].place = g_strdup(place ? place : "");
	if (place && *place && place_mount(d, place, &mounted, err) < 0)
		return -1;
	if (strcmp(place ? place : "", setting) != 0)
		log_warn("The folder is not on the volume that the setting names", "folder",
		    kinds[store].folder, "key", kinds[store].key);
	return make_parts(d, store, err);
}

int store_start(Daemon *d, Error **err)
{
	d->stores = g_new0(Stores, 1);
	g_mutex_init(&d->stores->lock);
	g_cond_init(&d->stores->changed);
	for (int i = 0; i < STORE_COUNT; i++) {
		StoreState *state = &d->stores->states[i];
		g_autoptr(Error) error = NULL;
		state->place = g_strdup("");
		state->unavailable = start_one(d, (Store)i, &error) < 0;
		if (state->unavailable)
			log_error("The server's files are not available", "folder", kinds[i].folder,
			    "err", error->message);
		server_config_on_change(d->config, kinds[i].key, setting_changed);
		server_config_on_stored(d->config, kinds[i].key, setting_stored);
	}
	return 0;
}

void store_stop(Daemon *d)
{
	for (int i = 0; i < STORE_COUNT; i++) {
		StoreState *state = &d->stores->states[i];
		if (!state->unavailable)
			place_unmount(d, state->place);
		g_free(state->place);
	}
	g_mutex_clear(&d->stores->lock);
	g_cond_clear(&d->stores->changed);
	g_clear_pointer(&d->stores, g_free);
}
