/* sdk/simplestreams.c against a server of files. */
#include <incus/simplestreams.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define HASH(c) c c c c c c c c

static const char index_json[] =
    "{\"format\":\"index:1.0\",\"index\":{"
    "\"other\":{\"datatype\":\"firmware\",\"path\":\"streams/v1/none.json\"},"
    "\"images\":{\"datatype\":\"image-downloads\",\"path\":\"streams/v1/images.json\"}}}";

/* Two versions of one product, a virtual machine, a unified image, and items that must be refused. */
static const char images_json[] =
    "{\"products\":{"
    "\"alpine:3.18:amd64:default\":{\"aliases\":\"alpine/3.18/default, alpine/3.18\",\"arch\":\"amd64\","
    "\"os\":\"Alpine\",\"release\":\"3.18\",\"release_title\":\"3.18\",\"variant\":\"default\",\"versions\":{"
    "\"20231009_13:00\":{\"items\":{"
    "\"m\":{\"ftype\":\"incus.tar.xz\",\"path\":\"old/incus.tar.xz\",\"size\":3,\"sha256\":\"" HASH("00000001") "\","
    "\"combined_rootxz_sha256\":\"" HASH("0000aaaa") "\"},"
    "\"r\":{\"ftype\":\"root.tar.xz\",\"path\":\"old/root.tar.xz\",\"size\":7,\"sha256\":\"" HASH("00000002") "\"}}},"
    "\"20231010_13:00\":{\"items\":{"
    "\"m\":{\"ftype\":\"incus.tar.xz\",\"path\":\"new/incus.tar.xz\",\"size\":5,"
    "\"sha256\":\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\","
    "\"combined_squashfs_sha256\":\"" HASH("1111bbbb") "\",\"combined_disk-kvm-img_sha256\":\"" HASH("1111cccc") "\"},"
    "\"s\":{\"ftype\":\"squashfs\",\"path\":\"new/rootfs.squashfs\",\"size\":9,\"sha256\":\"" HASH("00000003") "\"},"
    "\"d\":{\"ftype\":\"disk-kvm.img\",\"path\":\"new/disk.qcow2\",\"size\":11,\"sha256\":\"" HASH("00000004") "\"}}}}},"
    "\"evil\":{\"aliases\":\"evil\",\"arch\":\"amd64\",\"versions\":{\"1\":{\"items\":{"
    "\"u\":{\"ftype\":\"incus_combined.tar.gz\",\"path\":\"../../etc/passwd\",\"size\":1,\"sha256\":\"" HASH("00000005")
    "\"}}}}},"
    "\"one:1:arm64\":{\"aliases\":\"one\",\"arch\":\"arm64\",\"os\":\"One\",\"release\":\"1\",\"versions\":{\"20230101\":{"
    "\"items\":{\"u\":{\"ftype\":\"incus_combined.tar.gz\",\"path\":\"one.tar.gz\",\"size\":1,\"sha256\":\""
    HASH("2222dddd") "\"}}}}}}}";

static char *folder;

static void put(const char *path, const char *text)
{
	g_autofree char *full = g_build_filename(folder, path, NULL);
	g_autofree char *above = g_path_get_dirname(full);
	g_mkdir_with_parents(above, 0700);
	assert_true(g_file_set_contents(full, text, -1, NULL));
}

static incus_streams *open_server(void)
{
	g_autofree char *url = g_strconcat("file://", folder, "/", NULL);
	incus_streams *streams = NULL;
	assert_int_equal(incus_streams_open(url, &streams, NULL), 0);
	return streams;
}

static int setup(void **state)
{
	folder = g_dir_make_tmp("streams-XXXXXX", NULL);
	put("streams/v1/index.json", index_json);
	put("streams/v1/images.json", images_json);
	put("new/incus.tar.xz", "hello");
	put("new/rootfs.squashfs", "squash bad");
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "streams/v1/index.json", "streams/v1/images.json", "new/incus.tar.xz",
		"new/rootfs.squashfs", "streams/v1", "streams", "new", "" };
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *full = g_build_filename(folder, names[i], NULL);
		g_remove(full);
	}
	g_free(folder);
	return 0;
}

static const char *property(const Pb__Image *image, const char *key)
{
	for (size_t i = 0; i < image->n_properties; i++)
		if (strcmp(image->properties[i]->key, key) == 0)
			return image->properties[i]->value;
	return "";
}

static void lists_images(void **state)
{
	incus_streams *streams = open_server();
	Pb__Image *const *images;
	size_t n;
	assert_int_equal(incus_streams_images(streams, &images, &n, NULL), 0);
	assert_int_equal(n, 4);
	assert_string_equal(images[0]->fingerprint, HASH("1111bbbb"));
	assert_string_equal(images[0]->architecture, "x86_64");
	assert_string_equal(images[0]->type, "container");
	assert_int_equal(images[0]->size, 14);
	assert_int_equal(images[0]->created_at->seconds, 1696942800);
	assert_string_equal(property(images[0], "description"), "Alpine 3.18 amd64 (20231010_13:00)");
	assert_int_equal(images[0]->n_aliases, 2);
	assert_string_equal(images[1]->type, "virtual-machine");
	assert_string_equal(images[2]->fingerprint, HASH("0000aaaa"));
	assert_int_equal(images[2]->n_aliases, 0);
	assert_string_equal(images[3]->architecture, "aarch64");
	incus_streams_free(streams);
}

static void resolves_aliases(void **state)
{
	incus_streams *streams = open_server();
	const Pb__Image *image;
	incus_error *error = NULL;
	assert_int_equal(incus_streams_alias(streams, "alpine/3.18", "x86_64", NULL, &image, NULL), 0);
	assert_string_equal(image->fingerprint, HASH("1111bbbb"));
	assert_int_equal(incus_streams_alias(streams, "alpine/3.18", "x86_64", "virtual-machine", &image, NULL), 0);
	assert_string_equal(image->fingerprint, HASH("1111cccc"));
	assert_int_equal(incus_streams_alias(streams, "alpine/3.18", "aarch64", NULL, &image, &error), -1);
	assert_true(incus_error_is(error, "NOT_FOUND"));
	incus_error_free(error);
	assert_int_equal(incus_streams_alias(streams, "one/arm64", "x86_64", NULL, &image, NULL), 0);
	assert_int_equal(incus_streams_image(streams, "2222", &image, NULL), 0);
	error = NULL;
	assert_int_equal(incus_streams_image(streams, "1111", &image, &error), -1);
	assert_true(incus_error_is(error, "INVALID"));
	incus_error_free(error);
	incus_streams_free(streams);
}

static int count(uint64_t done, uint64_t total, void *data)
{
	assert_true(done <= total);
	*(uint64_t *)data = done;
	return 0;
}

static void checks_downloads(void **state)
{
	incus_streams *streams = open_server();
	incus_streams_file metadata, rootfs;
	incus_error *error = NULL;
	uint64_t seen = 0;
	FILE *file = tmpfile();
	assert_int_equal(incus_streams_files(streams, HASH("1111bbbb"), &metadata, &rootfs, NULL), 0);
	assert_int_equal(incus_streams_download(streams, &metadata, fileno(file), count, &seen, NULL), 0);
	assert_int_equal(seen, 5);
	/* Ten bytes are there where nine are promised. */
	assert_int_equal(incus_streams_download(streams, &rootfs, fileno(file), NULL, NULL, &error), -1);
	assert_true(incus_error_is(error, "INVALID"));
	incus_error_free(error);
	metadata.sha256 = HASH("00000009");
	error = NULL;
	assert_int_equal(incus_streams_download(streams, &metadata, fileno(file), NULL, NULL, &error), -1);
	assert_true(incus_error_is(error, "INVALID"));
	incus_error_free(error);
	metadata.path = "new/none";
	error = NULL;
	assert_int_equal(incus_streams_download(streams, &metadata, fileno(file), NULL, NULL, &error), -1);
	assert_true(incus_error_is(error, "NOT_FOUND"));
	incus_error_free(error);
	fclose(file);
	incus_streams_free(streams);
}

static void refuses_other_places(void **state)
{
	incus_streams *streams = NULL;
	incus_error *error = NULL;
	assert_int_equal(incus_streams_open("ftp://example.org", &streams, &error), -1);
	incus_error_free(error);
	Pb__Image *const *images;
	size_t n;
	error = NULL;
	assert_int_equal(incus_streams_open("file:///nonexistent", &streams, NULL), 0);
	assert_int_equal(incus_streams_images(streams, &images, &n, &error), -1);
	assert_true(incus_error_is(error, "NOT_FOUND"));
	incus_error_free(error);
	incus_streams_free(streams);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_images),
		cmocka_unit_test(resolves_aliases),
		cmocka_unit_test(checks_downloads),
		cmocka_unit_test(refuses_other_places),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
