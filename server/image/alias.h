#pragma once
/* Names that point to images, per project. `project` as in image.h. */
#include "server/image/image.h"

int image_alias_list(Daemon *d, const char *project, Arena *arena, size_t *ret_n,
    Pb__ImageAliasesEntry ***ret_aliases, Error **err);
/* ERROR_NOT_FOUND "Image alias not found". type NULL or "": any. */
int image_alias_get(Daemon *d, const char *project, const char *name, const char *type,
    gboolean public_only, Arena *arena, Pb__ImageAliasesEntry **ret_alias, Error **err);
/* target may be a unique start of a fingerprint. ERROR_EXISTS "Alias "x" already exists". */
int image_alias_create(Daemon *d, const char *project, const char *name, const char *target,
    const char *description, Error **err);
int image_alias_update(Daemon *d, const char *project, const char *name, const char *target,
    const char *description, Error **err);
int image_alias_rename(
    Daemon *d, const char *project, const char *name, const char *new_name, Error **err);
int image_alias_delete(Daemon *d, const char *project, const char *name, Error **err);
