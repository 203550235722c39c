#pragma once
/*
 * Projects: whose objects a name means. Each noun asks which project holds its objects for the
 * project that the client works in.
 */
#include "sdk/base/error.h"
#include "server/daemon.h"

/* The keys "features.images", ... in this order. */
typedef enum ProjectFeature {
	PROJECT_IMAGES,
	PROJECT_PROFILES,
	PROJECT_STORAGE_VOLUMES,
	PROJECT_STORAGE_BUCKETS,
	PROJECT_NETWORKS,
	PROJECT_NETWORK_ZONES,
} ProjectFeature;

/* `project` itself when the feature is on there, else "default". *ret_project is to free.
 * ERROR_NOT_FOUND "Project not found". */
int project_effective(Daemon *d, const char *project, ProjectFeature feature, char **ret_project, Error **err);
