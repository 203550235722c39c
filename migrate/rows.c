#include "migrate/rows_private.h"
#include "migrate/tool.h"
#include "sdk/base/fault.h"
#include <string.h>

enum { COLUMNS_MAX = 16 };

/* ---- which columns ---- */

/* What a column is where LXD has none of that name, or has it otherwise. */
static const struct {
	const char *table, *column; /* table NULL: any */
	int until;		    /* for schemas below; 0: always */
	const char *expression;
} differences[] = {
	/* This server is member 1 here, whatever its number was. */
	{ "storage_volumes", "node_id", 36, "1" }, /* some had none */
	{ NULL, "node_id", 0, "CASE WHEN node_id IS NULL THEN NULL ELSE 1 END" },
	{ NULL, "description", 56, "coalesce(description, '')" },
	{ "networks", "project_id", 34, "(SELECT id FROM projects WHERE name = 'default')" },
	{ "networks", "type", 33, "0" },
	{ "networks_nodes", "state", 40, "1" },
	{ "storage_pools_nodes", "state", 41, "1" },
	{ "storage_volumes", "content_type", 31,
	    "CASE type WHEN 3 THEN 1 WHEN 1 THEN coalesce((SELECT max(i.type) FROM images i"
	    " WHERE i.fingerprint = storage_volumes.name), 0) ELSE 0 END" },
	{ "certificates", "restricted", 47, "0" },
	{ "storage_volumes_snapshots", "expiry_date", 28, "NULL" },
	/* "INSTANCE/BACKUP" and "VOLUME/BACKUP" there. */
	{ "instances_backups", "name", 0, "substr(name, instr(name, '/') + 1)" },
	{ "storage_volumes_backups", "name", 0, "substr(name, instr(name, '/') + 1)" },
	/* Names of the system stay those of the system. */
	{ "projects", "description", 0,
	    "CASE description WHEN 'Default LXD project' THEN 'Default Incus project'"
	    " ELSE coalesce(description, '') END" },
	{ "profiles", "description", 0,
	    "CASE description WHEN 'Default LXD profile' THEN 'Default Incus profile'"
	    " ELSE coalesce(description, '') END" },
};

static const char *difference(const char *table, const char *column, int64_t schema)
{
	const char *any = NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(differences); i++) {
		if (strcmp(differences[i].column, column) != 0 ||
		    (differences[i].until && schema >= differences[i].until))
			continue;
		if (differences[i].table && strcmp(differences[i].table, table) == 0)
			return differences[i].expression;
		if (!differences[i].table && !any)
			any = differences[i].expression;
	}
	return any;
}

static int column_names(Tx *tx, const char *table, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, "SELECT name FROM pragma_table_info(?)", "s", table) < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		g_ptr_array_add(names, g_strdup(rows_text(rows, 0)));
	if (more < 0)
		return -1;
	*ret_names = g_steal_pointer(&names);
	return 0;
}

static gboolean has_name(const GPtrArray *names, const char *name)
{
	for (guint i = 0; i < names->len; i++)
		if (strcmp(names->pdata[i], name) == 0)
			return TRUE;
	return FALSE;
}

static int statement(Tx *lxd, int64_t schema, const RowTable *table, const GPtrArray *wanted,
    char **ret_columns, char **ret_sql, Error **err)
{
	g_autoptr(GPtrArray) theirs = NULL;
	*ret_columns = *ret_sql = NULL;
	if (column_names(lxd, table->name, &theirs, err) < 0)
		return -1;
	if (theirs->len == 0)
		return schema < table->since ?
		    0 :
		    error_set(
			err, ERROR_INVALID, "LXD's database has no table \"%s\"", table->name);
	GString *columns = g_string_new(NULL), *sql = g_string_new("SELECT ");
	for (guint i = 0; i < wanted->len; i++) {
		const char *column = wanted->pdata[i];
		gboolean there = has_name(theirs, column);
		const char *other = difference(table->name, column, schema);
		/* What they lack has our default, unless a difference says what it was. */
		if (!there && (!other || strstr(other, column)))
			continue;
		const char *comma = columns->len ? ", " : "";
		g_string_append_printf(columns, "%s%s", comma, column);
		g_string_append_printf(sql, "%s%s", comma, other ? other : column);
	}
	g_string_append_printf(sql, " FROM %s", table->name);
	*ret_columns = g_string_free(columns, FALSE);
	*ret_sql = g_string_free(sql, FALSE);
	return 0;
}

/* ---- values ---- */

/* Keys whose values may be paths below LXD's directory. */
static const struct {
	KeyScope scope;
	const char *key;
} paths[] = {
	{ KEY_POOL, "source" },
	{ KEY_POOL, "volatile.initial_source" },
	{ KEY_DEVICE, "source" },
	{ KEY_DEVICE, "connect" },
	{ KEY_DEVICE, "listen" },
};

char *rows_host_path(const char *value)
{
	g_autofree char *outside = tool_moved_path(value, "/var/lib/snapd/hostfs", "");
	return outside && !*outside ? g_strdup("/") : g_steal_pointer(&outside);
}

static char *rewritten(const RowsContext *context, const char *value)
{
	g_autofree char *outside = rows_host_path(value);
	if (outside)
		return g_steal_pointer(&outside);
	size_t prefix = g_str_has_prefix(value, "unix:") ? strlen("unix:") : 0;
	for (size_t i = 0; i < G_N_ELEMENTS(context->from); i++) {
		g_autofree char *path = tool_moved_path(
		    value + prefix, context->from[i], context->to);
		if (path)
			return g_strconcat(prefix ? "unix:" : "", path, NULL);
	}
	return NULL;
}

void rows_value(const RowsContext *context, const RowTable *table, const char *key,
    const char *value, char **ret_key, char **ret_value, gboolean *ret_drop)
{
	const KeyRemoved *removed = key_removed(table->scope, key);
	*ret_key = *ret_value = NULL;
	*ret_drop = removed && !removed->renamed;
	if (removed && removed->renamed)
		*ret_key = g_strdup(removed->renamed);
	for (size_t i = 0; value && !*ret_value && i < G_N_ELEMENTS(paths); i++)
		if (paths[i].scope == table->scope && strcmp(paths[i].key, key) == 0)
			*ret_value = rewritten(context, value);
}

/* ---- one table: read whole, then written whole ---- */

static int read_wanted(Tx *tx, void *data, Error **err)
{
	TableCopy *copy = data;
	g_clear_pointer(&copy->wanted, g_ptr_array_unref);
	return column_names(tx, copy->table->name, &copy->wanted, err);
}

static int find_positions(TableCopy *copy, Error **err)
{
	g_auto(GStrv) names = g_strsplit(copy->columns, ", ", -1);
	copy->width = g_strv_length(names);
	copy->key = copy->value = -1;
	for (guint i = 0; i < copy->width; i++) {
		if (strcmp(names[i], "key") == 0)
			copy->key = (int)i;
		else if (strcmp(names[i], "value") == 0)
			copy->value = (int)i;
	}
	if (copy->width > COLUMNS_MAX)
		return error_set(err, ERROR_INTERNAL, "There are too many columns");
	return copy->table->keyed && (copy->key < 0 || copy->value < 0) ?
	    error_set(err, ERROR_INVALID, "There are no keys and values") :
	    0;
}

static int read_cells(Tx *lxd, void *data, Error **err)
{
	TableCopy *copy = data;
	g_autoptr(Rows) rows = NULL;
	g_clear_pointer(&copy->columns, g_free);
	g_clear_pointer(&copy->sql, g_free);
	g_ptr_array_set_size(copy->cells, 0);
	if (statement(lxd, copy->context->lxd->schema, copy->table, copy->wanted, &copy->columns,
		&copy->sql, err) < 0)
		return -1;
	if (!copy->sql)
		return 0;
	if (find_positions(copy, err) < 0 || tx_query(lxd, &rows, err, copy->sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		for (guint i = 0; i < copy->width; i++)
			g_ptr_array_add(copy->cells,
			    rows_null(rows, (int)i) ?
				NULL :
				g_string_chunk_insert(copy->texts, rows_text(rows, (int)i)));
	return more;
}

gboolean table_copy_convert(TableCopy *copy, char **cells)
{
	if (!copy->table->keyed)
		return TRUE;
	const RowsContext *context = copy->context;
	char *old = cells[copy->key];
	g_autofree char *key = NULL, *value = NULL;
	gboolean drop;
	rows_value(context, copy->table, old, cells[copy->value], &key, &value, &drop);
	if ((drop || key) && context->dropped)
		context->dropped(copy->table, old, key, context->data);
	if (key)
		cells[copy->key] = g_string_chunk_insert(copy->texts, key);
	if (value)
		cells[copy->value] = g_string_chunk_insert(copy->texts, value);
	return !drop;
}

static int write_row(
    Tx *ours, const char *insert, const char *format, char **cells, guint width, Error **err)
{
	const char *v[COLUMNS_MAX] = { 0 };
	memcpy(v, cells, width * sizeof(*v));
	/* Everything as text: a column's affinity makes numbers of it again. */
	return tx_exec(ours, err, insert, format, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7],
	    v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]);
}

static int write_cells(Tx *ours, void *data, Error **err)
{
	TableCopy *copy = data;
	char format[COLUMNS_MAX + 1] = { 0 };
	g_autoptr(GString) insert = g_string_new(NULL);
	g_string_printf(insert, "INSERT INTO %s (%s) VALUES (", copy->table->name, copy->columns);
	for (guint i = 0; i < copy->width; i++) {
		g_string_append(insert, i ? ", ?" : "?");
		format[i] = 's';
	}
	g_string_append_c(insert, ')');
	for (guint at = 0; at < copy->cells->len; at += copy->width) {
		char **cells = (char **)copy->cells->pdata + at;
		if (table_copy_convert(copy, cells) &&
		    write_row(ours, insert->str, format, cells, copy->width, err) < 0)
			return -1;
	}
	return 0;
}

void table_copy_init(TableCopy *copy, const RowsContext *context, const RowTable *table, Db *ours)
{
	*copy = (TableCopy){ .context = context,
		.table = table,
		.ours = ours,
		.texts = g_string_chunk_new(64 * 1024),
		.cells = g_ptr_array_new() };
}

void table_copy_clear(TableCopy *copy)
{
	g_clear_pointer(&copy->wanted, g_ptr_array_unref);
	g_free(copy->columns);
	g_free(copy->sql);
	g_string_chunk_free(copy->texts);
	g_ptr_array_unref(copy->cells);
}

int table_copy_read(TableCopy *copy, gboolean local, Error **err)
{
	int (*read)(Db *, int (*)(Tx *, void *, Error **), void *,
	    Error **) = local ? db_local_read : db_read;
	return read(copy->ours, read_wanted, copy, err) < 0 ?
	    -1 :
	    read(copy->context->lxd->db, read_cells, copy, err);
}

static int copy_table(
    const RowsContext *context, const RowTable *table, Db *ours, gboolean local, Error **err)
{
	TableCopy copy;
	table_copy_init(&copy, context, table, ours);
	int result = table_copy_read(&copy, local, err);
	if (result == 0 && copy.sql)
		result = (local ? db_local_tx : db_tx)(ours, write_cells, &copy, err);
	table_copy_clear(&copy);
	return result < 0 ? error_prefix(err, "Table \"%s\" of LXD", table->name) : 0;
}

/* ---- all of them ---- */

/* What later schemas did to the rows there were, and what every database needs in the end. */
static const struct {
	int until; /* for schemas below; 0: always */
	const char *sql;
} repairs[] = {
	{ 29,
	    "INSERT OR IGNORE INTO projects_config (project_id, key, value)"
	    " SELECT id, 'features.storage.volumes', 'true' FROM projects WHERE name = 'default'" },
	{ 38,
	    "INSERT OR IGNORE INTO projects_config (project_id, key, value)"
	    " SELECT id, 'features.networks', 'true' FROM projects WHERE name = 'default'" },
	{ 64,
	    "INSERT OR IGNORE INTO projects_config (project_id, key, value)"
	    " SELECT project_id, 'features.storage.buckets', 'true' FROM projects_config"
	    " WHERE key = 'features.storage.volumes' AND value = 'true'" },
	{ 68,
	    "INSERT OR IGNORE INTO projects_config (project_id, key, value)"
	    " SELECT project_id, 'features.networks.zones', 'true' FROM projects_config"
	    " WHERE key = 'features.networks' AND value = 'true'" },
	/* A thin pool whose name no row has is called as LXD calls them. */
	{ 0,
	    "INSERT INTO storage_pools_config (storage_pool_id, node_id, key, value)"
	    " SELECT p.id, 1, 'lvm.thinpool_name', 'LXDThinPool' FROM storage_pools p WHERE p.driver = 'lvm'"
	    " AND NOT EXISTS (SELECT 1 FROM storage_pools_config c WHERE c.storage_pool_id = p.id"
	    " AND (c.key = 'lvm.thinpool_name' OR (c.key = 'lvm.use_thinpool' AND c.value = 'false')))" },
	/* Some versions of LXD forgot to make records of the volumes of instances' snapshots. */
	{ 0,
	    "INSERT INTO storage_volumes_snapshots (id, storage_volume_id, name, description, expiry_date)"
	    " SELECT (SELECT max(id) FROM (SELECT id FROM storage_volumes UNION ALL SELECT id"
	    " FROM storage_volumes_snapshots)) + row_number() OVER (ORDER BY s.id), v.id, s.name, '', s.expiry_date"
	    " FROM instances_snapshots s JOIN instances i ON i.id = s.instance_id"
	    " JOIN storage_volumes v ON v.name = i.name AND v.project_id = i.project_id AND v.type = i.type * 3"
	    " WHERE NOT EXISTS (SELECT 1 FROM storage_volumes_snapshots w"
	    " WHERE w.storage_volume_id = v.id AND w.name = s.name)" },
	/* Volumes and their snapshots share one space of ids, counted with the volumes. */
	{ 0,
	    "UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(id), 0)"
	    " FROM storage_volumes_snapshots)) WHERE name = 'storage_volumes'" },
};

/* Projects take the rest of what a new database begins with along. */
static int remove_defaults(Tx *tx, void *data, Error **err)
{
	return tx_exec(tx, err, "DELETE FROM projects", "");
}

static int repair(Tx *tx, void *data, Error **err)
{
	const RowsContext *context = data;
	for (size_t i = 0; i < G_N_ELEMENTS(repairs); i++)
		if ((!repairs[i].until || context->lxd->schema < repairs[i].until) &&
		    tx_exec(tx, err, repairs[i].sql, "") < 0)
			return -1;
	return 0;
}

int rows_convert(const RowsContext *context, Db *ours, Error **err)
{
	if (db_tx(ours, remove_defaults, NULL, err) < 0)
		return -1;
	for (const RowTable *table = rows_tables; table->name; table++) {
		if (strcmp(table->name, "instances") == 0 && fault_point("rows", err) < 0)
			return -1;
		if (table->refused)
			continue;
		if (copy_table(context, table, ours, FALSE, err) < 0 ||
		    (table->local && copy_table(context, table, ours, TRUE, err) < 0))
			return -1;
	}
	return db_tx(ours, repair, (void *)context, err);
}
