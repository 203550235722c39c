#pragma once
/*
 * What a project holds that its limits and restrictions look at, read from the database in a fixed
 * number of statements. For the files of this folder and the report of its use.
 */
#include "server/project/project.h"

/* An instance as its profiles and its own keys make it, or a profile. */
typedef struct Holder {
	int64_t id;
	char *name;
	gboolean is_profile, machine;
	Config *config;
	Devices *devices;
} Holder;

typedef struct HeldVolume {
	char *pool, *name;
	char *size; /* NULL: not said */
} HeldVolume;

typedef struct ProjectContent {
	Project *project;
	GPtrArray *instances; /* Holder * */
	GPtrArray *profiles;  /* Holder *, the project's own */
	GPtrArray *volumes;   /* HeldVolume *, custom ones */
	int64_t networks;
} ProjectContent;

int content_load(Tx *tx, int64_t project, ProjectContent **ret_content, Error **err);
void content_free(ProjectContent *content);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ProjectContent, content_free)

/* As if it were there, in the place of one of that name. Both give what they put there, borrowed.
 */
Holder *content_put_instance(ProjectContent *content, const char *name, gboolean machine,
    const Config *config, const Devices *devices);
HeldVolume *content_put_volume(
    ProjectContent *content, const char *pool, const char *name, const char *size);

/* One project's row and configuration. */
int project_load_id(Tx *tx, int64_t id, Project **ret_project, Error **err);
int project_load_name(Tx *tx, const char *name, Project **ret_project, Error **err);

/* allow.c: after the project's own configuration was changed from `before`: what is there must fit.
 */
int project_verify_change(Tx *tx, int64_t project, const Config *before, Error **err);

/* limits.c: what has changed, so that only what it can exceed is looked at. */
typedef enum LimitSubject {
	LIMIT_OF_INSTANCE = 1 << 0,
	LIMIT_OF_NEW_INSTANCE = 1 << 1,
	LIMIT_OF_VOLUME = 1 << 2,
	LIMIT_OF_NETWORK = 1 << 3,
} LimitSubject;
/* `before`: the project's own configuration was changed from this, and only what differs is looked
 * at. */
int limits_check(
    const ProjectContent *content, unsigned subject, const Config *before, Error **err);
gboolean limits_any(const Project *project);

/* restrict.c; both let everything pass where "restricted" is off. */
int restrict_check(const Project *project, const Holder *holder, Error **err);
gboolean restrict_any(const Project *project);
