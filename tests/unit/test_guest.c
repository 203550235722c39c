/* The agent and the host's side of it on one socket, without a machine: what works, and what either
 * makes of an end that lies. */
#include "server/guest/exec.h"
#include "server/guest/guest.h"
#include "server/guest/link.h"
#include "server/guest/session.h"
#include "server/guest/state.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "sdk/base/unix_socket.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

enum { PATIENCE = 60000 };

/* --- frames --- */

static void test_reader_finds_sync(void **state)
{
	uint8_t bytes[64 + LINK_SYNC + LINK_HEADER + 3], number[LINK_NUMBER];
	LinkReader reader = { 0 };
	memset(bytes, 0xff, sizeof(bytes)); /* begins like a sync, over and over */
	memset(number, 7, sizeof(number));
	link_sync(bytes + 64, number);
	memcpy(bytes + 64 + LINK_SYNC, "IAF\1\3\0\0\0abc", LINK_HEADER + 3);
	const uint8_t *in = bytes, *data;
	size_t left = sizeof(bytes), length;
	assert_int_equal(link_read(&reader, &in, &left, &data, &length), LINK_SYNCED);
	assert_memory_equal(reader.number, number, sizeof(number));
	assert_int_equal(link_read(&reader, &in, &left, &data, &length), LINK_DATA);
	assert_int_equal(length, 3);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(link_read(&reader, &in, &left, &data, &length), LINK_MORE);
}

/* Whatever a reader is in the middle of, zeros and a sync bring it back. */
static void test_zeros_end_frames(void **state)
{
	static uint8_t bytes[LINK_HEADER + LINK_ZEROS + LINK_SYNC];
	for (uint32_t claimed = 1; claimed <= LINK_FRAME_MAX; claimed *= 2) {
		LinkReader reader = { .state = LINK_HEADS };
		uint8_t number[LINK_NUMBER] = { 9 };
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, "IAF\1", 4);
		for (int i = 0; i < 4; i++)
			bytes[4 + i] = (uint8_t)(claimed >> 8 * i);
		link_sync(bytes + LINK_HEADER + LINK_ZEROS, number);
		const uint8_t *in = bytes, *data;
		size_t left = sizeof(bytes), length, carried = 0;
		LinkEvent event;
		while ((event = link_read(&reader, &in, &left, &data, &length)) == LINK_DATA)
			carried += length;
		assert_int_equal(event, LINK_BROKEN);
		assert_int_equal(carried, claimed);
		assert_int_equal(link_read(&reader, &in, &left, &data, &length), LINK_SYNCED);
	}
}

static void test_bad_heads(void **state)
{
	static const char *const heads[] = { "IAF\1\0\0\0\0", "IAF\1\1\200\0\0", "IAF\1\0\0\0\200",
		"IAF\2\1\0\0\0", "IAF\4\1\0\0\0", "IAG\1\1\0\0\0", "PRI * HT" };
	for (size_t i = 0; i < G_N_ELEMENTS(heads); i++) {
		LinkReader reader = { .state = LINK_HEADS };
		const uint8_t *in = (const uint8_t *)heads[i], *data;
		size_t left = LINK_HEADER, length;
		assert_int_equal(link_read(&reader, &in, &left, &data, &length), LINK_BROKEN);
	}
}

/* --- a machine without a machine: one socket, and an agent for whoever connects --- */

typedef struct Machine {
	char *folder, *socket, *api;
	int listener;
	pid_t agent;
	Guest *guest;
} Machine;

static char *agent_program(void)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = g_path_get_dirname(self);
	g_autofree char *checked = g_build_filename(folder, "agent-sanitized", NULL);
	if (access(checked, X_OK) == 0)
		return g_steal_pointer(&checked);
	return g_build_filename(folder, "..", "bin", "incus-agent", NULL);
}

static Machine *machine_new_with(void (*connected)(void *data, int fd))
{
	Machine *m = g_new0(Machine, 1);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	m->folder = g_dir_make_tmp("incus-guest-XXXXXX", NULL);
	m->socket = g_build_filename(m->folder, "agent", NULL);
	strcpy(address.sun_path, m->socket);
	m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m->listener, (void *)&address, sizeof(address)), 0);
	assert_int_equal(listen(m->listener, 8), 0);
	m->api = g_build_filename(m->folder, "api", NULL);
	m->guest = guest_new(
	    &(GuestSpec){ .name = "v1", .socket = m->socket, .connected = connected });
	return m;
}

static Machine *machine_new(void)
{
	return machine_new_with(NULL);
}

static int machine_accept(Machine *m)
{
	struct pollfd p = { .fd = m->listener, .events = POLLIN };
	assert_int_equal(poll(&p, 1, PATIENCE), 1);
	return accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
}

static pid_t run_agent(int fd, const char *api)
{
	g_autofree char *program = agent_program();
	const char *argv[] = { program, "--fd", "3", "--guest-api", api, NULL };
	pid_t pid = -1;
	Spawn spawn = { .argv = argv, .fds = &fd, .n_fds = 1, .stderr_fd = 2 };
	assert_int_equal(spawn_start(&spawn, &pid, NULL), 0);
	return pid;
}

static void machine_boot(Machine *m)
{
	autofd int fd = machine_accept(m);
	m->agent = run_agent(fd, m->api);
	assert_true(guest_wait_online(m->guest, PATIENCE));
}

static void machine_free(Machine *m)
{
	guest_close(m->guest);
	if (m->agent > 0)
		spawn_stop(m->agent, PATIENCE);
	close(m->listener);
	unlink(m->socket);
	unlink(m->api);
	rmdir(m->folder);
	g_free(m->socket);
	g_free(m->api);
	g_free(m->folder);
	g_free(m);
}

static int setup(void **state)
{
	Machine *m = machine_new();
	machine_boot(m);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	machine_free(*state);
	return 0;
}

/* --- commands --- */

typedef struct Output {
	GString *text[3];
} Output;

static int keep(void *data, int which, const uint8_t *bytes, size_t length)
{
	g_string_append_len(((Output *)data)->text[which], (const char *)bytes, (gssize)length);
	return 0;
}

static char *environment[] = { (char *)"PATH=/usr/bin:/bin", (char *)"A=b c", NULL };

static void begin(Machine *m, const char *script, gboolean terminal, ExecProcess *process)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script };
	Pb__InstanceExecPost post = PB__INSTANCE_EXEC_POST__INIT;
	g_autoptr(Error) err = NULL;
	post.command = argv;
	post.n_command = 3;
	post.interactive = terminal;
	post.width = 80;
	post.height = 25;
	if (guest_exec(m->guest, &post, environment, NULL, process, &err) < 0)
		fail_msg("%s", err->message);
}

static int finish(ExecProcess *process, char **ret_out, char **ret_err)
{
	Output output = { { NULL, g_string_new(NULL), g_string_new(NULL) } };
	g_autoptr(Error) err = NULL;
	int code = -1;
	if (exec_pump(process, keep, &output, &code, &err) < 0)
		fail_msg("%s", err->message);
	exec_process_close(process);
	*ret_out = g_string_free(output.text[1], FALSE);
	*ret_err = g_string_free(output.text[2], FALSE);
	return code;
}

static void test_exec(void **state)
{
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autofree char *out = NULL, *error = NULL;
	begin(*state, "echo $A; cat; echo no >&2; exit 7", FALSE, &process);
	assert_true(process.pid > 0);
	exec_write(&process, "in\n", 3, -1);
	close(process.input);
	process.input = -1;
	assert_int_equal(finish(&process, &out, &error), 7);
	assert_string_equal(out, "b c\nin\n");
	assert_string_equal(error, "no\n");
}

static void test_exec_terminal(void **state)
{
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autofree char *out = NULL, *error = NULL;
	begin(*state, "read line; stty size; echo got $line", TRUE, &process);
	exec_resize(&process, 132, 43);
	exec_write(&process, "word\n", 5, -1);
	assert_int_equal(finish(&process, &out, &error), 0);
	assert_non_null(strstr(out, "43 132"));
	assert_non_null(strstr(out, "got word"));
}

static void test_exec_signal(void **state)
{
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autofree char *out = NULL, *error = NULL;
	begin(*state, "trap 'exit 3' TERM; echo on; while :; do sleep 1; done", FALSE, &process);
	struct pollfd p = { .fd = process.output, .events = POLLIN };
	assert_int_equal(poll(&p, 1, PATIENCE), 1);
	exec_signal(&process, SIGTERM);
	assert_int_equal(finish(&process, &out, &error), 3);
	begin(*state, "exec sleep 1000", FALSE, &process);
	exec_signal(&process, SIGKILL);
	g_free(out);
	g_free(error);
	assert_int_equal(finish(&process, &out, &error), 137);
}

static void test_exec_missing(void **state)
{
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autofree char *out = NULL, *error = NULL;
	begin(*state, "exec /nowhere", FALSE, &process);
	assert_int_equal(finish(&process, &out, &error), 127);
}

/* Much in both directions at once, through a command that holds nothing. */
static gpointer feed(gpointer data)
{
	ExecProcess *process = data;
	g_autofree char *block = g_malloc(1 << 20);
	memset(block, 'x', 1 << 20);
	for (int i = 0; i < 16; i++)
		exec_write(process, block, 1 << 20, -1);
	close(process->input);
	process->input = -1;
	return NULL;
}

static void test_exec_much(void **state)
{
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autofree char *out = NULL, *error = NULL;
	begin(*state, "cat", FALSE, &process);
	GThread *thread = g_thread_new("feed", feed, &process);
	/* the pump reads `input` only to close it: the feeder is done before */
	Output output = { { NULL, g_string_new(NULL), g_string_new(NULL) } };
	int code = -1;
	assert_int_equal(exec_pump(&process, keep, &output, &code, NULL), 0);
	g_thread_join(thread);
	exec_process_close(&process);
	assert_int_equal(code, 0);
	assert_int_equal(output.text[1]->len, 16 << 20);
	g_string_free(output.text[1], TRUE);
	g_string_free(output.text[2], TRUE);
}

/* A caller that goes away takes its command with it. */
static void test_exec_abandoned(void **state)
{
	Machine *m = *state;
	ExecProcess process = EXEC_PROCESS_INIT;
	begin(m, "exec sleep 1000", FALSE, &process);
	pid_t pid = process.pid;
	exec_process_close(&process);
	for (int i = 0; i < PATIENCE / 10 && kill(pid, 0) == 0; i++)
		g_usleep(10000); /* nothing tells the end of a process that is no child */
	assert_int_not_equal(kill(pid, 0), 0);
}

/* --- files --- */

static void write_whole(
    FileSession *session, const char *path, const void *data, size_t length, gboolean append)
{
	g_autoptr(FileTransfer) transfer = NULL;
	g_autoptr(Error) err = NULL;
	FileOwner owner = { getuid(), getgid(), 0640 };
	if (file_write_begin(session, path, append, &owner, &transfer, &err) < 0 ||
	    file_write_next(transfer, data, length, &err) < 0 || file_write_end(transfer, &err) < 0)
		fail_msg("%s", err->message);
}

static GByteArray *read_whole(FileSession *session, const char *path, FileAttributes *ret)
{
	g_autoptr(FileTransfer) transfer = NULL;
	g_autoptr(Error) err = NULL;
	GByteArray *bytes = g_byte_array_new();
	const uint8_t *data;
	size_t length;
	if (file_read_begin(session, path, ret, &transfer, &err) < 0)
		fail_msg("%s", err->message);
	do {
		if (file_read_next(transfer, &data, &length, &err) < 0)
			fail_msg("%s", err->message);
		g_byte_array_append(bytes, data, (guint)length);
	} while (length > 0);
	return bytes;
}

static void test_files(void **state)
{
	Machine *m = *state;
	g_autoptr(FileSession) session = NULL;
	g_autofree char *path = g_build_filename(m->folder, "file", NULL);
	g_autofree char *link = g_build_filename(m->folder, "link", NULL);
	g_autofree char *target = NULL;
	g_autofree uint8_t *much = g_malloc0(5 << 20);
	FileAttributes a;
	assert_int_equal(guest_files(m->guest, &session, NULL), 0);
	much[(5 << 20) - 1] = 1;
	write_whole(session, path, much, 5 << 20, FALSE);
	write_whole(session, path, "end", 3, TRUE);
	g_autoptr(GByteArray) bytes = read_whole(session, path, &a);
	assert_int_equal(bytes->len, (5 << 20) + 3);
	assert_memory_equal(bytes->data, much, 5 << 20);
	assert_memory_equal(bytes->data + (5 << 20), "end", 3);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.size, (5 << 20) + 3);
	assert_int_equal(file_symlink(session, "file", link, NULL, NULL), 0);
	assert_int_equal(file_readlink(session, link, &target, NULL), 0);
	assert_string_equal(target, "file");
	g_autoptr(GPtrArray) names = NULL;
	assert_int_equal(file_list(session, m->folder, &names, NULL), 0);
	assert_int_equal(names->len, 3);
	assert_string_equal(names->pdata[1], "file");
	assert_int_equal(file_remove(session, link, NULL), 0);
	assert_int_equal(file_remove(session, path, NULL), 0);
}

static void test_file_errors(void **state)
{
	Machine *m = *state;
	g_autoptr(FileSession) session = NULL;
	g_autoptr(Error) err = NULL;
	g_autoptr(FileTransfer) transfer = NULL;
	FileAttributes a;
	assert_int_equal(guest_files(m->guest, &session, NULL), 0);
	assert_int_equal(file_stat(session, "/nowhere", TRUE, &a, &err), -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
	g_clear_pointer(&err, error_free);
	assert_int_equal(file_stat(session, "relative", TRUE, &a, &err), -1);
	assert_int_equal(err->kind, ERROR_INVALID);
	g_clear_pointer(&err, error_free);
	assert_int_equal(file_read_begin(session, "/dev/null", &a, &transfer, &err), -1);
	g_clear_pointer(&err, error_free);
	/* An upload into nowhere says why, though it was begun. */
	FileOwner owner = { 0, 0, 0600 };
	assert_int_equal(
	    file_write_begin(session, "/nowhere/file", FALSE, &owner, &transfer, NULL), 0);
	g_autofree char *block = g_malloc0(8 << 20);
	int result = file_write_next(transfer, (uint8_t *)block, 8 << 20, &err);
	assert_int_equal(result == 0 ? file_write_end(transfer, &err) : result, -1);
	assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

static void test_sftp(void **state)
{
	static const uint8_t init[] = { 0, 0, 0, 5, 1, 0, 0, 0, 3 };
	autofd int socket = -1;
	uint8_t answer[9];
	assert_int_equal(guest_sftp(((Machine *)*state)->guest, &socket, NULL), 0);
	assert_int_equal(file_write_all(socket, init, sizeof(init)), 0);
	assert_int_equal(recv(socket, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_equal(answer[4], 2); /* SSH_FXP_VERSION */
	assert_int_equal(answer[8], 3);
}

/* --- figures --- */

static void test_state(void **state)
{
	g_autoptr(Arena) arena = arena_new();
	Pb__InstanceState out = PB__INSTANCE_STATE__INIT;
	gboolean loopback = FALSE;
	GuestInfo info;
	GuestQuestion question = { .guest = ((Machine *)*state)->guest };
	guest_ask_states(&question, 1, GUEST_STATE_WHOLE_MS);
	assert_non_null(question.answer);
	guest_state_take(question.answer, arena, &out);
	guest_question_clear(&question);
	assert_true(out.memory->total > 0);
	assert_true(out.processes > 0);
	for (size_t i = 0; i < out.n_network; i++)
		loopback |= strcmp(out.network[i]->key, "lo") == 0 &&
		    strcmp(out.network[i]->value->type, "loopback") == 0;
	assert_true(loopback);
	assert_true(guest_info(((Machine *)*state)->guest, &info));
	assert_string_equal(info.version, INCUS_VERSION);
}

static void test_metrics(void **state)
{
	g_autoptr(Metrics) metrics = metrics_new();
	GuestQuestion question = { .guest = ((Machine *)*state)->guest };
	guest_ask_metrics(&question, 1, GUEST_STATE_WHOLE_MS);
	assert_non_null(question.answer);
	guest_metrics_take(question.answer, "name=\"v1\"", metrics);
	guest_question_clear(&question);
	g_autofree char *text = metrics_text(metrics);
	assert_non_null(strstr(text, "incus_memory_MemTotal_bytes{name=\"v1\"} "));
	assert_non_null(
	    strstr(text, "incus_cpu_seconds_total{cpu=\"0\",mode=\"user\",name=\"v1\"} "));
}

/* --- many at once --- */

enum { CROWD = 12, SILENT = 8, DEADLINE_MS = 500 };

static void crowd_ask(Machine *const *crowd, GuestQuestion *questions, gint64 *ret_ms)
{
	gint64 start = g_get_monotonic_time();
	for (int i = 0; i < CROWD; i++)
		questions[i] = (GuestQuestion){ .guest = crowd[i]->guest };
	guest_ask_states(questions, CROWD, DEADLINE_MS);
	*ret_ms = (g_get_monotonic_time() - start) / 1000;
}

static void crowd_check(GuestQuestion *questions, int silent)
{
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(questions[i].answer == NULL, i < silent);
		if (i < silent)
			assert_int_equal(questions[i].error->kind, ERROR_TIMEOUT);
		guest_question_clear(&questions[i]);
	}
}

static gpointer ask_others(gpointer data)
{
	Machine *const *crowd = data;
	for (int turn = 0; turn < 20; turn++) {
		GuestQuestion questions[CROWD - SILENT];
		for (int i = 0; i < CROWD - SILENT; i++)
			questions[i] = (GuestQuestion){ .guest = crowd[SILENT + i]->guest };
		guest_ask_metrics(questions, CROWD - SILENT, PATIENCE);
		for (int i = 0; i < CROWD - SILENT; i++)
			guest_question_clear(&questions[i]);
	}
	return NULL;
}

/* Agents that stand still cost all of them together one deadline, and then nothing; those that
 * answer are heard, however many ask. */
static void test_crowd(void **state)
{
	Machine *crowd[CROWD];
	GuestQuestion questions[CROWD];
	gint64 ms;
	for (int i = 0; i < CROWD; i++) {
		crowd[i] = machine_new();
		machine_boot(crowd[i]);
	}
	for (int i = 0; i < CROWD; i++)
		questions[i] = (GuestQuestion){ .guest = crowd[i]->guest };
	guest_ask_states(questions, CROWD, PATIENCE);
	crowd_check(questions, 0);
	GThread *thread = g_thread_new("others", ask_others, crowd);
	for (int i = 0; i < SILENT; i++)
		kill(crowd[i]->agent, SIGSTOP);
	crowd_ask(crowd, questions, &ms);
	crowd_check(questions, SILENT);
	assert_true(ms >= DEADLINE_MS - 1);
	assert_true(ms < SILENT * DEADLINE_MS / 2);
	crowd_ask(crowd, questions, &ms);
	crowd_check(questions, SILENT);
	assert_true(ms < DEADLINE_MS);
	g_thread_join(thread);
	for (int i = 0; i < CROWD; i++) {
		kill(crowd[i]->agent, SIGCONT);
		machine_free(crowd[i]);
	}
}

/* --- the guest API's socket --- */

static gint visits; /* atomic */

/* Gives back what comes, until the other side has enough. */
static void echo(void *data, int fd)
{
	char buffer[4096];
	ssize_t n;
	g_atomic_int_inc(&visits);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		if (file_write_all(fd, buffer, (size_t)n) < 0)
			break;
	close(fd);
}

static int visit(Machine *m)
{
	int fd = unix_connect(m->api, 0);
	assert_true(fd >= 0);
	return fd;
}

static void test_guest_api(void **state)
{
	Machine *m = machine_new_with(echo);
	char answer[8] = "";
	machine_boot(m);
	for (int turn = 0; turn < 40; turn++) { /* more than may be there at once */
		autofd int fd = visit(m);
		assert_int_equal(file_write_all(fd, "hello", 5), 0);
		assert_int_equal(recv(fd, answer, 5, MSG_WAITALL), 5);
		assert_string_equal(answer, "hello");
	}
	/* Those that stay are so many, and leave with the machine. */
	int fds[40];
	g_atomic_int_set(&visits, 0);
	for (int n = 0; n < 40; n++)
		fds[n] = visit(m);
	for (int i = 0; i < PATIENCE / 10 && g_atomic_int_get(&visits) < 32; i++)
		g_usleep(10000);
	assert_int_equal(g_atomic_int_get(&visits), 32);
	machine_free(m);
	for (int n = 0; n < 40; n++) {
		assert_true(recv(fds[n], answer, 1, 0) <= 0);
		close(fds[n]);
	}
}

/* Where it is not wanted there is none. */
static void test_no_guest_api(void **state)
{
	Machine *m = *state;
	assert_int_not_equal(access(m->api, F_OK), 0);
}

/* --- ends that go, and come again --- */

static void wait_offline(Machine *m)
{
	for (int i = 0; i < PATIENCE / 10 && guest_online(m->guest); i++)
		g_usleep(10000);
	assert_false(guest_online(m->guest));
}

static void test_agent_again(void **state)
{
	Machine *m = *state;
	ExecProcess process = EXEC_PROCESS_INIT;
	g_autoptr(Error) err = NULL;
	int code;
	begin(m, "exec sleep 1000", FALSE, &process);
	pid_t command = process.pid;
	kill(m->agent, SIGKILL);
	waitpid(m->agent, NULL, 0);
	Output output = { { NULL, g_string_new(NULL), g_string_new(NULL) } };
	assert_int_equal(exec_pump(&process, keep, &output, &code, &err), -1);
	exec_process_close(&process);
	g_string_free(output.text[1], TRUE);
	g_string_free(output.text[2], TRUE);
	wait_offline(m);
	kill(command, SIGKILL); /* it outlives the agent, and has our standard output */
	machine_boot(m);
	test_exec(state);
}

/* The host goes without a word, in the middle of a frame, and another one comes. */
static void test_host_again(void **state)
{
	int pair[2];
	static uint8_t bytes[LINK_ZEROS + LINK_SYNC];
	uint8_t number[LINK_NUMBER], answer[LINK_SYNC], sync[LINK_SYNC];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid_t agent = run_agent(pair[1], "/nowhere/api");
	close(pair[1]);
	autofd int host = pair[0];
	assert_int_equal(file_write_all(host, "\xff\xffincus-agent-noise", 19), 0);
	for (uint8_t turn = 1; turn < 20; turn++) {
		LinkReader reader = { 0 };
		const uint8_t *data;
		LinkEvent event = LINK_MORE;
		memset(number, turn, sizeof(number));
		link_sync(sync, number);
		memcpy(bytes + LINK_ZEROS, sync, LINK_SYNC);
		assert_int_equal(file_write_all(host, bytes, sizeof(bytes)), 0);
		while (event != LINK_SYNCED || memcmp(reader.number, number, LINK_NUMBER) != 0) {
			uint8_t byte;
			struct pollfd p = { .fd = host, .events = POLLIN };
			assert_int_equal(poll(&p, 1, PATIENCE), 1);
			assert_int_equal(read(host, &byte, 1), 1);
			const uint8_t *in = &byte;
			size_t left = 1, length;
			if (reader.state >= LINK_HEADS) /* an older one: look again */
				reader = (LinkReader){ 0 };
			event = link_read(&reader, &in, &left, &data, &length);
		}
		/* A frame that is never finished, or nonsense in place of HTTP/2. */
		const char *mess = turn % 2 ? "IAF\1\0\20\0\0PRI *" : "IAF\1\4\0\0\0\1\2\3\4";
		assert_int_equal(file_write_all(host, mess, turn % 2 ? 13 : 12), 0);
	}
	(void)answer;
	close(host);
	host = -1;
	int status;
	assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_true(WIFEXITED(status)); /* not by a sanitizer or a signal */
	assert_int_equal(WEXITSTATUS(status), 1);
}

/* --- guests that lie --- */

/* Answers the sync, then sends `bytes` over and over until the host has had enough. */
static void play(int fd, const void *bytes, size_t length, size_t at_most)
{
	uint8_t buffer[4096];
	LinkReader reader = { 0 };
	LinkEvent event = LINK_MORE;
	uint8_t sync[LINK_SYNC];
	while (event != LINK_SYNCED) {
		ssize_t n = read(fd, buffer, sizeof(buffer));
		const uint8_t *in = buffer, *data;
		size_t left = (size_t)n, got;
		assert_true(n > 0);
		event = link_read(&reader, &in, &left, &data, &got);
	}
	link_sync(sync, reader.number);
	assert_int_equal(send(fd, sync, sizeof(sync), MSG_NOSIGNAL), sizeof(sync));
	for (size_t sent = 0; sent < at_most;) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (n < 0 && errno != EAGAIN)
			return; /* dropped: what is wanted */
		if (n < 0)
			assert_int_equal(poll(&p, 1, PATIENCE), 1);
		sent += (size_t)MAX(n, 0);
	}
	fail_msg("the host takes everything");
}

static void test_liars(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} lies[] = {
		{ "no frame at all ", 16 }, { "IAF\1\4\0\0\0junk", 12 }, /* no HTTP/2 */
		{ "IAF\3\0\0\0\0", 8 },			    /* answers to no question */
		{ "IAF\1\11\0\0\0\0\0\0\4\0\0\0\0\0", 17 }, /* settings for ever */
	};
	Machine *m = machine_new();
	for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
		autofd int fd = machine_accept(m);
		play(fd, lies[i].bytes, lies[i].length, 256 << 20);
		assert_false(guest_online(m->guest));
	}
	/* An honest one is welcome after that. */
	machine_boot(m);
	*state = m;
	test_exec(state);
	machine_free(m);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_finds_sync),
		cmocka_unit_test(test_zeros_end_frames),
		cmocka_unit_test(test_bad_heads),
		cmocka_unit_test_setup_teardown(test_exec, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_terminal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_signal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_much, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sftp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_guest_api),
		cmocka_unit_test_setup_teardown(test_no_guest_api, setup, teardown),
		cmocka_unit_test_setup_teardown(test_agent_again, setup, teardown),
		cmocka_unit_test(test_host_again),
		cmocka_unit_test(test_liars),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
