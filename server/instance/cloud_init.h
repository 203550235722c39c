#pragma once
/*
 * volatile.cloud-init.instance-id: cloud-init inside takes a machine whose id it does not know for a
 * new one, and sets it up again. So another name, another of the keys that it reads, or other names
 * of the nics give the instance a new id.
 */
#include "server/instance/private.h"

int cloud_init_renew(Instance *i, Error **err);
/* The new id if what cloud-init reads differs from before. */
int cloud_init_note_change(
    Instance *i, const Config *old_config, const Devices *old_devices, Error **err);
