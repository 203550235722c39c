#include "server/instance/exec_session.h"
#include "server/instance/exec_operation.h"
#include "incus/v1/operation.pb-c.h"
#include "sdk/base/json_text.h"
#include "sdk/base/own.h"
#include "server/event/event.h"
#include "server/instance/channel.h"
#include "server/instance/logs.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* Clients that asked for WebSockets must connect them all within this time. */
#define CONNECT_TIMEOUT_MS 5000
#define CONTROL_TEXT_MAX 4096

static const char *const pipe_channels[] = {"0", "1", "2", "control", NULL};
static const char *const pty_channels[] = {"0", "control", NULL};
static const char *const pipe_required[] = {"0", "1", "2", NULL};

typedef struct Session {
	Instance *instance;
	Arena *arena;
	Pb__InstanceExecPost *post;
	Channels *channels; /* NULL without WebSockets */
	ExecProcess process;
	GMutex lock;
	GCond changed;
	gboolean started, ended;
	int stop_fd; /* readable once the command has ended */
	gboolean record;
} Session;

static void session_free(gpointer data)
{
	Session *session = data;
	channels_free(session->channels);
	exec_process_close(&session->process);
	instance_unref(session->instance);
	arena_free(session->arena);
	g_mutex_clear(&session->lock);
	g_cond_clear(&session->changed);
	if (session->stop_fd >= 0)
		close(session->stop_fd);
	g_free(session);
}

/* ---- connections ---- */

/* FALSE when the session ended without ever starting. */
static gboolean wait_started(Session *session)
{
	g_mutex_lock(&session->lock);
	while (!session->started && !session->ended)
		g_cond_wait(&session->changed, &session->lock);
	gboolean started = session->started;
	g_mutex_unlock(&session->lock);
	return started;
}

static void wait_ended(Session *session)
{
	g_mutex_lock(&session->lock);
	while (!session->ended)
		g_cond_wait(&session->changed, &session->lock);
	g_mutex_unlock(&session->lock);
}

static void close_input(Session *session)
{
	g_mutex_lock(&session->lock);
	if (!session->process.pty && session->process.input >= 0) {
		close(session->process.input);
		session->process.input = -1;
	}
	g_mutex_unlock(&session->lock);
}

static void serve_input(Session *session, Stream *stream)
{
	const void *message;
	while (stream_recv(stream, -1, &message, NULL) == 1) {
		const Pb__ConnectOperationRequest *frame = message;
		if (frame->text && !frame->data.len)
			break; /* the barrier: no more input */
		exec_write(&session->process, frame->data.data, frame->data.len, session->stop_fd);
	}
	close_input(session);
}

static int json_number(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	if (json_is_string(value))
		return atoi(json_string_value(value));
	return json_is_integer(value) ? (int)json_integer_value(value) : 0;
}

static void handle_control(Session *session, const char *text, size_t length)
{
	json_t *root = length <= CONTROL_TEXT_MAX ? json_loadb(text, length, 0, NULL) : NULL;
	const char *command = json_string_value(json_object_get(root, "command"));
	if (command && g_str_equal(command, "window-resize")) {
		json_t *args = json_object_get(root, "args");
		exec_resize(
		    &session->process, json_number(args, "width"), json_number(args, "height"));
	} else if (command && g_str_equal(command, "signal")) {
		exec_signal(&session->process, json_number(root, "signal"));
	}
	json_decref(root);
}

/* A client that loses its control connection has gone: its command goes too. */
static void serve_control(Session *session, Stream *stream)
{
	const void *message;
	while (stream_recv(stream, -1, &message, NULL) == 1) {
		const Pb__ConnectOperationRequest *frame = message;
		handle_control(session, (const char *)frame->data.data, frame->data.len);
	}
	g_mutex_lock(&session->lock);
	if (!session->ended)
		exec_signal(&session->process, SIGKILL);
	g_mutex_unlock(&session->lock);
}

/* Runs on the connection's thread. The stream stays valid for the pump until this returns. */
static void serve(void *data, const char *name, Stream *stream)
{
	Session *session = data;
	if (!wait_started(session))
		return;
	if (g_str_equal(name, "0"))
		serve_input(session, stream);
	else if (g_str_equal(name, "control"))
		serve_control(session, stream);
	wait_ended(session);
}

static int connect_channel(
    Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	Session *session = data;
	return channels_connect(session->channels, secret, stream, serve, session, err);
}

/* ---- the operation ---- */

static int send_output(void *data, int which, const uint8_t *bytes, size_t length)
{
	Session *session = data;
	const char *name = session->process.pty ? "0" : which == 1 ? "1" : "2";
	Stream *stream = session->channels ? channels_stream(session->channels, name) : NULL;
	if (!stream)
		return 0; /* nobody asked for the output */
	return channel_send(stream, bytes, length);
}

static void mark(Session *session, gboolean *flag)
{
	g_mutex_lock(&session->lock);
	*flag = TRUE;
	g_cond_broadcast(&session->changed);
	g_mutex_unlock(&session->lock);
}

/* Ends every direction towards the client, then lets the connections go. */
static void end_channels(Session *session)
{
	static const char *const outputs[] = {"0", "1", "2"};
	guint64 one = 1;
	if (write(session->stop_fd, &one, sizeof(one)) < 0)
		g_warn_if_reached();
	for (gsize i = session->process.pty ? 0 : 1; i < G_N_ELEMENTS(outputs) && session->channels;
	     i++) {
		Stream *stream = channels_stream(session->channels, outputs[i]);
		if (stream && (session->process.pty ? i == 0 : TRUE)) {
			channel_send_barrier(stream);
			stream_close_send(stream, NULL);
		}
	}
	mark(session, &session->ended);
	if (session->channels)
		channels_close(session->channels);
}

static char *output_name(Operation *op, int which)
{
	return g_strdup_printf("exec_%s.%s", operation_id(op), which == 0 ? "stdout" : "stderr");
}

static int open_records(Session *session, Operation *op, int fds[2], Error **err)
{
	g_autoptr(Logs) logs = NULL;
	if (logs_open(session->instance, LOGS_EXEC_OUTPUT, &logs, err) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		g_autofree char *name = output_name(op, i);
		if (logs_file_create(logs, name, &fds[i], err) < 0)
			return -1;
	}
	return 0;
}

static void tell_records(Session *session, Operation *op)
{
	g_autofree char *out = output_name(op, 0), *error = output_name(op, 1);
	g_autofree char *out_url = g_strdup_printf("/1.0/instances/%s/logs/exec-output/%s",
	    instance_name(session->instance), out);
	g_autofree char *err_url = g_strdup_printf("/1.0/instances/%s/logs/exec-output/%s",
	    instance_name(session->instance), error);
	g_autofree char *json = json_text_object("1", out_url, "2", err_url, NULL);
	operation_set_metadata(op, "output", json);
}

static int start_process(Session *session, Operation *op, Error **err)
{
	autofd int out = -1, error = -1;
	int fds[2] = {-1, -1};
	int result = session->record ? open_records(session, op, fds, err) : 0;
	out = fds[0];
	error = fds[1];
	if (result == 0)
		result = exec_start(session->instance, session->post, session->record ? fds : NULL,
		    &session->process, err);
	return result;
}

static int run(Operation *op, void *data, Error **err)
{
	Session *session = data;
	gboolean pty = session->post->interactive;
	int code = -1;
	int result = 0;
	if (session->channels &&
	    !channels_wait(
		session->channels, pty ? pty_channels : pipe_required, CONNECT_TIMEOUT_MS))
		result = error_set(
		    err, ERROR_TIMEOUT, "Timed out waiting for websockets to connect");
	if (result == 0)
		result = start_process(session, op, err);
	if (result == 0) {
		mark(session, &session->started);
		if (!session->channels)
			close_input(session);
		result = exec_pump(&session->process, send_output, session, &code, err);
		exec_moved(session->instance, &result, &code, err);
		g_autofree char *words = exec_moved_words(session->instance, code);
		if (words)
			send_output(session, 2, (const uint8_t *)words, strlen(words));
	}
	if (result == 0) {
		g_autofree char *text = g_strdup_printf("%d", code);
		operation_set_metadata(op, "return", text);
		if (session->record)
			tell_records(session, op);
	}
	end_channels(session);
	return result;
}

static void cancel(Operation *op, void *data)
{
	Session *session = data;
	g_mutex_lock(&session->lock);
	if (session->started && !session->ended)
		exec_signal(&session->process, SIGKILL);
	g_mutex_unlock(&session->lock);
	if (session->channels && !session->started)
		channels_close(session->channels);
}

static Pb__InstanceExecPost *copy_post(const Pb__InstanceExecPost *post, Arena *arena)
{
	size_t size = protobuf_c_message_get_packed_size(&post->base);
	g_autofree uint8_t *bytes = g_malloc(size + 1);
	protobuf_c_message_pack(&post->base, bytes);
	return (Pb__InstanceExecPost *)protobuf_c_message_unpack(
	    &pb__instance_exec_post__descriptor, arena_allocator(arena), size, bytes);
}

static int check(Instance *instance, const Pb__InstanceExecPost *post, Error **err)
{
	if (!post || !post->n_command)
		return error_set(err, ERROR_INVALID, "No command was given");
	if (post->record_output && (post->wait_for_websocket || post->interactive))
		return error_set(err, ERROR_INVALID,
		    "Output can only be recorded without websockets and without a terminal");
	if (instance_status(instance) == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID, "Instance is frozen");
	if (!instance_running(instance))
		return error_set(err, ERROR_INVALID, "Instance is not running");
	return 0;
}

int exec_session_create(Request *rq, Instance *instance, const Pb__InstanceExecPost *post,
    Pb__Operation *out, Error **err)
{
	if (check(instance, post, err) < 0)
		return -1;
	Session *session = g_new0(Session, 1);
	session->instance = instance_ref(instance);
	session->arena = arena_new();
	session->post = copy_post(post, session->arena);
	session->process = (ExecProcess)EXEC_PROCESS_INIT;
	session->record = post->record_output;
	session->stop_fd = eventfd(0, EFD_CLOEXEC);
	g_mutex_init(&session->lock);
	g_cond_init(&session->changed);
	if (post->wait_for_websocket)
		session->channels = channels_new(post->interactive ? pty_channels : pipe_channels);
	g_autofree char *secrets = session->channels ? channels_secrets_json(session->channels) :
						       NULL;
	OperationSpec spec = {
	    .op_class = session->channels ? OPERATION_WEBSOCKET : OPERATION_TASK,
	    .run = run,
	    .cancel = cancel,
	    .connect = session->channels ? connect_channel : NULL,
	    .data = session,
	    .destroy = session_free,
	};
	return exec_operation_create(rq, instance, post, &spec, secrets, NULL, out, err);
}
