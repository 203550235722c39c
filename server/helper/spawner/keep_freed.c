/*
 * liblxc 5.0's exec_criu() frees a pointer that it never set when a hierarchy has no controllers
 * (the unified one beside those of version 1): mostly one that it had freed already, and then the C
 * library ends the process. It runs in a child that is about to become CRIU, so in the children of
 * a restore nothing is given back at all.
 */
#include "server/helper/spawner/criu.h"
#include <pthread.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&       \
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)

void __libc_free(void *memory); /* NOLINT: the C library's own name */
void free(void *memory);

static int kept;

void free(void *memory)
{
	if (!kept)
		__libc_free(memory);
}

static void keep(void)
{
	kept = 1;
}

void keep_freed_in_children(void)
{
	pthread_atfork(NULL, NULL, keep);
}

#else /* the sanitizers have a free() of their own, which names the fault */

void keep_freed_in_children(void)
{
}

#endif
