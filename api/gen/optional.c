/*
 * protoc-gen-pbc: protoc-gen-c of protobuf-c 1.4 refuses proto3 `optional`. Clear the flag, so that
 * the field stays in its one-member oneof (whose case tells presence), and let protoc-gen-c go on.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include "google/protobuf/compiler/plugin.pb-c.h"

extern char **environ;

static void clear_message(Google__Protobuf__DescriptorProto *message)
{
	for (size_t i = 0; i < message->n_field; i++)
		message->field[i]->has_proto3_optional = FALSE;
	for (size_t i = 0; i < message->n_nested_type; i++)
		clear_message(message->nested_type[i]);
}

static void clear_request(Google__Protobuf__Compiler__CodeGeneratorRequest *request)
{
	for (size_t i = 0; i < request->n_proto_file; i++)
		for (size_t k = 0; k < request->proto_file[i]->n_message_type; k++)
			clear_message(request->proto_file[i]->message_type[k]);
}

static GByteArray *read_all(int fd)
{
	GByteArray *bytes = g_byte_array_new();
	uint8_t chunk[65536];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		g_byte_array_append(bytes, chunk, (guint)n);
	return bytes;
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0)
			return -1;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int request_file(const Google__Protobuf__Compiler__CodeGeneratorRequest *request)
{
	size_t size = google__protobuf__compiler__code_generator_request__get_packed_size(request);
	g_autofree uint8_t *bytes = g_malloc(size);
	int fd = memfd_create("request", MFD_CLOEXEC);

	google__protobuf__compiler__code_generator_request__pack(request, bytes);
	if (fd < 0 || write_all(fd, bytes, size) || lseek(fd, 0, SEEK_SET))
		return -1;
	return fd;
}

static int run(int in, int out)
{
	char *const argv[] = {"protoc-gen-c", NULL};
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (errno) {
		perror("protoc-gen-pbc: protoc-gen-c");
		return -1;
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status) ? 0
											    : -1;
}

int main(void)
{
	g_autoptr(GByteArray) bytes = read_all(STDIN_FILENO);
	static const uint8_t knows_optional[] = {0x10, 0x01}; /* supported_features = 1 */
	Google__Protobuf__Compiler__CodeGeneratorRequest *request =
	    google__protobuf__compiler__code_generator_request__unpack(
		NULL, bytes->len, bytes->data);
	int out = memfd_create("response", MFD_CLOEXEC);
	int in;

	if (!request || out < 0)
		return 1;
	clear_request(request);
	in = request_file(request);
	if (in < 0 || run(in, out) || lseek(out, 0, SEEK_SET))
		return 1;
	g_autoptr(GByteArray) response = read_all(out);
	/* Appended to a serialised message, a field is part of it. */
	g_byte_array_append(response, knows_optional, sizeof(knows_optional));
	return write_all(STDOUT_FILENO, response->data, response->len) ? 1 : 0;
}
