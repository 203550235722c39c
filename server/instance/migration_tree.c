#include "server/instance/migration_tree.h"
#include "server/storage/volume_stream.h"
#include <string.h>

enum {
	KEPT_SIZE = 64 * 1024, /* bytes of bits in one message */
	ENTRIES_MAX = 16 << 20,
};
static const char own_state[] = "state.new"; /* goes by itself */

/* ---- what the other side has ---- */

static int add_entry(GPtrArray *list, const Pb__MigrationEntry *entry, Error **err)
{
	if (!entry->path.len || memchr(entry->path.data, '\0', entry->path.len) ||
	    (entry->digest.len && entry->digest.len != TREE_DIGEST))
		return error_set(err, ERROR_INVALID, "The other server's list of files is damaged");
	TreeEntry *own = g_new0(TreeEntry, 1);
	own->path = g_strndup((char *)entry->path.data, entry->path.len);
	own->directory = !entry->digest.len;
	if (!own->directory)
		memcpy(own->digest, entry->digest.data, TREE_DIGEST);
	g_ptr_array_add(list, own);
	return 0;
}

static int take_entries(const Pb__MigrationTree *tree, GPtrArray *list, Error **err)
{
	if (!tree || (tree->more && !tree->n_entries))
		return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
	for (size_t n = 0; n < tree->n_entries; n++) {
		if (list->len >= ENTRIES_MAX)
			return error_set(
			    err, ERROR_TOO_LARGE, "The other server's list of files is too long");
		if (add_entry(list, tree->entries[n], err) < 0)
			return -1;
	}
	return 0;
}

static int receive_list(MigrationPeer *peer, GPtrArray **ret_list, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)tree_entry_free);
	for (gboolean more = TRUE; more;) {
		Pb__MigrationMessage *message;
		if (migration_peer_receive(peer, &message, err) < 0)
			return -1;
		int result = take_entries(message->tree, list, err);
		more = result == 0 && message->tree->more;
		pb__migration_message__free_unpacked(message, NULL);
		if (result < 0)
			return -1;
	}
	*ret_list = g_steal_pointer(&list);
	return 0;
}

static int send_kept(MigrationPeer *peer, const GByteArray *bits, Error **err)
{
	for (guint at = 0; at < bits->len; at += KEPT_SIZE) {
		Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
		Pb__MigrationKept kept = PB__MIGRATION_KEPT__INIT;
		kept.bits = (ProtobufCBinaryData){ MIN(bits->len - at, KEPT_SIZE),
			bits->data + at };
		kept.more = at + KEPT_SIZE < bits->len;
		message.kept = &kept;
		if (migration_peer_send(peer, &message, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- comparing ---- */

/* What was written while it was sent may look the same and not be it; and names that belong
 * together did not change since they all went. */
static void distrust_changed(GPtrArray *entries, int64_t since_ns)
{
	for (guint n = 0; since_ns && n < entries->len; n++) {
		TreeEntry *entry = entries->pdata[n];
		entry->several = entry->changed_ns >= since_ns;
	}
}

static int compare(const MigrationSource *s, const MigrationPart *part, const GPtrArray *theirs,
    GPtrArray **ret_ours, GByteArray **ret_bits, Error **err)
{
	if (volume_stream_list(s->pool, part->volume, ret_ours, err) < 0)
		return -1;
	distrust_changed(*ret_ours, part->since_ns);
	*ret_bits = tree_same(*ret_ours, theirs);
	return 0;
}

/* The paths (borrowed) of what stays. */
static GHashTable *kept_paths(const GPtrArray *list, const GByteArray *bits)
{
	GHashTable *kept = g_hash_table_new(g_str_hash, g_str_equal);
	for (guint n = 0; n < list->len; n++)
		if (tree_bit(bits, n))
			g_hash_table_add(kept, ((TreeEntry *)list->pdata[n])->path);
	return kept;
}

/* TreeEntry * (borrowed) by their paths. */
static GHashTable *by_path(const GPtrArray *list)
{
	GHashTable *table = g_hash_table_new(g_str_hash, g_str_equal);
	for (guint n = 0; n < list->len; n++)
		g_hash_table_insert(table, ((TreeEntry *)list->pdata[n])->path, list->pdata[n]);
	return table;
}

/* ---- sending ---- */

typedef struct Sent {
	const MigrationSource *source;
	const MigrationPart *part;
	GHashTable *kept;
	const GPtrArray *only;
} Sent;

static int write_tree(int fd, void *data, Error **err)
{
	const Sent *sent = data;
	VolumeStreamTree tree = { .owners = sent->part->owners,
		.kept = sent->kept,
		.only = sent->only,
		.op = sent->source->op };
	if (sent->source->live && !sent->part->volume->snapshot)
		tree.without = own_state;
	return volume_stream_send_tree(sent->source->pool, sent->part->volume, &tree, fd, err);
}

int migration_tree_send(
    MigrationPeer *peer, const MigrationSource *s, const MigrationPart *part, Error **err)
{
	g_autoptr(GPtrArray) theirs = NULL;
	g_autoptr(GPtrArray) ours = NULL;
	g_autoptr(GByteArray) bits = NULL;
	g_autoptr(GHashTable) kept = NULL;
	if (receive_list(peer, &theirs, err) < 0)
		return -1;
	if (theirs->len) {
		if (compare(s, part, theirs, &ours, &bits, err) < 0 ||
		    send_kept(peer, bits, err) < 0)
			return -1;
		kept = kept_paths(theirs, bits);
	}
	Sent sent = { .source = s, .part = part, .kept = kept };
	return migration_source_send_still(peer, s, part, write_tree, &sent, err);
}

/* ---- the last round ---- */

struct MigrationLast {
	const MigrationSource *source;
	MigrationPart part;
	GPtrArray *theirs, *ours;
	GByteArray *same; /* of `theirs`, when ours was read */
	int64_t since_ns;
};

void migration_last_free(MigrationLast *last)
{
	if (!last)
		return;
	g_ptr_array_unref(last->theirs);
	g_clear_pointer(&last->ours, g_ptr_array_unref);
	g_clear_pointer(&last->same, g_byte_array_unref);
	g_free(last);
}

int migration_last_new(MigrationPeer *peer, const MigrationSource *s, const MigrationPart *part,
    int64_t since_ns, MigrationLast **ret, Error **err)
{
	g_autoptr(GPtrArray) theirs = NULL;
	if (receive_list(peer, &theirs, err) < 0)
		return -1;
	g_autoptr(MigrationLast) last = g_new0(MigrationLast, 1);
	last->source = s;
	last->part = *part;
	last->part.name = "rest";
	last->theirs = g_steal_pointer(&theirs);
	last->since_ns = since_ns;
	if (compare(s, part, last->theirs, &last->ours, &last->same, err) < 0)
		return -1;
	*ret = g_steal_pointer(&last);
	return 0;
}

/* Which of theirs still are as ours. */
static GByteArray *kept_now(const MigrationLast *last, GHashTable *now, GHashTable *before)
{
	GByteArray *bits = tree_bits_new(last->theirs->len);
	for (guint n = 0; n < last->theirs->len; n++) {
		const TreeEntry *theirs = last->theirs->pdata[n],
				*entry = g_hash_table_lookup(now, theirs->path);
		if (!entry || !tree_bit(last->same, n))
			continue;
		if (theirs->directory ?
			entry->directory :
			tree_entry_stands(
			    entry, g_hash_table_lookup(before, theirs->path), last->since_ns))
			tree_bit_set(bits, n);
	}
	return bits;
}

static void add_parent(GHashTable *folders, const char *path)
{
	const char *slash = strrchr(path, '/');
	if (slash)
		g_hash_table_add(folders, g_strndup(path, (gsize)(slash - path)));
}

/* What goes (paths, borrowed), with the folders that it comes into: they get a new time there. */
static GPtrArray *wanted(
    const MigrationLast *last, const GPtrArray *now, GHashTable *kept, GHashTable *before)
{
	GPtrArray *only = g_ptr_array_new();
	g_autoptr(GHashTable) folders = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, NULL);
	g_autofree gboolean *goes = g_new0(gboolean, now->len + 1);
	for (guint n = 0; n < now->len; n++) {
		const TreeEntry *entry = now->pdata[n];
		goes[n] = !g_hash_table_contains(kept, entry->path) ||
		    !tree_entry_stands(
			entry, g_hash_table_lookup(before, entry->path), last->since_ns);
		if (goes[n])
			add_parent(folders, entry->path);
	}
	for (guint n = 0; n < now->len; n++) {
		const TreeEntry *entry = now->pdata[n];
		if (goes[n] || g_hash_table_contains(folders, entry->path))
			g_ptr_array_add(only, entry->path);
	}
	return only;
}

int migration_last_send(MigrationPeer *peer, const MigrationLast *last, Error **err)
{
	g_autoptr(GPtrArray) look = NULL;
	if (volume_stream_look(last->source->pool, last->part.volume, own_state, &look, err) < 0)
		return -1;
	g_autoptr(GHashTable) now = by_path(look);
	g_autoptr(GHashTable) before = by_path(last->ours);
	g_autoptr(GByteArray) bits = kept_now(last, now, before);
	g_autoptr(GHashTable) kept = kept_paths(last->theirs, bits);
	g_autoptr(GPtrArray) only = wanted(last, look, kept, before);
	Sent sent = { .source = last->source, .part = &last->part, .only = only };
	return send_kept(peer, bits, err) < 0 ?
	    -1 :
	    migration_data_send(peer, write_tree, &sent, last->source->op, last->part.name, err);
}
