#pragma once
/*
 * A folder in /var/tmp for copies that are only read. A process that was killed leaves its own: the
 * next one finds that nobody holds it any more, and removes it.
 */
#include "sdk/base/error.h"

typedef struct Work {
	char *path; /* NULL: none */
	int fd;	    /* locked as long as the folder is in use */
} Work;

int work_open(Work *ret_work, Error **err);
void work_close(Work *work);
