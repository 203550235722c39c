#include "migrate/proof.h"
#include "migrate/rows_private.h"
#include "migrate/table.h"
#include "sdk/base/log.h"
#include "incus/v1/instance.pb-c.h"
#include "incus/v1/network.pb-c.h"
#include <incus/call.h>
#include <incus/operation.h>
#include <string.h>

enum { STATUS_RUNNING = 103 };

/* ---- rows ---- */

/* One line a row: a column that is NULL is not one that is empty. */
static char *row_line(char *const *cells, guint width)
{
	GString *line = g_string_new(NULL);
	for (guint i = 0; i < width; i++)
		g_string_append_printf(
		    line, "%c%s\x1f", cells[i] ? '=' : '0', cells[i] ? cells[i] : "");
	return g_string_free(line, FALSE);
}

typedef struct OwnLines {
	const char *sql;
	guint width;
	GHashTable *lines;
} OwnLines;

static int read_own(Tx *tx, void *data, Error **err)
{
	OwnLines *own = data;
	g_autoptr(Rows) rows = NULL;
	char *cells[64];
	g_hash_table_remove_all(own->lines);
	if (tx_query(tx, &rows, err, own->sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		for (guint i = 0; i < own->width; i++)
			cells[i] = rows_null(rows, (int)i) ? NULL : (char *)rows_text(rows, (int)i);
		g_hash_table_add(own->lines, row_line(cells, own->width));
	}
	return more;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *hash_lines(GPtrArray *lines)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_ptr_array_sort(lines, by_text);
	for (guint i = 0; i < lines->len; i++)
		g_checksum_update(sum, lines->pdata[i], -1);
	return g_strdup(g_checksum_get_string(sum));
}

/* Both sides have the same rows; ours may have more where repairs added some. */
static int compare_lines(TableCopy *copy, OwnLines *own, GPtrArray *theirs, Error **err)
{
	for (guint at = 0; at < copy->cells->len; at += copy->width) {
		char **cells = (char **)copy->cells->pdata + at;
		if (!table_copy_convert(copy, cells))
			continue;
		char *line = row_line(cells, copy->width);
		g_ptr_array_add(theirs, line);
		if (!g_hash_table_contains(own->lines, line))
			return error_set(err, ERROR_INTERNAL,
			    "A row of table \"%s\" is not there (id %s)", copy->table->name,
			    cells[0] ? cells[0] : "?");
	}
	/* Features that projects always had, names that pools always had, records that were
	 * forgotten. */
	static const char *const growing[] = { "projects_config", "storage_pools_config",
		"storage_volumes_snapshots", NULL };
	gboolean grows = g_strv_contains(growing, copy->table->name);
	guint ours = g_hash_table_size(own->lines);
	if (ours < theirs->len || (ours > theirs->len && !grows))
		return error_set(err, ERROR_INTERNAL, "Table \"%s\" has %u rows where LXD has %u",
		    copy->table->name, ours, theirs->len);
	return 0;
}

static int prove_table(TextTable *report, const RowsContext *context, const RowTable *table,
    gboolean local, Db *ours, Error **err)
{
	TableCopy copy;
	g_autoptr(GPtrArray) theirs = g_ptr_array_new_with_free_func(g_free);
	OwnLines own = { .lines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
	table_copy_init(&copy, context, table, ours);
	int result = table_copy_read(&copy, local, err);
	if (result == 0 && copy.sql) {
		g_autofree char *sql = g_strdup_printf(
		    "SELECT %s FROM %s", copy.columns, table->name);
		own.sql = sql;
		own.width = copy.width;
		result = (local ? db_local_read : db_read)(ours, read_own, &own, err);
		if (result == 0)
			result = compare_lines(&copy, &own, theirs, err);
	}
	if (result == 0 && theirs->len) {
		g_autofree char *hash = hash_lines(theirs);
		g_autofree char *rows = g_strdup_printf("%u", theirs->len);
		text_table_add(report, table->name, rows, hash, NULL);
	}
	g_hash_table_unref(own.lines);
	table_copy_clear(&copy);
	return result;
}

int proof_rows(Migration *m, const RowsContext *context, Db *ours, Error **err)
{
	RowsContext quiet = *context; /* what is dropped was told when it was dropped */
	quiet.dropped = NULL;
	g_autoptr(TextTable) table = text_table_new("TABLE", "ROWS ON BOTH SIDES", "SHA-256", NULL);
	for (const RowTable *row = rows_tables; row->name; row++) {
		if (row->refused)
			continue;
		if (prove_table(table, &quiet, row, FALSE, ours, err) < 0 ||
		    (row->local && prove_table(table, &quiet, row, TRUE, ours, err) < 0))
			return error_prefix(err, "The new database is not LXD's");
	}
	g_free(m->report);
	m->report = text_table_text(table);
	return 0;
}

/* ---- instances that ran ---- */

typedef struct Named {
	char *project, *name;
} Named;

static void named_free(void *data)
{
	Named *named = data;
	g_free(named->project);
	g_free(named->name);
	g_free(named);
}

static int take_named(Rows *row, void *data, Error **err)
{
	Named *named = g_new0(Named, 1);
	named->project = g_strdup(rows_text(row, 0));
	named->name = g_strdup(rows_text(row, 1));
	g_ptr_array_add(data, named);
	return 0;
}

/* A line of the report. */
static void tell(Migration *m, const char *what, const Named *named, const char *state)
{
	char *text = g_strdup_printf("%s%s \"%s\" of project \"%s\": %s\n", m->report, what,
	    named->name, named->project, state);
	g_free(m->report);
	m->report = text;
}

static int is_running(incus_client *client, const Named *ran, gboolean *ret, incus_error **err)
{
	Pb__GetInstanceRequest in = PB__GET_INSTANCE_REQUEST__INIT;
	void *reply;
	in.project = ran->project;
	in.name = ran->name;
	if (incus_call_unary(client, incus_method("GetInstance"), &in, &reply, err) < 0)
		return -1;
	*ret = ((const Pb__Instance *)reply)->status_code == STATUS_RUNNING;
	incus_message_free(reply);
	return 0;
}

static int start(incus_client *client, const Named *ran, incus_error **err)
{
	Pb__UpdateInstanceStateRequest in = PB__UPDATE_INSTANCE_STATE_REQUEST__INIT;
	Pb__InstanceStatePut state = PB__INSTANCE_STATE_PUT__INIT;
	void *reply;
	state.action = (char *)"start";
	state.timeout = -1;
	in.project = ran->project;
	in.name = ran->name;
	in.state = &state;
	if (incus_call_unary(client, incus_method("UpdateInstanceState"), &in, &reply, err) < 0)
		return -1;
	int result = incus_operation_wait(client, reply, NULL, NULL, NULL, err);
	incus_message_free(reply);
	return result;
}

static void see_running(Migration *m, incus_client *client, const Named *ran, guint *failed)
{
	gboolean running = FALSE;
	incus_error *problem = NULL;
	int result = is_running(client, ran, &running, &problem);
	if (result == 0 && !running)
		result = start(client, ran, &problem);
	if (result == 0)
		result = is_running(client, ran, &running, &problem);
	tell(m, "Instance", ran, running ? "runs" : problem ? problem->message : "does not run");
	*failed += !running;
	incus_error_free(problem);
}

/* ---- networks ---- */

static void see_network(Migration *m, incus_client *client, const Named *network, guint *failed)
{
	Pb__GetNetworkRequest in = PB__GET_NETWORK_REQUEST__INIT;
	incus_error *problem = NULL;
	void *reply = NULL;
	in.project = network->project;
	in.name = network->name;
	int result = incus_call_unary(client, incus_method("GetNetwork"), &in, &reply, &problem);
	gboolean up = result == 0 && strcmp(((Pb__Network *)reply)->status, "Created") == 0;
	tell(m, "Network", network,
	    up		? "is up" :
		problem ? problem->message :
			  "does not come up (\"incus warning list\" says why)");
	*failed += !up;
	incus_message_free(reply);
	incus_error_free(problem);
}

/* ---- all of it ---- */

static char *networks_sql(const LxdDatabase *lxd)
{
	return g_strdup_printf("SELECT %s, n.name FROM networks n ORDER BY 1, 2",
	    lxd->schema < 34 ? "'default'" :
			       "(SELECT j.name FROM projects j WHERE j.id = n.project_id)");
}

/* One after the other: what is not there is told, and the others are looked at all the same. */
static int see_each(Migration *m, incus_client *client, const char *sql,
    void (*see)(Migration *m, incus_client *client, const Named *named, guint *failed),
    guint *ret_failed, Error **err)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(named_free);
	if (lxd_database_each(m->lxd, sql, take_named, list, err) < 0)
		return -1;
	for (guint i = 0; i < list->len; i++)
		see(m, client, list->pdata[i], ret_failed);
	return 0;
}

int proof_running(Migration *m, Error **err)
{
	static const char instances_sql[] =
	    "SELECT p.name, i.name FROM instances i JOIN projects p ON p.id = i.project_id"
	    " JOIN instances_config c ON c.instance_id = i.id"
	    " WHERE c.key = 'volatile.last_state.power' AND c.value = 'RUNNING' ORDER BY 1, 2";
	g_autofree char *socket = g_build_filename(m->target.directory, "unix.socket", NULL);
	g_autofree char *networks = networks_sql(m->lxd);
	incus_client *client = NULL;
	incus_error *problem = NULL;
	guint down = 0, ended = 0;
	if (incus_connect_unix(socket, &client, &problem) < 0) {
		error_set(err, ERROR_UNAVAILABLE, "Incus does not answer: %s", problem->message);
		incus_error_free(problem);
		return -1;
	}
	int result = see_each(m, client, networks, see_network, &down, err);
	if (result == 0)
		result = see_each(m, client, instances_sql, see_running, &ended, err);
	incus_client_free(client);
	if (result == 0 && (down || ended))
		return error_set(err, ERROR_INTERNAL,
		    "Not all is as it was (see above): %u networks are not up, %u instances that ran do not run",
		    down, ended);
	return result;
}
