#pragma once
/*
 * What a virtual machine got when it was started, or what was plugged in since, and that its memory
 * relies on, though another host, or this one at the next start, would give it something else:
 * volatile.vm.layout, "MACHINE CPUS ACCELERATOR SCREEN DEVICE=BUS ...". It goes along with a move;
 * a start without state makes it anew.
 */
#include "server/instance/vm.h"

typedef struct VmLayout {
	char machine[32]; /* "pc-q35-7.2" */
	guint cpus_max;
	char kind[8]; /* "kvm", "qemu" */
	gboolean screen;
	char *buses; /* " scsi=1 00:16:3e:01:02:03=5" */
} VmLayout;
void vm_layout_clear(VmLayout *layout);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmLayout, vm_layout_clear)

/* Of what starts from its memory. FALSE: none is known, what this host gives must do. */
gboolean vm_layout_get(Instance *i, VmLayout *ret_layout);
/* Of PCI, that the device is on: "scsi", "serial", "keyboard", "tablet", "video", "balloon", "rng",
 * or the address of a card. 0: any, as also where there is no layout (NULL). */
guint vm_layout_bus(const VmLayout *layout, const char *device);
/* ERROR_UNSUPPORTED when such memory cannot be had here. */
int vm_layout_check(const VmLayout *layout, Error **err);
/* Of what runs. */
int vm_layout_note(Instance *i, Error **err);
