#include "server/project/content.h"

#include "sdk/base/names.h"
#include "server/key/key.h"

#include <string.h>

static const char *const feature_keys[] = {
	[PROJECT_IMAGES] = "features.images",
	[PROJECT_PROFILES] = "features.profiles",
	[PROJECT_STORAGE_VOLUMES] = "features.storage.volumes",
	[PROJECT_STORAGE_BUCKETS] = "features.storage.buckets",
	[PROJECT_NETWORKS] = "features.networks",
	[PROJECT_NETWORK_ZONES] = "features.networks.zones",
};

void project_free(Project *project)
{
	if (!project)
		return;
	g_free(project->name);
	g_free(project->description);
	g_clear_pointer(&project->config, g_hash_table_unref);
	g_strfreev(project->used_by);
	g_free(project);
}

static int not_found(Error **err)
{
	return error_set(err, ERROR_NOT_FOUND, "Project not found");
}

/* Changes the words of a missing row; other failures stay. */
static int row_missing(Error **err, Error *failure)
{
	if (failure->kind != ERROR_NOT_FOUND)
		return error_propagate(err, failure);
	error_free(failure);
	return not_found(err);
}

int project_effective_id(
    Tx *tx, const char *project, ProjectFeature feature, int64_t *ret_id, Error **err)
{
	/* The project itself where it has the feature, else "default", whose id is looked up by
	 * name too. */
	static const char sql[] =
	    "SELECT CASE WHEN p.name = 'default' OR c.value IN ('true', '1', 'yes', 'on') THEN p.id"
	    " ELSE (SELECT id FROM projects WHERE name = 'default') END"
	    " FROM projects AS p LEFT JOIN projects_config AS c ON c.project_id = p.id AND c.key = ?"
	    " WHERE p.name = ?";
	g_autoptr(Error) failure = NULL;
	const char *name = project && *project ? project : "default";
	if (tx_int(tx, ret_id, &failure, sql, "ss", feature_keys[feature], name) < 0)
		return row_missing(err, g_steal_pointer(&failure));
	return 0;
}

typedef struct Effective {
	const char *project;
	ProjectFeature feature;
	char *name;
} Effective;

static int effective_name(Tx *tx, void *data, Error **err)
{
	Effective *call = data;
	int64_t id;
	g_autoptr(Rows) rows = NULL;
	if (project_effective_id(tx, call->project, call->feature, &id, err) < 0 ||
	    tx_query(tx, &rows, err, "SELECT name FROM projects WHERE id = ?", "i", id) < 0)
		return -1;
	int more = rows_next(rows, err);
	if (more <= 0)
		return more < 0 ? -1 : not_found(err);
	g_free(call->name);
	call->name = g_strdup(rows_text(rows, 0));
	return 0;
}

int project_effective(
    Daemon *d, const char *project, ProjectFeature feature, char **ret_project, Error **err)
{
	if (!project || !*project || strcmp(project, "default") == 0) {
		*ret_project = g_strdup("default");
		return 0;
	}
	Effective call = {.project = project, .feature = feature};
	if (db_read(d->db, effective_name, &call, err) < 0) {
		g_free(call.name);
		return -1;
	}
	*ret_project = call.name;
	return 0;
}

/* Everything in projects: project id, folder of the URL, name. Columns are the same in each part.
 */
static const char used_by_sql[] =
    "SELECT project_id, '/1.0/instances/', name FROM instances"
    " UNION ALL SELECT project_id, '/1.0/images/', fingerprint FROM images"
    " UNION ALL SELECT project_id, '/1.0/profiles/', name FROM profiles"
    " UNION ALL SELECT v.project_id, '/1.0/storage-pools/' || p.name || '/volumes/custom/', v.name"
    " FROM storage_volumes AS v JOIN storage_pools AS p ON p.id = v.storage_pool_id WHERE v.type = 2"
    " UNION ALL SELECT b.project_id, '/1.0/storage-pools/' || p.name || '/buckets/', b.name"
    " FROM storage_buckets AS b JOIN storage_pools AS p ON p.id = b.storage_pool_id"
    " UNION ALL SELECT project_id, '/1.0/networks/', name FROM networks"
    " UNION ALL SELECT project_id, '/1.0/network-acls/', name FROM networks_acls"
    " UNION ALL SELECT project_id, '/1.0/network-zones/', name FROM networks_zones"
    " ORDER BY 2, 3";

typedef struct ProjectLoad {
	const char *name;      /* NULL: all, or that with `id` */
	int64_t id;            /* 0: not asked by id */
	gboolean used_by;
	GPtrArray *projects;
} ProjectLoad;

static Project *by_id(GPtrArray *projects, int64_t id)
{
	for (guint i = 0; i < projects->len; i++) {
		Project *project = g_ptr_array_index(projects, i);
		if (project->id == id)
			return project;
	}
	return NULL;
}

static int load_used_by(Tx *tx, GPtrArray *projects, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	g_autoptr(GHashTable) lists = g_hash_table_new_full(
	    g_direct_hash, g_direct_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
	int more;
	if (tx_query(tx, &rows, err, used_by_sql, NULL) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Project *project = by_id(projects, rows_int(rows, 0));
		if (!project)
			continue;
		GPtrArray *list = g_hash_table_lookup(lists, project);
		if (!list) {
			list = g_ptr_array_new();
			g_hash_table_insert(lists, project, list);
		}
		g_autofree char *name = g_uri_escape_string(rows_text(rows, 2), NULL, FALSE);
		g_autofree char *owner = g_uri_escape_string(project->name, NULL, FALSE);
		g_ptr_array_add(list, strcmp(project->name, "default") == 0
			? g_strconcat(rows_text(rows, 1), name, NULL)
			: g_strconcat(rows_text(rows, 1), name, "?project=", owner, NULL));
	}
	for (guint i = 0; i < projects->len; i++) {
		Project *project = g_ptr_array_index(projects, i);
		GPtrArray *list = g_hash_table_lookup(lists, project);
		project->used_by = g_new0(char *, (list ? list->len : 0) + 1);
		for (guint j = 0; list && j < list->len; j++)
			project->used_by[j] = g_ptr_array_index(list, j);
	}
	return more;
}

static int load_config(Tx *tx, GPtrArray *projects, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err, "SELECT project_id, key, value FROM projects_config", NULL) <
	    0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Project *project = by_id(projects, rows_int(rows, 0));
		if (project)
			config_set(project->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int load_projects(Tx *tx, void *data, Error **err)
{
	ProjectLoad *load = data;
	g_autoptr(Rows) rows = NULL;
	int more;
	g_ptr_array_set_size(load->projects, 0);
	if (tx_query(tx, &rows, err,
		"SELECT id, name, description FROM projects WHERE (? IS NULL OR name = ?) AND (? = 0 OR id = ?) ORDER BY name",
		"ssii", load->name, load->name, load->id, load->id) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		Project *project = g_new0(Project, 1);
		project->id = rows_int(rows, 0);
		project->name = g_strdup(rows_text(rows, 1));
		project->description = g_strdup(rows_text(rows, 2));
		project->config = config_new();
		g_ptr_array_add(load->projects, project);
	}
	if (more < 0 || load_config(tx, load->projects, err) < 0)
		return -1;
	return load->used_by ? load_used_by(tx, load->projects, err) : 0;
}

static int load_first(Tx *tx, ProjectLoad load, Project **ret_project, Error **err)
{
	g_autoptr(GPtrArray) projects = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)project_free);
	load.projects = projects;
	if (load_projects(tx, &load, err) < 0)
		return -1;
	if (!projects->len)
		return not_found(err);
	*ret_project = g_ptr_array_steal_index(projects, 0);
	return 0;
}

static int load_one(Tx *tx, const char *name, gboolean used_by, Project **ret_project, Error **err)
{
	return load_first(tx, (ProjectLoad){.name = name, .used_by = used_by}, ret_project, err);
}

int project_load_id(Tx *tx, int64_t id, Project **ret_project, Error **err)
{
	return load_first(tx, (ProjectLoad){.id = id}, ret_project, err);
}

int project_load_name(Tx *tx, const char *name, Project **ret_project, Error **err)
{
	return load_one(tx, name && *name ? name : "default", FALSE, ret_project, err);
}

int project_list(Daemon *d, gboolean used_by, GPtrArray **ret_projects, Error **err)
{
	g_autoptr(GPtrArray) projects = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)project_free);
	ProjectLoad load = {.used_by = used_by, .projects = projects};
	if (db_read(d->db, load_projects, &load, err) < 0)
		return -1;
	*ret_projects = g_steal_pointer(&projects);
	return 0;
}

int project_get(Daemon *d, const char *name, gboolean used_by, Project **ret_project, Error **err)
{
	g_autoptr(GPtrArray) projects = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)project_free);
	ProjectLoad load = {
		.name = name && *name ? name : "default", .used_by = used_by, .projects = projects
	};
	if (db_read(d->db, load_projects, &load, err) < 0)
		return -1;
	if (!projects->len)
		return not_found(err);
	*ret_project = g_ptr_array_steal_index(projects, 0);
	return 0;
}

/* Its own default profile does not count. */
static gboolean is_empty(const Project *project)
{
	for (char **url = project->used_by; url && *url; url++)
		if (!g_str_has_prefix(*url, "/1.0/profiles/default?") &&
		    strcmp(*url, "/1.0/profiles/default") != 0)
			return FALSE;
	return TRUE;
}

static int ensure_default_profile(Tx *tx, int64_t project, const char *name, Error **err)
{
	int64_t there;
	g_autofree char *description = g_strdup_printf(
	    "Default Incus profile for project %s", name);
	if (tx_int(tx, &there, err,
		"SELECT COUNT(*) FROM profiles WHERE project_id = ? AND name = 'default'", "i",
		project) < 0)
		return -1;
	return there ?
	    0 :
	    tx_exec(tx, err,
		"INSERT INTO profiles (name, description, project_id) VALUES ('default', ?, ?)",
		"si", description, project);
}

typedef struct ProjectChange {
	const char *name, *new_name, *description;
	const Config *config;
} ProjectChange;

static int create_tx(Tx *tx, void *data, Error **err)
{
	ProjectChange *change = data;
	int64_t id;
	g_autoptr(Error) failure = NULL;
	if (tx_insert(tx, &id, &failure, "INSERT INTO projects (name, description) VALUES (?, ?)",
		"ss", change->name, change->description) < 0)
		return failure->kind == ERROR_EXISTS ?
		    error_set(err, ERROR_EXISTS, "Project \"%s\" already exists", change->name) :
		    error_propagate(err, g_steal_pointer(&failure));
	if (tx_config_replace(tx, "projects_config", "project_id", id, change->config, err) < 0)
		return -1;
	return config_true(change->config, "features.profiles") ?
	    ensure_default_profile(tx, id, change->name, err) :
	    0;
}

int project_create(
    Daemon *d, const char *name, const char *description, const Config *config, Error **err)
{
	static const ProjectFeature on[] = { PROJECT_IMAGES, PROJECT_PROFILES,
		PROJECT_STORAGE_VOLUMES, PROJECT_STORAGE_BUCKETS };
	g_autoptr(Config) full = config_copy(config);
	if (name_check_project(name, err) < 0 || key_check_all(KEY_PROJECT, NULL, full, err) < 0)
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(on); i++)
		if (!config_get(full, feature_keys[on[i]]))
			config_set(full, feature_keys[on[i]], "true");
	ProjectChange change = {
		.name = name, .description = description ? description : "", .config = full
	};
	return db_tx(d->db, create_tx, &change, err);
}

static int check_features(const Project *project, const Config *config, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(feature_keys); i++) {
		if (config_true(project->config, feature_keys[i]) ==
		    config_true(config, feature_keys[i]))
			continue;
		if (strcmp(project->name, "default") == 0)
			return error_set(err, ERROR_INVALID,
			    "You can't change the features of the default project");
		if (!is_empty(project))
			return error_set(
			    err, ERROR_INVALID, "Features can only be changed on empty projects");
	}
	return 0;
}

static int update_tx(Tx *tx, void *data, Error **err)
{
	ProjectChange *change = data;
	g_autoptr(Project) project = NULL;
	if (load_one(tx, change->name, TRUE, &project, err) < 0 ||
	    check_features(project, change->config, err) < 0 ||
	    tx_exec(tx, err, "UPDATE projects SET description = ? WHERE id = ?", "si",
		change->description, project->id) < 0 ||
	    tx_config_replace(
		tx, "projects_config", "project_id", project->id, change->config, err) < 0)
		return -1;
	if (config_true(change->config, "features.profiles") ?
		ensure_default_profile(tx, project->id, project->name, err) < 0 :
		tx_exec(tx, err, "DELETE FROM profiles WHERE project_id = ?", "i", project->id) < 0)
		return -1;
	return project_verify_change(tx, project->id, project->config, err);
}

int project_update(
    Daemon *d, const char *name, const char *description, const Config *config, Error **err)
{
	ProjectChange change = {
		.name = name, .description = description ? description : "", .config = config
	};
	if (key_check_all(KEY_PROJECT, NULL, config, err) < 0)
		return -1;
	return db_tx(d->db, update_tx, &change, err);
}

static int rename_tx(Tx *tx, void *data, Error **err)
{
	ProjectChange *change = data;
	g_autoptr(Project) project = NULL;
	g_autoptr(Error) failure = NULL;
	if (load_one(tx, change->name, TRUE, &project, err) < 0)
		return -1;
	if (!is_empty(project))
		return error_set(err, ERROR_INVALID, "Only empty projects can be renamed");
	if (tx_exec(tx, &failure, "UPDATE projects SET name = ? WHERE id = ?", "si",
		change->new_name, project->id) == 0)
		return 0;
	if (failure->kind == ERROR_EXISTS)
		return error_set(
		    err, ERROR_EXISTS, "A project named \"%s\" already exists", change->new_name);
	return error_propagate(err, g_steal_pointer(&failure));
}

int project_rename(Daemon *d, const char *name, const char *new_name, Error **err)
{
	ProjectChange change = {.name = name, .new_name = new_name};
	if (name_check_project(new_name, err) < 0)
		return -1;
	if (strcmp(name, "default") == 0)
		return error_set(err, ERROR_FORBIDDEN, "The 'default' project cannot be renamed");
	return db_tx(d->db, rename_tx, &change, err);
}

static int delete_tx(Tx *tx, void *data, Error **err)
{
	ProjectChange *change = data;
	g_autoptr(Project) project = NULL;
	if (load_one(tx, change->name, TRUE, &project, err) < 0)
		return -1;
	if (!is_empty(project))
		return error_set(err, ERROR_INVALID, "Only empty projects can be removed");
	return tx_exec(tx, err, "DELETE FROM projects WHERE id = ?", "i", project->id);
}

int project_delete(Daemon *d, const char *name, Error **err)
{
	ProjectChange change = {.name = name};
	if (strcmp(name, "default") == 0)
		return error_set(err, ERROR_FORBIDDEN, "The 'default' project cannot be deleted");
	return db_tx(d->db, delete_tx, &change, err);
}
