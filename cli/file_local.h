#pragma once
/*
 * Large files between this machine and an instance on it: the server copies them itself from or to
 * the file that is open here. Each answers 1 when that was done, 0 when the bytes must be sent (the
 * server is elsewhere, or cannot), -1 on failure.
 */
#include "cli/file_transfer.h"
#include "incus/v1/file.pb-c.h"

enum { FILE_LOCAL_LEAST = 1 << 20 }; /* below, one call more would cost what it saves */

/* Whether the server may be on this machine. */
bool file_local_server(const Server *server);
/* Sends `in` with the file named in it. */
int file_local_push(Server *server, const Pb__CreateInstanceFileRequest *in, int fd,
    Progress *progress, Error **err);
/* The reply only says that the bytes are in fd. */
int file_local_pull(Server *server, const Pb__GetInstanceFileRequest *in, int fd, uint64_t size,
    Progress *progress, Error **err);
