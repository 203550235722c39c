/* A state as a stream, whole and while it is being written; and what of a tree a glance tells. */
#include "server/instance/state_stream.h"
#include "server/storage/tree_diff.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 3 << 20 };

typedef struct Folder {
	char path[64];
	int fd;
} Folder;

static int folder_new(void **state)
{
	Folder *f = g_new0(Folder, 1);
	strcpy(f->path, "/var/tmp/state.XXXXXX");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return 0;
}

static int folder_free(void **state)
{
	Folder *f = *state;
	assert_int_equal(file_remove_all(AT_FDCWD, f->path, NULL), 0);
	close(f->fd);
	g_free(f);
	return 0;
}

static void add(int folder, const char *name, char byte, size_t length)
{
	g_autofree char *bytes = g_malloc(length);
	autofd int fd = openat(folder, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	memset(bytes, byte, length);
	assert_int_equal(write(fd, bytes, length), length);
}

static off_t size_of(int folder, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(folder, name, &st, 0), 0);
	return st.st_size;
}

/* CRIU goes on writing between two looks. */
typedef struct Writer {
	int folder, turn;
} Writer;

static int write_more(void *data, Error **err)
{
	Writer *w = data;
	w->turn++;
	add(w->folder, "pages-1.img", (char)('a' + w->turn), PART);
	if (w->turn == 2)
		add(w->folder, "pages-2.img", 'x', PART);
	add(w->folder, "core-1.img", 'c', 10);
	return w->turn == 4;
}

static void test_follow(void **state)
{
	Folder *f = *state;
	autofd int stream = memfd_create("stream", MFD_CLOEXEC);
	assert_int_equal(mkdirat(f->fd, "from", 0700) + mkdirat(f->fd, "to", 0700), 0);
	autofd int from = openat(f->fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofd int to = openat(f->fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	Writer w = { from, 0 };
	assert_int_equal(state_stream_follow(from, stream, write_more, &w, NULL), 0);
	assert_int_equal(lseek(stream, 0, SEEK_SET), 0);
	assert_int_equal(state_stream_receive(to, stream, 0, NULL), 0);
	assert_int_equal(size_of(to, "pages-1.img"), 4 * PART);
	assert_int_equal(size_of(to, "pages-2.img"), PART);
	assert_int_equal(size_of(to, "core-1.img"), 40);
	autofd int pages = openat(to, "pages-1.img", O_RDONLY | O_CLOEXEC);
	for (int turn = 0; turn < 4; turn++) {
		char bytes[2];
		assert_int_equal(pread(pages, bytes, 2, (off_t)turn * PART + PART - 2), 2);
		assert_int_equal(bytes[0], 'a' + turn + 1);
		assert_int_equal(bytes[1], 'a' + turn + 1);
	}
}

static int not_written(void *data, Error **err)
{
	return error_set(err, ERROR_INTERNAL, "CRIU failed");
}

static void test_fails(void **state)
{
	Folder *f = *state;
	g_autoptr(Error) error = NULL;
	autofd int stream = memfd_create("stream", MFD_CLOEXEC);
	add(f->fd, "pages-1.img", 'a', PART);
	assert_int_equal(state_stream_follow(f->fd, stream, not_written, NULL, &error), -1);
	assert_string_equal(error->message, "CRIU failed");
	assert_int_equal(lseek(stream, 0, SEEK_END), 0);
}

/* ---- trees ---- */

static const TreeEntry *find(const GPtrArray *list, const char *path)
{
	for (guint n = 0; n < list->len; n++)
		if (strcmp(((TreeEntry *)list->pdata[n])->path, path) == 0)
			return list->pdata[n];
	return NULL;
}

static void test_look(void **state)
{
	Folder *f = *state;
	g_autoptr(GPtrArray) before = NULL;
	g_autoptr(GPtrArray) now = NULL;
	assert_int_equal(mkdirat(f->fd, "a", 0700) + mkdirat(f->fd, "b", 0700), 0);
	assert_int_equal(mkdirat(f->fd, "state.new", 0700), 0);
	add(f->fd, "a/same", 'x', 10);
	add(f->fd, "a/moves", 'x', 10);
	add(f->fd, "b/moves", 'y', 10);
	add(f->fd, "b/grows", 'y', 10);
	add(f->fd, "state.new/core-1.img", 'z', 10);
	assert_int_equal(tree_list(f->fd, &before, NULL), 0);
	int64_t since = g_get_real_time() * 1000 + 100000000;
	g_usleep(20000); /* the clock of file systems goes in steps before Linux 6.13 */
	add(f->fd, "b/grows", 'y', 10);
	/* Two of a kind change places: names, sizes and times are as they were. */
	assert_int_equal(renameat(f->fd, "a/moves", f->fd, "c"), 0);
	assert_int_equal(renameat(f->fd, "b/moves", f->fd, "a/moves"), 0);
	assert_int_equal(renameat(f->fd, "c", f->fd, "b/moves"), 0);
	assert_int_equal(tree_look(f->fd, "state.new", &now, NULL), 0);
	assert_null(find(now, "state.new"));
	assert_null(find(now, "state.new/core-1.img"));
	static const struct {
		const char *path;
		gboolean stands;
	} cases[] = { { "a/same", TRUE }, { "a/moves", FALSE }, { "b/moves", FALSE },
		{ "b/grows", FALSE }, { "b", FALSE } };
	for (guint n = 0; n < G_N_ELEMENTS(cases); n++)
		assert_int_equal(
		    tree_entry_stands(find(now, cases[n].path), find(before, cases[n].path), since),
		    cases[n].stands);
	/* What changed in the moment of the list itself may have the same time. */
	assert_false(tree_entry_stands(find(now, "a/same"), find(before, "a/same"), 0));
	assert_false(tree_entry_stands(find(now, "a/same"), NULL, since));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_follow, folder_new, folder_free),
		cmocka_unit_test_setup_teardown(test_fails, folder_new, folder_free),
		cmocka_unit_test_setup_teardown(test_look, folder_new, folder_free),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
