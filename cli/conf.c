#include "cli/conf.h"
#include "cli/output.h"
#include "cli/yaml.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define IMAGES_SERVER "https://images.linuxcontainers.org"

Remote *remote_new(const char *name, const char *addr)
{
	Remote *remote = g_new0(Remote, 1);
	remote->name = g_strdup(name);
	remote->addr = g_strdup(addr);
	remote->auth_type = g_strdup("");
	remote->project = g_strdup("");
	remote->protocol = g_strdup("incus");
	return remote;
}

void remote_free(Remote *remote)
{
	if (!remote)
		return;
	g_free(remote->name);
	g_free(remote->addr);
	g_free(remote->auth_type);
	g_free(remote->project);
	g_free(remote->protocol);
	g_free(remote);
}

void conf_free(Conf *conf)
{
	if (!conf)
		return;
	g_free(conf->dir);
	g_free(conf->default_remote);
	g_hash_table_unref(conf->remotes);
	g_hash_table_unref(conf->aliases);
	g_free(conf);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static void add_remote(Conf *conf, Remote *remote)
{
	g_hash_table_replace(conf->remotes, remote->name, remote);
}

/* Remotes that every installation has: they may be overridden (images) or not (local, of which the
 * file keeps only the current project). */
static void add_built_in(Conf *conf, bool fresh)
{
	Remote *local = remote_new("local", "unix://"), *stored = conf_remote(conf, "local");
	local->is_static = true;
	if (stored) {
		g_free(local->project);
		local->project = g_strdup(stored->project);
	}
	add_remote(conf, local);
	if (!fresh)
		return;
	Remote *images = remote_new("images", IMAGES_SERVER);
	g_free(images->protocol);
	images->protocol = g_strdup("simplestreams");
	images->public = true;
	add_remote(conf, images);
}

static void read_remotes(Conf *conf, json_t *remotes, bool global)
{
	const char *name;
	json_t *row;
	json_object_foreach (remotes, name, row) {
		Remote *remote = remote_new(name, text_of(row, "addr"));
		g_free(remote->auth_type);
		g_free(remote->project);
		remote->auth_type = g_strdup(text_of(row, "auth_type"));
		remote->project = g_strdup(text_of(row, "project"));
		if (*text_of(row, "protocol")) {
			g_free(remote->protocol);
			remote->protocol = g_strdup(text_of(row, "protocol"));
		}
		remote->public = strcmp(text_of(row, "public"), "true") == 0;
		remote->global = global;
		add_remote(conf, remote);
	}
}

static int read_file(Conf *conf, const char *path, bool global, Error **err)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) failure = NULL;
	gsize length;
	if (!g_file_get_contents(path, &text, &length, &failure)) {
		if (g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
		    g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOTDIR))
			return 1;
		return error_set(
		    err, ERROR_INTERNAL, "Cannot read \"%s\": %s", path, failure->message);
	}
	g_autoptr(json_t) root = yaml_to_json(text, length, err);
	if (!root)
		return error_prefix(err, "Cannot read \"%s\"", path);
	read_remotes(conf, json_object_get(root, "remotes"), global);
	if (global)
		return 0;
	if (*text_of(root, "default-remote")) {
		g_free(conf->default_remote);
		conf->default_remote = g_strdup(text_of(root, "default-remote"));
	}
	const char *name;
	json_t *target;
	json_object_foreach (json_object_get(root, "aliases"), name, target)
		g_hash_table_insert(conf->aliases, g_strdup(name),
		    g_strdup(json_is_string(target) ? json_string_value(target) : ""));
	return 0;
}

static char *config_dir(void)
{
	const char *dir = g_getenv("INCUS_CONF");
	if (dir && *dir)
		return g_strdup(dir);
	const char *home = g_getenv("HOME");
	return g_build_filename(home && *home ? home : g_get_home_dir(), ".config", "incus", NULL);
}

static int load(Conf *conf, Error **err)
{
	const char *global = g_getenv("INCUS_GLOBAL_CONF");
	g_autofree char *global_path =
	    g_build_filename(global && *global ? global : "/etc/incus", "config.yml", NULL);
	g_autofree char *path = conf_path(conf, "config.yml");
	if (read_file(conf, global_path, true, err) < 0)
		return -1;
	int absent = read_file(conf, path, false, err);
	if (absent < 0)
		return -1;
	add_built_in(conf, absent);
	if (!conf_remote(conf, conf->default_remote)) {
		g_free(conf->default_remote);
		conf->default_remote = g_strdup("local");
	}
	return 0;
}

Conf *conf_get(Cli *cli, Error **err)
{
	if (cli->conf)
		return cli->conf;
	Conf *conf = g_new0(Conf, 1);
	conf->dir = config_dir();
	conf->default_remote = g_strdup("local");
	conf->remotes =
	    g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)remote_free);
	conf->aliases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	if (load(conf, err) < 0) {
		conf_free(conf);
		return NULL;
	}
	cli->conf = conf;
	return conf;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_keys(const char **keys, guint n)
{
	qsort(keys, n, sizeof(*keys), compare_names);
}

static json_t *remotes_to_json(const Conf *conf)
{
	guint n;
	json_t *out = json_object();
	g_autofree const char **names =
	    (const char **)g_hash_table_get_keys_as_array(conf->remotes, &n);
	sort_keys(names, n);
	for (guint i = 0; i < n; i++) {
		const Remote *remote = conf_remote(conf, names[i]);
		if (remote->global)
			continue;
		json_object_set_new(out, names[i], remote_to_json(remote));
	}
	return out;
}

json_t *remote_to_json(const Remote *remote)
{
	json_t *row = json_object();
	json_object_set_new(row, "addr", json_string(remote->addr));
	if (*remote->auth_type)
		json_object_set_new(row, "auth_type", json_string(remote->auth_type));
	if (*remote->project)
		json_object_set_new(row, "project", json_string(remote->project));
	if (*remote->protocol)
		json_object_set_new(row, "protocol", json_string(remote->protocol));
	json_object_set_new(row, "public", json_boolean(remote->public));
	return row;
}

static json_t *aliases_to_json(const Conf *conf)
{
	guint n;
	json_t *out = json_object();
	g_autofree const char **names =
	    (const char **)g_hash_table_get_keys_as_array(conf->aliases, &n);
	sort_keys(names, n);
	for (guint i = 0; i < n; i++)
		json_object_set_new(
		    out, names[i], json_string(g_hash_table_lookup(conf->aliases, names[i])));
	return out;
}

int conf_save(Conf *conf, Error **err)
{
	g_autoptr(json_t) root = json_object();
	g_autoptr(GError) failure = NULL;
	g_autofree char *path = conf_path(conf, "config.yml");
	json_object_set_new(root, "default-remote", json_string(conf->default_remote));
	json_object_set_new(root, "remotes", remotes_to_json(conf));
	json_object_set_new(root, "aliases", aliases_to_json(conf));
	g_autofree char *text = yaml_from_json(root);
	if (g_mkdir_with_parents(conf->dir, 0750) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", conf->dir);
	if (!g_file_set_contents_full(
		path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &failure))
		return error_set(
		    err, ERROR_INTERNAL, "Cannot write \"%s\": %s", path, failure->message);
	return 0;
}

const char *conf_default_remote(const Conf *conf)
{
	const char *name = g_getenv("INCUS_REMOTE");
	return name && *name ? name : conf->default_remote;
}

Remote *conf_remote(const Conf *conf, const char *name)
{
	return g_hash_table_lookup(conf->remotes, name);
}

char *conf_path(const Conf *conf, const char *name)
{
	return g_build_filename(conf->dir, name, NULL);
}

char *conf_server_cert_path(const Conf *conf, const char *remote)
{
	g_autofree char *file = g_strdup_printf("%s.crt", remote);
	return g_build_filename(conf->dir, "servercerts", file, NULL);
}

char *conf_socket_path(void)
{
	const char *path = g_getenv("INCUS_SOCKET"), *dir = g_getenv("INCUS_DIR");
	if (path && *path)
		return g_strdup(path);
	return g_build_filename(dir && *dir ? dir : "/var/lib/incus", "unix.socket", NULL);
}
