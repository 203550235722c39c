#pragma once
/*
 * Files inside an instance, running or stopped: a session (server/helper/session.h) with a child of
 * the spawner that has entered the instance.
 */
#include "server/helper/session.h"
#include "server/instance/instance.h"

int file_session_open(Instance *i, FileSession **ret_session, Error **err);
/* A stream socket that speaks SFTP version 3 for the instance. */
int file_sftp_open(Instance *i, int *ret_socket, Error **err);
