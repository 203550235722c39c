#pragma once
/*
 * Profiles in the database: loading, expanding into an instance's configuration, and changing. Who
 * changes one tells the instance layer afterwards (server/api/profile.c does). `project` is always
 * the one the client works in; features.profiles is followed here.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include "server/db/db.h"
#include "server/key/device_type.h"

typedef struct Profile {
	int64_t id;
	char *name, *description;
	Config *config;
	Devices *devices;
	char **used_by;    /* URLs of instances; NULL when not asked for */
} Profile;
void profile_free(Profile *profile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Profile, profile_free)

/* ERROR_NOT_FOUND "Profile not found". */
int profile_get(Daemon *d, const char *project, const char *name, gboolean used_by,
    Profile **ret_profile, Error **err);
/* All of a project in order of name, in a fixed number of statements; elements Profile *. */
int profile_list(
    Daemon *d, const char *project, gboolean used_by, GPtrArray **ret_profiles, Error **err);
/* The named profiles in the given order; one that is missing is ERROR_NOT_FOUND and named. */
int profile_load_many(
    Tx *tx, const char *project, const char *const *names, GPtrArray **ret_profiles, Error **err);
/* Later profiles win over earlier ones, local over all. Both results are new. Devices are whole:
 * one of the same name replaces. */
void profile_expand(const GPtrArray *profiles, const Config *local_config,
    const Devices *local_devices, Config **ret_config, Devices **ret_devices);

/* Device rows ("instances", "instance_id", "instance_device_id") of anything with devices. */
int devices_load(Tx *tx, const char *prefix, const char *owner_column, const char *device_column,
    int64_t owner, Devices **ret_devices, Error **err);
int devices_replace(Tx *tx, const char *prefix, const char *owner_column, const char *device_column,
    int64_t owner, const Devices *devices, Error **err);

int profile_create(Daemon *d, const char *project, const Profile *profile, Error **err);
/* Replaces description, config, devices. */
int profile_update(Daemon *d, const char *project, const Profile *profile, Error **err);
int profile_rename(
    Daemon *d, const char *project, const char *name, const char *new_name, Error **err);
int profile_delete(Daemon *d, const char *project, const char *name, Error **err);
