/* Asks the agent of a machine what tests/interop/guest.test wants to know: guest SOCKET. Prints
 * "ok: ..." lines and figures; ends with 1 at the first that is wrong. */
#include "server/guest/exec.h"
#include "server/guest/session.h"
#include "server/guest/state.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 150000, ROUNDS = 21, FILE_SIZE = 8 << 20 };

static _Noreturn void wrong(const char *what, const Error *err)
{
	printf("FAIL: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
	exit(1);
}

static void check(gboolean good, const char *what, const Error *err)
{
	if (!good)
		wrong(what, err);
	printf("ok: %s\n", what);
	fflush(stdout);
}

static int keep(void *data, int which, const uint8_t *bytes, size_t length)
{
	g_string_append_len(data, (const char *)bytes, (gssize)length);
	return 0;
}

/* Output and exit code of `script`; -1 when it could not be run. */
static int run(Guest *guest, const char *script, const char *input, GString *out, Error **err)
{
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script };
	char *environment[] = { (char *)"PATH=/bin:/sbin", NULL };
	Pb__InstanceExecPost post = PB__INSTANCE_EXEC_POST__INIT;
	ExecProcess process = EXEC_PROCESS_INIT;
	int code = -1;
	post.command = argv;
	post.n_command = 3;
	if (guest_exec(guest, &post, environment, NULL, &process, err) < 0)
		return -1;
	exec_write(&process, input, strlen(input), -1);
	close(process.input);
	process.input = -1;
	if (exec_pump(&process, keep, out, &code, err) < 0)
		code = -1;
	exec_process_close(&process);
	return code;
}

static int compare(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

static void commands(Guest *guest)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(Error) err = NULL;
	double ms[ROUNDS];
	int code = run(guest, "cat; id -u; exit 5", "words\n", out, &err);
	check(code == 5 && strcmp(out->str, "words\n0\n") == 0,
	    "a command with input, output and status", err);
	for (int i = 0; i < ROUNDS; i++) {
		gint64 start = g_get_monotonic_time();
		if (run(guest, "exit 0", "", out, &err) != 0)
			wrong("a command again", err);
		ms[i] = (double)(g_get_monotonic_time() - start) / 1000;
	}
	qsort(ms, ROUNDS, sizeof(*ms), compare);
	printf("figure: exec %.1f ms (median of %d)\n", ms[ROUNDS / 2], ROUNDS);
}

static void files(Guest *guest)
{
	g_autoptr(FileSession) session = NULL;
	g_autoptr(FileTransfer) up = NULL, down = NULL;
	g_autoptr(Error) err = NULL;
	g_autofree uint8_t *bytes = g_malloc(FILE_SIZE);
	g_autoptr(GByteArray) back = g_byte_array_new();
	FileOwner owner = { 0, 0, 0644 };
	FileAttributes a;
	const uint8_t *data;
	size_t length = 1;
	for (size_t i = 0; i < FILE_SIZE; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	gint64 start = g_get_monotonic_time();
	check(guest_files(guest, &session, &err) == 0 &&
		file_write_begin(session, "/tmp/file", FALSE, &owner, &up, &err) == 0 &&
		file_write_next(up, bytes, FILE_SIZE, &err) == 0 && file_write_end(up, &err) == 0,
	    "a file into it", err);
	gint64 middle = g_get_monotonic_time();
	int result = file_read_begin(session, "/tmp/file", &a, &down, &err);
	while (result == 0 && length > 0) {
		result = file_read_next(down, &data, &length, &err);
		g_byte_array_append(back, data, result == 0 ? (guint)length : 0);
	}
	gint64 end = g_get_monotonic_time();
	check(result == 0 && back->len == FILE_SIZE && memcmp(back->data, bytes, FILE_SIZE) == 0,
	    "the same file out of it", err);
	printf("figure: file in %.1f MB/s, out %.1f MB/s\n",
	    (double)FILE_SIZE / (double)(middle - start),
	    (double)FILE_SIZE / (double)(end - middle));
}

static void figures(Guest *guest)
{
	g_autoptr(Arena) arena = arena_new();
	g_autoptr(Error) err = NULL;
	Pb__InstanceState state = PB__INSTANCE_STATE__INIT;
	GuestInfo info;
	GuestQuestion question = { .guest = guest };
	guest_ask_states(&question, 1, GUEST_STATE_WHOLE_MS);
	if (question.answer)
		guest_state_take(question.answer, arena, &state);
	check(question.answer && state.n_network > 0 && state.memory->total > 64 << 20 &&
		state.processes > 1,
	    "its state", question.error);
	guest_question_clear(&question);
	check(guest_info(guest, &info) && *info.kernel, "its system", NULL);
	printf("figure: kernel %s, %s, host name %s\n", info.kernel, info.architecture,
	    info.host_name);
}

/* The agent dies and is started again; its connection comes back by itself. */
static void agent_again(Guest *guest)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(Error) err = NULL;
	int code = run(guest, "kill -9 $(cat /run/agent.pid); sleep 1000", "", out, &err);
	check(code == -1, "a command ends with its agent", NULL);
	check(guest_wait_online(guest, PATIENCE_MS), "a new agent is found", NULL);
	g_clear_pointer(&err, error_free);
	/* Online may still be the old one for a moment. */
	for (int i = 0; i < 100 && (code = run(guest, "exit 3", "", out, NULL)) != 3; i++)
		guest_wait_online(guest, PATIENCE_MS), g_usleep(50000);
	check(code == 3, "a command after that", NULL);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc != 2)
		return 2;
	GuestSpec spec = { .name = "v1", .socket = argv[1] };
	for (int turn = 0; turn < 2; turn++) { /* as a server that was started again */
		Guest *guest = guest_new(&spec);
		check(guest_wait_online(guest, PATIENCE_MS), "the agent answers", NULL);
		commands(guest);
		files(guest);
		figures(guest);
		agent_again(guest);
		guest_close(guest);
	}
	return 0;
}
