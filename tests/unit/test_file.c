/* Paths that try to escape, trees that are hard to remove or copy, and full disks. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/file.h"
#include "sdk/base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static char *top;
static int top_fd;

static int setup(void **state)
{
	top = g_strdup("/var/tmp/test-file-XXXXXX");
	assert_non_null(g_mkdtemp(top));
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static int teardown(void **state)
{
	g_autoptr(Error) err = NULL;
	close(top_fd);
	assert_int_equal(file_remove_all(AT_FDCWD, top, &err), 0);
	assert_int_not_equal(access(top, F_OK), 0);
	g_free(top);
	return 0;
}

static void put(const char *path, const char *text)
{
	g_autoptr(Error) err = NULL;
	if (file_write_atomic(top_fd, path, text, strlen(text), 0640, &err) < 0)
		fail_msg("%s", err->message);
}

static void test_escape(void **state)
{
	static const struct { const char *path; FileLinks links; ErrorKind kind; } cases[] = {
		{"../passwd", FILE_LINKS_BENEATH, ERROR_FORBIDDEN},
		{"/etc/passwd", FILE_LINKS_BENEATH, ERROR_FORBIDDEN},
		{"absolute", FILE_LINKS_BENEATH, ERROR_FORBIDDEN},
		{"up", FILE_LINKS_BENEATH, ERROR_FORBIDDEN},
		{"inside", FILE_LINKS_NONE, ERROR_FORBIDDEN},
		{"absolute", FILE_LINKS_IN_ROOT, ERROR_NOT_FOUND},
		{"d/../../../etc/passwd", FILE_LINKS_IN_ROOT, ERROR_NOT_FOUND},
		{"missing", FILE_LINKS_NONE, ERROR_NOT_FOUND},
		{"file/x", FILE_LINKS_NONE, ERROR_INVALID},
	};
	assert_int_equal(symlinkat("/etc/passwd", top_fd, "absolute"), 0);
	assert_int_equal(symlinkat("../../../etc/passwd", top_fd, "up"), 0);
	assert_int_equal(symlinkat("file", top_fd, "inside"), 0);
	assert_int_equal(mkdirat(top_fd, "d", 0755), 0);
	put("file", "x");
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(Error) err = NULL;
		assert_int_equal(
		    file_open_beneath(top_fd, cases[i].path, O_RDONLY, 0, cases[i].links, &err),
		    -1);
		assert_int_equal(err->kind, cases[i].kind);
	}
	autofd int fd = file_openat(top_fd, "inside", O_RDONLY, 0, FILE_LINKS_BENEATH);
	assert_true(fd >= 0);
	autofd int link = file_openat(
	    top_fd, "absolute", O_PATH | O_NOFOLLOW, 0, FILE_LINKS_BENEATH);
	assert_true(link >= 0);
}

static void test_read_write(void **state)
{
	g_autofree char *text = NULL;
	g_autoptr(Error) err = NULL;
	size_t length;
	put("file", "hello");
	assert_int_equal(file_read(top_fd, "file", FILE_LINKS_NONE, 5, &text, &length, &err), 0);
	assert_string_equal(text, "hello");
	char *untouched = NULL;
	assert_int_equal(file_read(top_fd, "file", FILE_LINKS_NONE, 4, &untouched, NULL, &err), -1);
	assert_int_equal(err->kind, ERROR_TOO_LARGE);
	assert_null(untouched);
	g_clear_pointer(&err, error_free);
	assert_int_equal(mkfifoat(top_fd, "fifo", 0600), 0);
	assert_int_equal(file_read(top_fd, "fifo", FILE_LINKS_NONE, 9, &untouched, NULL, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	g_clear_pointer(&err, error_free);
	assert_int_equal(file_mkdir_beneath(top_fd, "a/b/c", 0711, TRUE, &err), 0);
	struct stat st;
	assert_int_equal(fstatat(top_fd, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(file_mkdir_beneath(top_fd, "a/../../x", 0711, TRUE, &err), -1);
}

static void test_write_plain(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *path = g_build_filename(top, "plain", NULL),
			*missing = g_build_filename(top, "a/b", NULL);
	g_autofree char *text = NULL;
	assert_int_equal(file_write_plain(path, "a long text", 0600, &err), 0);
	assert_int_equal(file_write_plain(path, "short", 0600, &err), 0);
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	assert_string_equal(text, "short");
	assert_int_equal(file_write_plain(missing, "x", 0600, &err), -1);
	assert_non_null(strstr(err->message, "a/b"));
}

static void test_remove(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *outside = g_strconcat(top, "-outside", NULL);
	assert_int_equal(mkdir(outside, 0700), 0);
	assert_int_equal(mkdirat(top_fd, "tree", 0700), 0);
	assert_int_equal(symlinkat(outside, top_fd, "tree/link"), 0);
	int fd = openat(top_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) { /* far deeper than PATH_MAX */
		assert_int_equal(mkdirat(fd, "deep", 0700), 0);
		int next = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	close(fd);
	put("tree/fixed", "x");
	fd = openat(top_fd, "tree/fixed", O_RDONLY | O_CLOEXEC);
	int flags = FS_IMMUTABLE_FL;
	ioctl(fd, FS_IOC_SETFLAGS, &flags); /* tmpfs has none: then there is less to show */
	close(fd);
	if (file_remove_all(top_fd, "tree", &err) < 0)
		fail_msg("%s", err->message);
	assert_int_equal(faccessat(top_fd, "tree", F_OK, 0), -1);
	assert_int_equal(rmdir(outside), 0);
	assert_int_equal(file_remove_all(top_fd, "tree", &err), 0);
	assert_int_equal(file_remove_all(top_fd, "missing/x", &err), 0);
	assert_int_equal(file_remove_all(top_fd, "..", &err), -1);
}

static void test_mount_point_stays(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *point = g_build_filename(top, "tree", "mnt", NULL);
	assert_int_equal(file_mkdir_beneath(top_fd, "tree/mnt", 0700, TRUE, &err), 0);
	if (mount("none", point, "tmpfs", 0, "size=64k") < 0) {
		print_message("no right to mount here\n");
		skip();
	}
	put("tree/mnt/kept", "x");
	assert_int_equal(file_remove_all(top_fd, "tree", &err), -1);
	assert_int_equal(err->kind, ERROR_BUSY);
	assert_int_equal(faccessat(top_fd, "tree/mnt/kept", F_OK, 0), 0);
	/* And a full disk: the old content stays, no temporary file is left. */
	g_autofree char *large = g_strnfill(200000, 'x');
	g_clear_pointer(&err, error_free);
	assert_int_equal(file_write_atomic(top_fd, "tree/mnt/kept", large, 200000, 0600, &err), -1);
	assert_non_null(strstr(err->message, "No space left"));
	g_autofree char *text = NULL;
	assert_int_equal(
	    file_read(top_fd, "tree/mnt/kept", FILE_LINKS_NONE, 10, &text, NULL, NULL), 0);
	assert_string_equal(text, "x");
	GDir *dir = g_dir_open(point, 0, NULL);
	assert_string_equal(g_dir_read_name(dir), "kept");
	assert_null(g_dir_read_name(dir));
	g_dir_close(dir);
	assert_int_equal(umount(point), 0);
}

static void test_copy(void **state)
{
	g_autoptr(Error) err = NULL;
	struct stat a, b;
	assert_int_equal(file_mkdir_beneath(top_fd, "from/sub/deeper", 02751, TRUE, &err), 0);
	assert_int_equal(mkdirat(top_fd, "to", 0700), 0);
	put("from/sub/file", "data");
	g_autofree char *file = g_build_filename(top, "from/sub/file", NULL);
	assert_int_equal(chown(file, 1234, 5678), 0);
	assert_int_equal(chmod(file, 04755), 0);
	gboolean xattrs = setxattr(file, "user.test", "value", 5, 0) == 0;
	assert_int_equal(linkat(top_fd, "from/sub/file", top_fd, "from/hard", 0), 0);
	assert_int_equal(symlinkat("/nowhere", top_fd, "from/link"), 0);
	assert_int_equal(mkfifoat(top_fd, "from/fifo", 0600), 0);
	autofd int sparse = openat(top_fd, "from/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(sparse, "end", 3, 100 << 20), 3);
	for (int i = 0; i < 300; i++) {
		g_autofree char *name = g_strdup_printf("from/d%d/f", i);
		g_autofree char *dir = g_strdup_printf("from/d%d", i);
		assert_int_equal(mkdirat(top_fd, dir, 0755), 0);
		put(name, "small");
	}
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 2000, .tv_nsec = 5}};
	assert_int_equal(utimensat(top_fd, "from/sub", old, 0), 0);
	autofd int from = openat(top_fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofd int to = openat(top_fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FileCopy options = {.threads = 4};
	if (file_copy_tree(from, to, &options, &err) < 0)
		fail_msg("%s", err->message);
	assert_int_equal(fstatat(to, "sub/file", &a, 0), 0);
	assert_int_equal(a.st_uid, 1234);
	assert_int_equal(a.st_mode & 07777, 04755);
	assert_int_equal(a.st_nlink, 2);
	assert_int_equal(fstatat(to, "hard", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(fstatat(to, "sparse", &a, 0), 0);
	assert_int_equal(a.st_size, (100 << 20) + 3);
	assert_true(a.st_blocks < 2048);
	assert_int_equal(fstatat(to, "sub", &a, 0), 0);
	assert_int_equal(a.st_mtim.tv_sec, 2000);
	assert_int_equal(a.st_mode & 07777, 02751);
	assert_int_equal(fstatat(to, "fifo", &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISFIFO(a.st_mode));
	assert_int_equal(fstatat(to, "d299/f", &a, 0), 0);
	assert_int_equal(a.st_size, 5);
	if (xattrs) {
		char value[16];
		g_autofree char *copied = g_build_filename(top, "to/sub/file", NULL);
		assert_int_equal(getxattr(copied, "user.test", value, sizeof(value)), 5);
	}
	assert_int_equal(file_copy_tree(from, to, &options, &err), -1); /* names exist */
	g_clear_pointer(&err, error_free);
	options.overwrite = TRUE;
	if (file_copy_tree(from, to, &options, &err) < 0)
		fail_msg("%s", err->message);
	uint64_t one, two;
	assert_int_equal(file_usage(from, &one, &err), 0);
	assert_int_equal(file_usage(to, &two, &err), 0);
	assert_true(one > 0 && two <= one + 65536);
}

typedef struct Watched {
	gint bytes, pieces; /* atomic; bytes in KiB */
	gint stop;
} Watched;

static void watch(uint64_t bytes, void *data)
{
	Watched *watched = data;
	g_atomic_int_add(&watched->bytes, (gint)(bytes >> 10));
	g_atomic_int_inc(&watched->pieces);
}

static gboolean wants_stop(void *data)
{
	Watched *watched = data;
	return watched->stop && g_atomic_int_get(&watched->pieces) > 0;
}

/* One large file moves the bar, and can be cancelled, before it is whole. */
static void test_copy_progress(void **state)
{
	enum { MIB = 48 };
	g_autoptr(Error) err = NULL;
	g_autofree char *data = g_malloc(1 << 20);
	struct stat st;
	memset(data, 'x', 1 << 20);
	assert_int_equal(mkdirat(top_fd, "from", 0755), 0);
	autofd int large = openat(top_fd, "from/large", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	autofd int clone = openat(top_fd, "clone", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < MIB; i++)
		assert_int_equal(pwrite(large, data, 1 << 20, (off_t)i << 20), 1 << 20);
	gboolean clones = ioctl(clone, FICLONE, large) == 0;
	autofd int from = openat(top_fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int stop = 0; stop < 2; stop++) {
		Watched watched = { .stop = stop };
		FileCopy options = { .progress = watch, .cancelled = wants_stop, .data = &watched };
		const char *name = stop ? "stopped" : "to";
		assert_int_equal(mkdirat(top_fd, name, 0755), 0);
		autofd int to = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(file_copy_tree(from, to, &options, &err), stop ? -1 : 0);
		assert_int_equal(fstatat(to, "large", &st, 0), 0);
		if (stop)
			assert_int_equal(err->kind, ERROR_CANCELLED);
		if (clones)
			continue;
		if (stop)
			assert_true(st.st_size < (off_t)MIB << 20);
		else
			assert_true(watched.bytes == MIB << 10 && watched.pieces > 2);
	}
}

static void test_names(void **state)
{
	g_autoptr(Error) err = NULL;
	g_autoptr(GPtrArray) names = NULL;
	put("b", "2");
	put("a", "1");
	assert_int_equal(mkdirat(top_fd, "folder", 0700), 0);
	assert_int_equal(symlinkat("a", top_fd, "link"), 0);
	assert_int_equal(file_names(top_fd, &names, &err), 0);
	assert_int_equal(names->len, 2);
	assert_string_equal(names->pdata[0], "a");
	assert_string_equal(names->pdata[1], "b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_escape, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mount_point_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_progress, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
