#include "migrate/target.h"
#include "migrate/mounts.h"
#include "migrate/pool_files.h"
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
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { START_TIMEOUT_S = 300 };
static const char default_directory[] = "/var/lib/incus";

int target_find(const char *directory, Target *ret_target, Error **err)
{
	gboolean systemd = tool_has_unit("incus.service");
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
	ret_target->running = ret_target->was_running = tool_listens(path);
	return 0;
}

char *target_way_back(const Target *target)
{
	return strcmp(target->directory, default_directory) == 0 ?
	    g_strdup("lxd-to-incus --rollback") :
	    g_strdup_printf("lxd-to-incus --target %s --rollback", target->directory);
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
	const char *name = NULL;
	do /* our own is there when LXD is looked at once more */
		name = dir ? g_dir_read_name(dir) : NULL;
	while (g_strcmp0(name, "lxd-to-incus") == 0);
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

/* The last one starts instances with the host and stops them with it. */
static const char *const units[] = { "incus.socket", "incus.service", "incus-startup.service" };

static int systemctl(char **ret_output, Error **err, const char *verb, ...) G_GNUC_NULL_TERMINATED;
static int systemctl(char **ret_output, Error **err, const char *verb, ...)
{
	va_list list;
	g_autoptr(GPtrArray) words = g_ptr_array_new();
	g_ptr_array_add(words, (void *)"systemctl");
	va_start(list, verb);
	for (const char *word = verb; word; word = va_arg(list, const char *))
		g_ptr_array_add(words, (void *)word);
	va_end(list);
	g_ptr_array_add(words, NULL);
	Spawn spawn = { .argv = (const char *const *)words->pdata,
		.timeout_ms = 2 * START_TIMEOUT_S * 1000 };
	return spawn_run(&spawn, ret_output, NULL, err);
}

static int start_units(Error **err)
{
	return systemctl(NULL, err, "enable", "--now", units[0], units[1],
	    tool_has_unit(units[2]) ? units[2] : NULL, NULL);
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

static int shut_down(const Target *target, int process, Error **err)
{
	incus_client *client = NULL;
	incus_error *problem = NULL;
	Pb__ShutdownRequest request = PB__SHUTDOWN_REQUEST__INIT;
	int result = connect_client(target, &client, &problem);
	if (result == 0)
		result = incus_call_unary(
		    client, incus_method("Shutdown"), &request, NULL, &problem);
	incus_client_free(client);
	/* It answers when it is about to end, or goes before it could. */
	if (result < 0 && !incus_error_is(problem, "UNAVAILABLE"))
		return take_error(problem, err);
	incus_error_free(problem);
	return wait_gone(process, err);
}

/* systemd may listen for the daemon, so only systemd knows its process. Stopping incus.service
 * alone would leave instances running. */
static int stop_units(const Target *target, Error **err)
{
	g_autofree char *main_pid = NULL;
	if (tool_has_unit(units[2]) && systemctl(NULL, err, "stop", units[2], NULL) < 0)
		return -1;
	if (systemctl(&main_pid, err, "show", "--property=MainPID", "--value", units[1], NULL) < 0)
		return -1;
	pid_t pid = (pid_t)g_ascii_strtoll(main_pid, NULL, 10);
	autofd int process = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (process >= 0 && shut_down(target, process, err) < 0)
		return -1;
	return systemctl(NULL, err, "stop", units[0], units[1], NULL);
}

static pid_t daemon_pid; /* of the one that was started here; it is our child */

int target_leave(const Target *target, Error **err)
{
	if (daemon_pid > 0)
		spawn_stop(daemon_pid, START_TIMEOUT_S * 1000);
	daemon_pid = 0;
	return 0;
}

/* One that a run which was killed had started goes on; it ends as if this run had started it. */
static int start_daemon(const Target *target, Error **err)
{
	daemon_pid = unheard_daemon(target);
	if (daemon_pid > 0)
		return 0;
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

/* The one that was started here, or by a run before this one, has ended already. */
static gboolean daemon_died(void)
{
	if (daemon_pid <= 0)
		return FALSE;
	pid_t ended = waitpid(daemon_pid, NULL, WNOHANG);
	if (ended != daemon_pid && (ended == 0 || kill(daemon_pid, 0) == 0))
		return FALSE;
	daemon_pid = 0;
	return TRUE;
}

int target_start(const Target *target, Error **err)
{
	if ((target->systemd ? start_units(err) : start_daemon(target, err)) < 0)
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

/* ---- the end of it ---- */

/* Its instances' monitors, its name servers: they outlive a daemon that is killed. */
static gboolean left_behind(const Target *target)
{
	g_autofree char *folder = g_strconcat(target->directory, "/", NULL);
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	for (const char *name; proc && (name = g_dir_read_name(proc));) {
		g_autofree char *path = g_build_filename("/proc", name, "cmdline", NULL);
		g_autofree char *line = NULL;
		gsize length = 0;
		if (!g_ascii_isdigit(*name) || (pid_t)g_ascii_strtoll(name, NULL, 10) == getpid() ||
		    !g_file_get_contents(path, &line, &length, NULL))
			continue;
		if (length && memmem(line, length, folder, strlen(folder)))
			return TRUE;
	}
	return FALSE;
}

static int stop_daemon(const Target *target, Error **err)
{
	autofd int process = open_daemon(target);
	if (process >= 0)
		return shut_down(target, process, err);
	if (unheard_daemon(target) == 0 && !left_behind(target))
		return 0;
	g_autoptr(Error) problem = NULL;
	if (target_start(target, &problem) < 0) /* it may have died of what is to be undone */
		return left_behind(target) ?
		    error_set(err, ERROR_UNAVAILABLE,
			"Instances run that Incus left, and it cannot be started to stop them: %s",
			problem->message) :
		    0;
	autofd int started = open_daemon(target);
	return started < 0 ? error_set(err, ERROR_UNAVAILABLE, "Incus does not answer") :
			     shut_down(target, started, err);
}

int target_stop(const Target *target, Error **err)
{
	if ((target->systemd ? stop_units(target, err) : stop_daemon(target, err)) < 0)
		return -1;
	daemon_pid = 0;
	return mounts_release(NULL, target->directory, NULL, err) < 0 ?
	    -1 :
	    pool_files_release(NULL, target->directory, err);
}
