#pragma once
/*
 * An SFTP version 3 server (draft-ietf-secsh-filexfer-02, and OpenSSH's argument order of SYMLINK)
 * on a stream socket. It runs in a child of the spawner that has already entered the instance's
 * mount and user namespaces, so every path is the instance's own. Not for the daemon: it makes
 * plain system calls.
 */

/* Serves until the other side closes. 0, or -1 when the peer broke the protocol. */
int sftp_serve(int fd);
