#pragma once
/*
 * An instance's own folder in its pool (rootfs/, metadata.yaml, templates/, exec-output/), mounted
 * as long as it is held. Everything in it came from an image or was written by somebody: names in
 * it are opened through sdk/base/file.h beneath the folder's descriptor, never by path.
 */
#include "server/instance/instance.h"

typedef struct InstanceFolder InstanceFolder;

int instance_folder_open(Instance *instance, InstanceFolder **ret_folder, Error **err);
void instance_folder_close(InstanceFolder *folder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(InstanceFolder, instance_folder_close)
/* Borrowed. */
int instance_folder_fd(const InstanceFolder *folder);
const char *instance_folder_path(const InstanceFolder *folder);
