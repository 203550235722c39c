/* Rows of networks: the statements, and the numbers that stand for types and states. */
#include "server/network/network_private.h"
#include "server/project/project.h"
#include <string.h>

/* Position is the value of networks.type. */
static const char *const types[] = {"bridge", "macvlan", "sriov", "ovn", "physical"};

int network_type_number(const char *type)
{
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		if (strcmp(types[i], type) == 0)
			return (int)i;
	return -1;
}

const char *network_type_name(int64_t number)
{
	return number >= 0 && number < (int64_t)G_N_ELEMENTS(types) ? types[number] : "unknown";
}

int network_type_check(const char *type, Error **err)
{
	if (network_type_number(type) < 0)
		return error_set(err, ERROR_INVALID, "Unknown network type \"%s\"", type);
	return strcmp(type, "bridge") != 0 ?
	    error_set(err, ERROR_UNSUPPORTED,
		"Networks of type \"%s\" are not built into this server", type) :
	    0;
}

typedef struct Job {
	Daemon *daemon;
	Network *network;
	GPtrArray *networks;
	int64_t id;
	const char *text;
	const Config *config;
	int64_t number;
} Job;

static Network *find_row(GPtrArray *networks, int64_t id)
{
	for (guint i = 0; i < networks->len; i++) {
		Network *network = g_ptr_array_index(networks, i);
		if (network->id == id)
			return network;
	}
	return NULL;
}

static int load_configs(Tx *tx, GPtrArray *networks, Error **err)
{
	g_autoptr(Rows) rows = NULL;
	int more = tx_query(
	    tx, &rows, err, "SELECT network_id, key, value FROM networks_config", "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		Network *network = find_row(networks, rows_int(rows, 0));
		if (network)
			config_set(network->config, rows_text(rows, 1), rows_text(rows, 2));
	}
	return more;
}

static int load(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	g_autoptr(Rows) rows = NULL;
	g_ptr_array_set_size(job->networks, 0);
	int more = tx_query(tx, &rows, err,
	    "SELECT networks.id, projects.name, networks.name, networks.description, networks.type, networks.state "
	    "FROM networks JOIN projects ON projects.id = networks.project_id "
	    "ORDER BY projects.name, networks.name",
	    "");
	while (more >= 0 && (more = rows_next(rows, err)) > 0) {
		Network *network = network_new(job->daemon, rows_int(rows, 0), rows_text(rows, 1),
		    rows_text(rows, 2), network_type_name(rows_int(rows, 4)));
		network->description = g_strdup(rows_null(rows, 3) ? "" : rows_text(rows, 3));
		network->state = (NetworkState)rows_int(rows, 5);
		g_ptr_array_add(job->networks, network);
	}
	return more < 0 ? -1 : load_configs(tx, job->networks, err);
}

int network_rows_load(Daemon *d, GPtrArray *networks, Error **err)
{
	return db_read(d->db, load, &(Job){.daemon = d, .networks = networks}, err);
}

static int insert(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	Network *network = job->network;
	int64_t project;
	if (tx_int(tx, &project, err, "SELECT id FROM projects WHERE name = ?", "s",
		network->project) < 0)
		return error_prefix(err, "Project \"%s\"", network->project);
	if (tx_insert(tx, &network->id, err,
		"INSERT INTO networks (project_id, name, description, state, type) VALUES (?, ?, ?, ?, ?)",
		"issii", project, network->name, network->description, (int64_t)NETWORK_PENDING,
		(int64_t)network_type_number(network->type)) < 0)
		return -1;
	if (tx_config_replace(
		tx, "networks_config", "network_id", network->id, network->config, err) < 0)
		return -1;
	return project_verify_network(tx, project, err);
}

int network_row_insert(Daemon *d, Network *network, Error **err)
{
	return db_tx(d->db, insert, &(Job){.network = network}, err);
}

static int update(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	if (job->text &&
	    tx_exec(tx, err, "UPDATE networks SET description = ? WHERE id = ?", "si", job->text,
		job->id) < 0)
		return -1;
	return tx_config_replace(tx, "networks_config", "network_id", job->id, job->config, err);
}

int network_row_update(
    Daemon *d, Network *network, const char *description, const Config *config, Error **err)
{
	return db_tx(
	    d->db, update, &(Job){ .id = network->id, .text = description, .config = config }, err);
}

static int set_state(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	if (tx_exec(tx, err, "UPDATE networks SET state = ? WHERE id = ?", "ii", job->number,
		job->id) < 0)
		return -1;
	/* Standalone servers have one node; its row says the same. */
	if (tx_exec(tx, err, "DELETE FROM networks_nodes WHERE network_id = ?", "i", job->id) < 0)
		return -1;
	return tx_exec(tx, err,
	    "INSERT INTO networks_nodes (network_id, node_id, state) SELECT ?, id, ? FROM nodes",
	    "ii", job->id, job->number);
}

int network_row_set_state(Daemon *d, int64_t id, NetworkState state, Error **err)
{
	return db_tx(d->db, set_state, &(Job){.id = id, .number = state}, err);
}

static int rename_row(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	return tx_exec(
	    tx, err, "UPDATE networks SET name = ? WHERE id = ?", "si", job->text, job->id);
}

int network_row_rename(Daemon *d, int64_t id, const char *name, Error **err)
{
	return db_tx(d->db, rename_row, &(Job){.id = id, .text = name}, err);
}

static int delete_row(Tx *tx, void *data, Error **err)
{
	Job *job = data;
	return tx_exec(tx, err, "DELETE FROM networks WHERE id = ?", "i", job->id);
}

int network_row_delete(Daemon *d, int64_t id, Error **err)
{
	return db_tx(d->db, delete_row, &(Job){.id = id}, err);
}
