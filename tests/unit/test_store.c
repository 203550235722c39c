/* Pools, images and volumes over a real database: every path that makes something, and what is left
 * when it fails or is cut off. */
#include "sdk/base/own.h"
#include "server/image/alias.h"
#include "server/storage/custom_volume.h"
#include "tests/unit/store.h"

static const TarEntry good[] = {
	{ "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 },
	{ "rootfs", AE_IFDIR, NULL, 0755, 0 },
	{ "rootfs/etc", AE_IFDIR, NULL, 0755, 0 },
	{ "rootfs/etc/hostname", AE_IFREG, "box", 0644, 0 },
	{ "rootfs/bin", AE_IFLNK, "usr/bin", 0777, 0 },
	{ "templates", AE_IFDIR, NULL, 0755, 0 },
};

static Daemon *with_pool(void)
{
	Daemon *d = store_new();
	g_autoptr(Config) config = config_new();
	Error *err = NULL;
	must(pool_create(d, "p1", "dir", "A pool", config, &err), err);
	return d;
}

static char *import_good(Daemon *d)
{
	Error *err = NULL;
	g_autoptr(GByteArray) tar = tar_make(
	    good, G_N_ELEMENTS(good), archive_write_add_filter_gzip);
	char *fingerprint = store_import(d, tar, "default", &err);
	must(fingerprint ? 0 : -1, err);
	return fingerprint;
}

static void test_pool_life(void **state)
{
	Daemon *d = with_pool();
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Config) config = config_new();
	g_autoptr(Error) err = NULL;
	Pb__StoragePool **pools;
	size_t n;
	assert_int_equal(pool_create(d, "p1", "dir", "", config, &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	assert_int_equal(pool_create(d, "p2", "zfs", "", config, &err), -1);
	assert_int_equal(err->kind, ERROR_UNSUPPORTED);
	g_clear_pointer(&err, error_free);
	config_set(config, "nonsense", "x");
	assert_int_equal(pool_create(d, "p2", "dir", "", config, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	g_clear_pointer(&err, error_free);
	assert_int_equal(pool_describe(d, NULL, TRUE, arena, &n, &pools, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(pools[0]->description, "A pool");
	assert_string_equal(pools[0]->status, "Created");
	assert_int_equal(pools[0]->n_used_by, 0);
	Pb__ResourcesStoragePool resources = PB__RESOURCES_STORAGE_POOL__INIT;
	g_autoptr(Pool) pool = NULL;
	assert_int_equal(pool_get(d, "p1", &pool, NULL), 0);
	assert_int_equal(pool_resources(pool, arena, &resources, NULL), 0);
	assert_true(resources.space->total > 0);
	assert_int_equal(pool_delete(d, "p1", NULL), 0);
	assert_int_equal(store_count(d, "storage-pools"), 0);
	assert_int_equal(pool_delete(d, "p1", &err), -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
	store_free(d);
}

static void test_image_life(void **state)
{
	Daemon *d = store_new();
	g_autofree char *fingerprint = import_good(d);
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	Pb__Image *image;
	g_autoptr(GByteArray) tar = tar_make(
	    good, G_N_ELEMENTS(good), archive_write_add_filter_gzip);
	g_autofree char *expected = g_compute_checksum_for_data(
	    G_CHECKSUM_SHA256, tar->data, tar->len);
	assert_string_equal(fingerprint, expected);
	assert_null(store_import(d, tar, "default", &err));
	assert_int_equal(err->kind, ERROR_EXISTS);
	assert_string_equal(err->message, "Image with same fingerprint already exists");
	g_clear_pointer(&err, error_free);
	assert_int_equal(store_count(d, "images"), 1);

	must(image_alias_create(d, "default", "a/b/c", fingerprint, "", &err), err);
	assert_int_equal(image_alias_create(d, "default", "a/b/c", fingerprint, "", &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	must(image_resolve(d, "default", "a/b/c", arena, &image, &err), err);
	assert_string_equal(image->fingerprint, fingerprint);
	assert_string_equal(image->properties[0]->value, "Test");
	assert_int_equal(image->n_profiles, 1);
	fingerprint[12] = '\0';
	must(image_resolve(d, "default", fingerprint, arena, &image, &err), err);
	assert_int_equal(image_get(d, "default", fingerprint, TRUE, arena, &image, &err), -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
	g_clear_pointer(&err, error_free);
	must(image_alias_rename(d, "default", "a/b/c", "d", &err), err);
	must(image_resolve(d, "default", "d", arena, &image, &err), err);
	Pb__ImagePut put = PB__IMAGE_PUT__INIT;
	put.public_ = TRUE;
	must(image_update(d, "default", image->fingerprint, &put, &err), err);
	must(image_touch(d, "default", image->fingerprint, &err), err);
	must(image_get(d, "default", fingerprint, TRUE, arena, &image, &err), err);
	assert_int_equal(image->n_properties, 0);
	assert_non_null(image->last_used_at);
	must(image_delete(d, "default", image->fingerprint, &err), err);
	assert_int_equal(store_count(d, "images"), 0);
	assert_int_equal(image_resolve(d, "default", "d", arena, &image, &err), -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
	store_free(d);
}

static void check_bad_image(Daemon *d, const TarEntry *entries, size_t n)
{
	g_autoptr(GByteArray) tar = tar_make(entries, n, NULL);
	g_autoptr(Error) err = NULL;
	g_autofree char *fingerprint = store_import(d, tar, "default", &err);
	if (fingerprint)
		print_error("imported %s\n", entries[0].name);
	assert_null(fingerprint);
	if (err->kind != ERROR_INVALID)
		print_error("%s\n", err->message);
	assert_int_equal(err->kind, ERROR_INVALID);
	assert_int_equal(store_count(d, "images"), 0);
}

static void test_bad_images(void **state)
{
	Daemon *d = store_new();
	const TarEntry no_metadata[] = { { "rootfs/f", AE_IFREG, "x", 0644, 0 } };
	const TarEntry link_metadata[] = { { "metadata.yaml", AE_IFLNK, "/etc/shadow", 0777, 0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 } };
	const TarEntry link_rootfs[] = { { "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 },
		{ "rootfs", AE_IFLNK, "/", 0777, 0 } };
	const TarEntry no_rootfs[] = { { "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 } };
	const TarEntry bad_yaml[] = { { "metadata.yaml", AE_IFREG, "a: [", 0644, 0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 } };
	const TarEntry bad_arch[] = { { "metadata.yaml", AE_IFREG, "architecture: vax\n", 0644, 0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 } };
	const TarEntry bad_template[] = {
		{ "metadata.yaml", AE_IFREG,
		    METADATA_YAML "templates:\n  /etc/x:\n    template: ../../x\n", 0644, 0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 }
	};
	const TarEntry bomb[] = { { "metadata.yaml", AE_IFREG, "a: &a [x]\nb: [*a, *a]\n", 0644,
				      0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 } };
	check_bad_image(d, no_metadata, G_N_ELEMENTS(no_metadata));
	check_bad_image(d, link_metadata, G_N_ELEMENTS(link_metadata));
	check_bad_image(d, link_rootfs, G_N_ELEMENTS(link_rootfs));
	check_bad_image(d, no_rootfs, G_N_ELEMENTS(no_rootfs));
	check_bad_image(d, bad_yaml, G_N_ELEMENTS(bad_yaml));
	check_bad_image(d, bad_arch, G_N_ELEMENTS(bad_arch));
	check_bad_image(d, bad_template, G_N_ELEMENTS(bad_template));
	check_bad_image(d, bomb, G_N_ELEMENTS(bomb));
	g_autoptr(GByteArray) junk = g_byte_array_new();
	g_byte_array_append(junk, (const guint8 *)"not an archive at all", 21);
	g_autoptr(Error) err = NULL;
	assert_null(store_import(d, junk, "default", &err));
	assert_int_equal(err->kind, ERROR_INVALID);
	assert_int_equal(store_count(d, "images"), 0);
	store_free(d);
}

static void test_instance_volumes(void **state)
{
	Daemon *d = with_pool();
	g_autofree char *fingerprint = import_good(d);
	g_autoptr(Pool) pool = NULL;
	Error *err = NULL;
	g_autofree char *path = NULL;
	must(pool_get(d, "p1", &pool, &err), err);
	must(pool_instance_create_from_image(
		 pool, "default", "c1", "container", fingerprint, NULL, NULL, &err),
	    err);
	must(pool_instance_create_from_image(
		 pool, "default", "c2", "container", fingerprint, NULL, NULL, &err),
	    err);
	must(pool_instance_create(pool, "default", "c3", "container", NULL, &err), err);
	assert_int_equal(pool_instance_create(pool, "default", "c3", "container", NULL, &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	g_autofree char *link = g_build_filename(
			    d->dir, "containers", "c1", "rootfs", "etc", "hostname", NULL),
			*text = NULL;
	assert_true(g_file_get_contents(link, &text, NULL, NULL));
	assert_string_equal(text, "box");
	must(pool_instance_mount(pool, "default", "c1", "container", &path, &err), err);
	assert_int_equal(pool_instance_delete(pool, "default", "c1", "container", &err), -1);
	assert_int_equal(err->kind, ERROR_BUSY);
	g_clear_pointer(&err, error_free);
	must(pool_instance_unmount(pool, "default", "c1", "container", &err), err);
	must(pool_instance_rename(pool, "default", "c1", "container", "c9", &err), err);
	assert_int_equal(pool_delete(d, "p1", &err), -1);
	assert_string_equal(err->message, "The storage pool is currently in use");
	g_clear_pointer(&err, error_free);
	int64_t used, total;
	must(pool_instance_usage(pool, "default", "c9", "container", FALSE, &used, &total, &err), err);
	assert_true(used > 0);
	must(pool_instance_delete(pool, "default", "c9", "container", &err), err);
	must(pool_instance_delete(pool, "default", "c9", "container", &err), err);
	must(pool_instance_delete(pool, "default", "c2", "container", &err), err);
	must(pool_instance_delete(pool, "default", "c3", "container", &err), err);
	assert_int_equal(store_count(d, "containers"), 0);
	assert_int_equal(store_count(d, "storage-pools/p1/containers"), 0);
	assert_int_equal(store_count(d, "storage-pools/p1/images"), 1);
	must(image_delete(d, "default", fingerprint, &err), err);
	assert_int_equal(store_count(d, "storage-pools/p1/images"), 0);
	must(pool_delete(d, "p1", &err), err);
	store_free(d);
}

/* An image whose root is bad only at its end: nothing of it may stay in the pool. */
static void test_failed_create(void **state)
{
	const TarEntry late[] = { { "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 },
		{ "rootfs/f", AE_IFREG, "x", 0644, 0 },
		{ "rootfs/../../../out", AE_IFREG, "x", 0644, 0 } };
	Daemon *d = with_pool();
	g_autoptr(Pool) pool = NULL;
	g_autoptr(GByteArray) tar = tar_make(late, G_N_ELEMENTS(late), NULL);
	Error *err = NULL;
	g_autofree char *fingerprint = store_import(d, tar, "default", &err);
	must(fingerprint ? 0 : -1, err);
	must(pool_get(d, "p1", &pool, &err), err);
	assert_int_equal(pool_instance_create_from_image(
			     pool, "default", "c1", "container", fingerprint, NULL, NULL, &err),
	    -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	error_free(err);
	static const char *const folders[] = { "containers", "storage-pools/p1/containers",
		"storage-pools/p1/images", "storage-pools/p1/unfinished/containers",
		"storage-pools/p1/unfinished/images", "storage-pools/p1/deleted/images" };
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++)
		assert_int_equal(store_count(d, folders[i]), 0);
	store_free(d);
}

static char *at(Daemon *d, const char *path)
{
	return g_build_filename(d->dir, path, NULL);
}

static void make_tree(Daemon *d, const char *path)
{
	g_autofree char *full = at(d, path), *file = g_build_filename(full, "file", NULL);
	assert_int_equal(g_mkdir_with_parents(full, 0700), 0);
	assert_true(g_file_set_contents(file, "x", 1, NULL));
}

static void move_tree(Daemon *d, const char *from, const char *to)
{
	g_autofree char *a = at(d, from), *b = at(d, to);
	assert_int_equal(rename(a, b), 0);
}

/* What every interruption leaves is settled at the next start. */
static void test_restart(void **state)
{
	Daemon *d = with_pool();
	g_autofree char *fingerprint = import_good(d), *dir = g_strdup(d->dir),
			*orphan = g_strnfill(64, 'a');
	Error *err = NULL;
	{
		g_autoptr(Pool) pool = NULL;
		must(pool_get(d, "p1", &pool, &err), err);
		for (int i = 0; i < 3; i++) {
			g_autofree char *name = g_strdup_printf("c%d", i);
			must(pool_instance_create_from_image(
				 pool, "default", name, "container", fingerprint, NULL, NULL, &err),
			    err);
		}
	}
	move_tree(d, "storage-pools/p1/containers/c0",
	    "storage-pools/p1/unfinished/containers/c0"); /* row written, not moved */
	move_tree(d, "storage-pools/p1/containers/c1",
	    "storage-pools/p1/deleted/containers/c1"); /* moved, row still there */
	make_tree(d, "storage-pools/p1/unfinished/containers/half");
	make_tree(d, "storage-pools/p1/deleted/images/half");
	make_tree(d, "storage-pools/p1/containers/foreign");
	make_tree(d, "images/import-abcdef");
	g_autofree char *link = at(d, "containers/c2");
	unlink(link);
	g_autofree char *orphan_path = g_build_filename(d->dir, "images", orphan, NULL),
			*other = at(d, "images/notes.txt");
	assert_true(g_file_set_contents(orphan_path, "x", 1, NULL) &&
	    g_file_set_contents(other, "x", 1, NULL));
	store_close(d);
	d = store_open(dir);
	assert_int_equal(store_count(d, "storage-pools/p1/unfinished/containers"), 0);
	assert_int_equal(store_count(d, "storage-pools/p1/deleted/images"), 0);
	assert_int_equal(
	    store_count(d, "storage-pools/p1/containers"), 4); /* three and the foreign one */
	assert_int_equal(store_count(d, "containers"), 3);
	assert_int_equal(store_count(d, "images"), 2);
	g_autofree char *file = at(d, "containers/c2/rootfs/etc/hostname");
	assert_int_equal(access(file, F_OK), 0);
	store_free(d);
}

static void test_custom_volumes(void **state)
{
	Daemon *d = with_pool();
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Config) config = config_new();
	g_autoptr(Arena) arena = arena_new();
	Error *err = NULL;
	must(pool_get(d, "p1", &pool, &err), err);
	config_set(config, "user.a", "1");
	must(custom_create(pool, "default", "v1", "first", "", config, &err), err);
	assert_int_equal(custom_create(pool, "default", "v1", "", "", config, &err), -1);
	assert_int_equal(err->kind, ERROR_EXISTS);
	g_clear_pointer(&err, error_free);
	assert_int_equal(custom_create(pool, "default", "v2", "", "tape", config, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	g_clear_pointer(&err, error_free);
	assert_int_equal(custom_create(pool, "default", "../v2", "", "", config, &err), -1);
	g_clear_pointer(&err, error_free);
	config_set(config, "bad.key", "1");
	assert_int_equal(custom_create(pool, "default", "v2", "", "", config, &err), -1);
	g_clear_pointer(&err, error_free);
	VolumeQuery query = { .project = "default", .type = "custom" };
	Pb__StorageVolume **volumes;
	size_t n;
	must(volume_describe(pool, &query, arena, &n, &volumes, &err), err);
	assert_int_equal(n, 1);
	assert_string_equal(volumes[0]->description, "first");
	assert_string_equal(volumes[0]->config[0]->key, "user.a");
	assert_true(volumes[0]->created_at->seconds > 1700000000);
	g_autofree char *path = NULL;
	gboolean mapped;
	must(pool_custom_mount(pool, "default", "v1", NULL, &path, &mapped, &err), err);
	assert_false(mapped); /* a privileged container's */
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(custom_delete(pool, "default", "v1", &err), -1);
	assert_string_equal(err->message, "The storage volume is still in use");
	g_clear_pointer(&err, error_free);
	must(pool_custom_unmount(pool, "default", "v1", &err), err);
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, "default", "v1");
	must(custom_rename(pool, volume, "default", "v3", NULL, NULL, &err), err);
	assert_int_equal(access(path, F_OK), -1);
	must(custom_delete(pool, "default", "v3", &err), err);
	assert_int_equal(custom_delete(pool, "default", "v3", &err), -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
	error_free(err);
	assert_int_equal(store_count(d, "storage-pools/p1/custom"), 0);
	store_free(d);
}

typedef struct Race {
	Daemon *daemon;
	const char *fingerprint;
	int number;
} Race;

static void *race_create(void *data)
{
	Race *race = data;
	g_autoptr(Pool) pool = NULL;
	Error *err = NULL;
	g_autofree char *name = g_strdup_printf("r%d", race->number);
	must(pool_get(race->daemon, "p1", &pool, &err), err);
	must(pool_instance_create_from_image(
		 pool, "default", name, "container", race->fingerprint, NULL, NULL, &err),
	    err);
	return NULL;
}

/* Eight first launches at once unpack the image once. */
static void test_together(void **state)
{
	enum { THREADS = 8 };
	Daemon *d = with_pool();
	g_autofree char *fingerprint = import_good(d);
	Race races[THREADS];
	GThread *threads[THREADS];
	for (int i = 0; i < THREADS; i++) {
		races[i] = (Race){ d, fingerprint, i };
		threads[i] = g_thread_new("race", race_create, &races[i]);
	}
	for (int i = 0; i < THREADS; i++)
		g_thread_join(threads[i]);
	assert_int_equal(store_count(d, "storage-pools/p1/images"), 1);
	assert_int_equal(store_count(d, "containers"), THREADS);
	store_free(d);
}

/* Disks: a sparse file that grows and never shrinks, and an ISO file that is copied in. */
static void test_block_volumes(void **state)
{
	Daemon *d = with_pool();
	Error *err = NULL;
	g_autoptr(Pool) pool = NULL;
	g_autoptr(Config) config = config_new();
	must(pool_get(d, "p1", &pool, &err), err);
	config_set(config, "size", "10MiB");
	must(custom_create(pool, "default", "disk", "", "block", config, &err), err);
	g_autofree char *path = g_build_filename(
	    pool_path(pool), "custom", "default_disk", "root.img", NULL);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 10 << 20);
	assert_int_equal(st.st_blocks, 0);
	config_set(config, "size", "20MiB");
	g_autoptr(Volume) volume = volume_new(pool, VOLUME_CUSTOM, "default", "disk");
	must(volume_update(pool, volume, "", config, &err), err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 20 << 20);
	config_set(config, "size", "10MiB");
	assert_int_equal(volume_update(pool, volume, "", config, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	g_clear_pointer(&err, error_free);
	assert_int_equal(pool_custom_check(pool, "default", "disk", &err), -1);
	assert_string_equal(err->message, "Custom block volumes cannot be used on containers");
	g_clear_pointer(&err, error_free);
	must(custom_delete(pool, "default", "disk", &err), err);
	assert_int_equal(stat(path, &st), -1);

	g_autofree char *iso = g_build_filename(d->dir, "cd.iso", NULL);
	assert_true(g_file_set_contents(iso, "cd content", -1, NULL));
	int fd = open(iso, O_RDONLY | O_CLOEXEC);
	must(custom_create_iso(pool, "default", "cd", "", fd, &err), err);
	close(fd);
	g_autofree char *copy = g_build_filename(
	    pool_path(pool), "custom", "default_cd", "root.iso", NULL);
	g_autofree char *content = NULL;
	assert_true(g_file_get_contents(copy, &content, NULL, NULL));
	assert_string_equal(content, "cd content");
	must(custom_delete(pool, "default", "cd", &err), err);
	store_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool_life),
		cmocka_unit_test(test_image_life),
		cmocka_unit_test(test_bad_images),
		cmocka_unit_test(test_instance_volumes),
		cmocka_unit_test(test_failed_create),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_custom_volumes),
		cmocka_unit_test(test_block_volumes),
		cmocka_unit_test(test_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
