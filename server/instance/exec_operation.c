#include "server/instance/exec_operation.h"
#include "sdk/base/json_text.h"
#include "server/daemon.h"
#include "server/operation/table.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define DESCRIPTION "Executing command"

static void describe_command(GString *json, const Pb__InstanceExecPost *post)
{
	g_string_append(json, "\"command\":[");
	for (size_t i = 0; i < post->n_command; i++) {
		if (i)
			g_string_append_c(json, ',');
		json_text_append(json, post->command[i]);
	}
	g_string_append_c(json, ']');
}

static void describe_environment(
    GString *json, Instance *instance, const Pb__InstanceExecPost *post)
{
	g_string_append(json, ",\"environment\":{");
	g_auto(GStrv) lines = exec_environment(instance, post);
	for (char **line = lines; *line; line++) {
		g_autofree char *key = g_strndup(*line, strcspn(*line, "="));
		if (line != lines)
			g_string_append_c(json, ',');
		json_text_append(json, key);
		g_string_append_c(json, ':');
		json_text_append(json, *line + strlen(key) + 1);
	}
	g_string_append_c(json, '}');
}

int exec_operation_create(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    OperationSpec *spec, const char *secrets, Operation **ret_op, Pb__Operation *out, Error **err)
{
	g_autoptr(GString) metadata = g_string_new("{");
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", instance_name(instance));
	const char *resources[] = {"instances", url, "containers", url, NULL};
	if (secrets)
		g_string_append_printf(metadata, "\"fds\":%s,", secrets);
	describe_command(metadata, post);
	describe_environment(metadata, instance, post);
	g_string_append_printf(
	    metadata, ",\"interactive\":%s}", post->interactive ? "true" : "false");
	spec->description = DESCRIPTION;
	spec->project = instance_project(instance);
	spec->resources = resources;
	spec->metadata_json = metadata->str;
	return operation_create(rq->daemon, rq, spec, ret_op, out, err);
}

void exec_operations_end(Instance *instance)
{
	enum { PATIENCE_MS = 5000 };
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", instance_name(instance));
	g_autoptr(GPtrArray) all = operation_table_list(
	    instance_daemon(instance)->operations, instance_project(instance));
	for (guint n = 0; n < all->len; n++) {
		Operation *op = all->pdata[n];
		if (operation_is(op, DESCRIPTION, instance_project(instance), url) &&
		    operation_cancel(op, NULL) == 0)
			operation_wait(op, PATIENCE_MS, NULL, NULL, NULL);
	}
}

void exec_moved(Instance *instance, int *result, int *code, Error **err)
{
	if (*result == 0 || !instance_moving(instance))
		return;
	if (err)
		g_clear_pointer(err, error_free);
	*result = 0;
	*code = 128 + SIGKILL;
}

char *exec_moved_words(Instance *instance, int code)
{
	return code == 128 + SIGKILL && instance_moving(instance) ?
	    g_strdup_printf(
		"\r\nThe command was ended, since instance \"%s\" is moving to another server\r\n",
		instance_name(instance)) :
	    NULL;
}

/* Has a descriptor of its own: a cancel may come when the command's are closed already. */
static void kill_command(Operation *op, void *data)
{
	exec_signal(data, SIGKILL);
}

static void forget_command(void *data)
{
	exec_process_close(data);
	g_free(data);
}

int exec_operation_begin(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    const ExecProcess *process, Operation **ret_op, Error **err)
{
	ExecProcess *command = g_new(ExecProcess, 1);
	*command = (ExecProcess)EXEC_PROCESS_INIT;
	command->remote = process_remote_ref(process->remote);
	if (process->pidfd >= 0)
		command->pidfd = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 0);
	OperationSpec spec = {.op_class = OPERATION_TASK,
	    .cancel = kill_command,
	    .data = command,
	    .destroy = forget_command};
	return exec_operation_create(rq, instance, post, &spec, NULL, ret_op, NULL, err);
}

void exec_operation_end(Operation *op, int result, int code, const Error *error)
{
	if (result == 0) {
		g_autofree char *text = g_strdup_printf("%d", code);
		operation_set_metadata(op, "return", text);
	}
	operation_finish(op, result, error);
}
