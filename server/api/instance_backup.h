#pragma once
/* Backups as part of what is said of an instance. */
#include "incus/v1/instance.pb-c.h"
#include "server/instance/instance.h"
#include "server/rpc/request.h"

/* Oldest first, in the request's arena. */
int instance_backups_render(Request *rq, Instance *instance, size_t *ret_n,
    Pb__InstanceBackup ***ret_backups, Error **err);
