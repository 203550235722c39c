#include "migrate/lxd_database.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { NODE_TIMEOUT_MS = 300 * 1000, ATTEMPTS = 20 };

static const char *const local_files[] = { "local.db", "local.db-wal", "local.db-journal" };

/* ---- raft's files: what each name says ---- */

typedef enum RaftFile {
	RAFT_OTHER,
	RAFT_METADATA,
	RAFT_CLOSED,   /* FIRST-LAST: entries */
	RAFT_OPEN,     /* open-N: entries not yet counted */
	RAFT_SNAPSHOT, /* snapshot-TERM-INDEX-TIME and the same with .meta */
} RaftFile;

static RaftFile raft_file(const char *name, uint64_t *ret_last)
{
	uint64_t first, term, time;
	int end = 0;
	*ret_last = 0;
	if (strcmp(name, "metadata1") == 0 || strcmp(name, "metadata2") == 0)
		return RAFT_METADATA;
	if (sscanf(name, "%16" SCNu64 "-%16" SCNu64 "%n", &first, ret_last, &end) == 2 &&
	    name[end] == 0)
		return RAFT_CLOSED;
	if (sscanf(name, "open-%" SCNu64 "%n", &first, &end) == 1 && name[end] == 0)
		return RAFT_OPEN;
	if (sscanf(name, "snapshot-%" SCNu64 "-%" SCNu64 "-%" SCNu64 "%n", &term, ret_last, &time,
		&end) == 3 &&
	    (name[end] == 0 || strcmp(name + end, ".meta") == 0))
		return RAFT_SNAPSHOT;
	return RAFT_OTHER;
}

GPtrArray *lxd_database_needed(const GPtrArray *names)
{
	GPtrArray *needed = g_ptr_array_new();
	uint64_t oldest = UINT64_MAX, last;
	for (guint i = 0; i < names->len; i++)
		if (raft_file(names->pdata[i], &last) == RAFT_SNAPSHOT)
			oldest = MIN(oldest, last);
	for (guint i = 0; i < names->len; i++) {
		RaftFile kind = raft_file(names->pdata[i], &last);
		/* LXD keeps thousands of entries that a snapshot holds already, for members that
		 * fall behind: reading them would take all the time and memory there is. */
		gboolean behind = kind == RAFT_CLOSED && oldest != UINT64_MAX && last < oldest;
		if (kind != RAFT_OTHER && !behind)
			g_ptr_array_add(needed, names->pdata[i]);
	}
	return needed;
}

/* ---- the copy ---- */

static int copy_file(int from, int to, const char *name, Error **err)
{
	struct stat st;
	autofd int in = file_open_beneath(
	    from, name, O_RDONLY | O_NOFOLLOW, 0, FILE_LINKS_NONE, err);
	if (in < 0)
		return -1;
	if (fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, ERROR_INVALID, "\"%s\" is no regular file", name);
	autofd int out = file_open_beneath(
	    to, name, O_RDWR | O_CREAT | O_EXCL, 0600, FILE_LINKS_NONE, err);
	return out < 0 ? -1 : file_copy_data(in, out, err);
}

static int copy_global(int from, int to, Error **err)
{
	g_autoptr(GPtrArray) names = NULL;
	if (file_names(from, &names, err) < 0)
		return -1;
	g_autoptr(GPtrArray) needed = lxd_database_needed(names);
	for (guint i = 0; i < needed->len; i++)
		if (copy_file(from, to, needed->pdata[i], err) < 0)
			return -1;
	if (needed->len == 0)
		return error_set(err, ERROR_INVALID, "There are no database entries");
	return 0;
}

static int copy_local(int from, int to, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(local_files); i++) {
		Error *error = NULL;
		if (copy_file(from, to, local_files[i], &error) == 0)
			continue;
		if (i == 0 || error->kind != ERROR_NOT_FOUND)
			return error_propagate(err, error);
		error_free(error);
	}
	return 0;
}

static int copy_all(const char *lxd, const char *database, const char *global, Error **err)
{
	g_autofree char *lxd_database = g_build_filename(lxd, "database", NULL);
	g_autofree char *lxd_global = g_build_filename(lxd_database, "global", NULL);
	if (file_remove_all(AT_FDCWD, database, err) < 0 || file_mkdir_all(global, 0700, err) < 0)
		return -1;
	autofd int from_database = file_open_directory(lxd_database, err);
	autofd int to_database = from_database < 0 ? -1 : file_open_directory(database, err);
	if (to_database < 0 || copy_local(from_database, to_database, err) < 0)
		return -1;
	autofd int from_global = file_open_directory(lxd_global, err);
	autofd int to_global = from_global < 0 ? -1 : file_open_directory(global, err);
	return to_global < 0 ? -1 : copy_global(from_global, to_global, err);
}

/* ---- reading it ---- */

typedef struct Member {
	char *id, *address;
	int64_t members;
} Member;

/* How LXD's own node is called; an LXD that was never clustered has no row. */
static int read_member(Tx *tx, void *data, Error **err)
{
	Member *member = data;
	g_autoptr(Rows) rows = NULL;
	member->members = 0;
	if (tx_query(tx, &rows, err, "SELECT id, address FROM raft_nodes ORDER BY id", "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0) {
		g_free(member->id);
		g_free(member->address);
		member->id = g_strdup(rows_text(rows, 0));
		member->address = g_strdup(rows_text(rows, 1));
		member->members++;
	}
	return more;
}

/* The library puts a damaged last segment aside and goes on without it: what was done last would be
 * lost. */
static int check_whole(const char *global, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(global, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));)
		if (g_str_has_prefix(name, "corrupt-"))
			return error_set(err, ERROR_INVALID,
			    "A file in database/global is missing or damaged (%s). Does LXD itself start "
			    "on it?",
			    name + strlen("corrupt-"));
	return 0;
}

static int run_node(const char *global, const Member *member, Error **err)
{
	g_autofree char *program = tool_helper("lxd-to-incus-node");
	const char *const argv[] = { program, global, member->id ? member->id : "1",
		member->address ? member->address : "1", NULL };
	Spawn spawn = { .argv = argv, .timeout_ms = NODE_TIMEOUT_MS };
	static const char before_words[] =
	    "status 1: "; /* of the program, whose name helps nobody */
	Error *error = NULL;
	if (spawn_run(&spawn, NULL, NULL, &error) == 0)
		return check_whole(global, err);
	const char *said = strstr(error->message, before_words);
	g_autofree char *words = g_strdup(said ? said + strlen(before_words) : error->message);
	error_free(error);
	return error_set(err, ERROR_INVALID,
	    "A file in database/global is missing or damaged (%.*s). Does LXD itself start on it?",
	    (int)strcspn(words, "\n"), words);
}

static int read_facts(Tx *tx, void *data, Error **err)
{
	LxdDatabase *database = data;
	int64_t members, reachable;
	if (tx_int(tx, &database->schema, err, "SELECT max(version) FROM schema", "") < 0 ||
	    tx_int(tx, &members, err, "SELECT count(*) FROM nodes", "") < 0 ||
	    tx_int(tx, &reachable, err, "SELECT count(*) FROM nodes WHERE address <> '0.0.0.0'",
		"") < 0 ||
	    tx_int(tx, &database->extensions, err, "SELECT max(api_extensions) FROM nodes", "") < 0)
		return -1;
	database->members = members;
	database->clustered = database->clustered || members > 1 || reachable > 0;
	return 0;
}

static int local_facts(const char *work, Member *member, Error **err)
{
	/* The global one is not there yet, so this opens an empty one beside it. */
	g_autofree char *global = g_build_filename(work, "database", "global", "db.bin", NULL);
	Db *db = NULL;
	if (file_write_plain(global, "", 0600, err) < 0 || db_open_existing(work, &db, err) < 0)
		return -1;
	int result = db_local_read(db, read_member, member, err);
	db_close(db);
	static const char *const left[] = { "", "-wal", "-shm" };
	for (size_t i = 0; i < G_N_ELEMENTS(left); i++) {
		g_autofree char *path = g_strconcat(global, left[i], NULL);
		unlink(path);
	}
	return result;
}

static int open_copy(LxdDatabase *database, const char *work, const char *global, Error **err)
{
	Member member = { 0 };
	int result = local_facts(work, &member, err);
	if (result == 0 && member.members > 1) /* a node alone cannot read what others may have */
		result = error_set(err, ERROR_INVALID,
		    "This LXD is one of %d members of a cluster, which cannot be moved: take it out "
		    "with \"lxc cluster remove\", or move its instances to an Incus server with "
		    "\"lxc copy\"",
		    (int)member.members);
	/* Alone, LXD's address is "1"; an address that others could reach says it was clustered. */
	database->clustered = member.members > 1 ||
	    (member.address && strcmp(member.address, "1") != 0 && *member.address);
	if (result == 0)
		result = run_node(global, &member, err);
	g_free(member.id);
	g_free(member.address);
	if (result < 0 || db_open_existing(work, &database->db, err) < 0)
		return -1;
	if (!database->db)
		return error_set(err, ERROR_INVALID, "LXD's database is empty");
	return db_read(database->db, read_facts, database, err);
}

static int open_once(const char *lxd, const char *work, LxdDatabase **ret_database, Error **err)
{
	g_autoptr(LxdDatabase) database = g_new0(LxdDatabase, 1);
	g_autofree char *copy = g_build_filename(work, "database", NULL);
	g_autofree char *global = g_build_filename(copy, "global", NULL);
	if (copy_all(lxd, copy, global, err) < 0 || open_copy(database, work, global, err) < 0)
		return -1;
	*ret_database = g_steal_pointer(&database);
	return 0;
}

/* An LXD that runs goes on writing while its files are copied, so that a copy may not be whole. */
int lxd_database_open(const char *lxd, const char *work, LxdDatabase **ret_database, Error **err)
{
	for (int left = ATTEMPTS; tool_check_stop(err) == 0; left--) {
		Error *error = NULL;
		g_autofree char *before = NULL, *after = NULL;
		lxd_database_state(lxd, &before, NULL);
		if (open_once(lxd, work, ret_database, &error) == 0)
			return 0;
		lxd_database_state(lxd, &after, NULL);
		if (left > 0 && g_strcmp0(before, after) != 0) {
			error_free(error);
			continue;
		}
		error->kind = ERROR_INVALID;
		error_propagate(err, error);
		return error_prefix(err, "LXD's database in \"%s\" cannot be read", lxd);
	}
	return -1;
}

void lxd_database_free(LxdDatabase *database)
{
	if (!database)
		return;
	db_close(database->db);
	g_free(database);
}

/* ---- its rows ---- */

typedef struct EachCall {
	const char *sql;
	int (*take)(Rows *row, void *data, Error **err);
	void *data;
} EachCall;

static int each_row(Tx *tx, void *data, Error **err)
{
	const EachCall *call = data;
	g_autoptr(Rows) rows = NULL;
	if (tx_query(tx, &rows, err, call->sql, "") < 0)
		return -1;
	int more;
	while ((more = rows_next(rows, err)) > 0)
		if (call->take(rows, call->data, err) < 0)
			return -1;
	return more;
}

int lxd_database_each(LxdDatabase *lxd, const char *sql,
    int (*take)(Rows *row, void *data, Error **err), void *data, Error **err)
{
	EachCall call = { sql, take, data };
	return db_read(lxd->db, each_row, &call, err);
}

int lxd_database_each_local(LxdDatabase *lxd, const char *sql,
    int (*take)(Rows *row, void *data, Error **err), void *data, Error **err)
{
	EachCall call = { sql, take, data };
	return db_local_read(lxd->db, each_row, &call, err);
}

/* ---- whether it changed ---- */

static int add_files(GChecksum *sum, const char *folder, Error **err)
{
	g_autoptr(GPtrArray) names = NULL;
	autofd int fd = file_open_directory(folder, err);
	if (fd < 0 || file_names(fd, &names, err) < 0)
		return -1;
	for (guint i = 0; i < names->len; i++) {
		struct stat st;
		const char *name = names->pdata[i];
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "\"%s\"", name);
		g_autofree char *line = g_strdup_printf("%s %jd %jd.%09ld\n", name,
		    (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
		g_checksum_update(sum, (const guchar *)line, -1);
	}
	return 0;
}

int lxd_database_state(const char *lxd, char **ret_state, Error **err)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_autofree char *database = g_build_filename(lxd, "database", NULL);
	g_autofree char *global = g_build_filename(database, "global", NULL);
	if (add_files(sum, database, err) < 0 || add_files(sum, global, err) < 0)
		return -1;
	*ret_state = g_strdup(g_checksum_get_string(sum));
	return 0;
}
