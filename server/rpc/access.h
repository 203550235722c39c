#pragma once
/*
 * May this caller do this? Read from the access column of the method table (object, entitlement) by
 * both front doors before the handler runs, and by handlers again after they have merged
 * configuration (copy, restore, migration, import): the merged object may be in another project.
 */
#include "server/rpc/request.h"

/* The whole check for rq->method with rq->project set. ERROR_FORBIDDEN "not authorized";
 * ERROR_NOT_FOUND for what the port for metrics does not show. */
int access_check(const Request *rq, Error **err);
/* The same question about any object: `project` NULL for objects outside projects. */
int access_check_object(const Request *rq, const char *object, const char *entitlement,
    const char *project, Error **err);
/* Server administration: neither restricted nor metrics-only callers. */
int access_check_admin(const Request *rq, Error **err);
