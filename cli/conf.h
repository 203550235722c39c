#pragma once
/*
 * The client's own configuration: config.yml (remotes, default remote, aliases) in INCUS_CONF or
 * ~/.config/incus, with client.crt, client.key and servercerts/ beside it.
 */
#include "cli/command.h"
#include <jansson.h>

typedef struct Remote {
	char *name;
	char *addr;      /* "unix://", "unix:///path", "https://host:port" */
	char *auth_type; /* "", "tls", "oidc" */
	char *project;   /* "" is the server's default */
	char *protocol;  /* "incus", "simplestreams" */
	bool public;
	bool is_static; /* built in: "local" */
	bool global;    /* from the system-wide file */
} Remote;

typedef struct Conf {
	char *dir;
	char *default_remote; /* as stored; conf_default_remote() heeds INCUS_REMOTE */
	GHashTable *remotes;  /* name -> Remote */
	GHashTable *aliases;  /* command -> what it stands for */
} Conf;

/* Loaded once a run; NULL with an error when the file is not readable YAML. */
Conf *conf_get(Cli *cli, Error **err);
void conf_free(Conf *conf);
int conf_save(Conf *conf, Error **err);
const char *conf_default_remote(const Conf *conf);
Remote *conf_remote(const Conf *conf, const char *name);
Remote *remote_new(const char *name, const char *addr);
void remote_free(Remote *remote);
/* As config.yml and "remote list" show it. */
json_t *remote_to_json(const Remote *remote);
/* A file beside config.yml; free with g_free(). */
char *conf_path(const Conf *conf, const char *name);
/* servercerts/NAME.crt: the pinned certificate of a remote. */
char *conf_server_cert_path(const Conf *conf, const char *remote);
/* Makes client.crt and client.key (EC P-384, ten years) unless they are there. */
int conf_ensure_client_cert(const Conf *conf, Error **err);
/* Path of the socket of the local daemon: INCUS_SOCKET, or unix.socket in INCUS_DIR. */
char *conf_socket_path(void);
