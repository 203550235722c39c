#pragma once
/* Transfers that go on after the connection was lost: how often, and how long, to connect again. */
#include "sdk/client.h"

typedef struct Resume {
	incus_client *client;
	guint losses, tries;
	uint64_t done; /* when it was lost last */
} Resume;

/* Before the transfer, and before each further part of it. */
void resume_begin(Resume *resume, incus_client *client);
/* It failed with *err after so many bytes. 0: there is another connection, and no error any more;
 * -1: it was not the connection, or that does not come again, which the error says then. Each byte
 * that came since the last time gives it all its tries anew. */
int resume_again(Resume *resume, uint64_t done, incus_error **err);
