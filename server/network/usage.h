#pragma once
/*
 * Who uses which network: nic devices of profiles and of instances (their profiles applied), read
 * from the database by a fixed number of statements, because instances stand on a higher floor.
 */
#include "sdk/base/map.h"
#include "server/db/db.h"

typedef struct NetworkUse {
	char *project;     /* of the profile or instance */
	char *network_project; /* where its networks are looked up */
	char *instance;    /* NULL: a profile's */
	char *profile;     /* NULL: an instance's */
	char *device;
	Config *config;    /* of the device */
	char *hwaddr;      /* set or volatile; NULL: none yet */
} NetworkUse;

/* Array of NetworkUse *, instances first, each in order of project and name. */
int network_uses_load(Db *db, GPtrArray **ret_uses, Error **err);
/* TRUE when the nic joins this interface or managed network. project NULL: an unmanaged interface.
 */
gboolean network_use_matches(const NetworkUse *use, const char *project, const char *name);
/* "/1.0/instances/c1?project=p" */
char *network_use_url(const NetworkUse *use);
