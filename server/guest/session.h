#pragma once
/* Files of a guest, as server/helper/session.h has them. */
#include "server/guest/guest.h"
#include "server/helper/session.h"

int guest_files(Guest *guest, FileSession **ret_session, Error **err);
/* A stream socket that speaks SFTP version 3. */
int guest_sftp(Guest *guest, int *ret_socket, Error **err);
