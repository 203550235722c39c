#include "server/image/image.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include "server/db/db.h"
#include "server/image/alias.h"
#include "server/image/metadata.h"
#include "server/image/remote.h"
#include "server/project/project.h"
#include "server/storage/pool.h"
#include "server/storage/store.h"
#include <fcntl.h>
#include <string.h>

static GMutex files_lock;

void image_files_lock(void)
{
	g_mutex_lock(&files_lock);
}

void image_files_unlock(void)
{
	g_mutex_unlock(&files_lock);
}

char *image_path(Daemon *d, const char *fingerprint, gboolean rootfs)
{
	return g_strdup_printf("%s/images/%s%s", d->dir, fingerprint, rootfs ? ".rootfs" : "");
}

int image_get(Daemon *d, const char *project, const char *fingerprint, gboolean public_only,
    Arena *arena, Pb__Image **ret_image, Error **err)
{
	ImageQuery query = {
		.project = project, .fingerprint = fingerprint, .public_only = public_only
	};
	Pb__Image **images;
	size_t n;
	if (name_check_fingerprint(fingerprint, NULL) < 0)
		return error_set(err, ERROR_NOT_FOUND, "Image not found");
	if (image_list(d, &query, arena, &n, &images, err) < 0)
		return -1;
	if (n == 0)
		return error_set(err, ERROR_NOT_FOUND, "Image not found");
	if (n > 1)
		return error_set(err, ERROR_INVALID,
		    "Partial fingerprint \"%s\" matches more than one image", fingerprint);
	*ret_image = images[0];
	return 0;
}

int image_resolve(Daemon *d, const char *project, const char *fingerprint_or_alias, Arena *arena,
    Pb__Image **ret_image, Error **err)
{
	Pb__ImageAliasesEntry *alias;
	Error *inner = NULL;
	if (image_alias_get(d, project, fingerprint_or_alias, NULL, FALSE, arena, &alias, &inner) ==
	    0)
		return image_get(d, project, alias->target, FALSE, arena, ret_image, err);
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return image_get(d, project, fingerprint_or_alias, FALSE, arena, ret_image, err);
}

typedef struct RowCall {
	const char *project, *fingerprint;
	const char *profiles; /* project whose profiles are meant */
	const Pb__Image *image;
	const Pb__ImagePut *put;
	int64_t id, left, used_at;
} RowCall;

static int find_id(Tx *tx, RowCall *call, Error **err)
{
	Error *inner = NULL;
	if (tx_int(tx, &call->id, &inner,
		"SELECT i.id FROM images i JOIN projects p ON p.id = i.project_id WHERE i.fingerprint = ? AND p.name = ?",
		"ss", call->fingerprint, call->project) == 0)
		return 0;
	if (inner->kind != ERROR_NOT_FOUND)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_NOT_FOUND, "Image not found");
}

static int64_t now(void)
{
	return g_get_real_time() / G_USEC_PER_SEC;
}

static int touch_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	return tx_exec(tx, err,
	    "UPDATE images SET last_use_date = ? WHERE fingerprint = ? AND project_id = (SELECT id FROM projects WHERE name = ?)",
	    "tss", call->used_at, call->fingerprint, call->project);
}

static int run(Daemon *d, RowCall *call, int (*fn)(Tx *, void *, Error **), Error **err)
{
	g_autofree char *effective = NULL, *profiles = NULL;
	if (project_effective(d, call->project, PROJECT_IMAGES, &effective, err) < 0 ||
	    project_effective(d, call->project, PROJECT_PROFILES, &profiles, err) < 0)
		return -1;
	call->profiles = profiles;
	call->project = effective;
	return db_tx(d->db, fn, call, err);
}

int image_set_last_used(
    Daemon *d, const char *project, const char *fingerprint, int64_t seconds, Error **err)
{
	RowCall call = { .project = project, .fingerprint = fingerprint, .used_at = seconds };
	return run(d, &call, touch_tx, err);
}

int image_touch(Daemon *d, const char *project, const char *fingerprint, Error **err)
{
	return image_set_last_used(d, project, fingerprint, now(), err);
}

static int write_properties(Tx *tx, int64_t id, size_t n, const void *entries, Error **err)
{
	const MapEntry *const *e = entries;
	if (tx_exec(tx, err, "DELETE FROM images_properties WHERE image_id = ?", "i", id) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (*e[i]->value &&
		    tx_exec(tx, err,
			"INSERT INTO images_properties (image_id, type, key, value) VALUES (?, 0, ?, ?)",
			"iss", id, e[i]->key, e[i]->value) < 0)
			return -1;
	return 0;
}

/* Profiles of the project that the caller works in; they have a feature of their own. */
static int write_profiles(
    Tx *tx, int64_t id, const char *project, size_t n, char **names, Error **err)
{
	if (tx_exec(tx, err,
		"DELETE FROM images_profiles WHERE image_id = ? AND profile_id IN (SELECT f.id FROM profiles f"
		" JOIN projects p ON p.id = f.project_id WHERE p.name = ?)",
		"is", id, project) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int64_t profile;
		if (tx_int(tx, &profile, err,
			"SELECT f.id FROM profiles f JOIN projects p ON p.id = f.project_id WHERE f.name = ? AND p.name = ?",
			"ss", names[i], project) < 0)
			return error_prefix(err, "Profile \"%s\"", names[i]);
		if (tx_exec(tx, err,
			"INSERT INTO images_profiles (image_id, profile_id) VALUES (?, ?)", "ii",
			id, profile) < 0)
			return -1;
	}
	return 0;
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	const Pb__ImagePut *put = call->put;
	if (find_id(tx, call, err) < 0 ||
	    tx_exec(tx, err,
		"UPDATE images SET public = ?, auto_update = ?, expiry_date = ? WHERE id = ?",
		"iiti", (int64_t)put->public_, (int64_t)put->auto_update,
		put->expires_at ? MAX((int64_t)put->expires_at->seconds, 0) : 0, call->id) < 0 ||
	    write_properties(tx, call->id, put->n_properties, put->properties, err) < 0)
		return -1;
	return write_profiles(tx, call->id, call->profiles, put->n_profiles, put->profiles, err);
}

int image_update(
    Daemon *d, const char *project, const char *fingerprint, const Pb__ImagePut *put, Error **err)
{
	RowCall call = { .project = project, .fingerprint = fingerprint, .put = put };
	return run(d, &call, update_tx, err);
}

static int write_source(Tx *tx, int64_t id, const Pb__ImageSource *source, Error **err)
{
	if (tx_exec(tx, err, "DELETE FROM images_source WHERE image_id = ?", "i", id) < 0)
		return -1;
	return !source ?
	    0 :
	    tx_exec(tx, err,
		"INSERT INTO images_source (image_id, server, protocol, certificate, alias) VALUES (?, ?, ?, ?, ?)",
		"isiss", id, source->server, (int64_t)image_protocol_number(source->protocol),
		source->certificate, source->alias);
}

static int adopt_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (find_id(tx, call, err) < 0 ||
	    tx_exec(tx, err, "UPDATE images SET cached = 0 WHERE id = ?", "i", call->id) < 0)
		return -1;
	return write_source(tx, call->id, call->image->update_source, err);
}

int image_adopt(Daemon *d, const char *project, const char *fingerprint,
    const Pb__ImageSource *source, Error **err)
{
	Pb__Image image = PB__IMAGE__INIT;
	image.update_source = (Pb__ImageSource *)source;
	RowCall call = { .project = project, .fingerprint = fingerprint, .image = &image };
	return run(d, &call, adopt_tx, err);
}

static int insert_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	const Pb__Image *m = call->image;
	int64_t project;
	if (tx_int(tx, &project, err, "SELECT id FROM projects WHERE name = ?", "s",
		call->project) < 0)
		return error_prefix(err, "Project \"%s\"", call->project);
	if (tx_insert(tx, &call->id, err,
		"INSERT INTO images (fingerprint, filename, size, public, auto_update, architecture, creation_date, expiry_date,"
		" upload_date, cached, project_id, type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"ssiiiitttiii", m->fingerprint, m->filename, (int64_t)m->size, (int64_t)m->public_,
		(int64_t)m->auto_update, (int64_t)image_architecture_id(m->architecture),
		m->created_at ? (int64_t)m->created_at->seconds : 0,
		m->expires_at ? MAX((int64_t)m->expires_at->seconds, 0) : 0, now(),
		(int64_t)m->cached, project,
		(int64_t)(strcmp(m->type, "virtual-machine") == 0)) < 0)
		return -1;
	if (tx_exec(tx, err, "INSERT INTO images_nodes (image_id, node_id) VALUES (?, 1)", "i",
		call->id) < 0 ||
	    write_source(tx, call->id, m->update_source, err) < 0 ||
	    write_properties(tx, call->id, m->n_properties, m->properties, err) < 0)
		return -1;
	static char *default_profiles[] = { (char *)"default" };
	return m->n_profiles ?
	    write_profiles(tx, call->id, call->profiles, m->n_profiles, m->profiles, err) :
	    write_profiles(tx, call->id, call->profiles, 1, default_profiles, err);
}

int image_insert(Daemon *d, const char *project, const Pb__Image *image, Error **err)
{
	RowCall call = { .project = project, .fingerprint = image->fingerprint, .image = image };
	Error *inner = NULL;
	if (run(d, &call, insert_tx, &inner) == 0)
		return 0;
	if (inner->kind != ERROR_EXISTS)
		return error_propagate(err, inner);
	error_free(inner);
	return error_set(err, ERROR_EXISTS, "Image with same fingerprint already exists");
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	RowCall *call = data;
	if (find_id(tx, call, err) < 0 ||
	    tx_exec(tx, err, "DELETE FROM images WHERE id = ?", "i", call->id) < 0)
		return -1;
	return tx_int(tx, &call->left, err, "SELECT count(*) FROM images WHERE fingerprint = ?",
	    "s", call->fingerprint);
}

static int remove_files(Daemon *d, const char *fingerprint, Error **err)
{
	g_autofree char *file = image_path(d, fingerprint, FALSE);
	g_autofree char *rootfs = image_path(d, fingerprint, TRUE);
	if (file_remove_all(AT_FDCWD, file, err) < 0 || file_remove_all(AT_FDCWD, rootfs, err) < 0)
		return -1;
	return d->pools ? pool_image_delete(d, fingerprint, err) : 0;
}

int image_delete(Daemon *d, const char *project, const char *fingerprint, Error **err)
{
	RowCall call = { .project = project, .fingerprint = fingerprint };
	if (store_hold(d, STORE_IMAGES, err) < 0)
		return -1;
	image_files_lock();
	int r = run(d, &call, delete_tx, err);
	if (r == 0 && call.left == 0)
		r = remove_files(d, fingerprint, err);
	image_files_unlock();
	store_release(d, STORE_IMAGES);
	return r;
}

static int known_tx(Tx *tx, void *data, Error **err)
{
	GHashTable *known = data;
	g_hash_table_remove_all(known);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, "SELECT DISTINCT fingerprint FROM images", "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		g_hash_table_add(known, g_strdup(rows_text(rows, 0)));
	return more;
}

/* FINGERPRINT, FINGERPRINT.rootfs and import-*: other files are not ours to remove. */
static gboolean is_leftover(const char *name, GHashTable *known)
{
	if (g_str_has_prefix(name, "import-"))
		return TRUE;
	g_autofree char *fingerprint = g_strdup(name);
	if (g_str_has_suffix(fingerprint, ".rootfs"))
		fingerprint[strlen(fingerprint) - strlen(".rootfs")] = '\0';
	return strlen(fingerprint) == 64 && name_check_fingerprint(fingerprint, NULL) == 0 &&
	    !g_hash_table_contains(known, fingerprint);
}

static int remove_leftovers(Daemon *d, Error **err)
{
	g_autofree char *folder = g_build_filename(d->dir, "images", NULL);
	g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	if (db_read(d->db, known_tx, known, err) < 0)
		return error_prefix(err, "Cannot start the image store");
	autofd int fd = file_open_directory(folder, err);
	autodir DIR *dir = fd < 0 ? NULL : opendir(folder);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (!is_leftover(e->d_name, known))
			continue;
		log_info("Removing what an interrupted import left", "file", e->d_name);
		if (file_remove_all(fd, e->d_name, err) < 0)
			return -1;
	}
	return fd < 0 ? -1 : 0;
}

int image_start(Daemon *d, Error **err)
{
	if (store_hold(d, STORE_IMAGES, NULL) < 0)
		return 0; /* it was told: there is nothing to be seen */
	int result = remove_leftovers(d, err);
	store_release(d, STORE_IMAGES);
	return result;
}
