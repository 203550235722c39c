#include "migrate/check.h"
#include "migrate/left_running.h"
#include "migrate/plan.h"
#include "migrate/rows.h"
#include "migrate/tool.h"
#include "migrate/unlisted.h"
#include "sdk/base/units.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int check_version(Migration *m, Error **err)
{
	int64_t schema = m->lxd->schema;
	gboolean fits = schema >= ROWS_SCHEMA_OLDEST && schema <= ROWS_SCHEMA_NEWEST;
	FindingLevel level = fits		     ? FINDING_OK :
	    m->options->ignore_version && schema > 0 ? FINDING_NOTE :
						       FINDING_REFUSED;
	findings_add(m->findings, level, "version", "LXD's database",
	    fits ? "Schema %" G_GINT64_FORMAT :
		   "Schema %" G_GINT64_FORMAT
		   " is not that of an LXD between 4.0.0 (28) and 5.18 (69)",
	    schema);
	return 0;
}

static int check_cluster(Migration *m, Error **err)
{
	if (m->lxd->clustered && m->lxd->members == 1)
		findings_add(m->findings, FINDING_REFUSED, "cluster", "LXD",
		    "It is the only member of a cluster, which LXD cannot undo: move its instances "
		    "to an Incus server with \"lxc copy\"");
	else if (m->lxd->clustered)
		findings_add(m->findings, FINDING_REFUSED, "cluster", "LXD",
		    "It is a member of a cluster: remove the member from it first (\"lxc cluster "
		    "remove\"), or move its instances to an Incus server with \"lxc copy\"");
	else
		findings_add(m->findings, FINDING_OK, "cluster", "LXD", "It stands alone");
	return 0;
}

static int check_target(Migration *m, Error **err)
{
	g_autofree char *content = NULL;
	if (target_content(&m->target, &content, err) < 0)
		return -1;
	if (content)
		findings_add(m->findings, FINDING_REFUSED, "target", m->target.directory,
		    "It is not empty: it has %s", content);
	else
		findings_add(m->findings, FINDING_OK, "target", m->target.directory, "%s",
		    m->target.running	 ? "Empty; its daemon is stopped meanwhile" :
			m->target.exists ? "Empty" :
					   "It will be made");
	return 0;
}

static gboolean is_mount_point(const char *path)
{
	struct stat st, up;
	g_autofree char *parent = g_build_filename(path, "..", NULL);
	return stat(path, &st) == 0 && stat(parent, &up) == 0 && st.st_dev != up.st_dev;
}

static int check_paths(Migration *m, Error **err)
{
	const Source *source = &m->source;
	if (tool_within(m->target.directory, source->directory) ||
	    tool_within(source->directory, m->target.directory))
		findings_add(m->findings, FINDING_REFUSED, "paths", m->target.directory,
		    "One directory is inside the other");
	if (strcmp(source->named, source->directory) != 0)
		findings_add(m->findings, FINDING_NOTE, "paths", source->named,
		    "It is a link to \"%s\"", source->directory);
	if (g_file_test(m->target.directory, G_FILE_TEST_IS_SYMLINK))
		findings_add(m->findings, FINDING_REFUSED, "paths", m->target.directory,
		    "It is a link: name the directory itself with --target");
	if (is_mount_point(source->directory))
		findings_add(m->findings, FINDING_NOTE, "paths", source->directory,
		    "It is a mount point: what is in it is copied and stays there");
	if (is_mount_point(m->target.directory))
		findings_add(
		    m->findings, FINDING_NOTE, "paths", m->target.directory, "It is a mount point");
	return 0;
}

static int check_space(Migration *m, Error **err)
{
	struct statvfs fs;
	g_autofree char *at = g_strdup(m->target.directory);
	while (statvfs(at, &fs) < 0) {
		if (errno != ENOENT)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "The free space of \"%s\" is unknown", at);
		char *up = g_path_get_dirname(at);
		g_free(at);
		at = up;
	}
	/* The database is written twice, and some room for the daemon. */
	const uint64_t margin = 64 << 20;
	uint64_t there = (uint64_t)fs.f_bavail * fs.f_frsize, needed = m->plan->bytes + margin;
	g_autofree char *has = units_format_bytes((int64_t)there, 1);
	g_autofree char *needs = units_format_bytes((int64_t)needed, 1);
	findings_add(m->findings, there < needed ? FINDING_REFUSED : FINDING_OK, "space", at,
	    "%s are needed, %s are free", needs, has);
	return 0;
}

static int count_source(Tx *tx, void *data, Error **err)
{
	return tx_int(tx, data, err,
	    "SELECT (SELECT count(*) FROM projects WHERE name <> 'default') + (SELECT count(*) FROM profiles"
	    " WHERE name <> 'default') + (SELECT count(*) FROM instances) + (SELECT count(*) FROM networks)"
	    " + (SELECT count(*) FROM storage_pools) + (SELECT count(*) FROM images)",
	    "");
}

static int check_empty(Migration *m, Error **err)
{
	int64_t rows = 0;
	if (db_read(m->lxd->db, count_source, &rows, err) < 0)
		return -1;
	if (rows == 0)
		findings_add(m->findings, FINDING_REFUSED, "source", m->source.directory,
		    "This LXD has nothing to move: just use Incus");
	else
		findings_add(m->findings, FINDING_OK, "source", m->source.directory,
		    "LXD as a %s%s", m->source.kind->name, m->source.running ? ", running" : "");
	if (m->source.running && !m->source.kind->stop)
		findings_add(m->findings, FINDING_NOTE, "source", m->source.directory,
		    "LXD is asked to stop through its socket; after a rollback it is to be started by hand");
	return 0;
}

static int check_left_running(Migration *m, Error **err)
{
	g_autofree char *names = m->source.running ? NULL : left_running(&m->source);
	if (names)
		findings_add(m->findings, FINDING_REFUSED, "source", m->source.directory,
		    "LXD does not run, but instances of it do: %s; start LXD, which knows how to stop "
		    "them, or stop them",
		    names);
	return 0;
}

static int take_ephemeral(Rows *row, void *data, Error **err)
{
	const Migration *m = data;
	g_autofree char *where = g_strdup_printf("instance \"%s\"", rows_text(row, 0));
	findings_add(m->findings, FINDING_NOTE, "source", where,
	    "It is ephemeral: LXD deletes it when it is stopped for the migration");
	return 0;
}

static int check_ephemeral(Migration *m, Error **err)
{
	static const char sql[] =
	    "SELECT j.name || '/' || i.name FROM instances i JOIN projects j ON j.id = i.project_id"
	    " JOIN instances_config c ON c.instance_id = i.id WHERE i.ephemeral = 1"
	    " AND c.key = 'volatile.last_state.power' AND c.value = 'RUNNING' ORDER BY 1";
	return m->source.running ? lxd_database_each(m->lxd, sql, take_ephemeral, m, err) : 0;
}

/* It shifted owners in a file system of its own; instances that were running on it have their
 * owners of inside on disk, as ours have. */
static int check_shiftfs(Migration *m, Error **err)
{
	if (access("/sys/module/shiftfs", F_OK) == 0)
		findings_add(m->findings, FINDING_NOTE, "shiftfs", "kernel",
		    "The module is loaded; Incus mounts with the kernel's own id maps instead");
	return 0;
}

static const struct {
	const char *name;
	int (*run)(Migration *m, Error **err);
} checks[] = {
	{ "source", check_empty },
	{ "instances that run", check_left_running },
	{ "ephemeral instances", check_ephemeral },
	{ "version", check_version },
	{ "cluster", check_cluster },
	{ "target", check_target },
	{ "paths", check_paths },
	{ "space", check_space },
	{ "settings", check_keys },
	{ "instances, networks", check_objects },
	{ "storage", check_storage },
	{ "files", unlisted_check },
	{ "expiry", check_expired },
	{ "shiftfs", check_shiftfs },
};

int check_all(Migration *m, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
		Error *error = NULL;
		if (checks[i].run(m, &error) < 0)
			findings_add_error(
			    m->findings, FINDING_REFUSED, checks[i].name, "this check", error);
	}
	return tool_check_stop(err);
}
