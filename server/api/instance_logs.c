/* Handlers of InstanceService: logs, and what recorded commands wrote. */
#include "incus/v1/handlers.h"
#include "sdk/base/own.h"
#include "server/instance/logs.h"
#include <string.h>

static const char *const folders[] = {
	[LOGS_OWN] = "/logs/",
	[LOGS_EXEC_OUTPUT] = "/logs/exec-output/",
};

static int open_logs(Request *rq, const char *name, LogsKind kind, Instance **ret_instance,
    Logs **ret_logs, Error **err)
{
	if (instance_get(rq->daemon, rq->project, name, ret_instance, err) < 0)
		return -1;
	return logs_open(*ret_instance, kind, ret_logs, err);
}

static void tell(
    Request *rq, Instance *instance, LogsKind kind, const char *file, const char *action)
{
	g_autofree char *below = g_strconcat(folders[kind], file, NULL);
	instance_event_below(instance, below, action, NULL, rq->caller);
}

static int list(Request *rq, const char *name, LogsKind kind, size_t *ret_n,
    Pb__InstanceLogFile ***ret_items, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(Logs) logs = NULL;
	g_autoptr(GPtrArray) names = NULL;
	if (open_logs(rq, name, kind, &instance, &logs, err) < 0 ||
	    logs_list(logs, &names, err) < 0)
		return -1;
	Pb__InstanceLogFile **items = arena_alloc(rq->arena, (names->len + 1) * sizeof(*items));
	for (guint i = 0; i < names->len; i++) {
		items[i] = arena_message(rq->arena, Pb__InstanceLogFile, pb__instance_log_file);
		items[i]->file = request_strdup(rq, names->pdata[i]);
	}
	*ret_items = items;
	*ret_n = names->len;
	return 0;
}

static int send_one(Request *rq, const char *name, LogsKind kind, const char *file, Stream *stream,
    Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(Logs) logs = NULL;
	autofd int fd = -1;
	uint64_t size = 0;
	if (open_logs(rq, name, kind, &instance, &logs, err) < 0 ||
	    logs_file_open(logs, file, &fd, &size, err) < 0)
		return -1;
	Pb__Blob head = PB__BLOB__INIT;
	head.content_type = (char *)"application/octet-stream";
	if (!strpbrk(file, "\"\\"))
		head.content_disposition = arena_printf(rq->arena, "inline;filename=\"%s\"", file);
	stream_set_length(stream, size);
	if (stream_send(stream, &head, err) < 0 || stream_send_file(stream, fd, 0, size, err) < 0)
		return -1;
	tell(rq, instance, kind, file, "instance-log-retrieved");
	return 0;
}

static int delete_one(Request *rq, const char *name, LogsKind kind, const char *file, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	g_autoptr(Logs) logs = NULL;
	if (open_logs(rq, name, kind, &instance, &logs, err) < 0 ||
	    logs_file_delete(logs, file, err) < 0)
		return -1;
	tell(rq, instance, kind, file, "instance-log-deleted");
	return 0;
}

int api_get_instance_logfiles(Request *rq, const Pb__GetInstanceLogfilesRequest *in,
    Pb__GetInstanceLogfilesResponse *out, Error **err)
{
	return list(rq, in->name, LOGS_OWN, &out->n_items, &out->items, err);
}

int api_get_instance_logfile(
    Request *rq, const Pb__GetInstanceLogfileRequest *in, Stream *stream, Error **err)
{
	return send_one(rq, in->name, LOGS_OWN, in->file, stream, err);
}

int api_delete_instance_logfile(Request *rq, const Pb__DeleteInstanceLogfileRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return delete_one(rq, in->name, LOGS_OWN, in->file, err);
}

int api_get_instance_exec_outputs(Request *rq, const Pb__GetInstanceExecOutputsRequest *in,
    Pb__GetInstanceExecOutputsResponse *out, Error **err)
{
	return list(rq, in->name, LOGS_EXEC_OUTPUT, &out->n_items, &out->items, err);
}

int api_get_instance_exec_output(Request *rq, const Pb__GetInstanceExecOutputRequest *in,
    Stream *stream, Error **err)
{
	return send_one(rq, in->name, LOGS_EXEC_OUTPUT, in->file, stream, err);
}

int api_delete_instance_exec_output(Request *rq, const Pb__DeleteInstanceExecOutputRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return delete_one(rq, in->name, LOGS_EXEC_OUTPUT, in->file, err);
}
