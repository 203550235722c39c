/* The btrfs driver on a loop file: what the generic layer and the command line do not reach. */
#include "sdk/base/own.h"
#include "server/storage/custom_volume.h"
#include "server/storage/driver.h"
#include "server/storage/snapshot.h"
#include "server/storage/subvolume.h"
#include "tests/unit/store.h"

/* A store with pools "b1" and "b2" of 256 MiB; NULL where the machine has no btrfs. */
static Daemon *with_btrfs(void)
{
	const StorageDriver *driver;
	Error *err = NULL;
	if (geteuid() != 0 || driver_find("btrfs", &driver, &err) < 0) {
		print_message("%s\n", err ? err->message : "not root");
		g_clear_pointer(&err, error_free);
		return NULL;
	}
	Daemon *d = store_new();
	g_autofree char *disks = g_build_filename(d->dir, "disks", NULL);
	assert_int_equal(mkdir(disks, 0700), 0);
	g_autoptr(Config) config = config_new();
	config_set(config, "size", "256MiB");
	must(pool_create(d, "b1", "btrfs", "", config, &err), err);
	must(pool_create(d, "b2", "btrfs", "", config, &err), err);
	return d;
}

static void without(Daemon *d)
{
	Error *err = NULL;
	must(pool_delete(d, "b1", &err), err);
	must(pool_delete(d, "b2", &err), err);
	assert_int_equal(store_count(d, "disks"), 0);
	assert_int_equal(store_count(d, "storage-pools"), 0);
	store_free(d);
}

static void put(const char *folder, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);
	assert_true(g_file_set_contents(path, text, -1, NULL));
}

static gboolean has(const char *folder, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);
	g_autofree char *content = NULL;
	return g_file_get_contents(path, &content, NULL, NULL) && strcmp(content, text) == 0;
}

/* Subvolumes two deep, one of them read-only and in a directory, as a container's own tools make
 * them. */
static void nest(const char *volume)
{
	Error *err = NULL;
	g_autofree char *folder = g_build_filename(volume, "dir", NULL);
	g_autofree char *outer = g_build_filename(folder, "outer", NULL);
	g_autofree char *inner = g_build_filename(outer, "inner", NULL);
	assert_int_equal(mkdir(folder, 0755), 0);
	must(subvolume_create(outer, &err), err);
	must(subvolume_create(inner, &err), err);
	put(outer, "a", "outer");
	put(inner, "b", "inner");
	must(subvolume_set_read_only(inner, TRUE, &err), err);
	must(subvolume_set_read_only(outer, TRUE, &err), err);
}

/* Snapshots, restores and removals take subvolumes inside along. */
static const Moment never;

static void test_nested(void **state)
{
	Daemon *d = with_btrfs();
	Error *err = NULL;
	if (!d)
		skip();
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Config) config = config_new();
	must(pool_get(d, "b1", &pool, &err), err);
	must(custom_create(pool, "default", "v", "", "", config, &err), err);
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, "default", "v");
	g_autoptr(Volume) snapshot = volume_snapshot(pool, volume, "s0");
	nest(volume->path);
	put(volume->path, "c", "one");
	must(snapshot_create(pool, volume, "s0", "", &never, &err), err);
	assert_true(has(snapshot->path, "dir/outer/inner/b", "inner"));
	assert_true(has(snapshot->path, "c", "one"));
	g_autofree char *inside = g_build_filename(snapshot->path, "dir/outer/inner", NULL);
	assert_true(subvolume_is(inside));
	assert_int_equal(access(snapshot->path, W_OK), -1);

	g_autofree char *outer = g_build_filename(volume->path, "dir/outer", NULL);
	must(subvolume_delete(outer, &err), err);
	put(volume->path, "c", "two");
	must(snapshot_restore(pool, volume, "s0", &err), err);
	assert_true(has(volume->path, "dir/outer/inner/b", "inner"));
	assert_true(has(volume->path, "c", "one"));
	put(volume->path, "c", "writable");

	must(snapshot_rename(pool, volume, "s0", "s1", NULL, NULL, &err), err);
	must(custom_rename(pool, volume, "default", "w", NULL, NULL, &err), err);
	g_autoptr(Volume) renamed = volume_new(pool, VOLUME_CUSTOM, "default", "w");
	must(snapshot_delete(pool, renamed, "s1", &err), err);
	must(snapshot_create(pool, renamed, "s2", "", &never, &err), err);
	must(custom_delete(pool, "default", "w", &err), err);
	g_autofree char *left = g_build_filename("storage-pools", "b1", "deleted", "custom", NULL);
	assert_int_equal(store_count(d, left), 0);
	without(d);
}

/* Counters are written with a transaction. */
static void sync_pool(Pool *pool)
{
	autofd int fd = open(pool_path(pool), O_RDONLY | O_CLOEXEC);
	assert_int_equal(syncfs(fd), 0);
}

/* The limit holds, can be changed and taken away, and outlives a restore. */
static void test_quota(void **state)
{
	Daemon *d = with_btrfs();
	Error *err = NULL;
	if (!d)
		skip();
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Config) config = config_new();
	must(pool_get(d, "b1", &pool, &err), err);
	config_set(config, "size", "10MiB");
	must(custom_create(pool, "default", "v", "", "", config, &err), err);
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, "default", "v");
	g_autofree char *text = g_strnfill(20 << 20, 'x');
	g_autofree char *path = g_build_filename(volume->path, "big", NULL);
	assert_false(g_file_set_contents(path, text, -1, NULL));
	must(snapshot_create(pool, volume, "s0", "", &never, &err), err);
	must(snapshot_restore(pool, volume, "s0", &err), err);
	assert_false(g_file_set_contents(path, text, -1, NULL));
	config_set(config, "size", "40MiB");
	must(volume_update(pool, volume, "", config, &err), err);
	assert_true(g_file_set_contents(path, text, -1, NULL));
	int64_t used, total;
	sync_pool(pool);
	must(volume_usage(pool, volume, &used, &total, &err), err);
	assert_int_equal(total, 40 << 20);
	assert_in_range(used, 20 << 20, 21 << 20);
	config_set(config, "size", NULL);
	must(volume_update(pool, volume, "", config, &err), err);
	must(volume_usage(pool, volume, &used, &total, &err), err);
	assert_int_equal(total, -1);
	must(custom_delete(pool, "default", "v", &err), err);
	without(d);
}

typedef struct Sender {
	DriverCall *call;
	const char *parent;
	int fd, result;
} Sender;

static void *send_stream(void *data)
{
	Sender *sender = data;
	sender->result = sender->call->pool.driver->volume_send(
	    &sender->call->pool, &sender->call->volume, sender->parent, sender->fd, NULL);
	close(sender->fd);
	return NULL;
}

static int transfer(Pool *from, const Volume *volume, const char *parent, Pool *to,
    const Volume *target, Error **err)
{
	int ends[2];
	g_autoptr(DriverCall) call = driver_call_new(to, target, PLACE_OWN, NULL);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	Sender sender = { .call = driver_call_new(from, volume, PLACE_OWN, NULL),
		.parent = parent,
		.fd = ends[1] };
	GThread *thread = g_thread_new("send", send_stream, &sender);
	int result = call->pool.driver->volume_receive(&call->pool, &call->volume, ends[0], err);
	close(ends[0]);
	g_thread_join(thread);
	driver_call_free(sender.call);
	return result < 0 ? result : sender.result;
}

/* A snapshot whole, the volume as the difference to it; rubbish leaves nothing. */
static void test_streams(void **state)
{
	Daemon *d = with_btrfs();
	Error *err = NULL;
	if (!d)
		skip();
	g_autoptr(Pool) from = NULL, to = NULL;
	g_autoptr(Config) config = config_new();
	must(pool_get(d, "b1", &from, &err), err);
	must(pool_get(d, "b2", &to, &err), err);
	must(custom_create(from, "default", "v", "", "", config, &err), err);
	must(custom_create(to, "default", "other", "", "", config, &err), err);
	g_autoptr(Volume) volume = volume_new(from, VOLUME_CUSTOM, "default", "v");
	g_autoptr(Volume) snapshot = volume_snapshot(from, volume, "s0");
	g_autoptr(Volume) target = volume_new(to, VOLUME_CUSTOM, "default", "v");
	g_autoptr(Volume) target_snapshot = volume_snapshot(to, target, "s0");
	put(volume->path, "a", "one");
	must(snapshot_create(from, volume, "s0", "", &never, &err), err);
	put(volume->path, "a", "two");
	g_autofree char *snapshots = driver_path(
	    pool_path(to), VOLUME_CUSTOM, PLACE_OWN, target->disk_name, "");
	assert_int_equal(mkdir(snapshots, 0711), 0);
	must(transfer(from, snapshot, NULL, to, target_snapshot, &err), err);
	must(transfer(from, volume, "s0", to, target, &err), err);
	assert_true(has(target_snapshot->path, "a", "one"));
	assert_true(has(target->path, "a", "two"));
	put(target->path, "a", "writable");

	g_autoptr(Volume) bad = volume_new(to, VOLUME_CUSTOM, "default", "bad");
	g_autoptr(DriverCall) call = driver_call_new(to, bad, PLACE_OWN, NULL);
	autofd int rubbish = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(
	    call->pool.driver->volume_receive(&call->pool, &call->volume, rubbish, &err), -1);
	g_clear_pointer(&err, error_free);
	assert_int_equal(access(bad->path, F_OK), -1);
	assert_int_equal(store_count(d, "storage-pools/b2/unfinished/custom"), 0);

	must(custom_delete(from, "default", "v", &err), err);
	must(custom_delete(to, "default", "other", &err), err);
	must(volume_destroy(to, target, PLACE_OWN, &err), err);
	without(d);
}

static int pending_tx(Tx *tx, void *name, Error **err)
{
	return tx_exec(
	    tx, err, "UPDATE storage_pools SET state = 0 WHERE name = ?", "s", (const char *)name);
}

/* A pool whose creation was cut off is gone after the next start, with its file and mount. */
static void test_interrupted(void **state)
{
	Daemon *d = with_btrfs();
	Error *err = NULL;
	if (!d)
		skip();
	must(db_tx(d->db, pending_tx, (void *)"b2", &err), err);
	g_autofree char *dir = g_strdup(d->dir);
	store_close(d);
	d = store_open(dir);
	g_autoptr(Pool) pool = NULL;
	assert_int_equal(pool_get(d, "b2", &pool, NULL), -1);
	assert_int_equal(store_count(d, "disks"), 1);
	assert_int_equal(store_count(d, "storage-pools"), 1);
	g_autoptr(Config) config = config_new();
	config_set(config, "size", "256MiB");
	must(pool_create(d, "b2", "btrfs", "", config, &err), err);
	without(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_interrupted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
