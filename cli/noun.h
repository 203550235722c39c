#pragma once
/*
 * The verbs that every noun has: show, edit, get, set, unset, rename, delete. A noun is a row that
 * names its rpcs; an object is one named thing of it on a server.
 */
#include "cli/server.h"

typedef struct Noun {
	const char *title;  /* "Profile", in messages */
	const char *method; /* "Profile" of GetProfile, UpdateProfile ... */
	const char
	    *body; /* the field of Create, Update and Rename requests that holds the object */
	const char *edit_help; /* comment at the head of the text to edit */
} Noun;

typedef struct Object {
	const Noun *noun;
	Server *server;
	const char *name;
	json_t *key; /* what Get, Update and Delete requests have in common */
	const char **etag; /* as object_get() found it: object_put() changes nothing else */
} Object;

/* The object that "[remote:]name" names. */
int object_parse(Cli *cli, const Noun *noun, const char *argument, Object *ret, Error **err);
/* As object_parse(), and a missing name is an error: "Missing profile name". */
int object_parse_named(Cli *cli, const Noun *noun, const char *argument, Object *ret, Error **err);
Object object_make(Server *server, const Noun *noun, const char *name);

json_t *object_get(const Object *object, Error **err);
/* Sends what Update takes of `data`. */
int object_put(const Object *object, const json_t *data, Error **err);
json_t *object_put_raw(const Object *object, const json_t *data, Error **err);
/* Only what may be written of `data`. */
json_t *object_writable(const Object *object, const json_t *data);

int object_show(const Object *object, Error **err);
int object_edit(const Object *object, Error **err);
/* Prints config KEY, or property KEY with --property. */
int object_print_key(const Object *object, const char *key, Error **err);
/* key=value..., or "key value". Arguments from `first` on. */
int object_set(const Object *object, int first, Error **err);
int object_unset(const Object *object, const char *key, Error **err);
int object_rename(const Object *object, const char *name, Error **err);
int object_delete(const Object *object, Error **err);
/* Sends `data` with "name" set; prints "TITLE NAME created" unless quiet. */
int object_create(const Object *object, json_t *data, Error **err);

/* The common shape of a noun's commands: "[<remote>:]NAME ..." as the first argument. */
int noun_show(Cli *cli, const Noun *noun, Error **err);
int noun_edit(Cli *cli, const Noun *noun, Error **err);
int noun_get(Cli *cli, const Noun *noun, Error **err);
int noun_set(Cli *cli, const Noun *noun, Error **err);
int noun_unset(Cli *cli, const Noun *noun, Error **err);
int noun_rename(Cli *cli, const Noun *noun, Error **err);
int noun_delete(Cli *cli, const Noun *noun, Error **err);

/* Adds the "key=value" arguments from `first` on to `config`; also "key value" when `legacy`. A
 * value of "-" is standard input. */
int read_pairs(Cli *cli, int first, bool legacy, json_t *config, Error **err);
/* Adds one "key=value". */
int read_pair(const char *argument, json_t *config, Error **err);
/* Everything on standard input, in arena memory. */
int read_stdin(Cli *cli, const char **ret_text, size_t *ret_length, Error **err);
/* YAML of standard input when that is no terminal; NULL with no error when it is one. */
json_t *read_stdin_yaml(Cli *cli, Error **err);
/* The object in a list of objects whose `key` is `value`; NULL. */
json_t *find_item(const json_t *list, const char *key, const char *value);
/* Sets data[path[0]][path[1]], making the inner map. */
json_t *json_member(json_t *object, const char *key);
