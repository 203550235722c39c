#pragma once
/* What a project uses of its limits. */
#include "sdk/base/error.h"
#include "server/daemon.h"
#include <stdint.h>

typedef struct ProjectUse {
	const char *name;    /* "memory": what GET /1.0/projects/NAME/state calls it */
	int64_t limit, used; /* limit -1: none */
} ProjectUse;
/* *ret_uses is to free; ERROR_NOT_FOUND "Project not found". */
int project_usage(
    Daemon *d, const char *project, size_t *ret_n, ProjectUse **ret_uses, Error **err);

/* Bytes that an image may still have where this project keeps its images; -1: no limit. */
int project_image_budget(Daemon *d, const char *project, int64_t *ret_bytes, Error **err);
