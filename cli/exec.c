/*
 * incus exec: a command in an instance, with this process's input, output, terminal and signals.
 */
#include "cli/input.h"
#include "cli/nouns.h"
#include "cli/stream.h"
#include "cli/terminal.h"
#include "incus/v1/exec.pb-c.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int send_stdin(Stream *stream, const uint8_t *bytes, size_t length, void *user)
{
	Pb__ExecInstanceInput in = PB__EXEC_INSTANCE_INPUT__INIT;
	in.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_INPUT;
	in.input = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	return stream_send(stream, &in.base, NULL);
}

static void send_end(Stream *stream, void *user)
{
	Pb__ExecInstanceInput in = PB__EXEC_INSTANCE_INPUT__INIT;
	in.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_INPUT_EOF;
	in.input_eof = TRUE;
	stream_send(stream, &in.base, NULL);
}

static void send_resize(Stream *stream, uint32_t width, uint32_t height)
{
	Pb__ExecInstanceInput in = PB__EXEC_INSTANCE_INPUT__INIT;
	Pb__WindowSize size = PB__WINDOW_SIZE__INIT;
	size.width = width;
	size.height = height;
	in.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_RESIZE;
	in.resize = &size;
	stream_send(stream, &in.base, NULL);
}

static void send_signal(Stream *stream, int number)
{
	Pb__ExecInstanceInput in = PB__EXEC_INSTANCE_INPUT__INIT;
	in.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_SIGNAL;
	in.signal = number;
	stream_send(stream, &in.base, NULL);
}

static int pick_mode(Cli *cli, bool *ret_interactive, Error **err)
{
	const char *mode = flag_string(cli, "mode");
	bool force = flag_bool(cli, "force-interactive"),
	     never = flag_bool(cli, "force-noninteractive");
	if (force && never)
		return error_set(
		    err, ERROR_INVALID, "You can't pass -t and -T at the same time");
	if ((force || never) && strcmp(mode, "auto") != 0)
		return error_set(
		    err, ERROR_INVALID, "You can't pass -t or -T at the same time as --mode");
	if (strcmp(mode, "interactive") == 0)
		force = true;
	else if (strcmp(mode, "non-interactive") == 0)
		never = true;
	else if (strcmp(mode, "auto") != 0)
		return error_set(err, ERROR_INVALID,
		    "Unknown mode \"%s\": use auto, interactive or non-interactive", mode);
	*ret_interactive = force || (!never && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
	return 0;
}

static void add_environment(
    Pb__InstanceExecPost *exec, Cli *cli, const char *name, size_t length, const char *value)
{
	typedef Pb__InstanceExecPost__EnvironmentEntry Entry;
	Entry *entry = arena_message(
	    cli->arena, Entry, pb__instance_exec_post__environment_entry);
	entry->key = arena_strndup(cli->arena, name, length);
	entry->value = arena_strdup(cli->arena, value);
	exec->environment[exec->n_environment++] = entry;
}

static int fill_environment(Pb__InstanceExecPost *exec, Cli *cli, bool interactive, Error **err)
{
	unsigned n;
	const char *const *pairs = flag_list(cli, "env", &n), *term = getenv("TERM");
	exec->environment = arena_alloc(cli->arena, (n + 1) * sizeof(void *));
	if (interactive && term)
		add_environment(exec, cli, "TERM", strlen("TERM"), term);
	for (unsigned i = 0; i < n; i++) {
		const char *equals = strchr(pairs[i], '=');
		if (!equals || equals == pairs[i])
			return error_set(err, ERROR_INVALID,
			    "Invalid environment variable \"%s\": NAME=VALUE expected", pairs[i]);
		add_environment(exec, cli, pairs[i], equals - pairs[i], equals + 1);
	}
	return 0;
}

static void fill_terminal(Pb__InstanceExecPost *exec)
{
	uint32_t width, height;
	terminal_size(&width, &height);
	exec->width = width;
	exec->height = height;
}

static int fill_request(Pb__InstanceExecPost *exec, Cli *cli, Error **err)
{
	bool interactive = false;
	if (pick_mode(cli, &interactive, err) < 0 ||
	    fill_environment(exec, cli, interactive, err) < 0)
		return -1;
	exec->interactive = interactive;
	exec->n_command = cli->n_args - 1;
	exec->command = cli->args + 1;
	exec->user = flag_int(cli, "user");
	exec->group = flag_int(cli, "group");
	exec->cwd = (char *)flag_string(cli, "cwd");
	return 0;
}

/* Copies output until the command ends; its exit code, or -1. */
static int receive(Stream *stream, Error **err)
{
	ProtobufCMessage *message;
	int code = -1;
	while (stream_receive(stream, &message, err) == 0 && message) {
		const Pb__ExecInstanceOutput *out = (const Pb__ExecInstanceOutput *)message;
		Error *ignored = NULL;
		if (out->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_OUTPUT)
			write_all(STDOUT_FILENO, out->output.data, out->output.len, &ignored);
		else if (out->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR)
			write_all(STDERR_FILENO, out->error.data, out->error.len, &ignored);
		else if (out->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE)
			code = out->exit_code;
		bool done = out->message_case == PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE;
		stream_message_free(message);
		error_free(ignored);
		if (done)
			break;
	}
	if (code < 0 && !(err && *err))
		error_set(err, ERROR_INTERNAL, "The connection ended before the command did");
	return code;
}

/* Runs what `post` says in the instance that the first argument names, until it ends. */
static int run_command(Cli *cli, Pb__InstanceExecPost *post, bool no_stdin, Error **err)
{
	Object instance;
	Pb__ExecInstanceRequest request = PB__EXEC_INSTANCE_REQUEST__INIT;
	Pb__ExecInstanceInput start = PB__EXEC_INSTANCE_INPUT__INIT;
	InputRules rules = {
		.data = send_stdin, .end = send_end, .signal = send_signal, .no_stdin = no_stdin
	};
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	request.name = (char *)instance.name;
	request.project = (char *)(instance.server->project ? instance.server->project : "");
	request.exec = post;
	start.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_START;
	start.start = &request;
	if (post->interactive) {
		fill_terminal(post);
		rules.resize = send_resize;
	}
	g_autoptr(Stream) stream = stream_open(instance.server, "ExecInstance", &start.base, err);
	if (!stream)
		return -1;
	if (post->interactive)
		terminal_raw();
	Input *input = input_start(stream, &rules);
	cli->exit_code = receive(stream, err);
	terminal_restore();
	stream_cancel(stream);
	input_stop(input);
	return cli->exit_code < 0 ? -1 : 0;
}

static int exec_run(Cli *cli, Error **err)
{
	Pb__InstanceExecPost post = PB__INSTANCE_EXEC_POST__INIT;
	input_block_signals(true);
	if (fill_request(&post, cli, err) < 0)
		return -1;
	return run_command(cli, &post, flag_bool(cli, "disable-stdin"), err);
}

/* Images without su still have a shell. */
static int shell_run(Cli *cli, Error **err)
{
	static const char *const login =
	    "command -v su >/dev/null 2>&1 && exec su -l; exec /bin/sh -l";
	char *command[] = { "/bin/sh", "-c", (char *)login };
	Pb__InstanceExecPost post = PB__INSTANCE_EXEC_POST__INIT;
	input_block_signals(true);
	post.interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	post.n_command = G_N_ELEMENTS(command);
	post.command = command;
	post.environment = arena_alloc(cli->arena, sizeof(void *));
	if (post.interactive && getenv("TERM"))
		add_environment(&post, cli, "TERM", strlen("TERM"), getenv("TERM"));
	return run_command(cli, &post, false, err);
}

static const Flag exec_flags[] = {
	{ "cwd", 0, FLAG_STRING, NULL, "Directory to run the command in" },
	{ "disable-stdin", 'n', FLAG_BOOL, NULL, "Read the standard input from /dev/null" },
	{ "env", 0, FLAG_LIST, NULL, "Variable to set: NAME=VALUE" },
	{ "force-interactive", 't', FLAG_BOOL, NULL, "Give the command a terminal" },
	{ "force-noninteractive", 'T', FLAG_BOOL, NULL, "Give the command no terminal" },
	{ "group", 0, FLAG_UINT, "0", "Group ID to run as" },
	{ "mode", 0, FLAG_STRING, "auto", "auto, interactive or non-interactive" },
	{ "user", 0, FLAG_UINT, "0", "User ID to run as" },
	FLAG_END,
};

const Command exec_commands[] = {
	{ .path = "exec",
	    .usage = "[<remote>:]<instance> [--] <command line>",
	    .min_args = 2,
	    .max_args = -1,
	    .flags = exec_flags,
	    .summary = "Run a command in an instance",
	    .help =
		"The command is run directly, without a shell; \"sh -c\" is needed for pipes and patterns.\n"
		"Its exit status becomes that of incus.\n"
		"\n"
		"Mode auto gives the command a terminal when the standard input and output are one.",
	    .examples = "incus exec c1 -- ls -l /\n"
			"incus exec c1 --user 1000 --cwd /tmp -- id",
	    .run = exec_run,
	    .complete = "instance" },
	{ .path = "shell",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Log in to an instance as root",
	    .run = shell_run,
	    .complete = "instance" },
	{ 0 },
};
