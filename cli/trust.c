/*
 * incus config trust: certificates that may use the server, and tokens to add more.
 */
#include "cli/noun.h"
#include "cli/output.h"
#include "cli/token.h"
#include "sdk/base/x509.h"
#include <stdio.h>
#include <string.h>

#define NO_TIME "0001-01-01T00:00:00Z"

static const Noun certificate_noun = {
	.title = "Certificate",
	.method = "Certificate",
	.body = "certificate",
	.edit_help = "# The trusted certificate as YAML. Lines that begin with # are left out.\n"
		     "#\n"
		     "# name: example\n"
		     "# type: client\n"
		     "# restricted: true\n"
		     "# projects:\n"
		     "# - default\n",
};

/* ---- tokens ---- */

const char *token_of_operation(Cli *cli, const json_t *operation, const char **ret_name)
{
	const json_t *metadata = json_object_get(operation, "metadata");
	const json_t *request = json_object_get(metadata, "request");
	if (strcmp(json_get_text(operation, "class"), "token") != 0 || !json_is_object(request) ||
	    !*json_get_text(metadata, "secret"))
		return NULL;
	const char *expiry = json_get_text(metadata, "expiresAt");
	json_t *token = json_pack("{s:s, s:s, s:O, s:s, s:s}", "client_name",
	    json_get_text(request, "name"), "fingerprint", json_get_text(metadata, "fingerprint"),
	    "addresses", json_object_get(metadata, "addresses"), "secret",
	    json_get_text(metadata, "secret"), "expires_at", *expiry ? expiry : NO_TIME);
	char *text = token ? json_dumps(token, JSON_COMPACT) : NULL;
	json_decref(token);
	if (!text)
		return NULL;
	g_autofree char *encoded = base64_encode(text, strlen(text));
	free(text);
	if (ret_name)
		*ret_name = json_get_text(request, "name");
	return arena_strdup(cli->arena, encoded);
}

bool token_parse(Cli *cli, const char *text, Token *ret)
{
	g_autofree uint8_t *data = NULL;
	size_t length;
	if (strlen(text) < 40 || base64_decode(text, &data, &length, NULL) < 0)
		return false;
	json_t *token = json_loadb((const char *)data, length, 0, NULL);
	if (!token)
		return false;
	server_keep(cli, token);
	*ret = (Token){ .client_name = json_get_text(token, "client_name"),
		.fingerprint = json_get_text(token, "fingerprint"),
		.addresses = json_object_get(token, "addresses"),
		.text = text };
	return *ret->fingerprint && json_array_size(ret->addresses) > 0;
}

/* "name", restriction and projects as the flags say. */
static json_t *make_request(Cli *cli, const char *name, const char *type)
{
	json_t *request = json_pack("{s:s, s:s, s:b}", "name", name, "type", type, "restricted",
	    flag_bool(cli, "restricted"));
	g_auto(GStrv) projects = g_strsplit(flag_string(cli, "projects"), ",", -1);
	json_t *list = json_array();
	for (char **p = projects; *p; p++)
		if (**p)
			json_array_append_new(list, json_string(*p));
	json_object_set_new(request, "projects", list);
	return request;
}

static int add(Cli *cli, Error **err)
{
	Target target;
	if (target_parse(cli, cli->args[0], &target, err) < 0)
		return -1;
	const char *name = target.name;
	if (!*name)
		return error_set(err, ERROR_INVALID, "A client name must be provided");
	json_t *certificate = make_request(cli, name, "client");
	json_object_set_new(certificate, "token", json_true());
	json_t *operation = server_call(target.server, "CreateCertificate",
	    json_pack("{s:o}", "certificate", certificate), err);
	const char *token = operation ? token_of_operation(cli, operation, NULL) : NULL;
	if (operation && !token)
		return error_set(err, ERROR_INTERNAL, "The server gave no token");
	if (!token)
		return -1;
	if (!cli->quiet)
		printf("Client %s certificate add token:\n", name);
	puts(token);
	return 0;
}

static const char *local_date(Cli *cli, int64_t seconds)
{
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);
	g_autofree char *text = when ? g_date_time_format(when, "%b %-d, %Y at %-I:%M%P (%Z)") :
				       NULL;
	return arena_strdup(cli->arena, text ? text : "");
}

/* All running token operations, as rows {ClientName, Token, ExpiresAt}. */
static json_t *list_rows(Server *server, json_t *ret_operations, Error **err)
{
	json_t *operations = server_list(server, "GetOperations", NULL, err), *operation;
	json_t *rows = server_keep(server->cli, json_array());
	size_t i;
	if (!operations)
		return NULL;
	json_array_foreach (operations, i, operation) {
		const char *name, *token = token_of_operation(server->cli, operation, &name);
		if (!token || json_get_int(operation, "status_code") != 103)
			continue;
		const char *expiry = json_get_text(
		    json_object_get(operation, "metadata"), "expiresAt");
		json_array_append_new(rows,
		    json_pack("{s:s, s:s, s:s}", "ClientName", name, "Token", token, "ExpiresAt",
			*expiry ? expiry : NO_TIME));
		json_array_append(ret_operations, operation);
	}
	return rows;
}

static int list_tokens(Cli *cli, Error **err)
{
	static const char *const headers[] = { "NAME", "TOKEN", "EXPIRES AT", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *operations = server_keep(cli, json_array()), *row;
	json_t *rows = list_rows(server, operations, err);
	if (!rows)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (rows, i, row) {
		const char *expiry = json_get_text(row, "ExpiresAt");
		table_add(table, json_get_text(row, "ClientName"), json_get_text(row, "Token"),
		    strcmp(expiry, NO_TIME) == 0 ? "" : expiry, NULL);
	}
	table_sort(table);
	return output_list(cli, table, rows, err);
}

static int revoke_token(Cli *cli, Error **err)
{
	Target target;
	if (target_parse(cli, cli->args[cli->n_args - 1], &target, err) < 0)
		return -1;
	if (cli->n_args > 1 && !(target.server = server_of_argument(cli, 0, err)))
		return -1;
	json_t *operations = server_keep(cli, json_array()), *row;
	json_t *rows = list_rows(target.server, operations, err);
	size_t i;
	if (!rows)
		return -1;
	json_array_foreach (rows, i, row) {
		if (strcmp(json_get_text(row, "ClientName"), target.name) != 0)
			continue;
		const char *id = json_get_text(json_array_get(operations, i), "id");
		if (!server_call(
			target.server, "DeleteOperation", json_pack("{s:s}", "id", id), err))
			return -1;
		if (!cli->quiet)
			printf("Certificate add token for %s deleted\n", target.name);
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND,
	    "No certificate add token for member %s on remote: %s", target.name,
	    target.server->remote->name);
}

/* ---- certificates ---- */

static int add_certificate(Cli *cli, Error **err)
{
	const char *path = cli->args[cli->n_args - 1], *type = flag_string(cli, "type");
	Server *server = cli->n_args > 1 ? server_of_argument(cli, 0, err) :
					   server_get(cli, NULL, err);
	g_autofree char *pem = NULL, *name = NULL;
	g_autofree uint8_t *der = NULL;
	g_autoptr(GError) failure = NULL;
	size_t length;
	if (!server)
		return -1;
	if (strcmp(type, "client") != 0 && strcmp(type, "metrics") != 0)
		return error_set(err, ERROR_INVALID,
		    "Unknown certificate type \"%s\": use client or metrics", type);
	if (!g_file_get_contents(path, &pem, NULL, &failure))
		return error_set(
		    err, ERROR_INVALID, "Cannot read \"%s\": %s", path, failure->message);
	if (x509_pem_to_der(pem, &der, &length, err) < 0)
		return error_prefix(err, "Cannot read \"%s\"", path);
	name = *flag_string(cli, "name") ? g_strdup(flag_string(cli, "name")) :
					   g_path_get_basename(path);
	json_t *certificate = make_request(cli, name, type);
	g_autofree char *encoded = base64_encode(der, length);
	json_object_set_new(certificate, "certificate", json_string(encoded));
	return server_call(server, "CreateCertificate",
		   json_pack("{s:o}", "certificate", certificate), err) ?
	    0 :
	    -1;
}

static int list(Cli *cli, Error **err)
{
	static const char *const headers[] = { "TYPE", "NAME", "COMMON NAME", "FINGERPRINT",
		"ISSUE DATE", "EXPIRY DATE", NULL };
	Server *server = server_of_argument(cli, 0, err);
	if (!server || output_check_format(cli, err) < 0)
		return -1;
	json_t *certificates = server_list(server, "GetCertificates", NULL, err), *certificate;
	if (!certificates)
		return -1;
	g_autoptr(Table) table = table_new(headers);
	size_t i;
	json_array_foreach (certificates, i, certificate) {
		g_autoptr(X509Info) info = NULL;
		const char *fingerprint = json_get_text(certificate, "fingerprint");
		x509_info(json_get_text(certificate, "certificate"), &info, NULL);
		table_add(table, json_get_text(certificate, "type"),
		    json_get_text(certificate, "name"), info ? info->common_name : "",
		    arena_strndup(cli->arena, fingerprint, 12),
		    info ? local_date(cli, info->not_before) : "",
		    info ? local_date(cli, info->not_after) : "", NULL);
	}
	table_sort(table);
	return output_list(cli, table, certificates, err);
}

/* Requests name a certificate by "fingerprint". */
static int parse(Cli *cli, Object *ret, Error **err)
{
	if (object_parse(cli, &certificate_noun, cli->args[0], ret, err) < 0)
		return -1;
	if (!*ret->name)
		return error_set(err, ERROR_INVALID, "Missing certificate fingerprint");
	json_object_del(ret->key, "name");
	json_object_set_new(ret->key, "fingerprint", json_string(ret->name));
	return 0;
}

static int show(Cli *cli, Error **err)
{
	Object certificate;
	return parse(cli, &certificate, err) < 0 ? -1 : object_show(&certificate, err);
}

static int edit(Cli *cli, Error **err)
{
	Object certificate;
	return parse(cli, &certificate, err) < 0 ? -1 : object_edit(&certificate, err);
}

static int remove_run(Cli *cli, Error **err)
{
	Object certificate;
	if (parse(cli, &certificate, err) < 0)
		return -1;
	return server_call(
		   certificate.server, "DeleteCertificate", json_copy(certificate.key), err) ?
	    0 :
	    -1;
}

static const Flag format_flags[] = { FLAG_FORMAT, FLAG_END };
#define FLAGS_RESTRICT                                                                             \
	{ "restricted", 0, FLAG_BOOL, NULL, "Limit the client to some projects" },                 \
	{ "projects", 0, FLAG_STRING, NULL, "Those projects, separated by commas" }
static const Flag add_flags[] = { FLAGS_RESTRICT, FLAG_END };
static const Flag certificate_flags[] = {
	FLAGS_RESTRICT,
	{ "name", 0, FLAG_STRING, NULL, "Name to list it under (the file's when not given)" },
	{ "type", 0, FLAG_STRING, "client", "What it is for: client or metrics" },
	FLAG_END,
};

const Command trust_commands[] = {
	{ .path = "config trust", .summary = "Manage who may use the server" },
	{ .path = "config trust add",
	    .usage = "[<remote>:]<name>",
	    .min_args = 1,
	    .max_args = 1,
	    .flags = add_flags,
	    .summary = "Make a token with which one client can add itself",
	    .help = "The client gives the token to \"incus remote add\"; it works once.",
	    .run = add },
	{ .path = "config trust add-certificate",
	    .usage = "[<remote>:] <cert>",
	    .min_args = 1,
	    .max_args = 2,
	    .flags = certificate_flags,
	    .summary = "Trust a certificate from a file",
	    .run = add_certificate },
	{ .path = "config trust edit",
	    .usage = "[<remote>:]<fingerprint>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Edit a trusted certificate as YAML",
	    .run = edit },
	{ .path = "config trust list",
	    .aliases = "ls",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List trusted certificates",
	    .run = list,
	    .complete = "remote" },
	{ .path = "config trust list-tokens",
	    .usage = "[<remote>:]",
	    .max_args = 1,
	    .flags = format_flags,
	    .summary = "List tokens that wait for their client",
	    .run = list_tokens,
	    .complete = "remote" },
	{ .path = "config trust remove",
	    .aliases = "rm",
	    .usage = "[<remote>:]<fingerprint>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Stop trusting a certificate",
	    .run = remove_run },
	{ .path = "config trust revoke-token",
	    .usage = "[<remote>:] <name>",
	    .min_args = 1,
	    .max_args = 2,
	    .summary = "Take a token back",
	    .run = revoke_token },
	{ .path = "config trust show",
	    .usage = "[<remote>:]<fingerprint>",
	    .min_args = 1,
	    .max_args = 1,
	    .summary = "Show a trusted certificate",
	    .run = show },
	{ 0 },
};
