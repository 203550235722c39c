#include "server/instance/exec.h"
#include "server/guest/exec.h"
#include "server/instance/driver.h"
#include <string.h>

#define ARGUMENTS_MAX 4096

static void put_default(GHashTable *environment, const char *key, const char *value)
{
	if (!g_hash_table_contains(environment, key))
		g_hash_table_insert(environment, g_strdup(key), g_strdup(value));
}

char **exec_environment(Instance *instance, const Pb__InstanceExecPost *post)
{
	g_autoptr(GHashTable) environment = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, g_free);
	g_autoptr(Config) config = instance_expanded_config(instance);
	GHashTableIter iter;
	gpointer key, value;

	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_str_has_prefix(key, "environment."))
			g_hash_table_insert(environment,
			    g_strdup((char *)key + strlen("environment.")), g_strdup(value));
	for (size_t i = 0; i < post->n_environment; i++)
		g_hash_table_insert(environment, g_strdup(post->environment[i]->key),
		    g_strdup(post->environment[i]->value));
	put_default(
	    environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	put_default(environment, "LANG", "C.UTF-8");
	if (post->user == 0) {
		put_default(environment, "HOME", "/root");
		put_default(environment, "USER", "root");
	}
	g_autoptr(GPtrArray) lines = g_ptr_array_new();
	g_hash_table_iter_init(&iter, environment);
	while (g_hash_table_iter_next(&iter, &key, &value))
		g_ptr_array_add(lines, g_strdup_printf("%s=%s", (char *)key, (char *)value));
	g_ptr_array_add(lines, NULL);
	return (char **)g_ptr_array_steal(lines, NULL);
}

static int check(Instance *instance, const Pb__InstanceExecPost *post, Error **err)
{
	InstanceStatus status = instance_status(instance);
	if (!post || !post->n_command || !*post->command[0])
		return error_set(err, ERROR_INVALID, "No command was given");
	if (post->n_command > ARGUMENTS_MAX || post->n_environment > ARGUMENTS_MAX)
		return error_set(
		    err, ERROR_INVALID, "More than %d arguments or variables", ARGUMENTS_MAX);
	for (size_t i = 0; i < post->n_environment; i++)
		if (!*post->environment[i]->key || strchr(post->environment[i]->key, '='))
			return error_set(err, ERROR_INVALID,
			    "Bad name of an environment variable \"%s\"",
			    post->environment[i]->key);
	if (status == INSTANCE_FROZEN)
		return error_set(err, ERROR_INVALID, "Instance is frozen");
	if (!instance_running(instance))
		return error_set(err, ERROR_INVALID, "Instance is not running");
	return 0;
}

int exec_start(Instance *instance, const Pb__InstanceExecPost *post, const int *output_fds,
    ExecProcess *ret_process, Error **err)
{
	if (check(instance, post, err) < 0)
		return -1;
	g_auto(GStrv) environment = exec_environment(instance, post);
	g_autoptr(Guest) guest = NULL;
	if (instance_driver(instance)->guest)
		return instance_driver(instance)->guest(instance, &guest, err) < 0 ?
		    -1 :
		    guest_exec(guest, post, environment, output_fds, ret_process, err);
	g_autofree char *name = instance_file_name(instance);
	g_autofree char *lxcpath = instance_lxcpath(instance_daemon(instance));
	g_autofree char *group = instance_cgroup(instance);
	const char *home = g_environ_getenv(environment, "HOME");
	ProcessSpec spec = {.name = name,
	    .lxcpath = lxcpath,
	    .cgroup = group,
	    .cwd = *post->cwd ? post->cwd : home ? home : "/",
	    .command = post->command,
	    .n_command = post->n_command,
	    .environment = environment,
	    .user = post->user,
	    .group = post->group,
	    .interactive = post->interactive,
	    .width = post->width,
	    .height = post->height};
	return process_start(
	    instance_daemon(instance)->spawner, &spec, output_fds, ret_process, err);
}
