/* Archives that strangers made: nothing leaves the directory, whatever they hold. */
#include "server/storage/unpack.h"
#include "sdk/base/own.h"
#include "tests/unit/store.h"
#include <sys/sysmacros.h>
#include <sys/xattr.h>

typedef struct Place {
	char *base, *inside;
	int archive, dir;
} Place;

static Place place_new(void)
{
	Place p;
	p.base = g_strdup("/var/tmp/incus-unpack-XXXXXX");
	assert_non_null(mkdtemp(p.base));
	p.inside = g_build_filename(p.base, "inside", NULL);
	assert_int_equal(mkdir(p.inside, 0755), 0);
	p.dir = open(p.inside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p.archive = open(p.base, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	assert_true(p.archive >= 0 && p.dir >= 0);
	return p;
}

/* Nothing but the directory itself may be there. */
static void place_free(Place *p)
{
	GDir *dir = g_dir_open(p->base, 0, NULL);
	unsigned n = 0;
	while (g_dir_read_name(dir))
		n++;
	g_dir_close(dir);
	assert_int_equal(n, 1);
	close(p->dir);
	close(p->archive);
	assert_int_equal(file_remove_all(AT_FDCWD, p->base, NULL), 0);
	g_free(p->inside);
	g_free(p->base);
}

static int unpack(Place *p, const TarEntry *entries, size_t n, UnpackShape shape, Error **err)
{
	g_autoptr(GByteArray) tar = tar_make(entries, n, NULL);
	assert_int_equal(pwrite(p->archive, tar->data, tar->len, 0), tar->len);
	assert_int_equal(ftruncate(p->archive, tar->len), 0);
	UnpackOptions options = { .shape = shape };
	return unpack_archive(p->archive, p->dir, &options, err);
}

#define REFUSED(shape, ...)                                                                        \
	do {                                                                                       \
		const TarEntry e[] = { __VA_ARGS__ };                                              \
		Place p = place_new();                                                             \
		g_autoptr(Error) err = NULL;                                                       \
		int r = unpack(&p, e, G_N_ELEMENTS(e), shape, &err);                               \
		if (r == 0)                                                                        \
			print_error("line %d was unpacked\n", __LINE__);                           \
		assert_int_equal(r, -1);                                                           \
		assert_int_equal(err->kind, ERROR_INVALID);                                        \
		place_free(&p);                                                                    \
	} while (0)

static void test_names(void **state)
{
	REFUSED(UNPACK_TREE, { "../out", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_TREE, { "a/../../out", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_TREE, { "a/..", AE_IFDIR, NULL, 0755, 0 });
	REFUSED(UNPACK_TREE, { "/tmp/out", AE_IFREG, "x", 0644, 0 });
}

static void test_links(void **state)
{
	REFUSED(UNPACK_TREE, { "l", AE_IFLNK, "..", 0777, 0 }, { "l/out", AE_IFREG, "x", 0644, 0 });
	REFUSED(
	    UNPACK_TREE, { "l", AE_IFLNK, "/tmp", 0777, 0 }, { "l/out", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_TREE, { "l", AE_IFLNK, "..", 0777, 0 }, { "l/", AE_IFDIR, NULL, 0755, 0 },
	    { "l/out", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_TREE, { "l", AE_IFLNK, "../out", 0777, 0 }, { "l", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_TREE, { "f", AE_IFREG, "x", 0644, 0 }, { "f", AE_IFLNK, "/etc", 0777, 0 });
	REFUSED(UNPACK_TREE, { "d", AE_IFDIR, NULL, 0755, 0 }, { "d", AE_IFLNK, "..", 0777, 0 });
	REFUSED(UNPACK_TREE, { "h", 0, "/etc/passwd", 0644, 0 });
	REFUSED(UNPACK_TREE, { "h", 0, "../../etc/passwd", 0644, 0 });
	REFUSED(UNPACK_TREE, { "l", AE_IFLNK, "/etc", 0777, 0 }, { "h", 0, "l/passwd", 0644, 0 });
	REFUSED(UNPACK_TREE, { "f", AE_IFREG, "x", 0644, 0 }, { "g", AE_IFREG, "y", 0644, 0 },
	    { "f", 0, "g", 0644, 0 });
}

static void test_image_shape(void **state)
{
	REFUSED(UNPACK_IMAGE, { "rootfs", AE_IFLNK, "/", 0777, 0 });
	REFUSED(UNPACK_IMAGE, { "templates", AE_IFLNK, "/etc", 0777, 0 });
	REFUSED(UNPACK_IMAGE, { "metadata.yaml", AE_IFLNK, "/etc/shadow", 0777, 0 });
	REFUSED(UNPACK_IMAGE, { "rootfs", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_IMAGE, { "metadata.yaml/x", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_IMAGE, { "rootfs/f", AE_IFREG, "x", 0644, 0 },
	    { "metadata.yaml", 0, "rootfs/f", 0644, 0 });
	REFUSED(UNPACK_IMAGE, { "rootfs/f", AE_IFREG, "x", 0644, 0 },
	    { "rootfs", AE_IFLNK, "/", 0777, 0 });

	REFUSED(UNPACK_IMAGE, { "/etc/f", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_IMAGE, { "/rootfs/../f", AE_IFREG, "x", 0644, 0 });
	REFUSED(UNPACK_IMAGE, { "/rootfs-not/f", AE_IFREG, "x", 0644, 0 });

	const TarEntry extra[] = { { "./rootfs/f", AE_IFREG, "x", 0644, 0 },
		{ "/rootfs/etc/g", AE_IFREG, "x", 0644, 0 },
		{ "backup.yaml", AE_IFREG, "evil", 0644, 0 },
		{ "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 } };
	Place p = place_new();
	Error *err = NULL;
	must(unpack(&p, extra, G_N_ELEMENTS(extra), UNPACK_IMAGE, &err), err);
	assert_int_equal(faccessat(p.dir, "rootfs/f", F_OK, 0), 0);
	assert_int_equal(faccessat(p.dir, "rootfs/etc/g", F_OK, 0), 0);
	assert_int_equal(faccessat(p.dir, "backup.yaml", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	place_free(&p);
}

static void test_kept(void **state)
{
	const TarEntry e[] = {
		{ ".", AE_IFDIR, NULL, 0751, 0 },
		{ "d", AE_IFDIR, NULL, 02750, 0 },
		{ "d/suid", AE_IFREG, "content", 04755, 0 },
		{ "d/hard", 0, "d/suid", 0, 0 },
		{ "d/soft", AE_IFLNK, "/etc/passwd", 0777, 0 },
		{ "d/null", AE_IFCHR, NULL, 0666, makedev(1, 3) },
		{ "d/mem", AE_IFCHR, NULL, 0666, makedev(1, 1) },
		{ "d/disk", AE_IFBLK, NULL, 0666, makedev(8, 0) },
		{ "d/fifo", AE_IFIFO, NULL, 0600, 0 },
		{ "x/y/z", AE_IFREG, "implied", 0600, 0 },
		{ "x/y/z", AE_IFREG, "again", 0600, 0 },
	};
	Place p = place_new();
	Error *err = NULL;
	struct stat a, b;
	must(unpack(&p, e, G_N_ELEMENTS(e), UNPACK_TREE, &err), err);
	fstatat(p.dir, ".", &a, 0);
	assert_int_equal(a.st_mode & 07777, 0751);
	fstatat(p.dir, "d", &a, AT_SYMLINK_NOFOLLOW);
	assert_int_equal(a.st_mode & 07777, 02750);
	fstatat(p.dir, "d/suid", &a, AT_SYMLINK_NOFOLLOW);
	fstatat(p.dir, "d/hard", &b, AT_SYMLINK_NOFOLLOW);
	assert_int_equal(a.st_mode & 07777, 04755);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(fstatat(p.dir, "d/null", &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISCHR(a.st_mode) && a.st_rdev == makedev(1, 3));
	assert_int_equal(faccessat(p.dir, "d/mem", F_OK, 0), -1);
	assert_int_equal(faccessat(p.dir, "d/disk", F_OK, 0), -1);
	fstatat(p.dir, "d/fifo", &a, AT_SYMLINK_NOFOLLOW);
	assert_true(S_ISFIFO(a.st_mode));
	fstatat(p.dir, "d/soft", &a, AT_SYMLINK_NOFOLLOW);
	assert_true(S_ISLNK(a.st_mode));
	g_autofree char *path = g_build_filename(p.inside, "x/y/z", NULL), *text = NULL;
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	assert_string_equal(text, "again");
	place_free(&p);
}

/* GNU tar writes what libarchive's writer has no simple way to: ACLs, capabilities, holes. */
static void test_attributes(void **state)
{
	Place p = place_new();
	g_autofree char *script = g_strdup_printf(
	    "set -e; cd %s; exec 2>/dev/null; mkdir ../s; trap 'rm -rf ../s' EXIT; echo x > ../s/f; setfattr -n user.k -v val ../s/f;"
	    " setfattr -n trusted.overlay.opaque -v y ../s/f; setfacl -m u:1234:r ../s/f; setcap cap_net_raw+p ../s/f;"
	    " truncate -s 1G ../s/sparse; echo end >> ../s/sparse; tar -C ../s --xattrs --xattrs-include='*' --acls -S -cf - . ",
	    p.inside);
	FILE *tar = popen(script, "re");
	char buffer[65536];
	size_t n, total = 0;
	while ((n = fread(buffer, 1, sizeof buffer, tar)) > 0) {
		assert_int_equal(pwrite(p.archive, buffer, n, (off_t)total), n);
		total += n;
	}
	if (pclose(tar) != 0 || total < 1024) {
		print_message("skipped: setfattr, setfacl, setcap or tar is missing\n");
		place_free(&p);
		skip();
	}
	UnpackOptions options = { .shape = UNPACK_TREE };
	Error *err = NULL;
	must(unpack_archive(p.archive, p.dir, &options, &err), err);
	g_autofree char *file = g_build_filename(p.inside, "f", NULL),
			*sparse = g_build_filename(p.inside, "sparse", NULL);
	assert_int_equal(getxattr(file, "user.k", buffer, sizeof buffer), 3);
	assert_true(getxattr(file, "security.capability", buffer, sizeof buffer) > 0);
	assert_true(getxattr(file, "system.posix_acl_access", buffer, sizeof buffer) > 0);
	assert_int_equal(getxattr(file, "trusted.overlay.opaque", buffer, sizeof buffer), -1);
	struct stat st;
	stat(sparse, &st);
	assert_int_equal(st.st_size, (1LL << 30) + 4);
	assert_true(st.st_blocks < 2048);
	place_free(&p);
}

static int filter_gzip(struct archive *a)
{
	return archive_write_add_filter_gzip(a);
}
static int filter_xz(struct archive *a)
{
	return archive_write_add_filter_xz(a);
}
static int filter_bzip2(struct archive *a)
{
	return archive_write_add_filter_bzip2(a);
}
static int filter_zstd(struct archive *a)
{
	return archive_write_add_filter_zstd(a);
}
static int filter_lzma(struct archive *a)
{
	return archive_write_add_filter_lzma(a);
}

static void test_compressions(void **state)
{
	int (*const filters[])(struct archive *) = { NULL, filter_gzip, filter_xz, filter_bzip2,
		filter_zstd, filter_lzma };
	g_autofree char *random = g_malloc(200001);
	for (int i = 0; i < 200000; i++)
		random[i] = (char)('a' + g_random_int_range(0, 26));
	random[200000] = '\0';
	const TarEntry e[] = { { "metadata.yaml", AE_IFREG, METADATA_YAML, 0644, 0 },
		{ "rootfs/f", AE_IFREG, random, 0644, 0 } };
	for (size_t i = 0; i < G_N_ELEMENTS(filters); i++) {
		Place p = place_new();
		Error *err = NULL;
		UnpackOptions options = { .shape = UNPACK_IMAGE };
		g_autoptr(GByteArray) tar = tar_make(e, G_N_ELEMENTS(e), filters[i]);
		assert_int_equal(pwrite(p.archive, tar->data, tar->len, 0), tar->len);
		must(unpack_archive(p.archive, p.dir, &options, &err), err);
		/* Cut anywhere, it is an error and never a success or a crash. */
		for (size_t cut = 0; cut + 1 < tar->len; cut += tar->len / 23 + 1) {
			/* Plain tar has no checksum of its own: what ends between entries looks
			 * whole. */
			if (!filters[i] && (cut % 512 == 0 || cut > tar->len - 1024))
				continue;
			g_autoptr(Error) cut_err = NULL;
			Place q = place_new();
			assert_int_equal(pwrite(q.archive, tar->data, cut, 0), cut);
			int r = unpack_archive(q.archive, q.dir, &options, &cut_err);
			if (r == 0 && cut > 0)
				print_error(
				    "filter %zu cut at %zu of %u was unpacked\n", i, cut, tar->len);
			assert_true(r == -1 || cut == 0);
			place_free(&q);
		}
		place_free(&p);
	}
}

static void test_limit(void **state)
{
	const TarEntry e[] = { { "a", AE_IFREG, "0123456789", 0644, 0 },
		{ "b", AE_IFREG, "0123456789", 0644, 0 } };
	Place p = place_new();
	g_autoptr(Error) err = NULL;
	g_autoptr(GByteArray) tar = tar_make(e, 2, NULL);
	assert_int_equal(pwrite(p.archive, tar->data, tar->len, 0), tar->len);
	UnpackOptions options = { .shape = UNPACK_TREE, .limit = 15 };
	assert_int_equal(unpack_archive(p.archive, p.dir, &options, &err), -1);
	assert_int_equal(err->kind, ERROR_TOO_LARGE);
	place_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_image_shape),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_compressions),
		cmocka_unit_test(test_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
