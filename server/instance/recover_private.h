#pragma once
/* From what recover.c found to rows; for the files of this folder. */
#include "server/instance/recover.h"

/* Rows, link, and the instance in the table; running when it runs. */
int recover_item(Daemon *d, const RecoveryItem *item, Error **err);
