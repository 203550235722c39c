#include "sdk/base/file.h"
#include "server/instance/migration_incus.h"
#include "server/storage/index_value.h"
#include "server/storage/volume_index.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

/*
 * The description of what is sent, which goes before the data where both sides say so in their
 * headers: one JSON document, "config" with what a backup's index says, under Go's names, answered
 * by a small one. Seen between two servers of Incus 6.0. The header has the rest already; only of
 * volumes' snapshots nothing but this tells what their rows say.
 */
enum { VERSION = 1, INDEX_MAX = 16 * 1024 * 1024, PIECE = 64 * 1024 };

uint32_t migration_incus_index_version(const Pb__PeerHeader *offer)
{
	return MIN(offer->index_version, VERSION);
}

typedef struct Index {
	MigrationTarget *target;
	gboolean refresh;
} Index;

static int describe(SnapshotRow *row, const json_t *object, Error **err)
{
	g_autoptr(Config) config = NULL;
	g_autofree char *description = NULL;
	Moment expires;
	if (index_text(object, "description", &description, err) < 0 ||
	    index_moment(object, "expires_at", &expires, err) < 0 ||
	    index_config(object, "config", &config, err) < 0)
		return error_prefix(err, "Snapshot \"%s\" of the other server", row->name);
	g_free(row->description);
	row->description = g_steal_pointer(&description);
	row->expires = expires;
	g_clear_pointer(&row->config, g_hash_table_unref);
	row->config = g_steal_pointer(&config);
	return 0;
}

/* Snapshots that the document does not describe stay as the header has them. */
static int take_rows(MigrationTarget *t, const json_t *document, Error **err)
{
	const json_t *list = json_object_get(json_object_get(document, "config"), "VolumeSnapshots");
	for (guint n = 0; n < t->rows->len; n++) {
		SnapshotRow *row = t->rows->pdata[n];
		const json_t *object = volume_index_snapshot(list, row->name);
		if (object && describe(row, object, err) < 0)
			return -1;
	}
	return 0;
}

static int parse(MigrationTarget *t, const GByteArray *text, Error **err)
{
	json_error_t problem;
	json_t *document = json_loadb(
	    (const char *)text->data, text->len, JSON_REJECT_DUPLICATES, &problem);
	if (!document)
		return error_set(err, ERROR_INVALID,
		    "The other server describes what it sends in a way that cannot be read: %s",
		    problem.text);
	int result = take_rows(t, document, err);
	json_decref(document);
	return result;
}

static int answer(int socket, gboolean refresh, Error **err)
{
	g_autofree char *text = g_strdup_printf(
	    "{\"StatusCode\":200,\"Error\":\"\",\"Refresh\":%s}", refresh ? "true" : "false");
	return file_write_all(socket, text, strlen(text)) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot pass the data on") :
	    0;
}

static int work_index(int socket, void *data, Error **err)
{
	const Index *index = data;
	g_autoptr(GByteArray) text = g_byte_array_new();
	g_autofree guint8 *piece = g_malloc(PIECE);
	ssize_t n;
	while ((n = read(socket, piece, PIECE)) != 0) {
		if (n < 0 && errno != EINTR)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot read what the other server sends");
		if (n > 0)
			g_byte_array_append(text, piece, (guint)n);
	}
	return parse(index->target, text, err) < 0 ? -1 : answer(socket, index->refresh, err);
}

int migration_incus_index(MigrationTarget *target, gboolean refresh, Error **err)
{
	Index index = { target, refresh };
	return migration_incus_index_version(target->header) == 0 ?
	    0 :
	    migration_incus_object(
		target->peer, work_index, &index, INDEX_MAX, target->op, "index", err);
}
