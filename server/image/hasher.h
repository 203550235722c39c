#pragma once
/*
 * SHA-256 beside other work: bytes are copied into a few buffers and hashed on a thread of their
 * own.
 */
#include "sdk/base/error.h"
#include <stddef.h>

typedef struct Hasher Hasher;

Hasher *hasher_new(void);
/* Waits only when all buffers are full. */
void hasher_update(Hasher *hasher, const void *data, size_t length);
/* Lower-case hex (g_free); once. */
char *hasher_finish(Hasher *hasher);
void hasher_free(Hasher *hasher);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hasher, hasher_free)
