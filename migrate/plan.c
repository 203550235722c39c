#include "migrate/plan.h"
#include "migrate/rows.h"
#include "migrate/table.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/units.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Copied from disk to disk and compared; the rest is starting and stopping daemons. */
enum { COPIED_A_SECOND = 80 * 1000 * 1000, AT_LEAST_SECONDS = 5 };

/* What LXD's directory has. All else in it is made anew by the daemon, or stays where it is. */
static const struct {
	const char *name, *what;
	gboolean each; /* every entry of it goes by itself */
	gboolean copy; /* small and LXD's own: it keeps it */
} parts[] = {
	{ "storage-pools", "storage pool", TRUE, FALSE },
	{ "disks", "loop files", FALSE, FALSE },
	{ "images", "images", FALSE, FALSE },
	{ "backups", "backups", FALSE, FALSE },
	{ "networks", "network state", FALSE, TRUE },
	{ "logs", "logs", FALSE, TRUE },
	{ "server.crt", "server certificate", FALSE, TRUE },
	{ "server.key", "server key", FALSE, TRUE },
	{ "server.ca", "certificate authority", FALSE, TRUE },
	{ "server.crl", "revoked certificates", FALSE, TRUE },
	{ "client.ca", "clients' certificate authority", FALSE, TRUE },
	{ "ca.crl", "revoked certificates", FALSE, TRUE },
};

static void move_free(void *data)
{
	PlanMove *move = data;
	g_free(move->from);
	g_free(move->to);
	g_free(move);
}

/* The nearest folder that is there. */
static int device_of(const char *path, dev_t *ret_device, Error **err)
{
	struct stat st;
	g_autofree char *at = g_strdup(path);
	while (stat(at, &st) < 0) {
		if (errno != ENOENT || strcmp(at, "/") == 0)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "\"%s\" cannot be looked at", at);
		char *up = g_path_get_dirname(at);
		g_free(at);
		at = up;
	}
	*ret_device = st.st_dev;
	return 0;
}

static int measure(PlanMove *move, const struct stat *st, Error **err)
{
	if (!S_ISDIR(st->st_mode)) {
		move->bytes = (uint64_t)st->st_blocks * 512;
		return 0;
	}
	autofd int fd = file_open_directory(move->from, err);
	return fd < 0 ? -1 : file_usage(fd, &move->bytes, err);
}

static int add_move(
    Plan *plan, const char *from, const char *to, const char *what, gboolean copy, Error **err)
{
	struct stat st;
	dev_t device, there;
	int found = lstat(from, &st);
	if (found == 0 && S_ISLNK(st.st_mode)) /* to a volume: the daemon makes its own */
		return 0;
	if (found < 0)
		return errno == ENOENT ?
		    0 :
		    error_errno(err, ERROR_INTERNAL, errno, "\"%s\" cannot be looked at", from);
	/* A pool that is still mounted is not by then: its folder counts. */
	g_autofree char *folder = g_path_get_dirname(from);
	if (device_of(folder, &there, err) < 0 || device_of(to, &device, err) < 0)
		return -1;
	PlanMove *move = g_new0(PlanMove, 1);
	*move = (PlanMove){ .from = g_strdup(from),
		.to = g_strdup(to),
		.what = what,
		.copy = copy || there != device };
	g_ptr_array_add(plan->moves, move);
	if (move->copy && measure(move, &st, err) < 0)
		return -1;
	plan->bytes += move->bytes;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_entries(
    Plan *plan, const char *from, const char *to, const char *what, gboolean copy, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(from, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		g_ptr_array_add(names, g_strdup(name));
	g_ptr_array_sort(names, by_name);
	for (guint i = 0; i < names->len; i++) {
		g_autofree char *entry = g_build_filename(from, names->pdata[i], NULL);
		g_autofree char *there = g_build_filename(to, names->pdata[i], NULL);
		if (add_move(plan, entry, there, what, copy, err) < 0)
			return -1;
	}
	return 0;
}

/* Beside those of the daemon where it has a folder of its own for them. */
static char *plan_logs(const Migration *m)
{
	return tool_within(m->target.logs, m->target.directory) ?
	    g_strdup(m->target.logs) :
	    g_build_filename(m->target.logs, "lxd", NULL);
}

static int add_moves(Migration *m, Plan *plan, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		gboolean logs = strcmp(parts[i].name, "logs") == 0;
		g_autofree char *from = logs && m->source.logs ?
		    g_strdup(m->source.logs) :
		    g_build_filename(m->source.directory, parts[i].name, NULL);
		g_autofree char *to = logs ?
		    plan_logs(m) :
		    g_build_filename(m->target.directory, parts[i].name, NULL);
		int result = parts[i].each ?
		    add_entries(plan, from, to, parts[i].what, parts[i].copy, err) :
		    add_move(plan, from, to, parts[i].what, parts[i].copy, err);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int count_rows(Tx *tx, void *data, Error **err)
{
	Migration *m = data;
	g_array_set_size(m->plan->counts, 0);
	for (const RowTable *table = rows_tables; table->name; table++) {
		PlanCount count = { .what = table->what };
		if (!table->what || m->lxd->schema < table->since)
			continue;
		g_autofree char *sql = g_strdup_printf("SELECT count(*) FROM %s", table->name);
		if (tx_int(tx, &count.rows, err, sql, "") < 0)
			return -1;
		g_array_append_val(m->plan->counts, count);
	}
	return 0;
}

static Plan *plan_new(void)
{
	Plan *plan = g_new0(Plan, 1);
	plan->counts = g_array_new(FALSE, TRUE, sizeof(PlanCount));
	plan->moves = g_ptr_array_new_with_free_func(move_free);
	return plan;
}

int plan_make(Migration *m, Plan **ret_plan, Error **err)
{
	g_autoptr(Plan) plan = plan_new();
	Migration counting = *m;
	counting.plan = plan;
	if (db_read(m->lxd->db, count_rows, &counting, err) < 0 || add_moves(m, plan, err) < 0)
		return error_prefix(err, "The plan cannot be made");
	*ret_plan = g_steal_pointer(&plan);
	return 0;
}

void plan_free(Plan *plan)
{
	if (!plan)
		return;
	g_array_unref(plan->counts);
	g_ptr_array_unref(plan->moves);
	g_free(plan);
}

int plan_seconds(const Plan *plan)
{
	return AT_LEAST_SECONDS + (int)(plan->bytes / COPIED_A_SECOND);
}

char *plan_text(const Plan *plan)
{
	GString *out = g_string_new(NULL);
	g_autoptr(TextTable) counts = text_table_new("WHAT", "HOW MANY", NULL);
	for (guint i = 0; i < plan->counts->len; i++) {
		const PlanCount *count = &g_array_index(plan->counts, PlanCount, i);
		g_autofree char *rows = g_strdup_printf("%" G_GINT64_FORMAT, count->rows);
		text_table_add(counts, count->what, rows, NULL);
	}
	g_autoptr(TextTable) moves = text_table_new("WHAT", "HOW", "BYTES", "FROM", "TO", NULL);
	for (guint i = 0; i < plan->moves->len; i++) {
		const PlanMove *move = plan->moves->pdata[i];
		g_autofree char *bytes = move->copy ? units_format_bytes((int64_t)move->bytes, 1) :
						      g_strdup("-");
		text_table_add(moves, move->what, move->copy ? "copy" : "rename", bytes, move->from,
		    move->to, NULL);
	}
	g_autofree char *first = text_table_text(counts), *second = text_table_text(moves);
	g_autofree char *bytes = units_format_bytes((int64_t)plan->bytes, 1);
	g_string_append_printf(out, "%s\n%s\n%s to copy, about %d seconds\n", first, second, bytes,
	    plan_seconds(plan));
	return g_string_free(out, FALSE);
}

json_t *plan_json(const Plan *plan)
{
	json_t *counts = json_object(), *moves = json_array();
	for (guint i = 0; i < plan->counts->len; i++) {
		const PlanCount *count = &g_array_index(plan->counts, PlanCount, i);
		json_object_set_new(counts, count->what, json_integer(count->rows));
	}
	for (guint i = 0; i < plan->moves->len; i++) {
		const PlanMove *move = plan->moves->pdata[i];
		json_array_append_new(moves,
		    json_pack("{s:s, s:s, s:s, s:s, s:I}", "what", move->what, "how",
			move->copy ? "copy" : "rename", "from", move->from, "to", move->to, "bytes",
			(json_int_t)move->bytes));
	}
	return json_pack("{s:o, s:o, s:I, s:i}", "counts", counts, "moves", moves, "bytes",
	    (json_int_t)plan->bytes, "seconds", plan_seconds(plan));
}

static int add_move_json(Plan *plan, const json_t *json, Error **err)
{
	const char *what, *how, *from, *to;
	json_int_t bytes;
	if (json_unpack((json_t *)json, "{s:s, s:s, s:s, s:s, s:I}", "what", &what, "how", &how,
		"from", &from, "to", &to, "bytes", &bytes) < 0)
		return error_set(err, ERROR_INVALID, "The journal's plan is damaged");
	PlanMove *move = g_new0(PlanMove, 1);
	*move = (PlanMove){ .from = g_strdup(from),
		.to = g_strdup(to),
		.what = g_intern_string(what),
		.copy = strcmp(how, "copy") == 0,
		.bytes = (uint64_t)bytes };
	g_ptr_array_add(plan->moves, move);
	plan->bytes += move->bytes;
	return 0;
}

int plan_from_json(const json_t *json, Plan **ret_plan, Error **err)
{
	g_autoptr(Plan) plan = plan_new();
	const char *what;
	json_t *value;
	size_t i;
	json_object_foreach (json_object_get(json, "counts"), what, value) {
		PlanCount count = { g_intern_string(what), json_integer_value(value) };
		g_array_append_val(plan->counts, count);
	}
	json_array_foreach (json_object_get(json, "moves"), i, value)
		if (add_move_json(plan, value, err) < 0)
			return -1;
	*ret_plan = g_steal_pointer(&plan);
	return 0;
}
