/*
 * Whether a project lets something happen. Each question has two forms: project_allow_* beforehand,
 * so that nothing is begun in vain, and project_verify_* at the end of the transaction that stored
 * it, so that two changes at once cannot both pass.
 */
#include "server/project/content.h"

#include <string.h>

/* ---- beforehand ---- */

typedef struct Question {
	const char *project;
	ProjectContent *content; /* NULL: the project limits nothing that is asked about */
	gboolean (*matters)(const Project *project);
} Question;

static gboolean limits_or_restricts(const Project *project)
{
	return limits_any(project) || restrict_any(project);
}

static int ask_tx(Tx *tx, void *data, Error **err)
{
	Question *question = data;
	g_autoptr(Project) project = NULL;
	g_clear_pointer(&question->content, content_free);
	if (project_load_name(tx, question->project, &project, err) < 0)
		return -1;
	return question->matters(project) ? content_load(tx, project->id, &question->content, err)
					  : 0;
}

static int ask(Daemon *d, const char *project, gboolean (*matters)(const Project *),
    ProjectContent **ret_content, Error **err)
{
	Question question = {.project = project, .matters = matters};
	if (db_read(d->db, ask_tx, &question, err) < 0) {
		content_free(question.content);
		return -1;
	}
	*ret_content = question.content;
	return 0;
}

int project_allow_instance(Daemon *d, const char *project, const char *name, const char *type,
    const Config *expanded_config, const Devices *expanded_devices, Error **err)
{
	g_autoptr(ProjectContent) content = NULL;
	if (ask(d, project, limits_or_restricts, &content, err) < 0)
		return -1;
	if (!content)
		return 0;
	guint before = content->instances->len;
	Holder *holder = content_put_instance(
	    content, name, strcmp(type, "virtual-machine") == 0, expanded_config, expanded_devices);
	gboolean arrived = content->instances->len > before;
	if (restrict_check(content->project, holder, err) < 0)
		return -1;
	return limits_check(
	    content, LIMIT_OF_INSTANCE | (arrived ? LIMIT_OF_NEW_INSTANCE : 0), NULL, err);
}

int project_allow_profile(Daemon *d, const char *project, const char *name, const Config *config,
    const Devices *devices, Error **err)
{
	g_autoptr(Project) row = NULL;
	Holder holder = {.name = (char *)(uintptr_t)name,
	    .is_profile = TRUE,
	    .config = (Config *)config,
	    .devices = (Devices *)devices};
	return project_get(d, project, FALSE, &row, err) < 0 ? -1
							     : restrict_check(row, &holder, err);
}

int project_allow_volume(Daemon *d, const char *project, const char *pool, const char *name,
    const char *size, Error **err)
{
	g_autoptr(ProjectContent) content = NULL;
	if (ask(d, project, limits_any, &content, err) < 0)
		return -1;
	if (!content)
		return 0;
	content_put_volume(content, pool, name, size);
	return limits_check(content, LIMIT_OF_VOLUME, NULL, err);
}

/* Keys that the daemon writes for itself: a client who sets them could take what is not his. */
int project_allow_volatile(
    Daemon *d, const char *project, const Config *config, const Config *before, Error **err)
{
	static const char *const harmless[] = {
	    "volatile.apply_template", "volatile.base_image", "volatile.last_state.power", NULL};
	g_autoptr(Project) row = NULL;
	GHashTableIter iter;
	void *key, *value;
	if (project_get(d, project, FALSE, &row, err) < 0)
		return -1;
	if (!restrict_any(row) ||
	    g_strcmp0(config_get(row->config, "restricted.containers.lowlevel"), "allow") == 0)
		return 0;
	g_hash_table_iter_init(&iter, (GHashTable *)config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_str_has_prefix(key, "volatile.") && !g_strv_contains(harmless, key) &&
		    (!before || g_strcmp0(config_get(before, key), value) != 0))
			return error_set(err, ERROR_FORBIDDEN,
			    "Use of volatile config \"%s\" in project \"%s\" is forbidden",
			    (const char *)key, project);
	return 0;
}

static int allow_blocked(
    Daemon *d, const char *project, const char *key, const char *what, Error **err)
{
	g_autoptr(Project) row = NULL;
	if (project_get(d, project, FALSE, &row, err) < 0)
		return -1;
	if (restrict_any(row) && g_strcmp0(config_get(row->config, key), "allow") != 0)
		return error_set(err, ERROR_FORBIDDEN,
		    "Project \"%s\" doesn't allow for %s creation", row->name, what);
	return 0;
}

int project_allow_snapshot(Daemon *d, const char *project, Error **err)
{
	return allow_blocked(d, project, "restricted.snapshots", "snapshot", err);
}

int project_allow_backup(Daemon *d, const char *project, Error **err)
{
	return allow_blocked(d, project, "restricted.backups", "backup", err);
}

/* ---- at the end of the transaction ---- */

static int load_if(Tx *tx, int64_t id, gboolean (*matters)(const Project *),
    ProjectContent **ret_content, Error **err)
{
	g_autoptr(Project) project = NULL;
	*ret_content = NULL;
	if (project_load_id(tx, id, &project, err) < 0)
		return -1;
	return matters(project) ? content_load(tx, id, ret_content, err) : 0;
}

static int check_holder(
    const ProjectContent *content, const GPtrArray *holders, int64_t id, Error **err)
{
	for (guint i = 0; i < holders->len; i++) {
		const Holder *holder = g_ptr_array_index(holders, i);
		if ((id < 0 || holder->id == id) &&
		    restrict_check(content->project, holder, err) < 0)
			return -1;
	}
	return 0;
}

int project_verify_instance(Tx *tx, int64_t instance, gboolean arrived, Error **err)
{
	int64_t project;
	g_autoptr(ProjectContent) content = NULL;
	if (tx_int(tx, &project, err, "SELECT project_id FROM instances WHERE id = ?", "i",
		instance) < 0 ||
	    load_if(tx, project, limits_or_restricts, &content, err) < 0)
		return -1;
	if (!content)
		return 0;
	if (check_holder(content, content->instances, instance, err) < 0)
		return -1;
	return limits_check(
	    content, LIMIT_OF_INSTANCE | (arrived ? LIMIT_OF_NEW_INSTANCE : 0), NULL, err);
}

/* Projects whose instances have the profile, and its own. */
static int users_of(Tx *tx, int64_t profile, GArray *projects, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more;
	if (tx_query(tx, &rows, err,
		"SELECT project_id FROM profiles WHERE id = ? UNION SELECT i.project_id FROM "
		"instances AS i"
		" JOIN instances_profiles AS ip ON ip.instance_id = i.id WHERE ip.profile_id = ?",
		"ii", profile, profile) < 0)
		return -1;
	while ((more = rows_next(rows, err)) > 0) {
		int64_t id = rows_int(rows, 0);
		g_array_append_val(projects, id);
	}
	return more;
}

static int uses(Tx *tx, int64_t instance, int64_t profile, int64_t *ret_n, Error **err)
{
	return tx_int(tx, ret_n, err,
	    "SELECT COUNT(*) FROM instances_profiles WHERE instance_id = ? AND profile_id = ?",
	    "ii", instance, profile);
}

static int verify_users(Tx *tx, const ProjectContent *content, int64_t profile, Error **err)
{
	for (guint i = 0; restrict_any(content->project) && i < content->instances->len; i++) {
		const Holder *holder = g_ptr_array_index(content->instances, i);
		int64_t n;
		if (uses(tx, holder->id, profile, &n, err) < 0 ||
		    (n && restrict_check(content->project, holder, err) < 0))
			return -1;
	}
	return limits_check(content, LIMIT_OF_INSTANCE, NULL, err);
}

int project_verify_profile(Tx *tx, int64_t profile, Error **err)
{
	g_autoptr(GArray) projects = g_array_new(FALSE, FALSE, sizeof(int64_t));
	if (users_of(tx, profile, projects, err) < 0)
		return -1;
	for (guint i = 0; i < projects->len; i++) {
		g_autoptr(ProjectContent) content = NULL;
		if (load_if(tx, g_array_index(projects, int64_t, i), limits_or_restricts, &content,
			err) < 0)
			return -1;
		if (content && (check_holder(content, content->profiles, profile, err) < 0 ||
				   verify_users(tx, content, profile, err) < 0))
			return -1;
	}
	return 0;
}

static int verify_limit(Tx *tx, int64_t project, LimitSubject subject, Error **err)
{
	g_autoptr(ProjectContent) content = NULL;
	if (load_if(tx, project, limits_any, &content, err) < 0)
		return -1;
	return content ? limits_check(content, subject, NULL, err) : 0;
}

int project_verify_volume(Tx *tx, int64_t project, Error **err)
{
	return verify_limit(tx, project, LIMIT_OF_VOLUME, err);
}

int project_verify_network(Tx *tx, int64_t project, Error **err)
{
	return verify_limit(tx, project, LIMIT_OF_NETWORK, err);
}

/* word: how the keys begin that are looked at. */
static gboolean restrictions_differ(const Config *a, const Config *b, const char *word)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)a);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_str_has_prefix(key, word) &&
		    g_strcmp0(config_get(b, key), value) != 0)
			return TRUE;
	return FALSE;
}

int project_verify_change(Tx *tx, int64_t project, const Config *before, Error **err)
{
	g_autoptr(ProjectContent) content = NULL;
	if (load_if(tx, project, limits_or_restricts, &content, err) < 0)
		return -1;
	if (!content)
		return 0;
	const Config *now = content->project->config;
	gboolean differ = restrictions_differ(before, now, "restricted") ||
	    restrictions_differ(now, before, "restricted");
	/* A profile that nobody has yet does no harm: the switch may come before what it allows. */
	gboolean rules_differ = restrictions_differ(before, now, "restricted.") ||
	    restrictions_differ(now, before, "restricted.");
	if ((differ && check_holder(content, content->instances, -1, err) < 0) ||
	    (rules_differ && check_holder(content, content->profiles, -1, err) < 0))
		return -1;
	return limits_check(content, 0, before, err);
}
