#pragma once
/*
 * An instance, or a snapshot of one, as a new image: metadata.yaml, templates/ and rootfs/ go
 * through compressor and hash straight into the image folder.
 */
#include "incus/v1/image.pb-c.h"
#include "server/instance/instance.h"

struct Operation;

/* Borrowed. */
typedef struct InstancePublish {
	const char *project;      /* that gets the image */
	const char *snapshot;     /* NULL: the instance, which must be stopped */
	const char *compression;  /* NULL or "": as the project's or server's
				     images.compression_algorithm says */
	const char *filename;
	gboolean public;
	const Config *properties; /* instead of those in metadata.yaml; NULL or empty: those */
	int64_t expires_at;       /* seconds since 1970; 0: as metadata.yaml says */
	char **profiles;          /* NULL-terminated; may be NULL */
} InstancePublish;

/* Whether it can be: not while it runs. */
int instance_publish_check(Instance *i, const InstancePublish *publish, Error **err);
/* The image as stored, in the arena. The instance can neither start nor change meanwhile. Nothing
 * is left on failure. */
int instance_publish(Instance *i, const InstancePublish *publish, struct Operation *op,
    Arena *arena, Pb__Image **ret_image, Error **err);
