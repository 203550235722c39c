#pragma once
/*
 * The gRPC door, on gRPC core's C API: connections come as descriptors from the listener, calls go
 * to the method table. Every call's batches run on a queue of its own, so handlers block as they
 * like.
 */
#include "server/daemon.h"
#include "server/rpc/request.h"

typedef struct GrpcDoor GrpcDoor;

int grpc_door_start(Daemon *daemon, GrpcDoor **ret_door, Error **err);
/* Cancels calls, waits for handlers, frees. */
void grpc_door_stop(GrpcDoor *door);
/* Takes a connected socket that speaks HTTP/2 from its first byte, and who is behind it. */
void grpc_door_add(GrpcDoor *door, int fd, Caller *caller);
