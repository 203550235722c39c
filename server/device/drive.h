#pragma once
/*
 * Read-only drives (ISO 9660) that the server makes for virtual machines: incus-agent for guests
 * whose image has none, and what cloud-init reads. Written by libarchive, without another program.
 */
#include "server/device/device.h"

#define DRIVE_AGENT "agent:config"
#define DRIVE_CLOUD_INIT "cloud-init:config"

/* INCUS_DIR/agent.iso, label "incus-agent": the agent and server/agent/dist. One for all
 * machines, made anew when the agent is another one; running machines keep theirs. ERROR_NOT_FOUND
 * when no agent is installed. */
int drive_agent(Daemon *d, char **ret_path, Error **err);
/* A file of the device's (device_file_path()), label "cidata", with the configuration as it is now. */
int drive_cloud_init(const DeviceHost *host, const char *device, char **ret_path, Error **err);
/* Removes what drive_cloud_init() made. */
void drive_cloud_init_remove(const DeviceHost *host, const char *device);
