/*
 * incusd: reads the command line, starts the daemon, and waits for signals. SIGTERM and SIGINT stop
 * the daemon and leave instances running; SIGPWR stops the instances too.
 */
#include "sdk/base/error.h"
#include "sdk/base/log.h"
#include "server/daemon.h"
#include "server/tool.h"
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

static const char usage[] =
    "Usage: incusd [flags]\n"
    "       incusd activateifneeded | shutdown | version | waitready [flags]\n\n"
    "The container and virtual machine manager's daemon. Run it as root; without a command it\n"
    "serves until it gets SIGTERM (instances go on running) or SIGPWR (instances are stopped).\n\n"
    "Flags:\n"
    "      --group NAME     group that may use the unix socket\n"
    "      --logfile PATH   write the log there instead of to standard error\n"
    "      --syslog         write the log to syslog too\n"
    "      --trace NAME     accepted for compatibility; turns debug on\n"
    "  -d, --debug          log debug messages\n"
    "  -v, --verbose        log information messages\n"
    "      --version        print the version\n"
    "  -h, --help           print this help\n";

typedef struct Options {
	char *group;
	const char *logfile;
	LogLevel level;
	gboolean syslog;
} Options;

static int usage_error(const char *what, const char *argument)
{
	fprintf(stderr, "Error: %s \"%s\"\n\n%s", what, argument, usage);
	return 1;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, Options *options)
{
	options->level = LOG_LEVEL_WARN;
	for (int i = 1; i < argc; i++) {
		char *a = argv[i];
		char *value = strchr(a, '=');
		size_t length = value ? (size_t)(value - a) : strlen(a);
		gboolean takes_value = !strncmp(a, "--group", length) ||
		    !strncmp(a, "--logfile", length) || !strncmp(a, "--trace", length);
		if (length > 3 && takes_value) {
			value = value ? value + 1 : i + 1 < argc ? argv[++i] : NULL;
			if (!value)
				return usage_error("Missing value of flag", a);
			if (a[2] == 'g')
				options->group = value;
			else if (a[2] == 'l')
				options->logfile = value;
			else
				options->level = LOG_LEVEL_DEBUG;
		} else if (!strcmp(a, "--debug") || !strcmp(a, "-d")) {
			options->level = LOG_LEVEL_DEBUG;
		} else if (!strcmp(a, "--verbose") || !strcmp(a, "-v")) {
			options->level = MIN(options->level, LOG_LEVEL_INFO);
		} else if (!strcmp(a, "--syslog")) {
			options->syslog = TRUE;
		} else if (!strcmp(a, "--version")) {
			puts(INCUS_VERSION);
			return 0;
		} else if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
			fputs(usage, stdout);
			return 0;
		} else if (*a && strcmp(a, "daemon")) {
			/* harnesses pass an empty positional argument */
			return usage_error(*a == '-' ? "Unknown flag" : "Unknown command", a);
		}
	}
	return -1;
}

static int wait_for_stop(sigset_t *signals)
{
	for (;;) {
		int signal_number;
		if (sigwait(signals, &signal_number))
			continue;
		if (signal_number != SIGHUP && signal_number != SIGPIPE)
			return signal_number;
	}
}

static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGQUIT);
	sigaddset(signals, SIGPWR);
	sigaddset(signals, SIGHUP);
	sigprocmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Many threads that rarely work at once: by default the C library would give each its own arena,
 * and keep buffers of up to 32 MiB in them after one large reply. */
static void tune_memory(void)
{
	enum { ARENAS = 4, LARGE = 8 * 1024 * 1024 };
	mallopt(M_ARENA_MAX, ARENAS);
	mallopt(M_MMAP_THRESHOLD, LARGE);
	mallopt(M_TRIM_THRESHOLD, LARGE);
}

static void raise_limits(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(0022);
}

static void write_syslog(LogLevel level, const char *message, const char *const *pairs, void *data)
{
	static const int priorities[] = {LOG_DEBUG, LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};
	g_autoptr(GString) line = g_string_new(message);
	for (gsize i = 0; pairs[i] && pairs[i + 1]; i += 2)
		g_string_append_printf(line, " %s=\"%s\"", pairs[i], pairs[i + 1]);
	syslog(priorities[level], "%s", line->str);
}

static void start_syslog(void)
{
	openlog("incusd", LOG_PID, LOG_DAEMON);
	log_add_sink(write_syslog, NULL);
}

static int run(const Options *options)
{
	Daemon daemon = {.group = options->group};
	g_autoptr(Error) error = NULL;
	sigset_t signals;

	block_signals(&signals);
	tune_memory();
	raise_limits();
	g_mutex_init(&daemon.stop_lock);
	g_cond_init(&daemon.stop_changed);
	if (daemon_start(&daemon, &error) < 0) {
		fprintf(stderr, "Error: %s\n", error->message);
		return 1;
	}
	int signal_number = wait_for_stop(&signals);
	log_info("Stopping the daemon", "signal", strsignal(signal_number));
	daemon_stop(&daemon, signal_number == SIGPWR || daemon.stop_state, daemon.stop_force);
	return 0;
}

int main(int argc, char **argv)
{
	Options options = {0};
	if (argc > 1 && tool_known(argv[1]))
		return tool_run(argc - 1, argv + 1);
	int status = parse_options(argc, argv, &options);
	if (status >= 0)
		return status;
	log_set_level(options.level);
	if (options.logfile && log_set_file(options.logfile) < 0) {
		fprintf(stderr, "Error: Cannot open log file \"%s\": %s\n", options.logfile,
		    strerror(errno));
		return 1;
	}
	if (options.syslog)
		start_syslog();
	if (geteuid() != 0) {
		fputs("Error: This must be run as root\n", stderr);
		return 1;
	}
	return run(&options);
}
