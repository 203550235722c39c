#pragma once
/*
 * Files inside an instance, running or stopped: a session is a child of the spawner that has
 * entered the instance, and the calls here ask it. Every path is absolute and the instance's own;
 * ids are those seen inside. One thread per session.
 */
#include "server/helper/client.h"
#include "server/instance/instance.h"
#include <sys/stat.h>

typedef struct FileSession FileSession;

int file_session_open(Instance *i, FileSession **ret_session, Error **err);
void file_session_close(FileSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FileSession, file_session_close)

typedef struct FileAttributes {
	mode_t mode;                /* type and permissions */
	uint32_t uid, gid;
	int64_t size, modified;     /* bytes; seconds since 1970 */
	int64_t modified_ns;
} FileAttributes;

/* A new file's owner and mode; -1 keeps what the system gives. */
typedef struct FileOwner {
	int64_t uid, gid, mode;
} FileOwner;

int file_stat(
    FileSession *session, const char *path, gboolean follow, FileAttributes *ret, Error **err);
/* open(2) flags; regular files and folders only. ret_created and ret may be NULL. */
int file_open(FileSession *session, const char *path, int flags, const FileOwner *owner,
    int *ret_fd, FileAttributes *ret, gboolean *ret_created, Error **err);
/* Names, sorted; elements char *. */
int file_list(FileSession *session, const char *path, GPtrArray **ret_names, Error **err);
int file_readlink(FileSession *session, const char *path, char **ret_target, Error **err);
int file_mkdir(FileSession *session, const char *path, const FileOwner *owner, Error **err);
int file_symlink(FileSession *session, const char *target, const char *path, const FileOwner *owner,
    Error **err);
int file_remove(FileSession *session, const char *path, Error **err);
/* A new file in the place of whatever was there, folders above made: for templates. */
int file_replace(
    FileSession *session, const char *path, const FileOwner *owner, int *ret_fd, Error **err);

/* A stream socket that speaks SFTP version 3 for the instance. */
int file_sftp_open(Instance *i, int *ret_socket, Error **err);
