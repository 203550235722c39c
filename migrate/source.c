#include "migrate/source.h"
#include "migrate/tool.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { STOP_TIMEOUT_MS = 600 * 1000 };

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Stopped for good: a power cut is not to start LXD on a directory that is half moved. */
#define SNAP_COMMANDS                                                                              \
	.units = WORDS("lxd"), .stop = WORDS("snap", "stop", "--disable"),                         \
	.enabled = WORDS("snap", "services"), .enable = WORDS("snap", "start", "--enable"),        \
	.start = WORDS("snap", "start"), .purge = WORDS("snap", "remove", "--purge", "lxd")

static const SourceKind kinds[] = {
	{ .name = "snap",
	    .present = WORDS("/snap/lxd", "/var/snap/lxd/common/lxd/database"),
	    .directory = "/var/snap/lxd/common/lxd",
	    .mounts = "/run/snapd/ns/lxd.mnt",
	    SNAP_COMMANDS },
	{ .name = "snap",
	    .present = WORDS("/var/lib/snapd/snap/lxd", "/var/snap/lxd/common/lxd/database"),
	    .directory = "/var/snap/lxd/common/lxd",
	    .mounts = "/run/snapd/ns/lxd.mnt",
	    SNAP_COMMANDS },
	{ .name = "Debian package",
	    .present = WORDS("/var/lib/dpkg/info/lxd.list", "/var/lib/lxd/database"),
	    .directory = "/var/lib/lxd",
	    .logs = "/var/log/lxd",
	    .units = WORDS("lxd-containers.service", "lxd.service", "lxd.socket"),
	    .stop = WORDS("systemctl", "disable", "--now"),
	    .enabled = WORDS("systemctl", "is-enabled"),
	    .enable = WORDS("systemctl", "enable"),
	    .start = WORDS("systemctl", "start"),
	    .purge = WORDS("apt-get", "remove", "--yes", "--purge", "lxd", "lxd-client") },
};
static const SourceKind plain = { .name = "directory" };

static gboolean all_there(const char *const *paths)
{
	for (; *paths; paths++)
		if (access(*paths, F_OK) < 0)
			return FALSE;
	return TRUE;
}

static int find_kind(const char *directory, const SourceKind **ret_kind, Error **err)
{
	GString *looked = g_string_new(NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		gboolean same = !directory || strcmp(directory, kinds[i].directory) == 0;
		if (same && all_there(kinds[i].present)) {
			*ret_kind = &kinds[i];
			g_string_free(looked, TRUE);
			return 0;
		}
		g_string_append_printf(
		    looked, "%s%s", looked->len ? ", " : "", kinds[i].present[0]);
	}
	g_autofree char *places = g_string_free(looked, FALSE);
	*ret_kind = &plain;
	return directory ?
	    0 :
	    error_set(err, ERROR_NOT_FOUND,
		"No LXD was found (looked for %s): name its directory with --source", places);
}

static int check_directory(const char *directory, Error **err)
{
	static const char *const needed[] = { "database/local.db", "database/global" };
	for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
		g_autofree char *path = g_build_filename(directory, needed[i], NULL);
		if (access(path, F_OK) < 0)
			return error_set(err, ERROR_INVALID,
			    "\"%s\" is not LXD's directory: it has no %s (usual ones are /var/lib/lxd "
			    "and /var/snap/lxd/common/lxd)",
			    directory, needed[i]);
	}
	return 0;
}

int source_find(const char *directory, Source *ret_source, Error **err)
{
	const SourceKind *kind;
	if (find_kind(directory, &kind, err) < 0)
		return -1;
	const char *named = directory ? directory : kind->directory;
	char *real = realpath(named, NULL);
	if (!real)
		return error_errno(
		    err, ERROR_NOT_FOUND, errno, "LXD's directory \"%s\" cannot be opened", named);
	*ret_source = (Source){
		.kind = kind, .named = g_strdup(named), .directory = g_strdup(real)
	};
	free(real);
	if (check_directory(ret_source->directory, err) < 0)
		return -1;
	if (kind->logs && access(kind->logs, F_OK) == 0)
		ret_source->logs = g_strdup(kind->logs);
	ret_source->recorded = g_strdup(ret_source->named);
	ret_source->running = source_is_running(ret_source);
	return 0;
}

void source_clear(Source *source)
{
	g_free(source->directory);
	g_free(source->named);
	g_free(source->logs);
	g_free(source->recorded);
	*source = (Source){ 0 };
}

/* A pool's name, and its source. */
static int take_place(Rows *row, void *data, Error **err)
{
	static const char *const places[] = { "/storage-pools/", "/disks/" };
	Source *source = data;
	for (size_t i = 0; i < G_N_ELEMENTS(places) && !rows_null(row, 1); i++) {
		g_autofree char *end = g_strconcat(
		    places[i], rows_text(row, 0), i ? ".img" : "", NULL);
		const char *path = rows_text(row, 1);
		if (!g_str_has_suffix(path, end) || *path != '/')
			continue;
		g_free(source->recorded);
		source->recorded = g_strndup(path, strlen(path) - strlen(end));
	}
	return 0;
}

int source_learn(Source *source, LxdDatabase *lxd, Error **err)
{
	return lxd_database_each(lxd,
	    "SELECT p.name, c.value FROM storage_pools_config c JOIN storage_pools p"
	    " ON p.id = c.storage_pool_id WHERE c.key = 'source'",
	    take_place, source, err);
}

char *source_path(const Source *source, const char *recorded)
{
	char *path = tool_moved_path(recorded, source->recorded, source->directory);
	if (!path)
		path = tool_moved_path(recorded, source->named, source->directory);
	return path ? path : g_strdup(recorded);
}

gboolean source_is_running(const Source *source)
{
	g_autofree char *path = g_build_filename(source->directory, "unix.socket", NULL);
	return tool_listens(path);
}

/* LXD ends after it has answered. */
static int ask_to_stop(const Source *source, Error **err)
{
	static const char request[] =
	    "PUT /internal/shutdown HTTP/1.0\r\nHost: lxd\r\nContent-Length: 0\r\n\r\n";
	g_autofree char *path = g_build_filename(source->directory, "unix.socket", NULL);
	autofd int fd = unix_connect(path, 0);
	char reply[4096];
	if (fd < 0 || file_write_all(fd, request, strlen(request)) < 0)
		return error_set(err, ERROR_INTERNAL, "LXD cannot be asked to stop");
	while (read(fd, reply, sizeof(reply)) > 0)
		;
	return 0;
}

/* ---- a package's own commands ---- */

/* The command and the units there are. */
static GPtrArray *command_line(const char *const *command, const char *const *units)
{
	GPtrArray *words = g_ptr_array_new();
	for (; *command; command++)
		g_ptr_array_add(words, (void *)*command);
	for (; units && *units; units++)
		if (!strchr(*units, '.') || tool_has_unit(*units))
			g_ptr_array_add(words, (void *)*units);
	g_ptr_array_add(words, NULL);
	return words;
}

static int run(const char *const *command, const char *const *units, Error **err)
{
	g_autoptr(GPtrArray) words = command_line(command, units);
	Spawn spawn = { .argv = (const char *const *)words->pdata, .timeout_ms = STOP_TIMEOUT_MS };
	return spawn_run(&spawn, NULL, NULL, err);
}

gboolean source_is_enabled(const Source *source)
{
	int status;
	g_autofree char *output = NULL;
	if (!source->kind->enabled)
		return FALSE;
	g_autoptr(GPtrArray) words = command_line(source->kind->enabled, source->kind->units);
	Spawn spawn = { .argv = (const char *const *)words->pdata, .timeout_ms = STOP_TIMEOUT_MS };
	/* systemctl's status is that of the worst unit; both programs write a unit a line. */
	return spawn_status(&spawn, &output, &status, NULL) == 0 && strstr(output, "enabled");
}

static int wait_stopped(const Source *source, Error **err)
{
	for (gint64 end = g_get_monotonic_time() + STOP_TIMEOUT_MS * 1000LL;
	     source_is_running(source);) {
		if (g_get_monotonic_time() > end)
			return error_set(err, ERROR_TIMEOUT, "LXD does not stop");
		if (tool_check_stop(err) < 0)
			return -1;
		g_usleep(50000); /* a foreign daemon gives no event when it has gone */
	}
	return 0;
}

int source_stop(const Source *source, Error **err)
{
	const SourceKind *kind = source->kind;
	if ((kind->stop ? run(kind->stop, kind->units, err) : ask_to_stop(source, err)) < 0 ||
	    wait_stopped(source, err) < 0)
		return error_prefix(err, "LXD cannot be stopped");
	return 0;
}

int source_enable(const Source *source, Error **err)
{
	return source->kind->enable ? run(source->kind->enable, source->kind->units, err) : 0;
}

int source_start(const Source *source, Error **err)
{
	if (!source->kind->start)
		return error_set(err, ERROR_UNSUPPORTED,
		    "LXD of directory \"%s\" is to be started by hand", source->directory);
	return run(source->kind->start, source->kind->units, err);
}

int source_purge(const Source *source, Error **err)
{
	return run(source->kind->purge, NULL, err);
}
