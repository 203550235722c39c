/*
 * Images of other servers as a server needs them named to fetch them itself: address, certificate,
 * a secret for what is not public. A server behind a unix socket is fetched from at the addresses
 * it listens on, one after the other until one is reached.
 */
#include "cli/image_commands.h"
#include <string.h>

const char *image_resolve(Server *server, const char *image)
{
	json_t *alias =
	    server_call(server, "GetImageAlias", json_pack("{s:s}", "name", image), NULL);
	return alias ? json_get_text(alias, "target") : image;
}

const Remote *image_remote(Cli *cli, const char *argument, const char **ret_image, Error **err)
{
	const char *name;
	if (!conf_get(cli, err))
		return NULL;
	target_split(cli, argument, &name, ret_image);
	if (cli->force_local)
		name = "local";
	else if (!*name)
		name = conf_default_remote(cli->conf);
	const Remote *remote = conf_remote(cli->conf, name);
	if (!remote)
		error_set(err, ERROR_NOT_FOUND, "The remote \"%s\" doesn't exist", name);
	return remote;
}

char *image_pinned_certificate(const Conf *conf, const Remote *remote)
{
	g_autofree char *path = conf_server_cert_path(conf, remote->name);
	char *pem = NULL;
	g_file_get_contents(path, &pem, NULL, NULL);
	return pem;
}

/* Fills "servers" (tried in order) and "certificate". */
int image_server_addresses(Server *server, json_t *source, Error **err)
{
	json_t *servers = json_array(), *address;
	const Remote *remote = server->remote;
	size_t i;
	json_object_set_new(source, "servers", servers);
	if (!g_str_has_prefix(remote->addr, "unix:")) {
		g_autofree char *pem = image_pinned_certificate(server->cli->conf, remote);
		json_object_set_new(source, "certificate", json_string(pem ? pem : ""));
		json_array_append_new(servers, json_string(remote->addr));
		return 0;
	}
	json_t *facts = server_call(server, "GetServer", NULL, err);
	if (!facts)
		return -1;
	const json_t *environment = json_object_get(facts, "environment");
	json_object_set_new(
	    source, "certificate", json_string(json_get_text(environment, "certificate")));
	json_array_foreach(json_object_get(environment, "addresses"), i, address) {
		g_autofree char *url = g_strconcat("https://", json_string_value(address), NULL);
		json_array_append_new(servers, json_string(url));
	}
	if (json_array_size(servers) > 0)
		return 0;
	return error_set(
	    err, ERROR_UNAVAILABLE, "The source server isn't listening on the network");
}

char **image_take_servers(Cli *cli, json_t *source, const char *key)
{
	json_t *servers = json_object_get(source, "servers");
	size_t n = json_array_size(servers);
	char **list = arena_alloc(cli->arena, (n + 2) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		list[i] = arena_strdup(cli->arena, json_string_value(json_array_get(servers, i)));
	if (n == 0)
		list[0] = arena_strdup(cli->arena, json_get_text(source, key));
	json_object_del(source, "servers");
	return list;
}

json_t *image_do(Server *server, const char *method, json_t *request, json_t *source,
    const char *label, Error **err)
{
	json_t *done = NULL;
	g_autoptr(Error) problem = NULL;
	char **servers = image_take_servers(server->cli, source, "server");
	server_keep(server->cli, request);
	for (int i = 0; servers[i] && !done; i++) {
		g_clear_pointer(&problem, error_free);
		if (*servers[i])
			json_object_set_new(source, "server", json_string(servers[i]));
		done = server_do(server, method, json_incref(request), label, &problem);
	}
	if (!done)
		error_propagate(err, g_steal_pointer(&problem));
	return done;
}

/* A secret for an image that is not public. */
static const char *image_secret(Server *from, const char *fingerprint, Error **err)
{
	json_t *operation = server_call(
	    from, "CreateImageSecret", json_pack("{s:s}", "fingerprint", fingerprint), err);
	return operation ? json_get_text(json_object_get(operation, "metadata"), "secret") : NULL;
}

static int fill_incus_source(
    Cli *cli, const Remote *remote, const char *image, json_t *source, Error **err)
{
	Server *from = server_get(cli, remote->name, err);
	if (!from)
		return -1;
	const char *target = image_resolve(from, image);
	json_t *data =
	    server_call(from, "GetImage", json_pack("{s:s}", "fingerprint", target), err);
	if (!data || image_server_addresses(from, source, err) < 0)
		return -1;
	const char *fingerprint = json_get_text(data, "fingerprint");
	bool public = json_is_true(json_object_get(data, "public"));
	/* By its alias a public image can be followed to newer versions. */
	if (public && target != image)
		json_object_set_new(source, "alias", json_string(image));
	else
		json_object_set_new(source, "fingerprint", json_string(fingerprint));
	if (from->project)
		json_object_set_new(source, "project", json_string(from->project));
	if (public)
		return 0;
	const char *secret = image_secret(from, fingerprint, err);
	json_object_set_new(source, "secret", json_string(secret ? secret : ""));
	return secret ? 0 : -1;
}

json_t *image_remote_source(Cli *cli, const Remote *remote, const char *image, Error **err)
{
	json_t *source = json_pack("{s:s, s:s, s:s, s:s}", "type", "image", "mode", "pull",
	    "server", remote->addr, "protocol", remote->protocol);
	if (strcmp(remote->protocol, "simplestreams") == 0) {
		g_autofree char *pem = image_pinned_certificate(cli->conf, remote);
		json_object_set_new(source, "alias", json_string(image));
		json_object_set_new(source, "certificate", json_string(pem ? pem : ""));
		return source;
	}
	if (fill_incus_source(cli, remote, image, source, err) == 0)
		return source;
	json_decref(source);
	return NULL;
}

json_t *image_source(Cli *cli, Server *server, const char *argument, Error **err)
{
	const char *image;
	const Remote *remote = image_remote(cli, argument, &image, err);
	if (!remote)
		return NULL;
	if (!*image) {
		error_set(err, ERROR_INVALID, "Image identifier missing");
		return NULL;
	}
	if (remote == server->remote)
		return json_pack(
		    "{s:s, s:s}", "type", "image", "fingerprint", image_resolve(server, image));
	return image_remote_source(cli, remote, image, err);
}
