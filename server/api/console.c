/* Handlers of ConsoleService. */
#include "incus/v1/handlers.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/daemon.h"
#include "server/instance/channel.h"
#include "server/instance/console.h"
#include "server/operation/operation.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CHUNK (64 * 1024)

/* A console lent to one client, whatever the door. */
typedef struct Lent {
	Instance *instance;
	Console console;
	int stop_fd;
	Channels *channels; /* REST only */
	int columns, rows;
	gboolean screen; /* vga */
	GMutex lock;
	GCond changed;
	gboolean started, ended;
} Lent;

static Lent *lent_new(Instance *instance)
{
	Lent *lent = g_new0(Lent, 1);
	lent->instance = instance_ref(instance);
	lent->console = (Console){-1, -1, -1};
	lent->stop_fd = eventfd(0, EFD_CLOEXEC);
	g_mutex_init(&lent->lock);
	g_cond_init(&lent->changed);
	return lent;
}

static void lent_free(gpointer data)
{
	Lent *lent = data;
	channels_free(lent->channels);
	console_close(&lent->console);
	instance_unref(lent->instance);
	close(lent->stop_fd);
	g_mutex_clear(&lent->lock);
	g_cond_clear(&lent->changed);
	g_free(lent);
}

static void lent_stop(Lent *lent)
{
	guint64 one = 1;
	if (write(lent->stop_fd, &one, sizeof(one)) < 0)
		g_warn_if_reached();
}

static void write_terminal(Lent *lent, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = write(lent->console.terminal, bytes, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd polls[] = {{.fd = lent->console.terminal, .events = POLLOUT},
			    {.fd = lent->stop_fd, .events = POLLIN}};
			poll(polls, 2, -1);
			if (polls[1].revents)
				return;
			continue;
		}
		if (n < 0)
			return;
		bytes += n;
		length -= (size_t)n;
	}
}

/* Sends what the terminal shows until it closes (the instance stopped) or the client has gone. */
static void show(
    Lent *lent, int (*send)(void *data, const uint8_t *bytes, size_t length), void *data)
{
	g_autofree uint8_t *buffer = g_malloc(CHUNK);
	for (;;) {
		struct pollfd polls[] = {{.fd = lent->console.terminal, .events = POLLIN},
		    {.fd = lent->stop_fd, .events = POLLIN},
		    {.fd = lent->console.keep_alive, .events = POLLRDHUP}};
		if (poll(polls, 3, -1) < 0 && errno != EINTR)
			return;
		if (polls[1].revents)
			return;
		ssize_t n = polls[0].revents ? read(lent->console.terminal, buffer, CHUNK) : 1;
		if (polls[0].revents && n <= 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (polls[0].revents && n > 0 && send(data, buffer, (size_t)n) < 0)
			return;
		if (!polls[0].revents && (polls[2].revents & (POLLHUP | POLLRDHUP)))
			return;
	}
}

static int parse_type(const Pb__InstanceConsolePost *post, gboolean *ret_screen, Error **err)
{
	*ret_screen = post && g_str_equal(post->type, "vga");
	if (!post || !*post->type || *ret_screen || g_str_equal(post->type, "console"))
		return 0;
	return error_set(err, ERROR_INVALID, "Unknown console type \"%s\"", post->type);
}

static int lent_open(Lent *lent, Error **err)
{
	return lent->screen ? screen_open(lent->instance, &lent->console, err) :
			      console_open(lent->instance, &lent->console, err);
}

/* Both directions of one connection: `send` puts what is shown on it, `take` what came. */
typedef struct Exchange {
	Lent *lent;
	Stream *stream;
	int (*send)(void *stream, const uint8_t *bytes, size_t length);
	void (*take)(Lent *lent, const void *message);
	gint client_gone; /* atomic */
} Exchange;

/* The terminal's end cancels the stream, so that the reader below wakes. */
static gpointer show_on_stream(gpointer data)
{
	Exchange *exchange = data;
	show(exchange->lent, exchange->send, exchange->stream);
	if (!g_atomic_int_get(&exchange->client_gone)) {
		stream_close_send(exchange->stream, NULL);
		stream_cancel(exchange->stream);
	}
	return NULL;
}

static void exchange_run(Exchange *exchange)
{
	const void *message;
	GThread *thread = g_thread_new("console", show_on_stream, exchange);
	while (stream_recv(exchange->stream, -1, &message, NULL) == 1)
		exchange->take(exchange->lent, message);
	g_atomic_int_set(&exchange->client_gone, 1);
	lent_stop(exchange->lent);
	g_thread_join(thread);
}

/* ---- one gRPC stream ---- */

static int send_message(void *data, const uint8_t *bytes, size_t length)
{
	Pb__ConsoleInstanceOutput message = PB__CONSOLE_INSTANCE_OUTPUT__INIT;
	message.message_case = PB__CONSOLE_INSTANCE_OUTPUT__MESSAGE_DATA;
	message.data = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	return stream_send(data, &message, NULL);
}

static void take_message(Lent *lent, const void *message)
{
	const Pb__ConsoleInstanceInput *in = message;
	if (in->message_case == PB__CONSOLE_INSTANCE_INPUT__MESSAGE_DATA)
		write_terminal(lent, in->data.data, in->data.len);
	else if (in->message_case == PB__CONSOLE_INSTANCE_INPUT__MESSAGE_RESIZE)
		console_resize(&lent->console, (int)in->resize->width, (int)in->resize->height);
}

static int serve_stream(Lent *lent, Stream *stream, Error **err)
{
	Pb__ConsoleInstanceOutput attached = PB__CONSOLE_INSTANCE_OUTPUT__INIT;
	attached.message_case = PB__CONSOLE_INSTANCE_OUTPUT__MESSAGE_ATTACHED;
	attached.attached = TRUE;
	if (stream_send(stream, &attached, err) < 0)
		return -1;
	Exchange exchange = {
		.lent = lent, .stream = stream, .send = send_message, .take = take_message
	};
	exchange_run(&exchange);
	return 0;
}

int api_console_instance(
    Request *rq, const Pb__ConsoleInstanceInput *in, Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	gboolean screen;
	if (in->message_case != PB__CONSOLE_INSTANCE_INPUT__MESSAGE_START)
		return error_set(err, ERROR_INVALID, "The first message must say which console");
	const Pb__ConsoleInstanceRequest *start = in->start;
	const char *project = *start->project ? start->project : rq->project;
	if (!caller_has_project(rq->caller, project))
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	if (parse_type(start->console, &screen, err) < 0 ||
	    instance_get(rq->daemon, project, start->name, &instance, err) < 0)
		return -1;
	Lent *lent = lent_new(instance);
	lent->screen = screen;
	int result = lent_open(lent, err);
	if (result == 0) {
		if (start->console)
			console_resize(&lent->console, (int)start->console->width,
			    (int)start->console->height);
		instance_event(instance, "instance-console", NULL, rq->caller);
		result = serve_stream(lent, stream, err);
	}
	lent_free(lent);
	return result;
}

/* ---- an operation with WebSockets ---- */

static const char *const channel_names[] = {"0", "control", NULL};
static const char *const channel_required[] = {"0", NULL};

static int send_frame(void *data, const uint8_t *bytes, size_t length)
{
	return channel_send(data, bytes, length);
}

static gboolean wait_for(Lent *lent, gboolean started)
{
	g_mutex_lock(&lent->lock);
	while (!lent->ended && !(started && lent->started))
		g_cond_wait(&lent->changed, &lent->lock);
	gboolean ok = lent->started;
	g_mutex_unlock(&lent->lock);
	return ok;
}

static void mark(Lent *lent, gboolean *flag)
{
	g_mutex_lock(&lent->lock);
	*flag = TRUE;
	g_cond_broadcast(&lent->changed);
	g_mutex_unlock(&lent->lock);
}

static int json_size(json_t *args, const char *key)
{
	json_t *value = json_object_get(args, key);
	return json_is_string(value) ? atoi(json_string_value(value)) :
				       (int)json_integer_value(value);
}

static void serve_channel(void *data, const char *name, Stream *stream)
{
	Lent *lent = data;
	const void *message;
	if (!wait_for(lent, TRUE))
		return;
	gboolean control = g_str_equal(name, "control");
	while (stream_recv(stream, -1, &message, NULL) == 1) {
		const Pb__ConnectOperationRequest *frame = message;
		if (!control) {
			write_terminal(lent, frame->data.data, frame->data.len);
			continue;
		}
		json_t *root = json_loadb(
		    (const char *)frame->data.data, MIN(frame->data.len, 4096), 0, NULL);
		json_t *args = json_object_get(root, "args");
		if (args)
			console_resize(
			    &lent->console, json_size(args, "width"), json_size(args, "height"));
		json_decref(root);
	}
	lent_stop(lent); /* either connection's end is the console's */
	wait_for(lent, FALSE);
}

static void take_frame(Lent *lent, const void *message)
{
	const Pb__ConnectOperationRequest *frame = message;
	write_terminal(lent, frame->data.data, frame->data.len);
}

/* One of a viewer's connections; "control" keeps the operation, and says nothing. */
static void serve_screen(void *data, const char *name, Stream *stream)
{
	Lent *lent = data;
	const void *ignored;
	if (g_str_equal(name, "control")) {
		while (stream_recv(stream, -1, &ignored, NULL) == 1)
			;
		mark(lent, &lent->ended);
		return;
	}
	Lent *one = lent_new(lent->instance);
	Exchange exchange = {
		.lent = one, .stream = stream, .send = send_frame, .take = take_frame
	};
	g_autoptr(Error) problem = NULL;
	if (screen_open(one->instance, &one->console, &problem) == 0)
		exchange_run(&exchange);
	else
		log_warn("A screen cannot be shown", "err", problem->message);
	lent_free(one);
	if (!instance_running(lent->instance))
		mark(lent, &lent->ended);
}

static int connect_channel(
    Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	Lent *lent = data;
	return channels_connect(
	    lent->channels, secret, stream, lent->screen ? serve_screen : serve_channel, lent, err);
}

/* Until the one who asked for it goes, or the machine does. */
static int run_screen(Operation *op, void *data, Error **err)
{
	static const char *const control[] = { "control", NULL };
	Lent *lent = data;
	int result = 0;
	if (channels_wait(lent->channels, control, -1))
		wait_for(lent, FALSE);
	else
		result = error_set(err, ERROR_CANCELLED, "The console was never connected");
	channels_close(lent->channels);
	return result;
}

static int run(Operation *op, void *data, Error **err)
{
	Lent *lent = data;
	int result = 0;
	if (!channels_wait(lent->channels, channel_required, -1))
		result = error_set(err, ERROR_CANCELLED, "The console was never connected");
	if (result == 0)
		result = console_open(lent->instance, &lent->console, err);
	if (result == 0) {
		console_resize(&lent->console, lent->columns, lent->rows);
		mark(lent, &lent->started);
		Stream *stream = channels_stream(lent->channels, "0");
		if (stream)
			show(lent, send_frame, stream);
		stream = channels_stream(lent->channels, "0");
		if (stream)
			channel_send(stream, "\n\r", 2);
		console_close(&lent->console);
	}
	mark(lent, &lent->ended);
	channels_close(lent->channels);
	return result;
}

static void cancel(Operation *op, void *data)
{
	Lent *lent = data;
	lent_stop(lent);
	channels_close(lent->channels);
}

int api_start_console(
    Request *rq, const Pb__StartConsoleRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	gboolean screen;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    parse_type(in->console, &screen, err) < 0 ||
	    (screen && screen_check(instance, err) < 0))
		return -1;
	if (!instance_running(instance))
		return error_set(err, ERROR_INVALID, "Instance is not running");
	if (!screen && instance_status(instance) == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID, "Instance is frozen");
	Lent *lent = lent_new(instance);
	lent->screen = screen;
	lent->columns = in->console ? (int)in->console->width : 0;
	lent->rows = in->console ? (int)in->console->height : 0;
	lent->channels = channels_new(channel_names);
	if (screen)
		channels_repeat(lent->channels, "0");
	g_autofree char *secrets = channels_secrets_json(lent->channels);
	g_autofree char *metadata = g_strdup_printf("{\"fds\":%s}", secrets);
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", in->name);
	const char *resources[] = {"instances", url, "containers", url, NULL};
	OperationSpec spec = {
		.op_class = OPERATION_WEBSOCKET,
		.description = "Showing console",
		.project = instance_project(instance),
		.run = screen ? run_screen : run,
		.cancel = cancel,
		.connect = connect_channel,
		.data = lent,
		.destroy = lent_free,
		.resources = resources,
		.metadata_json = metadata,
	};
	if (operation_create(rq->daemon, rq, &spec, NULL, out, err) < 0)
		return -1;
	instance_event(instance, "instance-console", NULL, rq->caller);
	return 0;
}

/* ---- log ---- */

int api_get_instance_console_log(Request *rq, const Pb__GetInstanceConsoleLogRequest *in,
    Stream *stream, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	autofd int fd = -1;
	uint64_t size = 0;
	gboolean picture = g_str_equal(in->type, "vga");
	if (*in->type && !picture && !g_str_equal(in->type, "log"))
		return error_set(
		    err, ERROR_INVALID, "Unknown type of console log \"%s\"", in->type);
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    (picture ? screen_shot(instance, &fd, &size, err) :
		       console_log_open(instance, &fd, &size, err)) < 0)
		return -1;
	Pb__Blob head = PB__BLOB__INIT;
	head.content_type = (char *)(picture ? "image/png" : "application/octet-stream");
	head.content_disposition = (char *)(picture ? "inline;filename=screenshot.png" :
						      "inline;filename=console.log");
	stream_set_length(stream, size);
	if (stream_send(stream, &head, err) < 0 || stream_send_file(stream, fd, 0, size, err) < 0)
		return -1;
	instance_event(instance, "instance-console-retrieved", NULL, rq->caller);
	return 0;
}

int api_delete_instance_console_log(Request *rq, const Pb__DeleteInstanceConsoleLogRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Instance) instance = NULL;
	if (instance_get(rq->daemon, rq->project, in->name, &instance, err) < 0 ||
	    console_log_clear(instance, err) < 0)
		return -1;
	instance_event(instance, "instance-console-reset", NULL, rq->caller);
	return 0;
}
