#pragma once
/*
 * Files of an instance, as a session of calls: a child of the spawner whose root file system is the
 * instance's answers them, or, for what is in another kernel, a table of functions. Every path is
 * absolute and the instance's own; ids are those seen inside. One thread per session.
 */
#include "server/helper/client.h"
#include <sys/stat.h>

typedef struct FileSession FileSession;

typedef struct FileAttributes {
	mode_t mode; /* type and permissions */
	uint32_t uid, gid;
	int64_t size, modified; /* bytes; seconds since 1970 */
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

/* Where no descriptor of a file can be had (file_session_remote), its bytes come and go so: as
 * many as there are; reading gives 0 bytes at the end. */
typedef struct FileTransfer FileTransfer;
gboolean file_session_remote(const FileSession *session);
int file_read_begin(FileSession *session, const char *path, FileAttributes *ret,
    FileTransfer **ret_transfer, Error **err);
int file_read_next(
    FileTransfer *transfer, const uint8_t **ret_data, size_t *ret_length, Error **err);
/* append: behind what an existing file has, which must be there; else it is replaced or made. */
int file_write_begin(FileSession *session, const char *path, gboolean append,
    const FileOwner *owner, FileTransfer **ret_transfer, Error **err);
int file_write_next(FileTransfer *transfer, const uint8_t *data, size_t length, Error **err);
/* All is written, or why not. */
int file_write_end(FileTransfer *transfer, Error **err);
void file_transfer_free(FileTransfer *transfer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FileTransfer, file_transfer_free)

/* What stands behind a remote session. A row is what the function of that name does. */
typedef struct FileRemote {
	int (*stat)(void *data, const char *path, gboolean follow, FileAttributes *ret,
	    char **ret_target, Error **err); /* ret_target (may be NULL): of a symlink, else NULL */
	int (*list)(void *data, const char *path, GPtrArray *names, Error **err);
	int (*mkdir)(void *data, const char *path, const FileOwner *owner, Error **err);
	int (*symlink)(
	    void *data, const char *target, const char *path, const FileOwner *owner, Error **err);
	int (*remove)(void *data, const char *path, Error **err);
	int (*read_begin)(
	    void *data, const char *path, FileAttributes *ret, void **ret_transfer, Error **err);
	int (*read_next)(void *transfer, const uint8_t **ret_data, size_t *ret_length, Error **err);
	int (*write_begin)(void *data, const char *path, gboolean append, const FileOwner *owner,
	    void **ret_transfer, Error **err);
	int (*write_next)(void *transfer, const uint8_t *data, size_t length, Error **err);
	int (*write_end)(void *transfer, Error **err);
	void (*transfer_free)(void *transfer);
} FileRemote;

/* `socket` (taken) is a SPAWN_FILES session. `held` stays as long as the session. */
FileSession *file_session_new(int socket, void *held, GDestroyNotify release);
FileSession *file_session_new_remote(const FileRemote *remote, void *data, GDestroyNotify release);
void file_session_close(FileSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FileSession, file_session_close)

enum { FILE_PATIENCE_MS = 40000 };
