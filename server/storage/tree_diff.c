#include "server/storage/tree_diff.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/tree_attributes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Listing {
	int root;
	gboolean quick;	     /* no digests */
	const char *without; /* not at the top */
	GPtrArray *entries;
	GQueue directories; /* char *: still to be read */
} Listing;

void tree_entry_free(TreeEntry *entry)
{
	g_free(entry->path);
	g_free(entry);
}

static int open_in_tree(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
		    RESOLVE_NO_XDEV };
	int fd;
	do
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

static int fail(const char *path, Error **err)
{
	int e = errno;
	g_autofree char *shown = g_strescape(path, NULL);
	return error_errno(err, ERROR_INTERNAL, e, "Cannot read \"%s\"", shown);
}

/* ---- digests ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(GChecksum *sum, const void *data, size_t length)
{
	uint64_t size = length;
	g_checksum_update(sum, (const guchar *)&size, sizeof(size));
	g_checksum_update(sum, data, (gssize)length);
}

/* In order of name: file systems list them as they like. */
static int add_attributes(int fd, GChecksum *sum)
{
	g_autofree char *list = NULL;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	ssize_t length = attributes_list(fd, &list);
	if (length < 0)
		return -1;
	for (char *name = list; name && name < list + length; name += strlen(name) + 1)
		g_ptr_array_add(names, name);
	g_ptr_array_sort(names, compare_names);
	for (guint n = 0; n < names->len; n++) {
		g_autofree void *value = NULL;
		ssize_t size = attribute_read(fd, names->pdata[n], &value);
		if (size < 0 && errno != ENODATA)
			return -1;
		add(sum, names->pdata[n], strlen(names->pdata[n]));
		add(sum, value ? value : "", (size_t)MAX(size, 0));
	}
	return 0;
}

static int add_target(int fd, GChecksum *sum)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target));
	if (n >= 0)
		add(sum, target, (size_t)n);
	return n < 0 ? -1 : 0;
}

static int digest(int fd, const struct stat *st, uint8_t ret[TREE_DIGEST])
{
	gboolean node = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
	uint64_t facts[] = { st->st_mode, st->st_uid, st->st_gid,
		S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0, (uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec, node ? st->st_rdev : 0 };
	uint8_t whole[32];
	gsize length = sizeof(whole);
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	for (size_t i = 0; i < G_N_ELEMENTS(facts); i++)
		facts[i] = GUINT64_TO_LE(facts[i]);
	add(sum, facts, sizeof(facts));
	if ((S_ISLNK(st->st_mode) ? add_target(fd, sum) : add_attributes(fd, sum)) < 0)
		return -1;
	g_checksum_get_digest(sum, whole, &length);
	memcpy(ret, whole, TREE_DIGEST);
	return 0;
}

/* ---- the list ---- */

#define NS ((int64_t)1000000000)

static TreeEntry *add_entry(Listing *l, char *path, gboolean directory)
{
	TreeEntry *entry = g_new0(TreeEntry, 1);
	entry->path = path;
	entry->directory = directory;
	g_ptr_array_add(l->entries, entry);
	if (directory)
		g_queue_push_tail(&l->directories, g_strdup(path));
	return entry;
}

static int list_one(Listing *l, char *path, Error **err)
{
	struct stat st;
	autofd int fd = open_in_tree(l->root, path, O_PATH);
	gboolean mount = fd < 0 && errno == EXDEV;
	if (!mount && (fd < 0 || fstat(fd, &st) < 0)) {
		int result = errno == ENOENT ? 0 : fail(path, err);
		g_free(path);
		return result;
	}
	TreeEntry *entry = add_entry(l, path, mount || S_ISDIR(st.st_mode));
	if (mount)
		return 0;
	entry->changed_ns = st.st_ctim.tv_sec * NS + st.st_ctim.tv_nsec;
	entry->inode = st.st_ino;
	if (entry->directory)
		return 0;
	entry->several = st.st_nlink > 1;
	return digest(fd, &st, entry->digest) < 0 ? fail(path, err) : 0;
}

/* No file is opened: who only looks has no time. */
static int look_one(Listing *l, int folder, const char *name, char *path, Error **err)
{
	struct statx st;
	if (statx(folder, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		STATX_TYPE | STATX_NLINK | STATX_INO | STATX_CTIME, &st) < 0) {
		int result = errno == ENOENT ? 0 : fail(path, err);
		g_free(path);
		return result;
	}
	TreeEntry *entry = add_entry(l, path, S_ISDIR(st.stx_mode));
	entry->several = !entry->directory && st.stx_nlink > 1;
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return 0;
	entry->changed_ns = st.stx_ctime.tv_sec * NS + st.stx_ctime.tv_nsec;
	entry->inode = st.stx_ino;
	return 0;
}

static int list_directory(Listing *l, const char *path, Error **err)
{
	int fd = open_in_tree(l->root, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return errno == ENOENT || errno == EXDEV ? 0 : fail(path, err);
	autodir DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return fail(path, err);
	}
	for (struct dirent *item; (item = readdir(dir));) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		gboolean top = strcmp(path, ".") == 0;
		if (top && g_strcmp0(item->d_name, l->without) == 0)
			continue;
		char *name = top ? g_strdup(item->d_name) :
				   g_strconcat(path, "/", item->d_name, NULL);
		if ((l->quick ? look_one(l, dirfd(dir), item->d_name, name, err) :
				list_one(l, name, err)) < 0)
			return -1;
	}
	return 0;
}

static int list_all(Listing *l, GPtrArray **ret_entries, Error **err)
{
	l->entries = g_ptr_array_new_with_free_func((GDestroyNotify)tree_entry_free);
	g_queue_init(&l->directories);
	int result = list_directory(l, ".", err);
	for (char *next; result == 0 && (next = g_queue_pop_head(&l->directories)); g_free(next))
		result = list_directory(l, next, err);
	g_queue_clear_full(&l->directories, g_free);
	if (result == 0)
		*ret_entries = l->entries;
	else
		g_ptr_array_unref(l->entries);
	return result;
}

int tree_list(int directory_fd, GPtrArray **ret_entries, Error **err)
{
	Listing l = { .root = directory_fd };
	return list_all(&l, ret_entries, err);
}

int tree_look(int directory_fd, const char *without, GPtrArray **ret_entries, Error **err)
{
	Listing l = { .root = directory_fd, .quick = TRUE, .without = without };
	return list_all(&l, ret_entries, err);
}

gboolean tree_entry_stands(const TreeEntry *entry, const TreeEntry *before, int64_t since_ns)
{
	return before && entry->directory == before->directory && entry->inode == before->inode &&
	    entry->changed_ns == before->changed_ns && entry->changed_ns < since_ns;
}

/* ---- comparing ---- */

static gboolean same(const TreeEntry *ours, const TreeEntry *theirs)
{
	if (!ours || ours->directory != theirs->directory)
		return FALSE;
	return ours->directory ||
	    (!ours->several && memcmp(ours->digest, theirs->digest, TREE_DIGEST) == 0);
}

GByteArray *tree_bits_new(guint n)
{
	GByteArray *bits = g_byte_array_new();
	g_byte_array_set_size(bits, (n + 7) / 8);
	if (bits->len)
		memset(bits->data, 0, bits->len);
	return bits;
}

void tree_bit_set(GByteArray *bits, guint n)
{
	bits->data[n / 8] |= (guint8)(1 << n % 8);
}

GByteArray *tree_same(const GPtrArray *ours, const GPtrArray *theirs)
{
	GByteArray *bits = tree_bits_new(theirs->len);
	g_autoptr(GHashTable) by_path = g_hash_table_new(g_str_hash, g_str_equal);
	for (guint n = 0; n < ours->len; n++)
		g_hash_table_insert(by_path, ((TreeEntry *)ours->pdata[n])->path, ours->pdata[n]);
	for (guint n = 0; n < theirs->len; n++) {
		const TreeEntry *entry = theirs->pdata[n];
		if (same(g_hash_table_lookup(by_path, entry->path), entry))
			tree_bit_set(bits, n);
	}
	return bits;
}

gboolean tree_bit(const GByteArray *bits, guint n)
{
	return n / 8 < bits->len && bits->data[n / 8] >> n % 8 & 1;
}

int tree_prune(int directory_fd, const GPtrArray *entries, const GByteArray *kept, Error **err)
{
	/* A directory that goes takes what is in it: that is gone already, then. */
	for (guint n = entries->len; n-- > 0;)
		if (!tree_bit(kept, n) &&
		    file_remove_all(directory_fd, ((TreeEntry *)entries->pdata[n])->path, err) < 0)
			return -1;
	return 0;
}
