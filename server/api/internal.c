/* Handlers of ServerService that only this host's administrator may call, and QueryRest. */
#include "incus/v1/handlers.h"
#include "server/daemon.h"
#include "server/db/console.h"
#include "server/instance/instance.h"
#include "server/rpc/rest.h"
#include "server/storage/pool_recover.h"
#include <malloc.h>

/* /internal is for the unix socket, whatever certificate a caller has. */
static int require_local(Request *rq, Error **err)
{
	if (rq->caller->kind == CALLER_UNIX && rq->caller->admin)
		return 0;
	return error_set(err, ERROR_FORBIDDEN, "not authorized");
}

int api_get_ready(
    Request *rq, const Pb__GetReadyRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (require_local(rq, err) < 0)
		return -1;
	if (!g_atomic_int_get(&rq->daemon->ready))
		return error_set(err, ERROR_UNAVAILABLE, "Daemon not ready yet");
	return 0;
}

int api_shutdown(
    Request *rq, const Pb__ShutdownRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (require_local(rq, err) < 0)
		return -1;
	daemon_shutdown(rq->daemon, in->force);
	return 0;
}

int api_release_memory(
    Request *rq, const Pb__ReleaseMemoryRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (require_local(rq, err) < 0)
		return -1;
	malloc_trim(0);
	return 0;
}

static char **copy_columns(Arena *arena, const GPtrArray *columns)
{
	char **copy = arena_alloc(arena, (columns->len + 1) * sizeof(char *));
	for (guint i = 0; i < columns->len; i++)
		copy[i] = arena_strdup(arena, columns->pdata[i]);
	return copy;
}

/* What is kept in memory of rows that a statement deleted. */
static int forget_deleted(Daemon *d, const GPtrArray *results, Error **err)
{
	int64_t changed = 0;
	for (guint i = 0; i < results->len; i++)
		changed += ((const SqlResult *)results->pdata[i])->rows_affected;
	if (changed == 0)
		return 0;
	return instance_table_sync(d, err) < 0 ? -1 : pool_table_sync(d, err);
}

int api_query_sql(
    Request *rq, const Pb__QuerySqlRequest *in, Pb__InternalSQLBatch *out, Error **err)
{
	g_autoptr(GPtrArray) results = NULL;
	if (require_local(rq, err) < 0)
		return -1;
	if (!in->query || !*in->query->query)
		return error_set(err, ERROR_INVALID, "No query provided");
	if (g_str_equal(in->query->query, ".sync"))
		return sql_sync(rq->daemon->dir, err);
	if (sql_run(rq->daemon->dir, in->query->database, in->query->query, &results, err) < 0)
		return -1;
	if (forget_deleted(rq->daemon, results, err) < 0)
		return -1;
	out->results = arena_alloc(rq->arena, (results->len + 1) * sizeof(*out->results));
	for (guint i = 0; i < results->len; i++) {
		const SqlResult *result = results->pdata[i];
		Pb__InternalSQLResult *row =
		    arena_message(rq->arena, Pb__InternalSQLResult, pb__internal_sqlresult);
		row->type = (char *)(result->select ? "select" : "exec");
		row->n_columns = result->columns->len;
		row->columns = copy_columns(rq->arena, result->columns);
		row->rows = arena_strdup(rq->arena, result->select ? result->rows->str : "");
		row->rows_affected = result->rows_affected;
		out->results[out->n_results++] = row;
	}
	return 0;
}

int api_dump_sql(Request *rq, const Pb__DumpSqlRequest *in, Pb__InternalSQLDump *out, Error **err)
{
	g_autofree char *text = NULL;
	if (require_local(rq, err) < 0 ||
	    sql_dump(rq->daemon->dir, in->database, in->schema == 1, &text, err) < 0)
		return -1;
	out->text = request_strdup(rq, text);
	return 0;
}

int api_query_rest(
    Request *rq, const Pb__QueryRestRequest *in, Pb__QueryRestResponse *out, Error **err)
{
	int status;
	const char *const *headers;
	const uint8_t *body;
	size_t length;
	if (rest_query(rq, in->verb, in->url, *in->if_match ? in->if_match : NULL, in->body.data,
	        in->body.len, &status, &headers, &body, &length, err) < 0)
		return -1;
	size_t n = g_strv_length((char **)headers) / 2;
	out->status = (uint32_t)status;
	out->body = (ProtobufCBinaryData){length, (uint8_t *)body};
	out->headers = arena_alloc(rq->arena, (n + 1) * sizeof(*out->headers));
	for (size_t i = 0; i < n; i++) {
		Pb__QueryRestResponse__HeadersEntry *entry = arena_message(rq->arena,
		    Pb__QueryRestResponse__HeadersEntry, pb__query_rest_response__headers_entry);
		entry->key = arena_strdup(rq->arena, headers[2 * i]);
		for (char *c = entry->key; *c; c++)
			*c = g_ascii_tolower(*c);
		entry->value = arena_strdup(rq->arena, headers[2 * i + 1]);
		out->headers[out->n_headers++] = entry;
	}
	return 0;
}
