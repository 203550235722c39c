#include "server/warning/warning.h"
#include "incus/v1/warning.pb-c.h"
#include "sdk/base/log.h"
#include "sdk/base/moment_message.h"
#include "server/db/db.h"
#include <string.h>
#include <time.h>

typedef enum Severity { LOW = 1, MODERATE = 2, HIGH = 3 } Severity;
typedef enum Status { STATUS_NEW = 1, STATUS_ACKNOWLEDGED = 2, STATUS_RESOLVED = 3 } Status;

static const char *const severities[] = { "", "low", "moderate", "high" };
static const char *const statuses[] = { "", "new", "acknowledged", "resolved" };

/* In order of their codes, which are in databases: rows are only added. */
static const struct {
	const char *name;
	Severity severity;
} types[] = {
	{ "Undefined warning", LOW },
	{ "Couldn't find the CGroup blkio", LOW },
	{ "Couldn't find the CGroup blkio.weight", LOW },
	{ "Couldn't find the CGroup CPU controller", LOW },
	{ "Couldn't find the CGroup CPUset controller", LOW },
	{ "Couldn't find the CGroup CPUacct controller", LOW },
	{ "Couldn't find the CGroup devices controller", LOW },
	{ "Couldn't find the CGroup freezer controller", LOW },
	{ "Couldn't find the CGroup hugetlb controller", LOW },
	{ "Couldn't find the CGroup memory controller", LOW },
	{ "Couldn't find the CGroup network priority controller", LOW },
	{ "Couldn't find the CGroup pids controller", LOW },
	{ "Couldn't find the CGroup memory swap accounting", LOW },
	{ "Time skew detected between leader and local", LOW },
	{ "AppArmor support has been disabled", LOW },
	{ "Missing virtiofsd", LOW },
	{ "Unable to connect to MAAS", LOW },
	{ "Skipping AppArmor for dnsmasq due to raw.dnsmasq being set", LOW },
	{ "IPv6 networks with a prefix larger than 64 aren't properly supported by dnsmasq", LOW },
	{ "Proxy bridge netfilter not enabled", LOW },
	{ "Network unavailable", HIGH },
	{ "Offline cluster member", LOW },
	{ "Failed to autostart instance", LOW },
	{ "Instance type not operational", LOW },
	{ "Storage pool unavailable", HIGH },
	{ "Unable to update cluster certificate", LOW },
};

/* What a warning may be about: name and project of the row, and where its URL begins. */
static const struct {
	int code;
	const char *query, *path;
} entities[] = {
	{ 0,
	    "SELECT e.name, p.name FROM instances AS e JOIN projects AS p ON p.id = e.project_id WHERE e.id = ?",
	    "instances" },
	{ 1,
	    "SELECT e.fingerprint, p.name FROM images AS e JOIN projects AS p ON p.id = e.project_id WHERE e.id = ?",
	    "images" },
	{ 2,
	    "SELECT e.name, p.name FROM profiles AS e JOIN projects AS p ON p.id = e.project_id WHERE e.id = ?",
	    "profiles" },
	{ 3, "SELECT e.name, 'default' FROM projects AS e WHERE e.id = ?", "projects" },
	{ 4, "SELECT e.fingerprint, 'default' FROM certificates AS e WHERE e.id = ?",
	    "certificates" },
	{ WARNING_ENTITY_INSTANCE,
	    "SELECT e.name, p.name FROM instances AS e JOIN projects AS p ON p.id = e.project_id WHERE e.id = ?",
	    "instances" },
	{ WARNING_ENTITY_NETWORK,
	    "SELECT e.name, p.name FROM networks AS e JOIN projects AS p ON p.id = e.project_id WHERE e.id = ?",
	    "networks" },
	{ WARNING_ENTITY_POOL, "SELECT e.name, 'default' FROM storage_pools AS e WHERE e.id = ?",
	    "storage-pools" },
};

typedef struct Job {
	const WarningSpec *spec;
	const char *uuid, *project;
	int64_t status;
	Arena *arena;
	GPtrArray *warnings;
} Job;

/* "" when the thing is gone; ERROR_INVALID for kinds that no warning is about. */
static int entity_url(Tx *tx, int code, int64_t id, Arena *arena, char **ret_url, Error **err)
{
	*ret_url = arena_strdup(arena, "");
	if (code == WARNING_ENTITY_NONE)
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(entities); i++) {
		g_autoptr(Rows) rows = NULL;
		if (entities[i].code != code)
			continue;
		if (tx_query(tx, &rows, err, entities[i].query, "i", id) < 0)
			return -1;
		int found = rows_next(rows, err);
		if (found <= 0)
			return found;
		const char *project = rows_text(rows, 1);
		gboolean other = strcmp(project, "default") != 0;
		*ret_url = arena_printf(arena, "/1.0/%s/%s%s%s", entities[i].path,
		    rows_text(rows, 0), other ? "?project=" : "", other ? project : "");
		return 0;
	}
	return error_set(err, ERROR_INVALID, "Warnings cannot be about things of kind %d", code);
}

/* The id of a row by its name, as a parameter: "" is -1. */
static int named_row(
    Tx *tx, const char *query, const char *what, const char *name, int64_t *ret_id, Error **err)
{
	*ret_id = -1;
	if (!name || !*name)
		return 0;
	if (tx_int(tx, ret_id, NULL, query, "s", name) < 0)
		return error_set(err, ERROR_NOT_FOUND, "%s \"%s\" not found", what, name);
	return 0;
}

static int check_spec(Tx *tx, const Job *job, Error **err)
{
	const WarningSpec *spec = job->spec;
	char *url;
	if (spec->type < 0 || spec->type >= (int)G_N_ELEMENTS(types))
		return error_set(err, ERROR_INVALID, "Unknown warning type %d", spec->type);
	if (entity_url(tx, spec->entity, spec->entity_id, job->arena, &url, err) < 0)
		return -1;
	if (spec->entity != WARNING_ENTITY_NONE && !*url)
		return error_set(
		    err, ERROR_INVALID, "The warning is about something that is not there");
	return 0;
}

static int upsert(Tx *tx, void *data, Error **err)
{
	const WarningSpec *spec = ((Job *)data)->spec;
	int64_t node, project, id, now = time(NULL);
	if (check_spec(tx, data, err) < 0 ||
	    named_row(tx, "SELECT id FROM nodes WHERE name = ?", "Cluster member", spec->location,
		&node, err) < 0 ||
	    named_row(tx, "SELECT id FROM projects WHERE name = ?", "Project", spec->project,
		&project, err) < 0)
		return -1;
	int known = tx_int(tx, &id, NULL,
	    "SELECT id FROM warnings WHERE IFNULL(node_id, -1) = ? AND IFNULL(project_id, -1) = ?"
	    " AND entity_type_code = ? AND entity_id = ? AND type_code = ?",
	    "iiiii", node, project, (int64_t)spec->entity, spec->entity_id, (int64_t)spec->type);
	if (known == 0)
		return tx_exec(tx, err,
		    "UPDATE warnings SET last_seen_date = ?, updated_date = ?, last_message = ?, count = count + 1,"
		    " status = CASE status WHEN 3 THEN 1 ELSE status END WHERE id = ?",
		    "ttsi", now, now, spec->message, id);
	g_autofree char *uuid = g_uuid_string_random();
	return tx_exec(tx, err,
	    "INSERT INTO warnings (node_id, project_id, entity_type_code, entity_id, uuid, type_code, status,"
	    " first_seen_date, last_seen_date, updated_date, last_message, count)"
	    " VALUES (NULLIF(?, -1), NULLIF(?, -1), ?, ?, ?, ?, 1, ?, ?, ?, ?, 1)",
	    "iiiisittts", node, project, (int64_t)spec->entity, spec->entity_id, uuid,
	    (int64_t)spec->type, now, now, now, spec->message);
}

int warning_raise(Daemon *d, const WarningSpec *spec, Error **err)
{
	g_autoptr(Arena) arena = arena_new();
	Job job = { .spec = spec, .arena = arena };
	return db_tx(d->db, upsert, &job, err);
}

static int open_warning(Tx *tx, void *data, Error **err)
{
	const WarningSpec *spec = data;
	int64_t id;
	return tx_int(tx, &id, err,
	    "SELECT id FROM warnings WHERE type_code = ? AND entity_type_code = ? AND entity_id = ? AND status != 3",
	    "iii", (int64_t)spec->type, (int64_t)spec->entity, spec->entity_id);
}

static int resolve(Tx *tx, void *data, Error **err)
{
	const WarningSpec *spec = data;
	int64_t now = time(NULL);
	return tx_exec(tx, err,
	    "UPDATE warnings SET status = 3, updated_date = ? WHERE type_code = ? AND entity_type_code = ? AND entity_id = ?",
	    "tiii", now, (int64_t)spec->type, (int64_t)spec->entity, spec->entity_id);
}

int warning_resolve(
    Daemon *d, WarningType type, WarningEntity entity, int64_t entity_id, Error **err)
{
	WarningSpec spec = { .type = type, .entity = entity, .entity_id = entity_id };
	g_autoptr(Error) none = NULL;
	if (db_read(d->db, open_warning, &spec, &none) < 0)
		return none->kind == ERROR_NOT_FOUND ? 0 :
						       error_propagate(err, g_steal_pointer(&none));
	return db_tx(d->db, resolve, &spec, err);
}

void warning_report(Daemon *d, WarningType type, WarningEntity entity, int64_t entity_id,
    const char *project, const char *message)
{
	g_autoptr(Error) error = NULL;
	WarningSpec spec = { .location = "none", .project = project, .type = type, .entity = entity,
		.entity_id = entity_id, .message = message };
	if ((message ? warning_raise(d, &spec, &error) :
		       warning_resolve(d, type, entity, entity_id, &error)) < 0)
		log_warn("Warning is not stored", "type", types[type].name, "err", error->message);
}

static int read_row(Tx *tx, Rows *rows, Arena *arena, Pb__Warning *out, Error **err)
{
	int64_t type = rows_int(rows, 3), status = rows_int(rows, 8);
	gboolean known = type >= 0 && type < (int64_t)G_N_ELEMENTS(types);
	out->uuid = arena_strdup(arena, rows_text(rows, 0));
	out->location = arena_strdup(arena, rows_text(rows, 1));
	out->project = arena_strdup(arena, rows_text(rows, 2));
	out->type = arena_strdup(arena, known ? types[type].name : types[WARNING_UNDEFINED].name);
	out->severity = arena_strdup(arena, severities[known ? types[type].severity : LOW]);
	out->count = rows_int(rows, 4);
	out->first_seen_at = seconds_to_message(rows_time(rows, 5), arena);
	out->last_seen_at = seconds_to_message(rows_time(rows, 6), arena);
	out->last_message = arena_strdup(arena, rows_text(rows, 7));
	out->status = arena_strdup(arena,
	    statuses[status >= STATUS_NEW && status <= STATUS_RESOLVED ? status : STATUS_NEW]);
	if (rows_null(rows, 9))
		return 0;
	/* Rows of other servers may be about kinds that are not known here. */
	g_autoptr(Error) unknown = NULL;
	if (entity_url(tx, (int)rows_int(rows, 9), rows_int(rows, 10), arena, &out->entity_url,
		&unknown) == 0)
		return 0;
	return unknown->kind == ERROR_INVALID ? 0 : error_propagate(err, g_steal_pointer(&unknown));
}

static int load(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(job->warnings, 0);
	int more = tx_query(tx, &rows, err,
	    "SELECT w.uuid, IFNULL(n.name, ''), IFNULL(p.name, ''), w.type_code, w.count, w.first_seen_date,"
	    " w.last_seen_date, w.last_message, w.status, w.entity_type_code, w.entity_id FROM warnings AS w"
	    " LEFT JOIN nodes AS n ON n.id = w.node_id LEFT JOIN projects AS p ON p.id = w.project_id"
	    " WHERE (? = '' OR w.uuid = ?) AND (? = '' OR p.name = ?) ORDER BY w.last_seen_date, w.id",
	    "ssss", job->uuid, job->uuid, job->project, job->project);
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		Pb__Warning *warning = arena_message(job->arena, Pb__Warning, pb__warning);
		if (read_row(tx, rows, job->arena, warning, err) < 0)
			return -1;
		g_ptr_array_add(job->warnings, warning);
	}
	return more;
}

int warning_list(
    Daemon *d, const char *project, Arena *arena, GPtrArray **ret_warnings, Error **err)
{
	g_autoptr(GPtrArray) warnings = g_ptr_array_new();
	Job job = {
		.uuid = "", .project = project ? project : "", .arena = arena, .warnings = warnings
	};
	if (db_read(d->db, load, &job, err) < 0)
		return -1;
	*ret_warnings = g_steal_pointer(&warnings);
	return 0;
}

static int no_warning(Error **err)
{
	return error_set(err, ERROR_NOT_FOUND, "Warning not found");
}

int warning_get(Daemon *d, const char *uuid, Arena *arena, Pb__Warning **ret_warning, Error **err)
{
	g_autoptr(GPtrArray) warnings = g_ptr_array_new();
	Job job = { .uuid = uuid, .project = "", .arena = arena, .warnings = warnings };
	if (!*uuid)
		return no_warning(err);
	if (db_read(d->db, load, &job, err) < 0)
		return -1;
	if (!warnings->len)
		return no_warning(err);
	*ret_warning = g_ptr_array_index(warnings, 0);
	return 0;
}

static int store_status(Tx *tx, void *data, Error **err)
{
	const Job *job = data;
	int64_t now = time(NULL);
	if (tx_exec(tx, err, "UPDATE warnings SET status = ?, updated_date = ? WHERE uuid = ?",
		"its", job->status, now, job->uuid) < 0)
		return -1;
	return tx_changes(tx) ? 0 : no_warning(err);
}

int warning_set_status(Daemon *d, const char *uuid, const char *status, Error **err)
{
	Job job = { .uuid = uuid };
	for (Status s = STATUS_NEW; s <= STATUS_ACKNOWLEDGED; s++)
		if (strcmp(status, statuses[s]) == 0)
			job.status = s;
	if (!job.status)
		return error_set(err, ERROR_INVALID,
		    "A warning's status may be set to \"new\" or \"acknowledged\", not \"%s\"",
		    status);
	return db_tx(d->db, store_status, &job, err);
}

static int delete_row(Tx *tx, void *data, Error **err)
{
	if (tx_exec(tx, err, "DELETE FROM warnings WHERE uuid = ?", "s", (const char *)data) < 0)
		return -1;
	return tx_changes(tx) ? 0 : no_warning(err);
}

int warning_delete(Daemon *d, const char *uuid, Error **err)
{
	return db_tx(d->db, delete_row, (void *)uuid, err);
}
