/* dnsmasq as a process: adopt, start, stop, reload. */
#include "server/network/dnsmasq.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { STOP_MS = 2000, END_MS = 500, START_MS = 10000, LEASES_MAX = 64 << 20, SMALL_MAX = 1 << 20 };

static char *in_directory(const char *directory, const char *name)
{
	return g_strdup_printf("%s/%s", directory, name);
}

/* The command line of a process, words joined by NUL and NUL-terminated; NULL when it is gone. */
static char *process_command(pid_t pid, size_t *ret_length)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
	char *data = NULL;
	if (file_read(AT_FDCWD, path, FILE_LINKS_NONE, SMALL_MAX, &data, ret_length, NULL) < 0)
		return NULL;
	return data;
}

/* A process that ends loses its command line before its sockets, which the next one needs. */
static void wait_for_end(pid_t pid)
{
	autofd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };
	if (pidfd >= 0)
		poll(&end, 1, END_MS);
}

/* A recycled pid is told from our dnsmasq by the pid file's own path on its command line. */
pid_t dnsmasq_pid(const char *directory)
{
	g_autofree char *path = in_directory(directory, "dnsmasq.pid");
	g_autofree char *text = NULL;
	guint64 pid;
	if (file_read(AT_FDCWD, path, FILE_LINKS_NONE, 64, &text, NULL, NULL) < 0 ||
	    !g_ascii_string_to_unsigned(g_strstrip(text), 10, 2, G_MAXINT32, &pid, NULL))
		return 0;
	size_t length = 0;
	g_autofree char *command = process_command((pid_t)pid, &length);
	g_autofree char *mark = g_strdup_printf("--pid-file=%s", path);
	for (size_t at = 0; command && at < length; at += strlen(command + at) + 1)
		if (strcmp(command + at, mark) == 0)
			return (pid_t)pid;
	if (command && length == 0)
		wait_for_end((pid_t)pid);
	return 0;
}

static gboolean has_command(pid_t pid, const GPtrArray *argv)
{
	size_t length = 0, at = 0;
	g_autofree char *command = process_command(pid, &length);
	if (!command)
		return FALSE;
	for (guint i = 0; i + 1 < argv->len; i++) {
		const char *word = g_ptr_array_index(argv, i);
		if (at >= length || strcmp(command + at, word) != 0)
			return FALSE;
		at += strlen(word) + 1;
	}
	return at == length;
}

/* It is no child of ours, so that it survives us: its end is seen through a pidfd. */
void dnsmasq_stop(const char *directory)
{
	pid_t pid = dnsmasq_pid(directory);
	g_autofree char *pid_file = in_directory(directory, "dnsmasq.pid");
	autofd int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (pidfd >= 0) {
		struct pollfd end = {.fd = pidfd, .events = POLLIN};
		syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
		if (poll(&end, 1, STOP_MS) == 0) {
			syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
			poll(&end, 1, STOP_MS);
		}
	}
	unlink(pid_file);
}

void dnsmasq_reload(const char *directory)
{
	pid_t pid = dnsmasq_pid(directory);
	if (pid)
		kill(pid, SIGHUP);
}

static gboolean others_may_enter(const char *directory)
{
	g_autofree char *path = g_strdup(directory);
	for (char *slash = path + strlen(path); slash && slash > path; slash = strrchr(path, '/')) {
		struct stat st;
		*slash = '\0';
		if (*path && (stat(path, &st) < 0 || !(st.st_mode & S_IXOTH)))
			return FALSE;
	}
	return TRUE;
}

const char *dnsmasq_user(const char *directory)
{
	static const char *const users[] = {"incus", "dnsmasq"};
	if (!others_may_enter(directory))
		return NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
		struct passwd entry, *found = NULL;
		char buffer[4096];
		if (getpwnam_r(users[i], &entry, buffer, sizeof buffer, &found) == 0 && found)
			return users[i];
	}
	return NULL;
}

/* Gives the text of raw.dnsmasq to the file; *ret_changed tells whether it was another. */
static int write_raw(const DnsmasqSetup *setup, gboolean *ret_changed, Error **err)
{
	const char *raw = config_get(setup->config, "raw.dnsmasq");
	g_autofree char *path = in_directory(setup->directory, "dnsmasq.raw");
	g_autofree char *wanted = g_strdup_printf("%s\n", raw ? raw : "");
	g_autofree char *present = NULL;
	file_read(AT_FDCWD, path, FILE_LINKS_NONE, SMALL_MAX, &present, NULL, NULL);
	*ret_changed = g_strcmp0(wanted, present) != 0;
	if (!*ret_changed)
		return 0;
	return file_write_atomic(AT_FDCWD, path, wanted, strlen(wanted), 0644, err);
}

/* dnsmasq goes into the background by itself once it serves, so the end of this call is readiness.
 */
static int start(const GPtrArray *argv, Error **err)
{
	g_autofree char *program = g_find_program_in_path("dnsmasq");
	if (!program && g_file_test("/usr/sbin/dnsmasq", G_FILE_TEST_IS_EXECUTABLE))
		program = g_strdup("/usr/sbin/dnsmasq");
	if (!program)
		return error_set(err, ERROR_INTERNAL,
		    "The program \"dnsmasq\" is missing; install the package \"dnsmasq-base\"");
	g_autofree const char **words = g_new0(const char *, argv->len);
	for (guint i = 0; i < argv->len; i++)
		words[i] = g_ptr_array_index(argv, i);
	words[0] = program;
	Spawn spawn = {.argv = words, .timeout_ms = START_MS};
	return spawn_run(&spawn, NULL, NULL, err);
}

int dnsmasq_apply(const DnsmasqSetup *setup, Error **err)
{
	gboolean raw_changed = FALSE;
	if (!dnsmasq_wanted(setup->config)) {
		dnsmasq_stop(setup->directory);
		return 0;
	}
	g_autofree char *hosts = in_directory(setup->directory, "dnsmasq.hosts");
	if (file_mkdir_all(hosts, 0755, err) < 0 || write_raw(setup, &raw_changed, err) < 0)
		return -1;
	g_autoptr(GPtrArray) argv = dnsmasq_command(setup);
	g_autofree char *program = g_find_program_in_path("dnsmasq");
	pid_t pid = dnsmasq_pid(setup->directory);
	if (program) {
		g_free(argv->pdata[0]);
		argv->pdata[0] = g_strdup(program);
	}
	if (pid && !raw_changed && has_command(pid, argv)) {
		kill(pid, SIGHUP);
		return 0;
	}
	dnsmasq_stop(setup->directory);
	return start(argv, err);
}

int dnsmasq_host_set(const char *directory, const char *name, const char *line, Error **err)
{
	g_autofree char *path = g_strdup_printf("%s/dnsmasq.hosts/%s", directory, name);
	g_autofree char *present = NULL;
	if (!line) {
		if (unlink(path) == 0)
			dnsmasq_reload(directory);
		return 0;
	}
	file_read(AT_FDCWD, path, FILE_LINKS_NONE, SMALL_MAX, &present, NULL, NULL);
	if (g_strcmp0(present, line) == 0)
		return 0;
	g_autofree char *hosts = in_directory(directory, "dnsmasq.hosts");
	if (file_mkdir_all(hosts, 0755, err) < 0 ||
	    file_write_atomic(AT_FDCWD, path, line, strlen(line), 0644, err) < 0)
		return -1;
	dnsmasq_reload(directory);
	return 0;
}

int dnsmasq_leases(const char *directory, GPtrArray **ret_leases, Error **err)
{
	g_autofree char *path = in_directory(directory, "dnsmasq.leases");
	g_autofree char *text = NULL;
	g_autoptr(Error) why = NULL;
	if (file_read(AT_FDCWD, path, FILE_LINKS_NONE, LEASES_MAX, &text, NULL, &why) < 0 &&
	    why->kind != ERROR_NOT_FOUND)
		return error_propagate(err, g_steal_pointer(&why));
	*ret_leases = dnsmasq_leases_parse(text ? text : "");
	return 0;
}
