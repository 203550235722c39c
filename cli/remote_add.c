#include "cli/remote_add.h"
#include "cli/conf.h"
#include "cli/prompt.h"
#include "cli/sdk_error.h"
#include "cli/server.h"
#include "cli/token.h"
#include "sdk/base/x509.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <incus/remote.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT "8443"

int conf_ensure_client_cert(const Conf *conf, Error **err)
{
	g_autofree char *cert = conf_path(conf, "client.crt"), *key = conf_path(conf, "client.key");
	g_autofree char *cert_pem = NULL, *key_pem = NULL;
	bool fresh = !g_file_test(cert, G_FILE_TEST_EXISTS) &&
	    !g_file_test(key, G_FILE_TEST_EXISTS);
	if (g_mkdir_with_parents(conf->dir, 0750) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", conf->dir);
	if (fresh)
		fprintf(stderr, "Generating a client certificate. This may take a minute...\n");
	return x509_load_or_generate(cert, key, FALSE, &cert_pem, &key_pem, err);
}

/* "host", "host:port", "https://host", "[v6]" as "https://host:port". */
static char *full_url(const char *address)
{
	g_autofree char *rest = g_strdup(
	    g_str_has_prefix(address, "https://") ? address + strlen("https://") : address);
	char *slash = strchr(rest, '/');
	if (slash)
		*slash = 0;
	const char *bracket = strrchr(rest, ']'), *colon = strrchr(rest, ':');
	bool bare_v6 = !bracket && colon && strchr(rest, ':') != colon;
	if (bare_v6)
		return g_strdup_printf("https://[%s]:" DEFAULT_PORT, rest);
	if (colon && colon > bracket)
		return g_strdup_printf("https://%s", rest);
	return g_strdup_printf("https://%s:" DEFAULT_PORT, rest);
}

static int save_server_cert(const Conf *conf, const char *name, const char *pem, Error **err)
{
	g_autofree char *path = conf_server_cert_path(conf, name);
	g_autofree char *dir = g_path_get_dirname(path);
	g_autoptr(GError) failure = NULL;
	if (g_mkdir_with_parents(dir, 0750) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", dir);
	if (!g_file_set_contents_full(
		path, pem, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &failure))
		return error_set(
		    err, ERROR_INTERNAL, "Cannot write \"%s\": %s", path, failure->message);
	return 0;
}

static int keep_remote(Cli *cli, Remote *remote, Error **err)
{
	g_hash_table_replace(cli->conf->remotes, remote->name, remote);
	return conf_save(cli->conf, err);
}

/* Shows the server's certificate to the user unless a token or a flag vouches for it. */
static int check_certificate(Cli *cli, const char *pem, const char *expected, Error **err)
{
	g_autofree char *fingerprint = NULL;
	if (x509_fingerprint(pem, &fingerprint, err) < 0)
		return -1;
	if (expected && *expected) {
		if (strcmp(fingerprint, expected) == 0)
			return 0;
		return error_set(err, ERROR_FORBIDDEN,
		    "Certificate fingerprint mismatch between certificate token and server");
	}
	if (flag_bool(cli, "accept-certificate"))
		return 0;
	printf("Certificate fingerprint: %s\nok (y/n/[fingerprint])? ", fingerprint);
	g_autofree char *answer = prompt_line();
	if (answer &&
	    (g_ascii_strcasecmp(answer, "y") == 0 || g_ascii_strcasecmp(answer, "yes") == 0 ||
		strcmp(answer, fingerprint) == 0))
		return 0;
	return error_set(err, ERROR_FORBIDDEN, "Server certificate NACKed by user");
}

/* The certificate that the server shows; nothing of ours is sent. */
static int look_at(const char *url, char **ret_pem, Error **err)
{
	char fingerprint[INCUS_FINGERPRINT_SIZE];
	incus_error *problem = NULL;
	char *pem = NULL;
	if (incus_remote_certificate(url, 0, &pem, fingerprint, &problem) < 0)
		return error_from_sdk(err, problem);
	*ret_pem = g_strdup(pem);
	free(pem);
	return 0;
}

static int dial(
    const Conf *conf, const char *url, const char *server_pem, incus_client **ret, Error **err)
{
	g_autofree char *cert_path = conf_path(conf, "client.crt"),
			*key_path = conf_path(conf, "client.key");
	g_autofree char *cert = NULL, *key = NULL;
	incus_error *problem = NULL;
	g_file_get_contents(cert_path, &cert, NULL, NULL);
	g_file_get_contents(key_path, &key, NULL, NULL);
	incus_tls tls = { .client_certificate = key ? cert : NULL,
		.client_key = cert ? key : NULL,
		.server_certificate = server_pem };
	return incus_connect_tls(url, &tls, ret, &problem) < 0 ? error_from_sdk(err, problem) : 0;
}

/* The token to give to the server: from the flag, or asked for. */
static const char *get_token(Cli *cli, Error **err)
{
	if (flag_given(cli, "token"))
		return flag_string(cli, "token");
	printf("Trust token: ");
	g_autofree char *token = prompt_line();
	if (!token || !*token) {
		error_set(err, ERROR_INVALID,
		    "A trust token is needed: make one with \"incus config trust add\" on "
		    "the server");
		return NULL;
	}
	return arena_strdup(cli->arena, token);
}

static bool is_trusted(Server *server, Error **err)
{
	json_t *facts = server_call(server, "GetServer", NULL, err);
	return facts && strcmp(json_get_text(facts, "auth"), "trusted") == 0;
}

static int give_token(Server *server, const char *token, Error **err)
{
	json_t *certificate = json_pack("{s:s, s:s}", "type", "client", "trust_token", token);
	return server_call(server, "CreateCertificate",
		   json_pack("{s:o}", "certificate", certificate), err) ?
	    0 :
	    -1;
}

/* A restricted client that may not use "default" gets the only project it may use. */
static void pick_project(Server *server, Remote *remote)
{
	json_t *projects = server_list(server, "GetProjects", NULL, NULL);
	if (*remote->project || !projects || json_array_size(projects) == 0)
		return;
	size_t i;
	json_t *project;
	json_array_foreach (projects, i, project)
		if (strcmp(json_get_text(project, "name"), "default") == 0)
			return;
	g_free(remote->project);
	remote->project = g_strdup(json_get_text(json_array_get(projects, 0), "name"));
}

/* Becomes trusted by the server behind `client`, unless it is or need not be. */
static int get_trusted(
    Cli *cli, incus_client *client, Remote *remote, const char *token, Error **err)
{
	Server server = { .cli = cli, .remote = remote, .client = client };
	g_autoptr(Error) problem = NULL;
	bool trusted = is_trusted(&server, &problem);
	if (problem)
		return error_propagate(err, g_steal_pointer(&problem));
	if (remote->public)
		return 0;
	if (!trusted) {
		if (!token && !(token = get_token(cli, err)))
			return -1;
		if (give_token(&server, token, err) < 0)
			return -1;
		trusted = is_trusted(&server, err);
		if (!trusted)
			return err && *err ? -1 :
					     error_set(err, ERROR_FORBIDDEN,
						 "Server doesn't trust us after authentication");
		if (!cli->quiet)
			printf("Client certificate now trusted by server: %s\n", remote->name);
	}
	pick_project(&server, remote);
	return 0;
}

static Remote *new_tls_remote(Cli *cli, const char *name, const char *url)
{
	Remote *remote = remote_new(name, url);
	const char *project = cli_project(cli);
	remote->public = flag_bool(cli, "public");
	g_free(remote->auth_type);
	remote->auth_type = g_strdup(remote->public ? "" : "tls");
	if (project) {
		g_free(remote->project);
		remote->project = g_strdup(project);
	}
	return remote;
}

static int add_tls(Cli *cli, const char *name, const char *address, const char *fingerprint,
    const char *token, Error **err)
{
	g_autofree char *url = full_url(address);
	incus_client *pinned = NULL;
	g_autofree char *pem = NULL;
	if (!flag_bool(cli, "public") && conf_ensure_client_cert(cli->conf, err) < 0)
		return -1;
	if (look_at(url, &pem, err) < 0)
		return -1;
	if (check_certificate(cli, pem, fingerprint, err) < 0 ||
	    dial(cli->conf, url, pem, &pinned, err) < 0)
		return -1;
	Remote *remote = new_tls_remote(cli, name, url);
	int result = get_trusted(cli, pinned, remote, token, err);
	incus_client_free(pinned);
	if (result < 0 || save_server_cert(cli->conf, name, pem, err) < 0) {
		remote_free(remote);
		return -1;
	}
	return keep_remote(cli, remote, err);
}

/* Tries the addresses in a token until one answers. */
static int add_token(Cli *cli, const char *name, const Token *token, Error **err)
{
	size_t i;
	json_t *address;
	g_autoptr(Error) problem = NULL;
	json_array_foreach (token->addresses, i, address) {
		g_clear_pointer(&problem, error_free);
		if (add_tls(cli, name, json_string_value(address), token->fingerprint, token->text,
			&problem) == 0)
			return 0;
		if (problem->kind != ERROR_UNAVAILABLE && problem->kind != ERROR_TIMEOUT)
			break;
	}
	return error_propagate(err, g_steal_pointer(&problem));
}

static int add_simplestreams(Cli *cli, const char *name, const char *address, Error **err)
{
	if (!g_str_has_prefix(address, "https://"))
		return error_set(
		    err, ERROR_INVALID, "Only https URLs are supported for simplestreams");
	Remote *remote = remote_new(name, address);
	g_free(remote->protocol);
	remote->protocol = g_strdup("simplestreams");
	remote->public = true;
	return keep_remote(cli, remote, err);
}

/* "unix:PATH", "unix://PATH", "unix://" or "/PATH". */
static int add_unix(Cli *cli, const char *name, const char *address, Error **err)
{
	g_autofree char *url = *address == '/' ? g_strconcat("unix://", address, NULL) :
						 g_strdup(address);
	const char *project = cli_project(cli);
	Remote *remote = remote_new(name, url);
	if (project) {
		g_free(remote->project);
		remote->project = g_strdup(project);
	}
	if (keep_remote(cli, remote, err) < 0)
		return -1;
	if (server_get(cli, name, err))
		return 0;
	g_hash_table_remove(cli->conf->remotes, name);
	conf_save(cli->conf, NULL);
	return -1;
}

/* With one argument it is the address, and its host the name; a token gives no name. */
static const char *pick_name(Cli *cli, const char *address)
{
	g_autofree char *url = full_url(address);
	const char *host = url + strlen("https://");
	return arena_strndup(cli->arena, host, strcspn(host, ":/"));
}

static int check_name(Cli *cli, const char *name, Error **err)
{
	const Remote *known = conf_remote(cli->conf, name);
	if (known)
		return error_set(err, ERROR_EXISTS, "Remote %s exists as <%s>", name, known->addr);
	if (!*name || strpbrk(name, ":/ "))
		return error_set(
		    err, ERROR_INVALID, "Remote names may not contain colons, slashes or blanks");
	return 0;
}

int remote_add(Cli *cli, Error **err)
{
	const char *address = cli->args[cli->n_args - 1], *protocol = flag_string(cli, "protocol");
	const char *auth = flag_string(cli, "auth-type");
	Token token;
	if (!conf_get(cli, err))
		return -1;
	bool is_token = token_parse(cli, address, &token);
	if (is_token && cli->n_args < 2)
		return error_set(err, ERROR_INVALID,
		    "A name is needed with a token: incus remote add <remote> <token>");
	const char *name = cli->n_args > 1 ? cli->args[0] : pick_name(cli, address);
	if (check_name(cli, name, err) < 0)
		return -1;
	if (*auth && strcmp(auth, "tls") != 0)
		return error_set(
		    err, ERROR_INVALID, "Authentication type '%s' not supported by server", auth);
	if (strcmp(protocol, "simplestreams") == 0)
		return add_simplestreams(cli, name, address, err);
	if (*protocol && strcmp(protocol, "incus") != 0)
		return error_set(err, ERROR_INVALID, "Invalid protocol: %s", protocol);
	if (is_token)
		return add_token(cli, name, &token, err);
	if (*address == '/' || g_str_has_prefix(address, "unix:"))
		return add_unix(cli, name, address, err);
	if (strstr(address, "://") && !g_str_has_prefix(address, "https://"))
		return error_set(err, ERROR_INVALID, "Only https URLs are supported for servers");
	return add_tls(cli, name, address, NULL, NULL, err);
}
