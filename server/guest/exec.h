#pragma once
/* Commands in a guest: as processes of server/helper/process.h, whose streams are carried. */
#include "server/guest/guest.h"
#include "server/helper/process.h"
#include "incus/v1/exec.pb-c.h"

/* As process_start(). environment: all of it, "KEY=value", NULL-terminated; what `post` says of it
 * is not used. */
int guest_exec(Guest *guest, const Pb__InstanceExecPost *post, char *const *environment,
    const int *output_fds, ExecProcess *ret_process, Error **err);
