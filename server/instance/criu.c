#include "server/instance/criu.h"
#include "sdk/base/spawn.h"
#include "server/key/server.h"
#include "server/helper/client.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { OLDEST = 4, LOG_LIMIT = 16 << 20 };

/* ---- where it is ---- */

static GMutex asked_lock;
static struct {
	char *program, *version, *problem; /* one of the two last */
	struct timespec changed;
} asked;

static char *beside(const char *relative)
{
	g_autofree char *spawner = spawner_program();
	g_autofree char *folder = g_path_get_dirname(spawner);
	g_autofree char *path = g_build_filename(folder, relative, NULL);
	return g_file_test(path, G_FILE_TEST_IS_EXECUTABLE) ? g_steal_pointer(&path) : NULL;
}

static char *find_program(Daemon *d, Error **err)
{
	/* Of a package, and of a build: where dist/install-criu is told to put it. */
	static const char *const places[] = { "criu/bin/criu", "../../criu/bin/criu" };
	g_autofree char *set = server_config_get(d->config, "core.criu_path");
	if (set && *set) {
		if (g_file_test(set, G_FILE_TEST_IS_EXECUTABLE))
			return g_steal_pointer(&set);
		error_set(err, ERROR_UNSUPPORTED,
		    "CRIU is not at \"%s\", where \"core.criu_path\" says", set);
		return NULL;
	}
	for (guint n = 0; n < G_N_ELEMENTS(places); n++) {
		char *path = beside(places[n]);
		if (path)
			return path;
	}
	char *path = g_find_program_in_path("criu");
	if (!path)
		error_set(err, ERROR_UNSUPPORTED,
		    "CRIU is not installed: run \"install-criu\", or install version 4 or later and set \"core.criu_path\"");
	return path;
}

static char *ask_version(const char *program, Error **err)
{
	const char *argv[] = { program, "--version", NULL };
	Spawn spawn = { .argv = argv, .output_limit = 4096, .timeout_ms = 10000 };
	g_autofree char *text = NULL;
	char version[64];
	Error *error = NULL;
	if (spawn_run(&spawn, &text, NULL, &error) < 0) {
		error_set(err, ERROR_UNSUPPORTED, "CRIU at \"%s\" does not run: %s", program,
		    error->message);
		error_free(error);
		return NULL;
	}
	const char *at = strstr(text, "Version: ");
	if (!at || sscanf(at, "Version: %63[0-9.]", version) != 1) {
		error_set(err, ERROR_UNSUPPORTED, "\"%s\" is not CRIU", program);
		return NULL;
	}
	return g_strdup(version);
}

int criu_find(Daemon *d, char **ret_program, char **ret_version, Error **err)
{
	struct stat st;
	g_autofree char *program = find_program(d, err);
	g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&asked_lock);
	if (!program)
		return -1;
	if (stat(program, &st) < 0)
		return error_set(err, ERROR_UNSUPPORTED, "CRIU at \"%s\" went away", program);
	if (g_strcmp0(program, asked.program) != 0 ||
	    memcmp(&st.st_mtim, &asked.changed, sizeof(st.st_mtim)) != 0) {
		g_autoptr(Error) error = NULL;
		g_free(asked.program);
		g_free(asked.version);
		g_free(asked.problem);
		asked.program = g_strdup(program);
		asked.version = ask_version(program, &error);
		asked.problem = error ? g_strdup(error->message) : NULL;
		asked.changed = st.st_mtim;
	}
	if (!asked.version)
		return error_set(err, ERROR_UNSUPPORTED, "%s", asked.problem);
	if (atoi(asked.version) < OLDEST)
		return error_set(err, ERROR_UNSUPPORTED,
		    "CRIU %s at \"%s\" is too old for this system: version %d or later is needed",
		    asked.version, program, OLDEST);
	*ret_program = g_steal_pointer(&program);
	*ret_version = g_strdup(asked.version);
	return 0;
}

static char *describe(Daemon *d)
{
	g_autofree char *program = NULL, *version = NULL;
	g_autoptr(Error) error = NULL;
	return criu_find(d, &program, &version, &error) == 0 ?
	    g_strdup_printf("%s (%s)", version, program) :
	    g_strdup_printf("none (%s)", error->message);
}

/* GET /1.0 is asked often, and what is installed changes seldom: a second's answer will do. */
char *criu_describe(Daemon *d)
{
	static GMutex lock;
	static struct {
		char *path, *text; /* core.criu_path, and what was said */
		gint64 until_us;
	} said;
	g_autofree char *path = server_config_get(d->config, "core.criu_path");
	g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
	gint64 now = g_get_monotonic_time();
	if (!said.text || now > said.until_us || g_strcmp0(path, said.path) != 0) {
		g_free(said.text);
		g_free(said.path);
		said.text = describe(d);
		said.path = g_steal_pointer(&path);
		said.until_us = now + G_USEC_PER_SEC;
	}
	return g_strdup(said.text);
}

/* ---- what its log means ---- */

/* In `says`, %1 and %2 stand for what the pattern's parentheses hold, %p for the process in
 * question, and %q for the one whose number %1 is. */
static const struct {
	const char *pattern, *says;
} reasons[] = {
	{ "Can't dump nested (\\w+) namespace for (\\d+)",
	    "Process %q2 has a %1 namespace of its own. Of a service, turn off what makes one (ProtectHostname, PrivateUsers, PrivateNetwork, PrivateIPC): \"migration.stateful=true\" does that for all of them from the next start on" },
	{ "Can't dump nested time namespace for (\\d+)",
	    "Process %q1 has a time namespace of its own" },
	{ "Nested mount namespaces are not supported",
	    "A process has mounts of its own in a user namespace of its own: end it" },
	{ "Found slave peer index (\\d+) without",
	    "%p uses a terminal whose other end is outside of the instance, as of \"incus exec\" or \"incus console\": end it, or start it without a terminal" },
	{ "Found dangling tty with sid (\\d+) pgid (\\d+) \\((.*?)\\)",
	    "A process uses the terminal of session %1, which began outside of the instance: end it, or start it with setsid" },
	{ "ctty inheritance detected sid/pgrp \\d+ \\(ctty pid_real (\\d+) pty pid_real (\\d+)",
	    "Process %q1 keeps /dev/tty open on a terminal that process %q2 has open too, as ash and dash do (bash does not): log out there" },
	{ "ctty inheritance detected sid/pgrp (\\d+)",
	    "A shell (session %1 inside) works on a terminal that it does not have open any more: log out there" },
	{ "A session leader of (\\d+)\\((\\d+)\\) is outside",
	    "Process %q1 belongs to a session that began outside of the instance, by \"incus exec\": end it, or start it with setsid" },
	{ "Can't dump (?:file|fd) .*anon_inode:\\[?([\\w-]+)",
	    "%p has an open %1, which cannot be saved: end it" },
	{ "(anon_inode:\\S+)", "%p has an open %1, which cannot be saved: end it" },
	{ "Can't dump file (\\d+) of that type \\[(\\w+)\\]",
	    "%p has file descriptor %1 open, of a kind (%2) that cannot be saved: end it" },
	{ "Can't lookup mount=\\d+ for fd=(\\d+) path=(\\S+)",
	    "%p has the host's \"%2\" open (as file descriptor %1), as programs under \"incus exec\" may: end it" },
	{ "Can't dump ghost file (.*) of (\\d+) size",
	    "%p has the deleted file \"%1\" open, of %2 bytes, which is too big to be saved with it" },
	{ "FS mnt (\\S+) dev \\S+ root (\\S+) unsupported",
	    "The file system mounted at \"%1\" cannot be saved: unmount it" },
	{ "Mount \\d+ (\\S+) \\(master_id: .*unreachable sharing",
	    "The mount at \"%1\" gets mounts from outside (propagation): make it private" },
	{ "Mount \\d+:(\\S+) is autodetected external mount",
	    "What is mounted at \"%1\" cannot be found on this server" },
	{ "Unsupported link (\\d+) \\(type \\d+ kind (\\S+)\\)",
	    "The network interface number %1 is of kind \"%2\", which cannot be saved: remove it" },
	{ "Unsupported proto (\\d+) for socket",
	    "%p has a socket of protocol %1, which cannot be saved" },
	{ "Unsupported socket family: (\\d+)",
	    "%p has a socket of address family %1, which cannot be saved" },
	{ "External socket is used|Can't dump half of stream unix|name-less external socket",
	    "%p is connected by a unix socket with a process outside of the instance: disconnect it" },
	{ "(\\d+) \\(comm (\\S+)\\).*Operation not permitted",
	    "Process %2 (%1) is being debugged: detach the debugger" },
	{ "Can't get 1:(?:16|34) opt",
	    "This kernel needs CRIU 4.2 or later for a container with network sockets" },
	{ "Can't dump corked", "%p has a corked socket: try again" },
	{ "Zombies with threads", "A process is just ending: try again" },
	{ "Unable to freeze cgroup",
	    "A process does not stand still, for it waits for a disk or a file server" },
	{ "Too many opened files|No space left on device",
	    "There is not enough space in the instance's volume" },
	{ "Disk quota exceeded", "The instance's \"size\" leaves no room for its memory" },
	/* of a restore */
	{ "No mapping for \\d+:\\S+ mountpoint",
	    "A disk that was mounted when the state was saved is no device of the instance any more: add it again, or start without the state (--stateless)" },
	{ "File (\\S+) has bad (?:size|mode|build-ID)",
	    "The file \"%1\" changed since the state was saved" },
	{ "Can't open file (\\S+) on restore|Can't open \\S+ to (\\S+)",
	    "The file \"%1\" is not there any more" },
	{ "(?:CPU|cpu) .*(?:capabilities|instruction).*(?:not match|mismatch)",
	    "The state is of another kind of processor" },
	{ "move_veth|Can't restore link|Can't find.*netdev",
	    "A network interface that the state has cannot be made: add the nic device again" },
	{ "Can't bind .*Address already in use", "An address that the state has is in use" },
};

/* The last process that CRIU began with before `at`. */
static char *process_before(const char *log, const char *at)
{
	g_autofree char *before = g_strndup(log, (gsize)(at - log));
	char *line = g_strrstr(before, "umping task (pid: ");
	long pid;
	char name[32];
	if (!line || sscanf(line, "umping task (pid: %ld comm: %31[^)])", &pid, name) != 2)
		return g_strdup("A process");
	return g_strdup_printf("Process %s (%ld)", name, pid);
}

/* "NAME (PID)" of a process that perhaps is there no more. */
static char *process_named(const char *log, const char *number)
{
	g_autofree char *start = g_strdup_printf("umping task (pid: %s comm: ", number);
	g_autofree char *path = g_strdup_printf("/proc/%s/comm", number);
	g_autofree char *name = NULL;
	char known[32];
	const char *line = strstr(log, start);
	if (line && sscanf(line + strlen(start), "%31[^)]", known) == 1)
		return g_strdup_printf("%s (%s)", known, number);
	if (g_file_get_contents(path, &name, NULL, NULL))
		return g_strdup_printf("%s (%s)", g_strchomp(name), number);
	return g_strdup(number);
}

static char *fill(const char *says, const char *log, const GMatchInfo *match, const char *at)
{
	GString *text = g_string_new(NULL);
	for (; *says; says++) {
		g_autofree char *part = NULL;
		if (*says != '%') {
			g_string_append_c(text, *says);
			continue;
		}
		if (*++says == 'p') {
			part = process_before(log, at);
		} else if (*says == 'q') {
			g_autofree char *number = g_match_info_fetch(match, *++says - '0');
			part = process_named(log, number ? number : "");
		} else {
			part = g_match_info_fetch(match, *says - '0');
		}
		g_string_append(text, part ? part : "");
	}
	return g_string_free(text, FALSE);
}

static char *reason_of(const char *log, const char *at, const char *line)
{
	for (guint n = 0; n < G_N_ELEMENTS(reasons); n++) {
		g_autoptr(GRegex) regex = g_regex_new(reasons[n].pattern, 0, 0, NULL);
		g_autoptr(GMatchInfo) match = NULL;
		if (regex && g_regex_match(regex, line, 0, &match))
			return fill(reasons[n].says, log, match, at);
	}
	return NULL;
}

/* Nothing is wrong when these are missing. */
static gboolean harmless(const char *line)
{
	static const char *const known[] = { "tables-save", "tables-legacy-save",
		"rlimit: Can't setup", "Dumping FAILED", "Restoring FAILED", "tables-restore" };
	for (guint n = 0; n < G_N_ELEMENTS(known); n++)
		if (strstr(line, known[n]))
			return TRUE;
	return FALSE;
}

void criu_explain(const char *path, Error **err)
{
	g_autofree char *log = NULL, *first = NULL;
	gsize length;
	if (!err || !*err || !g_file_get_contents(path, &log, &length, NULL) ||
	    length > LOG_LIMIT || !g_utf8_validate(log, (gssize)length, NULL))
		return;
	for (const char *at = log; (at = strstr(at, "Error ("));) {
		g_autofree char *line = g_strndup(at, strcspn(at, "\n"));
		const char *said = strstr(line, "): ");
		g_autofree char *reason = harmless(line) ? NULL : reason_of(log, at, line);
		if (reason) {
			g_free((*err)->message);
			(*err)->message = g_steal_pointer(&reason);
			return;
		}
		if (!first && said && !harmless(line))
			first = g_strdup(said + 3);
		at += strlen(line);
	}
	if (first) {
		char *message = g_strdup_printf("%s: %s", (*err)->message, first);
		g_free((*err)->message);
		(*err)->message = message;
	}
}
