/* Handler of GetMetrics: figures of the instances that the caller may see, and of the server. */
#include "incus/v1/handlers.h"
#include "server/daemon.h"
#include "server/instance/inside.h"
#include "server/instance/metrics.h"
#include "server/operation/table.h"
#include "server/project/project.h"
#include "server/warning/warning.h"
#include <string.h>

/* Whom the access check let in without a project may see all: metrics certificates that are not
 * restricted, and strangers where no certificate is asked for. */
static gboolean may_see_all(const Caller *caller)
{
	return caller->kind == CALLER_UNTRUSTED || !caller->projects;
}

static gboolean may_see(const Caller *caller, const char *project)
{
	return may_see_all(caller) ||
	    g_strv_contains((const char *const *)caller->projects, project);
}

static int add_server(Daemon *daemon, Metrics *metrics, Arena *arena, Error **err)
{
	g_autoptr(GPtrArray) operations = operation_table_list(daemon->operations, NULL);
	g_autoptr(GPtrArray) warnings = NULL;
	double unseen = 0;
	if (warning_list(daemon, NULL, arena, &warnings, err) < 0)
		return -1;
	for (guint i = 0; i < warnings->len; i++)
		unseen += !strcmp(((Pb__Warning *)warnings->pdata[i])->status, "new");
	metrics_add(metrics, METRIC_OPERATIONS, NULL, operations->len);
	metrics_add(metrics, METRIC_WARNINGS, NULL, unseen);
	metrics_add(metrics, METRIC_UPTIME, NULL,
	    (double)(g_get_monotonic_time() - daemon->start_us) / G_USEC_PER_SEC);
	return 0;
}

int api_get_metrics(Request *rq, const Pb__GetMetricsRequest *in, Stream *stream, Error **err)
{
	const char *project = *in->project ? in->project : NULL;
	g_autoptr(Metrics) metrics = metrics_new();
	g_autoptr(GPtrArray) instances = instance_list(rq->daemon, project);
	g_autoptr(Insides) insides = NULL;
	if (project && !may_see(rq->caller, project))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	for (guint i = instances->len; i-- > 0;)
		if (!may_see(rq->caller, instance_project(instances->pdata[i])))
			g_ptr_array_remove_index(instances, i);
	insides = insides_ask(instances, INSIDE_METRICS);
	for (guint i = 0; i < instances->len; i++)
		instance_measure(instances->pdata[i], insides, metrics);
	if (!project && may_see_all(rq->caller) &&
	    add_server(rq->daemon, metrics, rq->arena, err) < 0)
		return -1;
	g_autofree char *text = metrics_text(metrics);
	Pb__Blob reply = PB__BLOB__INIT;
	reply.content_type = (char *)"text/plain; version=0.0.4; charset=utf-8";
	size_t length = strlen(text);
	stream_set_length(stream, length);
	for (size_t sent = 0; sent < length; sent += reply.data.len) {
		reply.data.data = (uint8_t *)text + sent;
		reply.data.len = MIN(length - sent, 256 * 1024);
		if (stream_send(stream, &reply, err) < 0)
			return -1;
	}
	return 0;
}
