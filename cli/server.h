#pragma once
/*
 * Calls to servers: the one place of cli/ that speaks to the SDK for unary calls. Requests and
 * replies are JSON trees (message.h); replies live in the run's arena and are not freed.
 */
#include "cli/command.h"
#include "cli/conf.h"
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

struct incus_client;
struct SchemaMethod;

typedef struct Server {
	Cli *cli;
	const Remote *remote;
	const char *project; /* that requests go to; NULL: the server's default */
	struct incus_client *client;
	const char *etag; /* of the object that the last call got; NULL: it has none */
} Server;

/* What "[remote:]name" names; name is "" when only a remote was given. */
typedef struct Target {
	Server *server;
	const char *remote; /* as written, "" when it was not */
	const char *name;
} Target;

/* Connected once a run; NULL is the default remote. --force-local makes every remote "local". */
Server *server_get(Cli *cli, const char *remote, Error **err);
/* Splits at the first colon; without one the default remote is meant. */
int target_parse(Cli *cli, const char *argument, Target *ret, Error **err);
/* The remote's name and the rest, without connecting. */
void target_split(Cli *cli, const char *argument, const char **ret_remote, const char **ret_name);
/* "[remote:]" alone: the argument n, or the default remote when there are fewer. */
Server *server_of_argument(Cli *cli, int n, Error **err);

/*
 * Calls the rpc `method` ("GetProfile"). Takes `request` (NULL is empty); "project" is filled in
 * where the request has such a field and none is set, "target" likewise from --target.
 */
json_t *server_call(Server *server, const char *method, json_t *request, Error **err);
/* server_call(); when the reply is an operation, waits for its end and shows its progress on a
 * terminal behind `label` (NULL: "Working"). The finished operation. */
json_t *server_do(
    Server *server, const char *method, json_t *request, const char *label, Error **err);
/* Waits for an operation that a call returned. NULL when it failed. */
json_t *server_wait(Server *server, const json_t *operation, const char *label, Error **err);
/* The items of a list rpc. */
json_t *server_list(Server *server, const char *method, json_t *request, Error **err);
/* The schema row of an rpc; NULL when this version has none. */
const struct SchemaMethod *server_method(const char *name);
void server_close_all(Cli *cli);

/* Puts a tree under the arena's care; returns it. */
json_t *server_keep(Cli *cli, json_t *tree);

/* Text of a member, "" when there is none. */
const char *json_get_text(const json_t *object, const char *key);
int64_t json_get_int(const json_t *object, const char *key);
