#pragma once
/*
 * Inside the checks. Each adds to m->findings; what it cannot find out is its failure.
 */
#include "migrate/migration.h"

int check_keys(Migration *m, Error **err); /* check_keys.c: settings and names */
int check_objects(
    Migration *m, Error **err); /* check_objects.c: instances, devices, networks, each as a whole */
int check_devices(Migration *m, Error **err); /* check_devices.c, for check_objects() */
int check_storage(Migration *m, Error **err); /* check_storage.c: pools, volumes, images, links */
int check_expired(Migration *m, Error **err); /* check_expired.c: what goes at the first start */
/* Whether the moment in that column has passed. */
gboolean check_is_expired(Rows *row, int column);

/* Something does not start here, for that reason: if it ran, that stands in the way. */
void check_starts(
    Migration *m, gboolean ran, const char *check, const char *where, const char *why);
