/* The archive of a backup that an instance made of this tree or disk would have. */
#include "migrate/host/host.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define TREE "backup/container"
#define MACHINE "backup/virtual-machine"

enum { PIECE = 1 << 20 };

typedef struct Writer {
	const Migration *m;
	struct archive *archive;
	struct archive_entry_linkresolver *links;
	char *root; /* of the tree, without a slash at its end: "" is "/" */
	dev_t device;
	uint64_t bytes;
	gint *progress;
	uint8_t *buffer;
} Writer;

static int write_failed(Writer *w, Error **err)
{
	return error_set(err, ERROR_INTERNAL, "Cannot send: %s", archive_error_string(w->archive));
}

/* ---- documents ---- */

static json_t *config_object(const Migration *m)
{
	json_t *object = json_object();
	for (guint n = 0; n < m->config->len; n++) {
		const char *pair = m->config->pdata[n], *value = strchr(pair, '=') + 1;
		g_autofree char *key = g_strndup(pair, (gsize)(value - pair - 1));
		json_object_set_new(object, key, json_string(value));
	}
	return object;
}

static json_t *profile_list(const Migration *m)
{
	json_t *list = json_array();
	for (guint n = 0; n < m->profiles->len; n++)
		json_array_append_new(list, json_string(m->profiles->pdata[n]));
	return list;
}

/* A JSON text is a YAML text too. g_free. */
static char *index_text(const Migration *m)
{
	struct utsname host;
	uname(&host);
	const char *type = m->machine ? "virtual-machine" : "container";
	json_t *instance = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:O, s:o}", "name", m->name,
	    "architecture", host.machine, "type", type, "description",
	    m->description ? m->description : "", "ephemeral", 0, "config", config_object(m),
	    "devices", m->devices, "profiles", profile_list(m));
	json_t *volume = json_pack("{s:s, s:s, s:s, s:s, s:{}}", "name", m->name, "type", type,
	    "content_type", m->machine ? "block" : "filesystem", "description", "", "config");
	json_t *document = json_pack("{s:s, s:s, s:s, s:[], s:b, s:b, s:s, s:{s:o, s:o}}", "name",
	    m->name, "backend", "dir", "pool", m->pool ? m->pool : "default", "snapshots",
	    "optimized", 0, "optimized_header", 0, "type", type, "config", "container", instance,
	    "volume", volume);
	char *text = json_dumps(document, JSON_INDENT(2));
	json_decref(document);
	char *copy = g_strdup(text);
	free(text);
	return copy;
}

static char *metadata_text(void)
{
	struct utsname host;
	uname(&host);
	return g_strdup_printf(
	    "architecture: %s\ncreation_date: %lld\nproperties: {}\ntemplates: {}\n", host.machine,
	    (long long)time(NULL));
}

/* ---- writing ---- */

static void count(Writer *w, size_t bytes)
{
	w->bytes += bytes;
	g_atomic_int_set(w->progress, (gint)(w->bytes >> 20));
}

static int add_file(Writer *w, const char *path, const char *text, Error **err)
{
	struct archive_entry *entry = archive_entry_new();
	size_t length = strlen(text);
	archive_entry_set_pathname(entry, path);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0400);
	archive_entry_set_size(entry, (int64_t)length);
	gboolean written = archive_write_header(w->archive, entry) == ARCHIVE_OK &&
	    archive_write_data(w->archive, text, length) == (ssize_t)length;
	archive_entry_free(entry);
	return written ? 0 : write_failed(w, err);
}

static int add_directory(Writer *w, const char *path, Error **err)
{
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, path);
	archive_entry_set_filetype(entry, AE_IFDIR);
	archive_entry_set_perm(entry, 0711);
	int result = archive_write_header(w->archive, entry);
	archive_entry_free(entry);
	return result == ARCHIVE_OK ? 0 : write_failed(w, err);
}

/* ---- a tree ---- */

/* Of a file that somebody cuts meanwhile the rest is zeros, of one that grows the rest stays: an
 * entry has the size that was said. */
static int copy_data(Writer *w, int fd, int64_t size, const char *path, Error **err)
{
	while (size > 0) {
		ssize_t n = fd < 0 ? 0 : read(fd, w->buffer, (size_t)MIN(size, PIECE));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", path);
		if (n == 0) {
			n = (ssize_t)MIN(size, PIECE);
			memset(w->buffer, 0, (size_t)n);
		}
		if (archive_write_data(w->archive, w->buffer, (size_t)n) != n)
			return write_failed(w, err);
		size -= n;
		count(w, (size_t)n);
	}
	return 0;
}

static int add_entry(Writer *w, struct archive_entry *entry, Error **err)
{
	const char *source = archive_entry_sourcepath(entry);
	int64_t size = archive_entry_size(entry);
	gboolean data = archive_entry_filetype(entry) == AE_IFREG && size > 0 &&
	    !archive_entry_hardlink(entry);
	autofd int fd = data ? open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	if (data && fd < 0 && errno == ENOENT)
		return 0; /* it went */
	if (data && fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", source);
	if (archive_write_header(w->archive, entry) < ARCHIVE_WARN)
		return write_failed(w, err);
	return data ? copy_data(w, fd, size, source, err) : 0;
}

static gboolean belongs(const Writer *w, const char *path, dev_t device)
{
	if (device == w->device)
		return TRUE;
	for (guint n = 0; n < w->m->mounts->len; n++) {
		const char *mount = w->m->mounts->pdata[n];
		size_t length = strlen(mount);
		if (strncmp(path, mount, length) == 0 && (path[length] == '/' || !path[length]))
			return TRUE;
	}
	return FALSE;
}

static int take_entry(Writer *w, struct archive *disk, struct archive_entry *entry, Error **err)
{
	g_autofree char *source = g_strdup(archive_entry_pathname(entry));
	gboolean inside = belongs(w, source, archive_entry_dev(entry));
	const char *below = source + strlen(w->root);
	g_autofree char *name = g_strconcat(TREE "/rootfs", strcmp(below, "/") ? below : "", NULL);
	struct archive_entry *spare = NULL;
	/* What is on other file systems is not copied, but where they are mounted is needed. */
	if (inside && archive_read_disk_can_descend(disk))
		archive_read_disk_descend(disk);
	if (archive_entry_filetype(entry) == AE_IFSOCK)
		return 0;
	archive_entry_copy_sourcepath(entry, source);
	archive_entry_copy_pathname(entry, name);
	archive_entry_linkify(w->links, &entry, &spare);
	return entry ? add_entry(w, entry, err) : 0;
}

static int walk(Writer *w, struct archive *disk, Error **err)
{
	for (;;) {
		struct archive_entry *entry = archive_entry_new();
		int got = archive_read_next_header2(disk, entry);
		int result = 0;
		if (got == ARCHIVE_EOF) {
			archive_entry_free(entry);
			return 0;
		}
		if (got == ARCHIVE_FATAL)
			result = error_set(err, ERROR_INTERNAL, "Cannot read \"%s\": %s",
			    w->m->source, archive_error_string(disk));
		else if (got >= ARCHIVE_WARN) /* else it went meanwhile */
			result = take_entry(w, disk, entry, err);
		archive_entry_free(entry);
		if (result < 0)
			return -1;
	}
}

static int send_tree(Writer *w, Error **err)
{
	struct stat st;
	g_autofree char *metadata = metadata_text();
	if (stat(w->m->source, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", w->m->source);
	w->device = st.st_dev;
	w->root = g_strdup(strcmp(w->m->source, "/") == 0 ? "" : w->m->source);
	if (add_directory(w, TREE, err) < 0 ||
	    add_file(w, TREE "/metadata.yaml", metadata, err) < 0)
		return -1;
	struct archive *disk = archive_read_disk_new();
	archive_read_disk_set_symlink_physical(disk);
	archive_read_disk_set_behavior(disk, ARCHIVE_READDISK_NO_FFLAGS);
	w->links = archive_entry_linkresolver_new();
	archive_entry_linkresolver_set_strategy(w->links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	int result = archive_read_disk_open(disk, w->m->source) == ARCHIVE_OK ?
	    walk(w, disk, err) :
	    error_set(err, ERROR_INTERNAL, "Cannot read \"%s\": %s", w->m->source,
		archive_error_string(disk));
	archive_entry_linkresolver_free(w->links);
	archive_read_free(disk);
	return result;
}

/* ---- a disk ---- */

static int send_disk(Writer *w, Error **err)
{
	g_autofree char *metadata = metadata_text();
	autofd int fd = -1;
	int64_t size;
	if (disk_open(w->m, &fd, &size, err) < 0 || add_directory(w, MACHINE, err) < 0 ||
	    add_file(w, MACHINE "/metadata.yaml", metadata, err) < 0)
		return -1;
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, MACHINE ".img");
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_size(entry, size);
	int result = archive_write_header(w->archive, entry);
	archive_entry_free(entry);
	return result == ARCHIVE_OK ? copy_data(w, fd, size, w->m->source, err) :
				      write_failed(w, err);
}

/* ---- all of it ---- */

int archive_check(const Migration *m, Error **err)
{
	struct stat st;
	if (m->machine)
		return disk_check(m, err);
	if (stat(m->source, &st) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read \"%s\"", m->source);
	g_autofree char *etc = g_build_filename(m->source, "etc", NULL);
	if (!S_ISDIR(st.st_mode) || access(etc, F_OK) < 0)
		return error_set(err, ERROR_INVALID,
		    "\"%s\" is no tree of a system: it has no folder \"etc\"", m->source);
	return 0;
}

int archive_send(const Migration *m, int fd, gint *progress, Error **err)
{
	g_autofree uint8_t *buffer = g_malloc(PIECE);
	g_autofree char *index = index_text(m);
	Writer w = { .m = m, .progress = progress, .buffer = buffer };
	w.archive = archive_write_new();
	archive_write_set_format_pax_restricted(w.archive);
	archive_write_set_format_option(w.archive, NULL, "hdrcharset", "BINARY");
	archive_write_set_bytes_in_last_block(w.archive, 1);
	int result = archive_write_open_fd(w.archive, fd) == ARCHIVE_OK ? 0 : write_failed(&w, err);
	if (result == 0)
		result = add_file(&w, "backup/index.yaml", index, err);
	if (result == 0)
		result = m->machine ? send_disk(&w, err) : send_tree(&w, err);
	if (result == 0 && archive_write_close(w.archive) != ARCHIVE_OK)
		result = write_failed(&w, err);
	archive_write_free(w.archive);
	g_free(w.root);
	return result;
}
