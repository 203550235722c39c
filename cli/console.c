/*
 * incus console: the console of an instance, and what it has shown.
 */
#include "cli/input.h"
#include "cli/instance.h"
#include "cli/screen.h"
#include "cli/stream.h"
#include "cli/terminal.h"
#include "incus/v1/console.pb-c.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ESCAPE_KEY 0x01 /* ctrl+a */

/* What was typed last: the escape key waits for the next one. */
typedef struct Escape {
	bool pending;
} Escape;

static int send_bytes(Stream *stream, const uint8_t *bytes, size_t length)
{
	Pb__ConsoleInstanceInput in = PB__CONSOLE_INSTANCE_INPUT__INIT;
	in.message_case = PB__CONSOLE_INSTANCE_INPUT__MESSAGE_DATA;
	in.data = (ProtobufCBinaryData){ length, (uint8_t *)bytes };
	return length > 0 ? stream_send(stream, &in.base, NULL) : 0;
}

/* ctrl+a q detaches; ctrl+a ctrl+a, or ctrl+a and another key, go through as typed. */
static int send_typed(Stream *stream, const uint8_t *bytes, size_t length, void *user)
{
	Escape *escape = user;
	g_autoptr(GByteArray) out = g_byte_array_sized_new(length + 1);
	static const uint8_t key = ESCAPE_KEY;
	for (size_t i = 0; i < length; i++) {
		if (!escape->pending && bytes[i] == ESCAPE_KEY) {
			escape->pending = true;
			continue;
		}
		if (escape->pending && bytes[i] == 'q') {
			send_bytes(stream, out->data, out->len);
			stream_cancel(stream);
			return 1;
		}
		if (escape->pending && bytes[i] != ESCAPE_KEY)
			g_byte_array_append(out, &key, 1);
		escape->pending = false;
		g_byte_array_append(out, &bytes[i], 1);
	}
	return send_bytes(stream, out->data, out->len);
}

static void send_end(Stream *stream, void *user)
{
	stream_end(stream, NULL);
}

static void send_resize(Stream *stream, uint32_t width, uint32_t height)
{
	Pb__ConsoleInstanceInput in = PB__CONSOLE_INSTANCE_INPUT__INIT;
	Pb__WindowSize size = PB__WINDOW_SIZE__INIT;
	size.width = width;
	size.height = height;
	in.message_case = PB__CONSOLE_INSTANCE_INPUT__MESSAGE_RESIZE;
	in.resize = &size;
	stream_send(stream, &in.base, NULL);
}

static int receive(Stream *stream, Error **err)
{
	ProtobufCMessage *message;
	while (stream_receive(stream, &message, err) == 0) {
		if (!message)
			return 0;
		const Pb__ConsoleInstanceOutput *out = (const Pb__ConsoleInstanceOutput *)message;
		int result = 0;
		if (out->message_case == PB__CONSOLE_INSTANCE_OUTPUT__MESSAGE_DATA)
			result = write_all(STDOUT_FILENO, out->data.data, out->data.len, err);
		else if (out->message_case == PB__CONSOLE_INSTANCE_OUTPUT__MESSAGE_ATTACHED)
			fputs("To detach from the console, press: <ctrl>+a q\n\r", stdout),
			    fflush(stdout);
		stream_message_free(message);
		if (result < 0)
			return -1;
	}
	return -1;
}

int console_attach(const Object *instance, const char *type, Error **err)
{
	Pb__InstanceConsolePost post = PB__INSTANCE_CONSOLE_POST__INIT;
	Pb__ConsoleInstanceRequest request = PB__CONSOLE_INSTANCE_REQUEST__INIT;
	Pb__ConsoleInstanceInput start = PB__CONSOLE_INSTANCE_INPUT__INIT;
	Escape escape = { 0 };
	if (g_strcmp0(type, "vga") == 0)
		return screen_attach(instance, err);
	InputRules rules = {
		.data = send_typed, .end = send_end, .resize = send_resize, .user = &escape
	};
	uint32_t width, height;
	terminal_size(&width, &height);
	post.type = (char *)type;
	post.width = width;
	post.height = height;
	request.name = (char *)instance->name;
	request.project = (char *)(instance->server->project ? instance->server->project : "");
	request.console = &post;
	start.message_case = PB__CONSOLE_INSTANCE_INPUT__MESSAGE_START;
	start.start = &request;
	g_autoptr(Stream) stream = stream_open(
	    instance->server, "ConsoleInstance", &start.base, err);
	if (!stream)
		return -1;
	terminal_raw();
	Input *input = input_start(stream, &rules);
	g_autoptr(Error) problem = NULL;
	int result = receive(stream, &problem);
	terminal_restore();
	stream_cancel(stream);
	bool escaped = input_escaped(input);
	input_stop(input);
	putchar('\n');
	return result < 0 && !escaped ? error_propagate(err, g_steal_pointer(&problem)) : 0;
}

static int console(Cli *cli, Error **err)
{
	Object instance;
	const char *type = flag_string(cli, "type");
	if (strcmp(type, "console") != 0 && strcmp(type, "vga") != 0)
		return error_set(
		    err, ERROR_INVALID, "Unknown console type \"%s\": use console or vga", type);
	input_block_signals(false);
	if (object_parse_named(cli, &instance_noun, cli->args[0], &instance, err) < 0)
		return -1;
	if (flag_bool(cli, "show-log") && strcmp(type, "vga") == 0)
		return screen_shot(&instance, err);
	if (flag_bool(cli, "show-log")) {
		puts("\nConsole log:\n");
		fflush(stdout);
		return stream_to_fd(instance.server, "GetInstanceConsoleLog",
		    json_copy(instance.key), STDOUT_FILENO, err);
	}
	return console_attach(&instance, type, err);
}

static const Flag console_flags[] = {
	{ "show-log", 0, FLAG_BOOL, NULL,
	    "Print what the console has shown; of vga, a picture (PNG)" },
	{ "type", 't', FLAG_STRING, "console", "Which one: console or vga (virtual machines)" },
	FLAG_END,
};

const Command console_commands[] = {
	{ .path = "console",
	    .usage = "[<remote>:]<instance>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = console_flags,
	    .summary = "Attach to the console of an instance",
	    .help =
		"ctrl+a q detaches. The screen of a virtual machine (vga) is shown by remote-viewer or spicy where one is installed; else the address for a SPICE viewer is printed.\n\nA picture of the screen: incus console v1 --type=vga --show-log >v1.png",
	    .run = console,
	    .complete = "instance" },
	{ 0 },
};
