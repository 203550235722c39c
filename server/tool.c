#include "server/tool.h"
#include "sdk/base/log.h"
#include "server/activate.h"
#include "incus/v1/server.pb-c.h"
#include <google/protobuf/empty.pb-c.h>
#include <incus/call.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Tool {
	const char *name, *help;
	int (*run)(int timeout_s, gboolean force);
} Tool;

static int complain(incus_error *error)
{
	fprintf(stderr, "Error: %s\n", error->message);
	incus_error_free(error);
	return 1;
}

static int run_version(int timeout_s, gboolean force)
{
	puts(INCUS_VERSION);
	return 0;
}

/* The daemon's socket may not be there yet, so this looks again until the time is over. */
static int run_waitready(int timeout_s, gboolean force)
{
	gint64 end = timeout_s ? g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC : G_MAXINT64;
	incus_error *error = NULL;
	do {
		incus_client *client = NULL;
		incus_error_free(error);
		error = NULL;
		int result = incus_connect_unix(NULL, &client, &error);
		if (result == 0)
			result = incus_call_unary(
			    client, incus_method("GetReady"), NULL, NULL, &error);
		incus_client_free(client);
		if (result == 0)
			return 0;
		g_usleep(20000);
	} while (g_get_monotonic_time() < end);
	fprintf(stderr, "Error: Daemon still not running after %ds timeout (%s)\n", timeout_s,
	    error ? error->message : "");
	incus_error_free(error);
	return 1;
}

static int run_shutdown(int timeout_s, gboolean force)
{
	incus_client *client = NULL;
	incus_error *error = NULL;
	Pb__ShutdownRequest request = PB__SHUTDOWN_REQUEST__INIT;
	request.force = force;
	if (incus_connect_unix(NULL, &client, &error) < 0)
		return complain(error);
	incus_client_set_timeout(client, timeout_s * 1000);
	int result = incus_call_unary(client, incus_method("Shutdown"), &request, NULL, &error);
	incus_client_free(client);
	return result < 0 ? complain(error) : 0;
}

/* Connecting is what starts a daemon whose socket a service manager holds. */
static int run_activate(int timeout_s, gboolean force)
{
	const char *directory = g_getenv("INCUS_DIR"), *reason = NULL;
	g_autoptr(Error) error = NULL;
	if (activate_reason(
		directory && *directory ? directory : "/var/lib/incus", &reason, &error) < 0) {
		fprintf(stderr, "Error: %s\n", error->message);
		return 1;
	}
	if (!reason) {
		log_debug("No need to start the daemon now");
		return 0;
	}
	log_debug(reason);
	/* Who starts the daemon listens on its socket all the time: without that, no use to wait. */
	incus_client *client = NULL;
	incus_error *problem = NULL;
	if (incus_connect_unix(NULL, &client, &problem) < 0)
		return complain(problem);
	incus_client_free(client);
	return run_waitready(timeout_s ? timeout_s : 60, force);
}

static const Tool tools[] = {
	{ "activateifneeded",
	    "start the daemon through its socket if there is something for it to do at boot",
	    run_activate },
	{ "shutdown", "stop all instances and the daemon", run_shutdown },
	{ "version", "print the version", run_version },
	{ "waitready", "wait until the daemon is ready", run_waitready },
};

static const Tool *tool_find(const char *name)
{
	for (gsize i = 0; i < G_N_ELEMENTS(tools); i++)
		if (!strcmp(tools[i].name, name))
			return &tools[i];
	return NULL;
}

gboolean tool_known(const char *name)
{
	return tool_find(name) != NULL;
}

static int tool_usage(const Tool *tool, FILE *out)
{
	fprintf(out,
	    "Usage: incusd %s [flags]\n\n  %s\n\nFlags:\n"
	    "  -t, --timeout SECONDS   give up then; 0 waits for ever\n"
	    "  -f, --force             shutdown: do not wait for operations\n"
	    "  -d, --debug             tell what is done and why\n"
	    "  -h, --help              print this help\n",
	    tool->name, tool->help);
	return out == stdout ? 0 : 1;
}

int tool_run(int argc, char **argv)
{
	const Tool *tool = tool_find(argv[0]);
	int timeout_s = 0;
	gboolean force = FALSE;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = NULL;
		if (!strcmp(a, "-h") || !strcmp(a, "--help"))
			return tool_usage(tool, stdout);
		if (!strcmp(a, "-f") || !strcmp(a, "--force")) {
			force = TRUE;
			continue;
		}
		if (!strcmp(a, "--debug") || !strcmp(a, "-d")) {
			log_set_level(LOG_LEVEL_DEBUG);
			continue;
		}
		if (!strcmp(a, "--verbose") || !strcmp(a, "-v") || !*a)
			continue;
		if (g_str_has_prefix(a, "--timeout="))
			value = a + strlen("--timeout=");
		else if ((!strcmp(a, "-t") || !strcmp(a, "--timeout")) && i + 1 < argc)
			value = argv[++i];
		char *end = NULL;
		if (!value || (timeout_s = (int)strtol(value, &end, 10)) < 0 || *end ||
		    end == value)
			return tool_usage(tool, stderr);
	}
	return tool->run(timeout_s, force);
}
