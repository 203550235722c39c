#include "migrate/target.h"
#include "migrate/source.h"
#include "migrate/tool.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "sdk/base/spawn.h"
#include "server/db/db.h"
#include "incus/v1/server.pb-c.h"
#include <errno.h>
#include <incus/call.h>
#include <incus/client.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { START_TIMEOUT_S = 300 };
static const char default_directory[] = "/var/lib/incus";

int target_find(const char *directory, Target *ret_target, Error **err)
{
	static const char *const units[] = { "/etc/systemd/system/incus.service",
		"/usr/lib/systemd/system/incus.service", "/lib/systemd/system/incus.service" };
	gboolean systemd = FALSE;
	for (size_t i = 0; i < G_N_ELEMENTS(units); i++)
		systemd = systemd || access(units[i], F_OK) == 0;
	if (!directory && !systemd)
		return error_set(err, ERROR_NOT_FOUND,
		    "No incus.service was found: install Incus, or name a directory with --target");
	gboolean usual = !directory || strcmp(directory, default_directory) == 0;
	*ret_target = (Target){
		.systemd = usual && systemd,
		.directory = g_strdup(directory ? directory : default_directory),
	};
	const char *dir = ret_target->directory;
	ret_target->logs = usual ? g_strdup("/var/log/incus") : g_build_filename(dir, "logs", NULL);
	ret_target->cache = usual ? g_strdup("/var/cache/incus") :
				    g_build_filename(dir, "cache", NULL);
	g_autofree char *path = g_build_filename(dir, "unix.socket", NULL);
	ret_target->exists = access(dir, F_OK) == 0;
	ret_target->running = ret_target->was_running = source_answers(path);
	return 0;
}

void target_clear(Target *target)
{
	g_free(target->directory);
	g_free(target->logs);
	g_free(target->cache);
	*target = (Target){ 0 };
}

/* ---- what is there already ---- */

static int count_content(Tx *tx, void *data, Error **err)
{
	static const struct {
		const char *sql, *what;
	} counts[] = {
		{ "SELECT count(*) - 1 FROM projects", "projects" },
		{ "SELECT count(*) - 1 FROM profiles", "profiles" },
		{ "SELECT count(*) FROM instances", "instances" },
		{ "SELECT count(*) FROM storage_pools", "storage pools" },
		{ "SELECT count(*) FROM networks", "networks" },
		{ "SELECT count(*) FROM images", "images" },
	};
	GString *found = data;
	g_string_truncate(found, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
		int64_t n;
		if (tx_int(tx, &n, err, counts[i].sql, "") < 0)
			return -1;
		if (n > 0)
			g_string_append_printf(
			    found, "%s%d %s", found->len ? ", " : "", (int)n, counts[i].what);
	}
	return 0;
}

/* A directory that is no Incus's is not to be emptied. */
static char *foreign_content(const char *directory)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name = dir ? g_dir_read_name(dir) : NULL;
	return name ? g_strdup_printf("\"%s\", which is not Incus's", name) : NULL;
}

int target_content(const Target *target, char **ret_content, Error **err)
{
	Db *db = NULL;
	*ret_content = NULL;
	if (!target->exists)
		return 0;
	if (db_open_existing(target->directory, &db, err) < 0)
		return -1;
	if (!db) {
		*ret_content = foreign_content(target->directory);
		return 0;
	}
	GString *found = g_string_new(NULL);
	int result = db_read(db, count_content, found, err);
	db_close(db);
	*ret_content = g_string_free(found, result < 0 || found->len == 0);
	return result;
}

/* ---- its daemon ---- */

static int connect_client(const Target *target, incus_client **ret, incus_error **err)
{
	g_autofree char *path = g_build_filename(target->directory, "unix.socket", NULL);
	return incus_connect_unix(path, ret, err);
}

static int take_error(incus_error *problem, Error **err)
{
	error_set(err, ERROR_INTERNAL, "%s", problem ? problem->message : "no reply");
	incus_error_free(problem);
	return -1;
}

static int systemctl(const char *verb, Error **err)
{
	const char *const argv[] = { "systemctl", verb, "incus.service", "incus.socket", NULL };
	Spawn spawn = { .argv = argv, .timeout_ms = START_TIMEOUT_S * 1000 };
	return spawn_run(&spawn, NULL, NULL, err);
}

/* One that was started for this directory and does not listen yet: this program may have been
 * killed just after it started it. */
static pid_t unheard_daemon(const Target *target)
{
	g_autofree char *program = tool_helper("incusd");
	g_autofree char *variable = g_strconcat("INCUS_DIR=", target->directory, NULL);
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	for (const char *name; proc && (name = g_dir_read_name(proc));) {
		g_autofree char *exe = g_build_filename("/proc", name, "exe", NULL);
		g_autofree char *environment = g_build_filename("/proc", name, "environ", NULL);
		g_autofree char *path = g_file_read_link(exe, NULL), *text = NULL;
		gsize length;
		if (g_strcmp0(path, program) != 0 ||
		    !g_file_get_contents(environment, &text, &length, NULL))
			continue;
		for (const char *at = text; at < text + length; at += strlen(at) + 1)
			if (strcmp(at, variable) == 0)
				return (pid_t)g_ascii_strtoll(name, NULL, 10);
	}
	return 0;
}

/* Whoever listens there. -1: nobody. */
static int open_daemon(const Target *target)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	g_autofree char *path = g_build_filename(target->directory, "unix.socket", NULL);
	autofd int fd = unix_connect(path, 0);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

static int wait_gone(int process, Error **err)
{
	struct pollfd poller = { .fd = process, .events = POLLIN };
	gint64 end = g_get_monotonic_time() + START_TIMEOUT_S * G_USEC_PER_SEC;
	while (poll(&poller, 1, 1000) <= 0) {
		if (tool_check_stop(err) < 0)
			return -1;
		if (g_get_monotonic_time() > end)
			return error_set(err, ERROR_TIMEOUT, "Incus does not stop");
	}
	return 0;
}

int target_stop(const Target *target, Error **err)
{
	incus_client *client = NULL;
	incus_error *problem = NULL;
	autofd int process = open_daemon(target);
	if (target->systemd && systemctl("stop", err) < 0)
		return -1;
	if (process < 0) {
		pid_t unheard = unheard_daemon(target);
		if (unheard > 0)
			spawn_stop(unheard, START_TIMEOUT_S * 1000);
		return 0;
	}
	Pb__ShutdownRequest request = PB__SHUTDOWN_REQUEST__INIT;
	int result = connect_client(target, &client, &problem);
	if (result == 0)
		result = incus_call_unary(
		    client, incus_method("Shutdown"), &request, NULL, &problem);
	incus_client_free(client);
	if (result < 0 && !target->systemd)
		return take_error(problem, err);
	incus_error_free(problem);
	return wait_gone(process, err);
}

static pid_t daemon_pid; /* of the one that was started here; it is our child */

int target_leave(const Target *target, Error **err)
{
	if (daemon_pid > 0)
		spawn_stop(daemon_pid, START_TIMEOUT_S * 1000);
	daemon_pid = 0;
	return 0;
}

static int start_daemon(const Target *target, Error **err)
{
	g_autofree char *program = tool_helper("incusd");
	g_autofree char *log = g_build_filename(target->directory, "incusd.log", NULL);
	const char *const argv[] = { program, "--logfile", log, NULL };
	g_auto(GStrv)
	    environment = g_environ_setenv(g_get_environ(), "INCUS_DIR", target->directory, TRUE);
	Spawn spawn = { .argv = argv, .environment = (const char *const *)environment };
	return spawn_start(&spawn, &daemon_pid, err);
}

static int ask_ready(const Target *target, incus_error **err)
{
	incus_client *client = NULL;
	if (connect_client(target, &client, err) < 0)
		return -1;
	int result = incus_call_unary(client, incus_method("GetReady"), NULL, NULL, err);
	incus_client_free(client);
	return result;
}

/* The one that was started here has ended already. */
static gboolean daemon_died(void)
{
	if (daemon_pid <= 0 || waitpid(daemon_pid, NULL, WNOHANG) != daemon_pid)
		return FALSE;
	daemon_pid = 0;
	return TRUE;
}

int target_start(const Target *target, Error **err)
{
	if ((target->systemd ? systemctl("start", err) : start_daemon(target, err)) < 0)
		return error_prefix(err, "Incus does not start");
	gint64 end = g_get_monotonic_time() + START_TIMEOUT_S * G_USEC_PER_SEC;
	incus_error *problem = NULL;
	while (ask_ready(target, &problem) < 0) {
		if (daemon_died() || g_get_monotonic_time() > end) {
			take_error(problem, err);
			return error_prefix(err, "Incus does not get ready");
		}
		incus_error_free(problem);
		problem = NULL;
		if (tool_check_stop(err) < 0)
			return -1;
		g_usleep(20000); /* the socket is not there yet */
	}
	return 0;
}
