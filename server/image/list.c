#include "sdk/base/moment_message.h"
#include "server/db/db.h"
#include "server/image/image.h"
#include "server/image/metadata.h"
#include "server/image/remote.h"
#include "server/project/project.h"
#include <string.h>

typedef struct Listed {
	int64_t id;
	Pb__Image *message;
	Config *properties;
	GPtrArray *aliases, *profiles;
	gboolean has_own; /* profiles of the project that asks */
} Listed;

typedef struct ListCall {
	const ImageQuery *query;
	const char *project; /* effective; NULL: all */
	const char
	    *profiles; /* the project whose profiles the asking one has; NULL: the images' own */
	char *pattern;
	Arena *arena;
	GPtrArray *images;
	GHashTable *by_id;
} ListCall;

static void listed_free(void *data)
{
	Listed *image = data;
	g_hash_table_unref(image->properties);
	g_ptr_array_unref(image->aliases);
	g_ptr_array_unref(image->profiles);
	g_free(image);
}

static void add_row(ListCall *call, Rows *rows)
{
	Listed *image = g_new0(Listed, 1);
	Arena *a = call->arena;
	image->id = rows_int(rows, 0);
	image->properties = config_new();
	image->aliases = g_ptr_array_new();
	image->profiles = g_ptr_array_new();
	Pb__Image *m = image->message = arena_message(a, Pb__Image, pb__image);
	m->fingerprint = arena_strdup(a, rows_text(rows, 1));
	m->filename = arena_strdup(a, rows_text(rows, 2));
	m->size = rows_int(rows, 3);
	m->public_ = rows_int(rows, 4) != 0;
	m->auto_update = rows_int(rows, 5) != 0;
	m->architecture = arena_strdup(a, image_architecture_name((int)rows_int(rows, 6)));
	m->created_at = seconds_to_message(rows_time(rows, 7), a);
	m->expires_at = seconds_to_message(rows_time(rows, 8), a);
	m->uploaded_at = seconds_to_message(rows_time(rows, 9), a);
	m->last_used_at = seconds_to_message(rows_time(rows, 10), a);
	m->cached = rows_int(rows, 11) != 0;
	m->type = arena_strdup(a, rows_int(rows, 12) ? "virtual-machine" : "container");
	if (!call->query->project)
		m->project = arena_strdup(a, rows_text(rows, 13));
	g_ptr_array_add(call->images, image);
	g_hash_table_insert(call->by_id, &image->id, image);
}

#define WHERE_IMAGE                                                                                \
	" WHERE (? IS NULL OR p.name = ?) AND (? IS NULL OR i.fingerprint LIKE ?) AND (? = 0 OR i.public = 1)"

static int query(Tx *tx, ListCall *call, Rows **ret_rows, const char *sql, Error **err)
{
	return tx_query(tx, ret_rows, err, sql, "ssssi", call->project, call->project,
	    call->pattern, call->pattern, (int64_t)call->query->public_only);
}

static int load_images(Tx *tx, ListCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (query(tx, call, &rows,
		"SELECT i.id, i.fingerprint, i.filename, i.size, i.public, i.auto_update, i.architecture, i.creation_date,"
		" i.expiry_date, i.upload_date, i.last_use_date, i.cached, i.type, p.name"
		" FROM images i JOIN projects p ON p.id = i.project_id" WHERE_IMAGE
		" ORDER BY i.fingerprint, p.name",
		err) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		add_row(call, rows);
	return more;
}

static Listed *row_image(ListCall *call, Rows *rows)
{
	int64_t id = rows_int(rows, 0);
	return g_hash_table_lookup(call->by_id, &id);
}

static int load_properties(Tx *tx, ListCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (query(tx, call, &rows,
		"SELECT o.image_id, o.key, o.value FROM images_properties o JOIN images i ON i.id = o.image_id"
		" JOIN projects p ON p.id = i.project_id" WHERE_IMAGE,
		err) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Listed *image = row_image(call, rows);
		if (image)
			config_set(image->properties, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int load_aliases(Tx *tx, ListCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (query(tx, call, &rows,
		"SELECT o.image_id, o.name, coalesce(o.description, '') FROM images_aliases o JOIN images i ON i.id = o.image_id"
		" JOIN projects p ON p.id = i.project_id" WHERE_IMAGE " ORDER BY o.name",
		err) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Listed *image = row_image(call, rows);
		Pb__ImageAlias *alias = arena_message(call->arena, Pb__ImageAlias, pb__image_alias);
		alias->name = arena_strdup(call->arena, rows_text(rows, 1));
		alias->description = arena_strdup(call->arena, rows_text(rows, 2));
		if (image)
			g_ptr_array_add(image->aliases, alias);
	}
	return more;
}

/* Images that several projects share have profiles of each of them. A project that came later, and
 * has none of its own there, has those of the same names. */
static int load_profiles(Tx *tx, ListCall *call, Error **err)
{
	static const char sql[] =
	    "SELECT image, name, own FROM (SELECT o.image_id AS image, f.name, o.rowid AS n,"
	    " f.project_id = i.project_id AS with_image,"
	    " r.name = coalesce(?, CASE WHEN EXISTS (SELECT 1 FROM projects_config c WHERE c.project_id = p.id"
	    " AND c.key = 'features.profiles' AND c.value = 'true') THEN p.name ELSE 'default' END) AS own"
	    " FROM images_profiles o JOIN profiles f ON f.id = o.profile_id"
	    " JOIN projects r ON r.id = f.project_id JOIN images i ON i.id = o.image_id"
	    " JOIN projects p ON p.id = i.project_id" WHERE_IMAGE
	    ") WHERE own OR with_image ORDER BY own DESC, n";
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, sql, "sssssi", call->profiles, call->project, call->project,
		call->pattern, call->pattern, (int64_t)call->query->public_only) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Listed *image = row_image(call, rows);
		gboolean own = rows_int(rows, 2) != 0;
		if (!image || (image->has_own && !own))
			continue;
		image->has_own = own;
		g_ptr_array_add(image->profiles, arena_strdup(call->arena, rows_text(rows, 1)));
	}
	return more;
}

static int load_sources(Tx *tx, ListCall *call, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	if (query(tx, call, &rows,
		"SELECT o.image_id, o.server, o.protocol, coalesce(o.certificate, ''), o.alias FROM images_source o"
		" JOIN images i ON i.id = o.image_id JOIN projects p ON p.id = i.project_id" WHERE_IMAGE,
		err) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		Listed *image = row_image(call, rows);
		if (!image)
			continue;
		Pb__ImageSource *source = arena_message(
		    call->arena, Pb__ImageSource, pb__image_source);
		source->server = arena_strdup(call->arena, rows_text(rows, 1));
		source->protocol = arena_strdup(
		    call->arena, image_protocol_name((int)rows_int(rows, 2)));
		source->certificate = arena_strdup(call->arena, rows_text(rows, 3));
		source->alias = arena_strdup(call->arena, rows_text(rows, 4));
		source->image_type = image->message->type;
		image->message->update_source = source;
	}
	return more;
}

static int list_tx(Tx *tx, void *data, Error **err)
{
	ListCall *call = data;
	g_hash_table_remove_all(call->by_id);
	g_ptr_array_set_size(call->images, 0);
	if (load_images(tx, call, err) < 0)
		return -1;
	if (call->images->len == 0)
		return 0;
	return load_properties(tx, call, err) < 0 || load_aliases(tx, call, err) < 0 ||
		load_profiles(tx, call, err) < 0 || load_sources(tx, call, err) < 0 ?
	    -1 :
	    0;
}

static void finish(Listed *image, Arena *arena)
{
	Pb__Image *m = image->message;
	config_to_map(image->properties, arena, &pb__image__properties_entry__descriptor,
	    &m->n_properties, &m->properties);
	m->n_aliases = image->aliases->len;
	m->aliases = arena_memdup(
	    arena, image->aliases->pdata, image->aliases->len * sizeof(void *));
	m->n_profiles = image->profiles->len;
	m->profiles = arena_memdup(
	    arena, image->profiles->pdata, image->profiles->len * sizeof(void *));
}

int image_list(Daemon *d, const ImageQuery *asked, Arena *arena, size_t *ret_n,
    Pb__Image ***ret_images, Error **err)
{
	g_autofree char *project = NULL, *profiles = NULL;
	if (asked->project &&
	    (project_effective(d, asked->project, PROJECT_IMAGES, &project, err) < 0 ||
		project_effective(d, asked->project, PROJECT_PROFILES, &profiles, err) < 0))
		return -1;
	g_autofree char *pattern = asked->fingerprint ? g_strconcat(asked->fingerprint, "%", NULL) :
							NULL;
	g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func(listed_free);
	g_autoptr(GHashTable) by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	ListCall call = { .query = asked,
		.project = project,
		.profiles = profiles,
		.pattern = pattern,
		.arena = arena,
		.images = images,
		.by_id = by_id };
	if (db_read(d->db, list_tx, &call, err) < 0)
		return -1;
	*ret_n = images->len;
	*ret_images = arena_alloc(arena, (images->len + 1) * sizeof(void *));
	for (guint i = 0; i < images->len; i++) {
		finish(images->pdata[i], arena);
		(*ret_images)[i] = ((Listed *)images->pdata[i])->message;
	}
	return 0;
}
