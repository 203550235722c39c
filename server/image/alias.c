#include "server/image/alias.h"
#include "sdk/base/names.h"
#include "server/db/db.h"
#include "server/project/project.h"
#include <string.h>

typedef struct AliasCall {
	const char *project, *name, *type, *target, *description, *new_name;
	gboolean public_only;
	Arena *arena;
	GPtrArray *found;
	int64_t id;
} AliasCall;

static void add_row(AliasCall *call, Rows *rows)
{
	Pb__ImageAliasesEntry *entry = arena_message(
	    call->arena, Pb__ImageAliasesEntry, pb__image_aliases_entry);
	entry->name = arena_strdup(call->arena, rows_text(rows, 0));
	entry->description = arena_strdup(call->arena, rows_text(rows, 1));
	entry->target = arena_strdup(call->arena, rows_text(rows, 2));
	entry->type = arena_strdup(
	    call->arena, rows_int(rows, 3) ? "virtual-machine" : "container");
	g_ptr_array_add(call->found, entry);
}

static int list_tx(Tx *tx, void *data, Error **err)
{
	AliasCall *call = data;
	g_ptr_array_set_size(call->found, 0);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err,
		"SELECT a.name, coalesce(a.description, ''), i.fingerprint, i.type FROM images_aliases a"
		" JOIN images i ON i.id = a.image_id JOIN projects p ON p.id = a.project_id"
		" WHERE p.name = ? AND (? IS NULL OR a.name = ?) AND (? = 0 OR i.public = 1) ORDER BY a.name",
		"sssi", call->project, call->name, call->name, (int64_t)call->public_only) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		add_row(call, rows);
	return more;
}

static int load(Daemon *d, AliasCall *call, Error **err)
{
	g_autofree char *project = NULL;
	if (project_effective(d, call->project, PROJECT_IMAGES, &project, err) < 0)
		return -1;
	call->project = project;
	call->found = g_ptr_array_new();
	if (db_read(d->db, list_tx, call, err) == 0)
		return 0;
	g_ptr_array_unref(call->found);
	return -1;
}

int image_alias_list(Daemon *d, const char *project, Arena *arena, size_t *ret_n,
    Pb__ImageAliasesEntry ***ret_aliases, Error **err)
{
	AliasCall call = { .project = project, .arena = arena };
	if (load(d, &call, err) < 0)
		return -1;
	*ret_n = call.found->len;
	*ret_aliases = arena_memdup(arena, call.found->pdata, call.found->len * sizeof(void *));
	g_ptr_array_unref(call.found);
	return 0;
}

int image_alias_get(Daemon *d, const char *project, const char *name, const char *type,
    gboolean public_only, Arena *arena, Pb__ImageAliasesEntry **ret_alias, Error **err)
{
	AliasCall call = {
		.project = project, .name = name, .public_only = public_only, .arena = arena
	};
	if (load(d, &call, err) < 0)
		return -1;
	Pb__ImageAliasesEntry *entry = call.found->len ? call.found->pdata[0] : NULL;
	g_ptr_array_unref(call.found);
	if (!entry || (type && *type && strcmp(type, entry->type) != 0))
		return error_set(err, ERROR_NOT_FOUND, "Image alias not found");
	*ret_alias = entry;
	return 0;
}

/* Runs a change in the effective project. The target, when there is one, becomes a whole
 * fingerprint. */
static int change(Daemon *d, AliasCall *call, int (*fn)(Tx *, void *, Error **), Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	g_autofree char *project = NULL;
	if (call->target) {
		Pb__Image *image;
		if (!*call->target)
			return error_set(err, ERROR_INVALID, "The target field is required");
		if (image_get(d, call->project, call->target, FALSE, arena, &image, err) < 0)
			return -1;
		call->target = image->fingerprint;
	}
	if (project_effective(d, call->project, PROJECT_IMAGES, &project, err) < 0)
		return -1;
	call->project = project;
	const char *name = call->new_name ? call->new_name : call->name;
	Error *inner = NULL;
	if (db_tx(d->db, fn, call, &inner) == 0)
		return 0;
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Alias \"%s\" already exists", name);
}

static int find_id(Tx *tx, AliasCall *call, Error **err)
{
	Error *inner = NULL;
	if (tx_int(tx, &call->id, &inner,
		"SELECT a.id FROM images_aliases a JOIN projects p ON p.id = a.project_id WHERE a.name = ? AND p.name = ?",
		"ss", call->name, call->project) == 0)
		return 0;
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_NOT_FOUND, "Image alias not found");
}

#define IMAGE_AND_PROJECT                                                                          \
	"SELECT i.id FROM images i JOIN projects p ON p.id = i.project_id WHERE i.fingerprint = ? AND p.name = ?"

static int create_tx(Tx *tx, void *data, Error **err)
{
	AliasCall *call = data;
	return tx_exec(tx, err,
	    "INSERT INTO images_aliases (name, image_id, description, project_id)"
	    " VALUES (?, (" IMAGE_AND_PROJECT "), ?, (SELECT id FROM projects WHERE name = ?))",
	    "sssss", call->name, call->target, call->project, call->description, call->project);
}

int image_alias_create(Daemon *d, const char *project, const char *name, const char *target,
    const char *description, Error **err)
{
	if (name_check_image_alias(name, err) < 0)
		return -1;
	AliasCall call = {
		.project = project, .name = name, .target = target, .description = description
	};
	return change(d, &call, create_tx, err);
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	AliasCall *call = data;
	if (find_id(tx, call, err) < 0)
		return -1;
	return tx_exec(tx, err,
	    "UPDATE images_aliases SET image_id = (" IMAGE_AND_PROJECT
	    "), description = ? WHERE id = ?",
	    "sssi", call->target, call->project, call->description, call->id);
}

int image_alias_update(Daemon *d, const char *project, const char *name, const char *target,
    const char *description, Error **err)
{
	AliasCall call = {
		.project = project, .name = name, .target = target, .description = description
	};
	return change(d, &call, update_tx, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	AliasCall *call = data;
	if (find_id(tx, call, err) < 0)
		return -1;
	return tx_exec(tx, err, "UPDATE images_aliases SET name = ? WHERE id = ?", "si",
	    call->new_name, call->id);
}

int image_alias_rename(
    Daemon *d, const char *project, const char *name, const char *new_name, Error **err)
{
	if (name_check_image_alias(new_name, err) < 0)
		return -1;
	AliasCall call = { .project = project, .name = name, .new_name = new_name };
	return change(d, &call, rename_tx, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	AliasCall *call = data;
	if (find_id(tx, call, err) < 0)
		return -1;
	return tx_exec(tx, err, "DELETE FROM images_aliases WHERE id = ?", "i", call->id);
}

int image_alias_delete(Daemon *d, const char *project, const char *name, Error **err)
{
	AliasCall call = { .project = project, .name = name };
	return change(d, &call, delete_tx, err);
}
