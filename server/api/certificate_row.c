#include "server/api/certificate.h"
#include "server/rpc/identity.h"
#include <string.h>

/* --- reading --- */

typedef struct Load {
	const char *prefix;
	Arena *arena;
	GPtrArray *rows;       /* Pb__Certificate * */
	GHashTable *projects;  /* fingerprint -> GPtrArray of names */
} Load;

static int load_certificates(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int got;
	/* substr, not LIKE: '%' in a prefix means nothing. */
	if (tx_query(tx, &rows, err,
		"SELECT fingerprint, type, name, certificate, restricted FROM certificates "
		"WHERE substr(fingerprint, 1, length(?)) = ? ORDER BY fingerprint",
		"ss", load->prefix, load->prefix) < 0)
		return -1;
	while ((got = rows_next(rows, err)) > 0) {
		Pb__Certificate *row = arena_message(load->arena, Pb__Certificate, pb__certificate);
		row->fingerprint = arena_strdup(load->arena, rows_text(rows, 0));
		row->type = arena_strdup(
		    load->arena, certificate_type_name((int)rows_int(rows, 1)));
		row->name = arena_strdup(load->arena, rows_text(rows, 2));
		row->certificate = arena_strdup(load->arena, rows_text(rows, 3));
		row->restricted = rows_int(rows, 4) != 0;
		g_ptr_array_add(load->rows, row);
	}
	return got;
}

static int load_projects(Tx *tx, Load *load, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int got;
	if (tx_query(tx, &rows, err,
		"SELECT c.fingerprint, p.name FROM certificates_projects cp "
		"JOIN certificates c ON c.id = cp.certificate_id JOIN projects p ON p.id = cp.project_id "
		"ORDER BY p.name",
		"") < 0)
		return -1;
	while ((got = rows_next(rows, err)) > 0) {
		GPtrArray *names = g_hash_table_lookup(load->projects, rows_text(rows, 0));
		if (!names) {
			names = g_ptr_array_new();
			g_hash_table_insert(load->projects, g_strdup(rows_text(rows, 0)), names);
		}
		g_ptr_array_add(names, arena_strdup(load->arena, rows_text(rows, 1)));
	}
	return got;
}

static int load_all(Tx *tx, void *data, Error **err)
{
	Load *load = data;
	g_ptr_array_set_size(load->rows, 0);
	g_hash_table_remove_all(load->projects);
	if (load_certificates(tx, load, err) < 0 || load_projects(tx, load, err) < 0)
		return -1;
	for (guint i = 0; i < load->rows->len; i++) {
		Pb__Certificate *row = load->rows->pdata[i];
		GPtrArray *names = g_hash_table_lookup(load->projects, row->fingerprint);
		if (!names)
			continue;
		row->n_projects = names->len;
		row->projects = arena_memdup(
		    load->arena, names->pdata, names->len * sizeof(char *));
	}
	return 0;
}

int certificate_load(Db *db, const char *prefix, Arena *arena, Pb__Certificate ***ret_rows,
    size_t *ret_n, Error **err)
{
	g_autoptr(GPtrArray) rows = g_ptr_array_new();
	g_autoptr(GHashTable) projects = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
	Load load = { prefix ? prefix : "", arena, rows, projects };
	if (db_read(db, load_all, &load, err) < 0)
		return -1;
	*ret_n = rows->len;
	*ret_rows = arena_memdup(
	    arena, rows->pdata, MAX(rows->len, 1) * (rows->len ? sizeof(void *) : 0));
	return 0;
}

int certificate_find(
    Db *db, const char *prefix, Arena *arena, Pb__Certificate **ret_row, Error **err)
{
	Pb__Certificate **rows;
	size_t n;
	if (!prefix || !*prefix)
		return error_set(err, ERROR_NOT_FOUND, "Certificate not found");
	if (certificate_load(db, prefix, arena, &rows, &n, err) < 0)
		return -1;
	if (n == 0)
		return error_set(err, ERROR_NOT_FOUND, "Certificate not found");
	if (n > 1)
		return error_set(err, ERROR_INVALID, "More than one certificate matches");
	*ret_row = rows[0];
	return 0;
}

/* --- writing --- */

typedef struct Write {
	const char *old;  /* fingerprint of the row to replace, NULL: a new one */
	const CertificateRow *row;
} Write;

static int write_projects(Tx *tx, int64_t id, const CertificateRow *row, Error **err)
{
	if (tx_exec(
		tx, err, "DELETE FROM certificates_projects WHERE certificate_id = ?", "i", id) < 0)
		return -1;
	for (size_t i = 0; row->restricted && i < row->n_projects; i++) {
		if (tx_exec(tx, err,
			"INSERT OR IGNORE INTO certificates_projects (certificate_id, project_id) "
			"SELECT ?, id FROM projects WHERE name = ?",
			"is", id, row->projects[i]) < 0)
			return -1;
		if (!tx_changes(tx)) {
			int64_t known;
			g_autoptr(Error) missing = NULL;
			if (tx_int(tx, &known, &missing, "SELECT id FROM projects WHERE name = ?",
				"s", row->projects[i]) < 0)
				return error_set(err, ERROR_INVALID, "Project \"%s\" not found",
				    row->projects[i]);
		}
	}
	return 0;
}

static int write_row(Tx *tx, void *data, Error **err)
{
	const Write *write = data;
	const CertificateRow *row = write->row;
	int64_t id;
	if (!write->old) {
		if (tx_insert(tx, &id, err,
			"INSERT INTO certificates (fingerprint, type, name, certificate, restricted) VALUES (?, ?, ?, ?, ?)",
			"sissi", row->fingerprint, (int64_t)row->type, row->name, row->pem,
			(int64_t)row->restricted) < 0)
			return -1;
	} else if (tx_int(tx, &id, err, "SELECT id FROM certificates WHERE fingerprint = ?", "s",
		       write->old) < 0 ||
	    tx_exec(tx, err,
		"UPDATE certificates SET fingerprint = ?, type = ?, name = ?, certificate = ?, restricted = ? WHERE id = ?",
		"sissii", row->fingerprint, (int64_t)row->type, row->name, row->pem,
		(int64_t)row->restricted, id) < 0) {
		return -1;
	}
	return write_projects(tx, id, row, err);
}

static int run_write(Db *db, Write *write, Error **err)
{
	g_autoptr(Error) problem = NULL;
	if (db_tx(db, write_row, write, &problem) == 0)
		return 0;
	if (problem->kind == ERROR_EXISTS)
		return error_set(err, ERROR_EXISTS, "Certificate already in trust store");
	return error_propagate(err, g_steal_pointer(&problem));
}

int certificate_insert(Db *db, const CertificateRow *row, Error **err)
{
	Write write = { NULL, row };
	return run_write(db, &write, err);
}

int certificate_replace(Db *db, const char *fingerprint, const CertificateRow *row, Error **err)
{
	Write write = { fingerprint, row };
	return run_write(db, &write, err);
}

static int delete_row(Tx *tx, void *data, Error **err)
{
	if (tx_exec(tx, err, "DELETE FROM certificates WHERE fingerprint = ?", "s",
		(const char *)data) < 0)
		return -1;
	return tx_changes(tx) ? 0 : error_set(err, ERROR_NOT_FOUND, "Certificate not found");
}

int certificate_delete(Db *db, const char *fingerprint, Error **err)
{
	return db_tx(db, delete_row, (void *)fingerprint, err);
}
