#pragma once
/*
 * Devices of instances and profiles: the same verbs on both.
 */
#include "cli/noun.h"

int device_add(
    const Object *owner, const char *device, const char *type, int first_pair, Error **err);
int device_get(const Object *owner, const char *device, const char *key, Error **err);
int device_list(const Object *owner, Error **err);
int device_override(const Object *owner, const char *device, int first_pair, Error **err);
/* Names are the arguments from `first` on. */
int device_remove(const Object *owner, int first, Error **err);
int device_set(const Object *owner, const char *device, int first_pair, Error **err);
int device_show(const Object *owner, Error **err);
int device_unset(const Object *owner, const char *device, const char *key, Error **err);

/* Puts `device` (taken) into the owner under `name`, which must be free. */
int device_attach(const Object *owner, const char *name, json_t *device, Error **err);
/* Removes the device `name`, or the only one for which key is value (network=br0) when name is
 * NULL. Two keys may name it. */
int device_detach(const Object *owner, const char *name, const char *const *keys, const char *value,
    Error **err);
/* "NAME,key=value,..." of --device: changes the device of that name in `devices`, a copy of that in
 * `inherited`, or makes a new one. */
int device_option(const char *text, const json_t *inherited, json_t *devices, Error **err);
