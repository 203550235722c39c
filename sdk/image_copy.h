#pragma once
/*
 * An image on its way from one server to another: what the ways have in common. Not installed.
 */
#include <incus/transfer.h>
#include "sdk/base/arena.h"
#include "incus/v1/image.pb-c.h"

typedef struct ImageCopy {
	incus_client *from, *to;
	const char *name; /* as it was asked for */
	gboolean by_alias;
	const incus_image_copy *options;
	Pb__Image *image; /* as the source has it */
	Arena *arena;
} ImageCopy;

/* Aliases to make, each once. */
Pb__ImageAlias **image_copy_aliases(ImageCopy *copy, size_t *ret_n);
/* sdk/transfer.c: through this program. What fails leaves nothing. */
int image_relay(ImageCopy *copy, incus_error **err);
