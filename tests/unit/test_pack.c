/* What a backup's archive says of files with several names. */
#include "server/storage/pack.h"
#include "tests/unit/store.h"

static int keep(void *data, const void *bytes, size_t length, Error **err)
{
	g_byte_array_append(data, bytes, (guint)length);
	return 0;
}

/* "NAME" or "NAME=FIRST NAME", a line each, without folders. */
static char *files_of(const GByteArray *tar)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	GString *text = g_string_new(NULL);
	archive_read_support_format_tar(archive);
	assert_int_equal(archive_read_open_memory(archive, tar->data, tar->len), ARCHIVE_OK);
	while (archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
		const char *first = archive_entry_hardlink(entry);
		if (archive_entry_filetype(entry) == AE_IFDIR)
			continue;
		g_string_append_printf(text, "%s%s%s\n", archive_entry_pathname(entry),
		    first ? "=" : "", first ? first : "");
	}
	archive_read_free(archive);
	return g_string_free(text, FALSE);
}

/* The mounts of two snapshots, one after the other, can have one device number, and their files
 * have the same inodes. */
static void links_stay_in_their_tree(void **state)
{
	g_autofree char *path = g_strdup("/var/tmp/incus-pack-XXXXXX");
	g_autoptr(GByteArray) tar = g_byte_array_new();
	g_autoptr(Pack) pack = NULL;
	Error *err = NULL;
	PackOptions options = { .compression = "none", .sink = keep, .data = tar };
	assert_non_null(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(dir, "a", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(linkat(dir, "a", dir, "b", 0), 0);
	must(pack_new(&options, &pack, &err), err);
	must(pack_tree(pack, "one", dir, &err), err);
	must(pack_tree(pack, "two", dir, &err), err);
	must(pack_finish(pack, &err), err);
	g_autofree char *files = files_of(tar);
	assert_string_equal(files, "one/a\none/b=one/a\ntwo/a\ntwo/b=two/a\n");
	close(dir);
	must(file_remove_all(AT_FDCWD, path, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_stay_in_their_tree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
