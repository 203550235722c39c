#pragma once
/*
 * Projects: whose objects a name means. Each noun asks which project holds its objects for the
 * project that the client works in.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include "server/db/db.h"

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
int project_effective(
    Daemon *d, const char *project, ProjectFeature feature, char **ret_project, Error **err);
/* The same inside a transaction, as the row's id in `projects`. */
int project_effective_id(
    Tx *tx, const char *project, ProjectFeature feature, int64_t *ret_id, Error **err);

typedef struct Project {
	int64_t id;
	char *name, *description;
	Config *config;
	char **used_by;   /* URLs; NULL when not asked for */
} Project;
void project_free(Project *project);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Project, project_free)

int project_get(Daemon *d, const char *name, gboolean used_by, Project **ret_project, Error **err);
/* In order of name; elements Project *. */
int project_list(Daemon *d, gboolean used_by, GPtrArray **ret_projects, Error **err);
/* Where a feature was not said, images, profiles, storage volumes and buckets are its own. With
 * profiles of its own it gets an empty "default". */
int project_create(
    Daemon *d, const char *name, const char *description, const Config *config, Error **err);
/* Replaces both. Features can only change while the project is empty. */
int project_update(
    Daemon *d, const char *name, const char *description, const Config *config, Error **err);
int project_rename(Daemon *d, const char *name, const char *new_name, Error **err);
int project_delete(Daemon *d, const char *name, Error **err);

/* What the project says about a key that the server has too ("images.remote_cache_expiry"), else
 * what the server says or the key's default; NULL when nobody does. To free. */
char *project_setting(Daemon *d, const char *project, const char *key);

/* Whether limits.* and restricted.* let something be: asked before anything is begun, with whole
 * (merged) configuration. ERROR_FORBIDDEN, or ERROR_INVALID where an instance does not say what the
 * project's limit adds up. An instance of this name takes the place of the one that is there;
 * `type` is "container" or "virtual-machine". */
int project_allow_instance(Daemon *d, const char *project, const char *name, const char *type,
    const Config *expanded_config, const Devices *expanded_devices, Error **err);
/* restricted.* alone, for a profile of the project. */
int project_allow_profile(Daemon *d, const char *project, const char *name, const Config *config,
    const Devices *devices, Error **err);
/* A custom volume of this size (NULL: not said) in the place of the one of that name. */
int project_allow_volume(Daemon *d, const char *project, const char *pool, const char *name,
    const char *size, Error **err);
/* Keys "volatile.*" that a client sets on his instance, beside those it has (`before`; NULL: it is
 * new). */
int project_allow_volatile(
    Daemon *d, const char *project, const Config *config, const Config *before, Error **err);
/* restricted.snapshots and restricted.backups, of instances and volumes. */
int project_allow_snapshot(Daemon *d, const char *project, Error **err);
int project_allow_backup(Daemon *d, const char *project, Error **err);
/* restricted.devices.nic and restricted.networks.access: what the project does not let through it
 * does not see. */
gboolean project_allows_network(const Project *project, const char *network, gboolean managed);

/* Where restricted.devices.disk.paths is said: the folder of it that a (canonical) host path is in,
 * which the path must not lead out of when it is opened; else NULL. */
int project_disk_folder(
    Daemon *d, const char *project, const char *path, char **ret_folder, Error **err);

/* The same at the end of the transaction that stored it, by ids of rows: what two changes at once
 * would exceed together, the second does not. `arrived`: the instance is new in its project. */
int project_verify_instance(Tx *tx, int64_t instance, gboolean arrived, Error **err);
int project_verify_profile(Tx *tx, int64_t profile, Error **err);
int project_verify_volume(Tx *tx, int64_t project, Error **err);
int project_verify_network(Tx *tx, int64_t project, Error **err);
