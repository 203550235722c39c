#pragma once
/*
 * The value of raw.qemu: arguments for QEMU, split as a shell would, without one. libvirt starts it
 * here, so these are what libvirt has a place for: a kernel that the host gives.
 */
#include "sdk/base/error.h"
#include <glib.h>

typedef struct RawQemu {
	char *kernel, *initrd; /* absolute paths on the host; NULL: none */
	char *append;	       /* the kernel's command line; NULL: none */
} RawQemu;
/* raw NULL: nothing. Every other argument is refused by its name; files are not looked at. */
int raw_qemu_parse(const char *raw, RawQemu *ret_arguments, Error **err);
void raw_qemu_clear(RawQemu *arguments);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RawQemu, raw_qemu_clear)
/* The same for the key's row: only whether it is right. */
int raw_qemu_check(const char *raw, Error **err);
