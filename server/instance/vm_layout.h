#pragma once
/*
 * What a virtual machine got when it was started and that its memory relies on, though another
 * host, or this one after an upgrade, would give it something else: volatile.vm.layout, "MACHINE
 * CPUS ACCELERATOR SCREEN". It goes along with a move; a start without state makes it anew.
 */
#include "server/instance/vm.h"

typedef struct VmLayout {
	char machine[32]; /* "pc-q35-7.2" */
	guint cpus_max;
	char kind[8]; /* "kvm", "qemu" */
	gboolean screen;
} VmLayout;

/* Of what starts from its memory. FALSE: none is known, what this host gives must do. */
gboolean vm_layout_get(Instance *i, VmLayout *ret_layout);
/* ERROR_UNSUPPORTED when such memory cannot be had here. */
int vm_layout_check(const VmLayout *layout, Error **err);
/* Of what runs. */
int vm_layout_note(Instance *i, Error **err);
