#pragma once
/*
 * The parts of `incus image` that have a file of their own.
 */
#include "cli/image.h"
#include "cli/noun.h"
#include "cli/stream.h"

int image_list(Cli *cli, Error **err);
int image_import(Cli *cli, Error **err);
int image_export(Cli *cli, Error **err);
int image_copy(Cli *cli, Error **err);

/* The image that "[remote:]image" names; aliases are resolved. */
int image_parse(Cli *cli, const char *argument, Object *ret, Error **err);
/* Has the server make an image as `post` (ImagesPost, taken) says, in `project` ("": the current
 * one). The finished operation. */
json_t *image_create(
    Server *server, json_t *post, const char *project, const char *label, Error **err);
/* The same without waiting: the operation as it started. */
json_t *image_create_start(Server *server, json_t *post, const char *project, Error **err);
/* Uploads a file, or two with `rootfs`; `project` as above. The finished operation. */
json_t *image_upload(Server *server, const char *image, const char *rootfs, json_t *properties,
    const char *project, Error **err);

/* "os=Debian&release=12", in arena memory. */
char *image_properties_query(Cli *cli, const json_t *properties);

/* The remote and the image that "[remote:]image" names. */
const Remote *image_remote(Cli *cli, const char *argument, const char **ret_image, Error **err);
/* The source that lets another server fetch an image of `remote`, with a member "servers" of
 * addresses to try. The caller's. */
json_t *image_remote_source(Cli *cli, const Remote *remote, const char *image, Error **err);
/* Sets "servers" and "certificate" of a server that others are to reach. */
int image_server_addresses(Server *server, json_t *source, Error **err);
/* Takes "servers" out, NULL-terminated; what `key` says when there is none. */
char **image_take_servers(Cli *cli, json_t *source, const char *key);
/* PEM, g_free; NULL: none is pinned. */
char *image_pinned_certificate(const Conf *conf, const Remote *remote);
/* Points the alias to the fingerprint, wherever it pointed before. */
int image_alias_set(Server *server, const char *alias, const char *fingerprint, Error **err);

/* The simple streams remote that "remote:image" names, NULL when it is none. */
const Remote *image_streams_remote(Cli *cli, const char *argument, const char **ret_image);
json_t *image_streams_list(Cli *cli, const Remote *remote, Error **err);
/* By alias or fingerprint; --vm asks for virtual machine images. */
json_t *image_streams_get(Cli *cli, const Remote *remote, const char *name, Error **err);
/* Downloads the one or two files of an image into a directory; their paths belong to the run,
 * *ret_rootfs is NULL for a unified image. */
int image_streams_download(Cli *cli, const Remote *remote, const char *fingerprint,
    const char *directory, const char **ret_image, const char **ret_rootfs, Error **err);
