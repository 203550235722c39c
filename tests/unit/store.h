#pragma once
/* A daemon that has nothing but a database, pools and images, in a temporary directory; and tar
 * archives made by hand, honest and hostile. */
#include "sdk/base/file.h"
#include "server/daemon.h"
#include "server/db/db.h"
#include "server/image/image.h"
#include "server/image/import.h"
#include "server/key/server.h"
#include "server/storage/pool.h"
#include "server/storage/pool_admin.h"
#include "server/storage/store.h"
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline void must(int r, Error *err)
{
	if (r < 0)
		print_error("%s\n", err ? err->message : "failed without a message");
	assert_int_equal(r, 0);
	assert_null(err);
}

static inline Daemon *store_open(const char *dir)
{
	Error *err = NULL;
	Daemon *d = g_new0(Daemon, 1);
	d->dir = g_strdup(dir);
	must(db_open(dir, &d->db, &err), err);
	must(server_config_load(d, &err), err);
	must(pool_table_start(d, &err), err);
	must(store_start(d, &err), err);
	must(image_start(d, &err), err);
	return d;
}

static inline void store_close(Daemon *d)
{
	store_stop(d);
	pool_table_stop(d);
	server_config_free(d->config);
	db_close(d->db);
	g_free(d->dir);
	g_free(d);
}

static inline Daemon *store_new(void)
{
	g_autofree char *dir = g_strdup("/var/tmp/incus-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return store_open(dir);
}

static inline void store_free(Daemon *d)
{
	g_autofree char *dir = g_strdup(d->dir);
	store_close(d);
	must(file_remove_all(AT_FDCWD, dir, NULL), NULL);
}

/* One entry of an archive. `data` is content, link target or hard link target. */
typedef struct TarEntry {
	const char *name;
	mode_t type; /* AE_IF*; 0: hard link */
	const char *data;
	mode_t mode;
	dev_t dev;
} TarEntry;

#define METADATA_YAML "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: Test\n"

static inline GByteArray *tar_make(
    const TarEntry *entries, size_t n, int (*filter)(struct archive *))
{
	struct archive *a = archive_write_new();
	archive_write_set_format_pax_restricted(a);
	if (filter)
		filter(a);
	/* The same entries give the same bytes: gzip would write the time into its head. */
	archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
	size_t used = 0, size = 1024 * 1024;
	guint8 *buffer = g_malloc(size);
	archive_write_open_memory(a, buffer, size, &used);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *e = archive_entry_new();
		archive_entry_set_pathname(e, entries[i].name);
		archive_entry_set_perm(e, entries[i].mode ? entries[i].mode : 0755);
		archive_entry_set_uid(e, 0);
		archive_entry_set_gid(e, 0);
		if (entries[i].type == 0)
			archive_entry_set_hardlink(e, entries[i].data);
		else
			archive_entry_set_filetype(e, entries[i].type);
		if (entries[i].type == AE_IFLNK)
			archive_entry_set_symlink(e, entries[i].data);
		if (entries[i].type == AE_IFBLK || entries[i].type == AE_IFCHR)
			archive_entry_set_rdev(e, entries[i].dev);
		gboolean content = entries[i].type == AE_IFREG && entries[i].data;
		archive_entry_set_size(e, content ? (la_int64_t)strlen(entries[i].data) : 0);
		assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
		if (content)
			archive_write_data(a, entries[i].data, strlen(entries[i].data));
		archive_entry_free(e);
	}
	archive_write_close(a);
	archive_write_free(a);
	GByteArray *out = g_byte_array_new();
	g_byte_array_append(out, buffer, (guint)used);
	g_free(buffer);
	return out;
}

/* Imports the bytes as a unified image; its fingerprint, or NULL with *err. */
static inline char *store_import(
    Daemon *d, const GByteArray *bytes, const char *project, Error **err)
{
	g_autoptr(ImageImport) import = NULL;
	g_autoptr(Arena) arena = arena_new();
	ImageImportOptions options = { .project = project };
	Pb__Image *image;
	if (image_import_new(d, &import, err) < 0 ||
	    image_import_part(import, "", "test.tar", err) < 0 ||
	    image_import_write(import, bytes->data, bytes->len, err) < 0 ||
	    image_import_finish(import, &options, arena, &image, err) < 0)
		return NULL;
	return g_strdup(image->fingerprint);
}

/* Number of entries below a folder of the store. */
static inline unsigned store_count(Daemon *d, const char *folder)
{
	g_autofree char *path = g_build_filename(d->dir, folder, NULL);
	GDir *dir = g_dir_open(path, 0, NULL);
	unsigned n = 0;
	while (dir && g_dir_read_name(dir))
		n++;
	if (dir)
		g_dir_close(dir);
	return n;
}
