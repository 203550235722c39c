#pragma once
/* Folders that the host shares with a guest, mounted and taken away there by its agent. */
#include "server/guest/call.h"

typedef struct GuestMount {
	char *tag, *path; /* what the device is called; where it is to be */
	gboolean readonly;
} GuestMount;

GuestMount *guest_mount_new(const char *tag, const char *path, gboolean readonly);
void guest_mount_free(GuestMount *mount);

/* One that was just plugged in: the guest gets time to see it. ERROR_INVALID when it is offline. */
int guest_mount(Guest *guest, const GuestMount *mount, Error **err);
/* ERROR_BUSY while something in the guest uses it. */
int guest_unmount(Guest *guest, const GuestMount *mount, Error **err);
/* For guest.c, whose link is not yet the guest's. */
int guest_mount_on(GuestLink *link, const GuestMount *mount, int patience_ms, Error **err);
