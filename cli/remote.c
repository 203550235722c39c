/*
 * incus remote: the servers that this client knows.
 */
#include "cli/conf.h"
#include "cli/output.h"
#include "cli/remote_add.h"
#include "cli/server.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "URL", "PROTOCOL", "AUTH TYPE", "PUBLIC",
		"STATIC", "GLOBAL", NULL };
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	g_autoptr(GList) remotes =
	    g_list_sort(g_hash_table_get_keys(conf->remotes), (GCompareFunc)natural_compare);
	json_t *data = server_keep(cli, json_object());
	for (GList *l = remotes; l; l = l->next) {
		const Remote *remote = conf_remote(conf, l->data);
		bool current = strcmp(remote->name, conf_default_remote(conf)) == 0;
		const char *name = current ?
		    arena_printf(cli->arena, "%s (current)", remote->name) :
		    remote->name;
		const char *auth = *remote->auth_type ? remote->auth_type : "tls";
		if (g_str_has_prefix(remote->addr, "unix:"))
			auth = "file access";
		else if (strcmp(remote->protocol, "simplestreams") == 0)
			auth = "none";
		table_add(table, name, remote->addr, remote->protocol, auth,
		    remote->public ? "YES" : "NO", remote->is_static ? "YES" : "NO",
		    remote->global ? "YES" : "NO", NULL);
		json_object_set_new(data, remote->name,
		    flag_string(cli, "format")[0] == 'j' ?
			json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "Addr", remote->addr,
			    "AuthType", remote->auth_type, "Project", remote->project, "Protocol",
			    remote->protocol, "Public", remote->public, "Global", remote->global,
			    "Static", remote->is_static) :
			remote_to_json(remote));
	}
	table_sort(table);
	return output_list(cli, table, data, err);
}

static Remote *find_remote(Cli *cli, const char *name, Error **err)
{
	Conf *conf = conf_get(cli, err);
	Remote *remote = conf ? conf_remote(conf, name) : NULL;
	if (conf && !remote)
		error_set(err, ERROR_NOT_FOUND, "Remote %s doesn't exist", name);
	return remote;
}

/* One that may be changed. */
static Remote *find_own_remote(Cli *cli, const char *name, Error **err)
{
	Remote *remote = find_remote(cli, name, err);
	if (remote && remote->is_static) {
		error_set(err, ERROR_INVALID, "Remote %s is static and cannot be modified", name);
		return NULL;
	}
	if (remote && remote->global) {
		error_set(err, ERROR_INVALID, "Remote %s is global and cannot be removed", name);
		return NULL;
	}
	return remote;
}

static int get_default(Cli *cli, Error **err)
{
	Conf *conf = conf_get(cli, err);
	if (!conf)
		return -1;
	puts(conf_default_remote(conf));
	return 0;
}

static int remove_run(Cli *cli, Error **err)
{
	const char *name = cli->args[0];
	Remote *remote = find_own_remote(cli, name, err);
	if (!remote)
		return -1;
	if (strcmp(cli->conf->default_remote, name) == 0)
		return error_set(err, ERROR_INVALID, "Can't remove the default remote");
	g_autofree char *cert = conf_server_cert_path(cli->conf, name);
	g_unlink(cert);
	g_hash_table_remove(cli->conf->remotes, name);
	return conf_save(cli->conf, err);
}

static int rename_run(Cli *cli, Error **err)
{
	const char *from = cli->args[0], *to = cli->args[1];
	Remote *remote = find_own_remote(cli, from, err);
	if (!remote)
		return -1;
	if (conf_remote(cli->conf, to))
		return error_set(err, ERROR_EXISTS, "Remote %s already exists", to);
	if (!*to || strpbrk(to, ":/"))
		return error_set(
		    err, ERROR_INVALID, "Remote names may not contain colons or slashes");
	g_autofree char *old_cert = conf_server_cert_path(cli->conf, from);
	g_autofree char *new_cert = conf_server_cert_path(cli->conf, to);
	if (g_rename(old_cert, new_cert) < 0 && errno != ENOENT)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot rename \"%s\"", old_cert);
	if (strcmp(cli->conf->default_remote, from) == 0) {
		g_free(cli->conf->default_remote);
		cli->conf->default_remote = g_strdup(to);
	}
	g_hash_table_steal(cli->conf->remotes, from);
	g_free(remote->name);
	remote->name = g_strdup(to);
	g_hash_table_insert(cli->conf->remotes, remote->name, remote);
	return conf_save(cli->conf, err);
}

static int switch_run(Cli *cli, Error **err)
{
	if (!find_remote(cli, cli->args[0], err))
		return -1;
	g_free(cli->conf->default_remote);
	cli->conf->default_remote = g_strdup(cli->args[0]);
	return conf_save(cli->conf, err);
}

static int set_url(Cli *cli, Error **err)
{
	Remote *remote = find_own_remote(cli, cli->args[0], err);
	if (!remote)
		return -1;
	g_free(remote->addr);
	remote->addr = g_strdup(cli->args[1]);
	return conf_save(cli->conf, err);
}

static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
static const Flag add_flags[] = {
	{ "accept-certificate", 0, FLAG_BOOL, NULL,
	    "Take the server's certificate without asking" },
	{ "auth-type", 0, FLAG_STRING, NULL, "How to log in: tls" },
	{ "project", 0, FLAG_STRING, NULL, "Project to use on the remote" },
	{ "protocol", 0, FLAG_STRING, NULL, "What the server speaks: incus or simplestreams" },
	{ "public", 0, FLAG_BOOL, NULL, "A server that only gives out public images" },
	{ "token", 0, FLAG_STRING, NULL, "Trust token made on the server" },
	FLAG_END,
};

const Command remote_commands[] = {
	{ .path = "remote", .summary = "Manage the list of servers" },
	{ .path = "remote add",
	    .usage = "[<remote>] <IP|FQDN|URL|token>",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = add_flags,
	    .summary = "Add a server",
	    .help =
		"On the server, \"incus config trust add NAME\" prints a token that tells all that is\n"
		"needed. A first contact otherwise shows the fingerprint of the server's certificate.\n"
		"\n"
		"A server of the protocol simplestreams only has images. Its certificate must be good for\n"
		"SSL_CERT_FILE or the system's authorities, or be servercerts/<remote>.crt beside the\n"
		"configuration file.",
	    .examples =
		"incus remote add lab eyJjbGllbnRfbmFtZSI6...\n"
		"incus remote add lab https://lab.example.net:8443\n"
		"incus remote add other unix:///srv/incus/unix.socket\n"
		"incus remote add pictures https://images.example.net --protocol simplestreams\n"
		"incus remote add shop https://shop.example.net:8443 --public",
	    .run = remote_add },
	{ .path = "remote get-default",
	    .max_args = 0,
	    .summary = "Print the default remote",
	    .run = get_default },
	{ .path = "remote list",
	    .aliases = "ls",
	    .max_args = 0,
	    .flags = format_flags,
	    .summary = "List the servers",
	    .run = list },
	{ .path = "remote remove",
	    .aliases = "rm",
	    .usage = "<remote>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Forget a server",
	    .run = remove_run,
	    .complete = "remote" },
	{ .path = "remote rename",
	    .aliases = "mv",
	    .usage = "<remote> <new-name>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Rename a server",
	    .run = rename_run,
	    .complete = "remote" },
	{ .path = "remote set-url",
	    .usage = "<remote> <URL>",
	    .min_args = 2,
	    .max_args = 2,
	    .summary = "Change the address of a server",
	    .run = set_url,
	    .complete = "remote" },
	{ .path = "remote switch",
	    .aliases = "set-default",
	    .usage = "<remote>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Make a server the default one",
	    .run = switch_run,
	    .complete = "remote" },
	{ 0 },
};
