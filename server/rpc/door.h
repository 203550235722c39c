#pragma once
/*
 * What both front doors keep behind Request.door: how to ask whether the client is still there, and
 * what a handler says about its reply besides the message. Private to server/rpc.
 */
#include "server/rpc/request.h"

typedef struct Door {
	gboolean (*cancelled)(const struct Door *door);
	char *location; /* arena; NULL: from the schema's template */
} Door;
