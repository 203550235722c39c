#pragma once
/*
 * Places where a test can make a step fail, or the process die, to see what a flow leaves behind.
 * The file that INCUS_FAULT names (environment) says "fail N", "kill N" or "full N": the Nth place
 * passed from then on, counting from 0, does so; the place's name then stands in FILE.hit and FILE
 * is gone. With a name behind it ("kill 0 live taken") only places of that name count. "full" fails nothing itself: it fills the file system that the file INCUS_FAULT_FILL is
 * on. Not in release builds.
 */
#include "sdk/base/error.h"

#ifdef NDEBUG
static inline int fault_point(const char *name, Error **err)
{
	return 0;
}
#else
/* 0, or -1 with ERROR_INTERNAL. Put it before the step named, where the step itself may fail. */
int fault_point(const char *name, Error **err);
#endif
