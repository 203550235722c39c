#pragma once
/*
 * Whether a copied tree is the same as its source: names, types, owners, modes, times of files,
 * contents, holes' places aside, extended attributes with ACLs and capabilities, hard links.
 */
#include "sdk/base/error.h"

/* ERROR_INTERNAL names the first difference. `progress` (NULL: nobody) is told of bytes compared.
 */
int compare_trees(int one_fd, int other_fd, void (*progress)(uint64_t bytes, void *data),
    void *data, Error **err);
