#pragma once
/*
 * The hardware of the host as GET /1.0/resources shows it, read from /sys and /proc at each call;
 * no program is run. What a host does not tell is left empty.
 */
#include "sdk/base/arena.h"
#include "sdk/base/error.h"
struct Pb__Resources;

int resources_read(Arena *arena, struct Pb__Resources *out, Error **err);
/* One chapter of it. */
struct Pb__ResourcesGPU *resources_gpu(Arena *arena);
struct Pb__ResourcesUSB *resources_usb(Arena *arena);
struct Pb__ResourcesPCI *resources_pci(Arena *arena);
