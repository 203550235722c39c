#pragma once
/*
 * The parts of `incus image` that have a file of their own.
 */
#include "cli/image.h"
#include "cli/noun.h"

int image_list(Cli *cli, Error **err);
int image_import(Cli *cli, Error **err);
int image_export(Cli *cli, Error **err);

/* The image that "[remote:]image" names; aliases are resolved. */
int image_parse(Cli *cli, const char *argument, Object *ret, Error **err);
/* Has the server make an image as `post` (ImagesPost, taken) says, in `project` ("": the current
 * one). The finished operation. */
json_t *image_create(
    Server *server, json_t *post, const char *project, const char *label, Error **err);
/* The source that lets another server fetch an image of `remote`. The caller's. */
json_t *image_remote_source(Cli *cli, const Remote *remote, const char *image, Error **err);
/* Points the alias to the fingerprint, wherever it pointed before. */
int image_alias_set(Server *server, const char *alias, const char *fingerprint, Error **err);

/* The simple streams remote that "remote:image" names, NULL when it is none. */
const Remote *image_streams_remote(Cli *cli, const char *argument, const char **ret_image);
json_t *image_streams_list(Cli *cli, const Remote *remote, Error **err);
/* By alias or fingerprint; --vm asks for virtual machine images. */
json_t *image_streams_get(Cli *cli, const Remote *remote, const char *name, Error **err);
