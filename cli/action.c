/*
 * incus start, stop, restart, pause, resume: one state change of one or more instances, several
 * at once.
 */
#include "cli/instance.h"
#include <stdio.h>
#include <string.h>

typedef struct Action {
	const char *state;    /* of InstanceStatePut */
	const char *progress; /* "Starting" */
	const char *verb;     /* "start": in messages */
} Action;

int instance_change_state(const Object *instance, const char *action, long timeout, bool force,
    bool stateful, const char *label, Error **err)
{
	json_t *request = json_copy(instance->key);
	json_object_set_new(request, "state",
	    json_pack("{s:s, s:I, s:b, s:b}", "action", action, "timeout", (json_int_t)timeout,
		"force", force, "stateful", stateful));
	return server_do(instance->server, "UpdateInstanceState", request, label, err) ? 0 : -1;
}

typedef struct Job {
	Cli *cli;
	const Action *action;
	Object instance;
	const char *state;
	long timeout;
	bool force, stateful;
	bool has_stateless, stateless; /* starts know that flag */
	bool ignore_move;
	json_t *operation; /* the running one; NULL when asking failed */
	Error *error;
} Job;

static bool flag_if_any(Cli *cli, const char *name)
{
	return flag_find(cli->command, name, strlen(name)) && flag_bool(cli, name);
}

/* A frozen instance is not started but resumed. */
static const char *start_or_resume(Job *job)
{
	if (strcmp(job->action->state, "start") != 0)
		return job->action->state;
	json_t *data = object_get(&job->instance, NULL);
	return data && json_get_int(data, "status_code") == 110 ? "unfreeze" : "start";
}

/* State that was kept is brought back unless somebody says otherwise. */
static bool has_state(Job *job)
{
	json_t *data = job->has_stateless && !job->stateless ? object_get(&job->instance, NULL) :
							     NULL;
	return data && json_is_true(json_object_get(data, "stateful"));
}

static void begin(Job *job)
{
	json_t *request = json_copy(job->instance.key);
	json_object_set_new(request, "state",
	    json_pack("{s:s, s:I, s:b, s:b, s:b}", "action", start_or_resume(job), "timeout",
		(json_int_t)job->timeout, "force", job->force, "stateful",
		job->stateful || has_state(job), "ignore_move", job->ignore_move));
	job->operation = server_call(
	    job->instance.server, "UpdateInstanceState", request, &job->error);
}

static void explain(Job *job)
{
	if (job->error && strcmp(job->action->state, "stop") == 0 && !job->force)
		return;
	if (job->error && strcmp(job->action->state, "start") == 0)
		fprintf(stderr, "Try `incus info --show-log %s%s%s` for more info\n",
		    job->instance.server->remote->is_static ? "" :
							      job->instance.server->remote->name,
		    job->instance.server->remote->is_static ? "" : ":", job->instance.name);
}

/* All operations run at once on the server; the first failure does not keep the others waiting. */
static int run_jobs(Cli *cli, Job *jobs, guint n, Error **err)
{
	guint failed = 0;
	for (guint i = 0; i < n; i++)
		begin(&jobs[i]);
	for (guint i = 0; i < n; i++) {
		Job *job = &jobs[i];
		const char *label = arena_printf(
		    cli->arena, "%s %s", job->action->progress, job->instance.name);
		if (job->operation)
			server_wait(job->instance.server, job->operation, label, &job->error);
		failed += job->error != NULL;
	}
	if (n == 1 && failed) {
		explain(&jobs[0]);
		return error_propagate(err, g_steal_pointer(&jobs[0].error));
	}
	for (guint i = 0; i < n; i++) {
		if (!jobs[i].error)
			continue;
		fprintf(stderr, "error: %s: %s\n", jobs[i].instance.name, jobs[i].error->message);
		explain(&jobs[i]);
		error_free(jobs[i].error);
	}
	if (failed == 0)
		return 0;
	return error_set(err, ERROR_INTERNAL, "Some instances failed to %s", jobs[0].action->verb);
}

static void add_job(Cli *cli, GArray *jobs, const Action *action, Object instance)
{
	Job job = { .cli = cli,
		.action = action,
		.instance = instance,
		.state = action->state,
		.force = flag_if_any(cli, "force"),
		.timeout = flag_find(cli->command, "timeout", 7) ? flag_int(cli, "timeout") : -1 };
	job.stateful = flag_if_any(cli, "stateful");
	job.has_stateless = flag_find(cli->command, "stateless", 9) != NULL;
	job.stateless = flag_if_any(cli, "stateless");
	job.ignore_move = flag_if_any(cli, "ignore-move");
	g_array_append_val(jobs, job);
}

/* --all: every instance of the named remotes (or of the default one) that is not there already. */
static int add_all(Cli *cli, GArray *jobs, const Action *action, Error **err)
{
	for (int i = 0; i < MAX(cli->n_args, 1); i++) {
		Server *server = server_of_argument(cli, i, err);
		json_t *list = server ? server_list(server, "GetInstances", NULL, err) : NULL,
		       *instance;
		size_t k;
		if (!list)
			return -1;
		json_array_foreach (list, k, instance) {
			int64_t status = json_get_int(instance, "status_code");
			bool running = status == 103 || status == 113, frozen = status == 110;
			bool skip = strcmp(action->state, "start") == 0 ? running :
			    strcmp(action->state, "freeze") == 0	? !running :
			    strcmp(action->state, "unfreeze") == 0	? !frozen :
									  !running && !frozen;
			if (!skip)
				add_job(cli, jobs, action,
				    object_make(
					server, &instance_noun, json_get_text(instance, "name")));
		}
	}
	return 0;
}

static int add_named(Cli *cli, GArray *jobs, const Action *action, Error **err)
{
	if (cli->n_args == 0)
		return error_set(
		    err, ERROR_INVALID, "You need to specify an instance name or use --all");
	for (int i = 0; i < cli->n_args; i++) {
		Object instance;
		if (object_parse_named(cli, &instance_noun, cli->args[i], &instance, err) < 0)
			return -1;
		add_job(cli, jobs, action, instance);
	}
	return 0;
}

static int act(Cli *cli, const Action *action, Error **err)
{
	g_autoptr(GArray) jobs = g_array_new(FALSE, TRUE, sizeof(Job));
	bool all = flag_bool(cli, "all");
	bool console = flag_find(cli->command, "console", 7) && flag_given(cli, "console");
	for (int i = 0; all && i < cli->n_args; i++)
		if (!g_str_has_suffix(cli->args[i], ":"))
			return error_set(err, ERROR_INVALID, "Both --all and instance name given");
	if ((all ? add_all(cli, jobs, action, err) : add_named(cli, jobs, action, err)) < 0)
		return -1;
	if (console && jobs->len != 1)
		return error_set(err, ERROR_INVALID, "--console needs exactly one instance");
	if (jobs->len == 0)
		return 0;
	if (run_jobs(cli, (Job *)jobs->data, jobs->len, err) < 0)
		return -1;
	if (console)
		return console_attach(
		    &g_array_index(jobs, Job, 0).instance, flag_string(cli, "console"), err);
	return 0;
}

static int start(Cli *cli, Error **err)
{
	static const Action action = { "start", "Starting", "start" };
	return act(cli, &action, err);
}

static int stop(Cli *cli, Error **err)
{
	static const Action action = { "stop", "Stopping", "stop" };
	return act(cli, &action, err);
}

static int restart(Cli *cli, Error **err)
{
	static const Action action = { "restart", "Restarting", "restart" };
	return act(cli, &action, err);
}

static int pause_run(Cli *cli, Error **err)
{
	static const Action action = { "freeze", "Pausing", "pause" };
	return act(cli, &action, err);
}

static int resume(Cli *cli, Error **err)
{
	static const Action action = { "unfreeze", "Resuming", "resume" };
	return act(cli, &action, err);
}

#define FLAG_ALL { "all", 0, FLAG_BOOL, NULL, "Act on every instance" }
#define FLAG_CONSOLE { "console", 0, FLAG_OPTIONAL, "console", "Attach to the console at once" }
#define FLAG_FORCE_STOP                                                                            \
	{                                                                                          \
		"force", 'f', FLAG_BOOL, NULL, "Do not let the instance shut down by itself"       \
	}
#define FLAG_TIMEOUT                                                                               \
	{                                                                                          \
		"timeout", 0, FLAG_INT, "-1", "Seconds to let it shut down; -1 waits for ever"     \
	}

static const Flag start_flags[] = {
	FLAG_ALL,
	FLAG_CONSOLE,
	{ "stateless", 0, FLAG_BOOL, NULL, "Do not bring back saved state" },
	{ "ignore-move", 0, FLAG_BOOL, NULL,
	    "Start one that was moved, and certainly does not run on the other server" },
	FLAG_END,
};
static const Flag stop_flags[] = {
	FLAG_ALL,
	FLAG_CONSOLE,
	FLAG_FORCE_STOP,
	{ "stateful", 0, FLAG_BOOL, NULL, "Save the running state" },
	FLAG_TIMEOUT,
	FLAG_END,
};
static const Flag restart_flags[] = { FLAG_ALL, FLAG_CONSOLE, FLAG_FORCE_STOP, FLAG_TIMEOUT,
	FLAG_END };
static const Flag all_flags[] = { FLAG_ALL, FLAG_END };

#define INSTANCES "[<remote>:]<instance> [[<remote>:]<instance>...]"

const Command action_commands[] = {
	{ .path = "pause",
	    .aliases = "freeze",
	    .usage = INSTANCES,
	    .max_args = -1,
	    .flags = all_flags,
	    .summary = "Freeze instances",
	    .help = "\"incus resume\" and \"incus start\" let them go on.",
	    .run = pause_run,
	    .complete = "instance" },
	{ .path = "restart",
	    .usage = INSTANCES,
	    .max_args = -1,
	    .flags = restart_flags,
	    .summary = "Stop and start instances",
	    .run = restart,
	    .complete = "instance" },
	{ .path = "resume",
	    .aliases = "unfreeze",
	    .usage = INSTANCES,
	    .max_args = -1,
	    .flags = all_flags,
	    .summary = "Let frozen instances go on",
	    .run = resume,
	    .complete = "instance" },
	{ .path = "start",
	    .usage = INSTANCES,
	    .max_args = -1,
	    .flags = start_flags,
	    .summary = "Start instances",
	    .help =
		"An instance that was moved does not start here as well. When the other server went out of\n"
		"reach at the end of a live move, nobody knows whether it runs there: this server asks until\n"
		"it knows, and then starts it or leaves it to the other one. Who knows that it does not run\n"
		"there, and never will, starts it with --ignore-move: from its saved state, with all that it\n"
		"had in that moment. Two that run write to the same things and have the same addresses.",
	    .run = start,
	    .complete = "instance" },
	{ .path = "stop",
	    .usage = INSTANCES,
	    .max_args = -1,
	    .flags = stop_flags,
	    .summary = "Stop instances",
	    .run = stop,
	    .complete = "instance" },
	{ 0 },
};
