#pragma once
/*
 * Files of a caller on this machine: one that it has open is taken from its process instead of
 * travelling through the socket, and is then copied inside the kernel. Only for administrators on
 * the unix socket, who may read and write every file as it is, and only where the kernel names the
 * process at the other end beyond doubt (Linux 6.5). Else ERROR_UNSUPPORTED: send the bytes.
 */
#include "incus/v1/file.pb-c.h"
#include "server/rpc/request.h"

/* A descriptor of the caller's very open file: its offset moves for both. A relay may stand between
 * (ssh, socat), whose descriptors are other files: the file must be the one that was named. */
int local_file_take(const Request *rq, const Pb__LocalFile *file, int *ret_fd, Error **err);
/* Copies the rest of in_fd to out_fd, from their offsets. Ends early when the request is cancelled. */
int local_file_copy(const Request *rq, int in_fd, int out_fd, Error **err);
