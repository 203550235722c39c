#pragma once
/*
 * Files beneath a directory that somebody else may be changing: every path is resolved by openat2,
 * so that links, ".." and mount points planted in a tree cannot lead out of it. Also whole-file
 * reads and writes, and copying and removing trees. Every fd is close-on-exec.
 */
#include "sdk/base/error.h"
#include <stdint.h>
#include <sys/types.h>

typedef enum FileLinks {
	FILE_LINKS_NONE,     /* a symbolic link anywhere in the path is an error */
	FILE_LINKS_BENEATH,  /* relative links may be followed as long as they stay beneath */
	FILE_LINKS_IN_ROOT,  /* as in a chroot: absolute links and ".." stay inside the directory */
} FileLinks;

/* A directory by its trusted absolute path: O_PATH is not used, so the fd can be read. */
int file_open_directory(const char *path, Error **err);
/* openat2; flags as open(2): O_NOFOLLOW|O_PATH opens a final link itself. Returns the fd or -1;
 * a missing file is ERROR_NOT_FOUND, an escape ERROR_FORBIDDEN, a bad name ERROR_INVALID, others
 * INTERNAL. path may start with '/' only with FILE_LINKS_IN_ROOT. */
int file_open_beneath(
    int dir_fd, const char *path, int flags, mode_t mode, FileLinks links, Error **err);
/* The same with errno instead of an Error. */
int file_openat(int dir_fd, const char *path, int flags, mode_t mode, FileLinks links);
/* Opens the directory that holds the last component (which *ret_name then points to, inside path);
 * the component is not looked at. "", "/", "." and ".." as last component are ERROR_INVALID. */
int file_open_parent(
    int dir_fd, const char *path, FileLinks links, const char **ret_name, Error **err);
/* Gives a file (an O_PATH fd will do) the times that it had at `before`; where that fails, no matter. */
struct stat;
void file_restore_times(int fd, const struct stat *before);
/* An existing directory is fine. all: missing parents are made too. Mode is exact (no umask). */
int file_mkdir_beneath(int dir_fd, const char *path, mode_t mode, gboolean all, Error **err);
/* mkdir -p of a trusted absolute path; existing directories keep their mode. */
int file_mkdir_all(const char *path, mode_t mode, Error **err);

/* Whole file; a NUL follows the data. Longer than limit: ERROR_TOO_LARGE. dir_fd may be AT_FDCWD
 * for trusted paths (then links is not used). ret_length may be NULL. */
int file_read(int dir_fd, const char *path, FileLinks links, size_t limit, char **ret_data,
    size_t *ret_length, Error **err);
/* Reads fd to its end, from where it stands. */
int file_read_fd(int fd, size_t limit, char **ret_data, size_t *ret_length, Error **err);
/* Temporary file, fsync, rename: readers see the old or the new content, also after a crash.
 * dir_fd AT_FDCWD for trusted paths. */
int file_write_atomic(
    int dir_fd, const char *path, const void *data, size_t length, mode_t mode, Error **err);
/* Writes everything, whatever short writes come. -1 with errno. */
/* Replaces the content of a trusted path in place: for what need not survive a crash. (GLib's
 * g_file_set_contents_full with G_FILE_SET_CONTENTS_NONE does not truncate: an old tail would
 * stay.) */
int file_write_plain(const char *path, const char *text, mode_t mode, Error **err);
int file_write_all(int fd, const void *data, size_t length);

/* Names of the regular files in a directory, sorted, to free with g_ptr_array_unref. Links, folders
 * and everything else are left out. */
int file_names(int dir_fd, GPtrArray **ret_names, Error **err);

/* Removes a file or a tree. Links are removed, not followed; immutable flags are cleared; a mount
 * point inside the tree is ERROR_BUSY and stays. A missing path is success. */
int file_remove_all(int dir_fd, const char *path, Error **err);

/* Copies the data of a regular file: reflink, else copy_file_range, else read and write; holes stay
 * holes. out must be empty. */
int file_copy_data(int in_fd, int out_fd, Error **err);

typedef struct FileCopy {
	unsigned threads;                         /* 0: as many as pay */
	gboolean overwrite; /* destination may hold things; same names are replaced */
	/* Destination is an earlier copy and becomes the same again: files of the same size and
	 * time of change keep their data, names that the source has not go. Implies overwrite. */
	gboolean sync;
	const char *without; /* a name at the top that is left alone on both sides; may be NULL */
	gboolean (*cancelled)(void *data);        /* may be NULL; asked from any thread */
	/* Bytes of data more (holes have none), within large files too; any thread; may be NULL. */
	void (*progress)(uint64_t bytes, void *data);
	void *data;
} FileCopy;

/* Copies everything below source_fd (and that directory's owner, mode, times, xattrs) into the
 * existing directory target_fd: owners, modes, times, xattrs with ACLs and capabilities, holes,
 * hard links, device nodes, sockets, links. Mounts inside the source are not entered. options may
 * be NULL. */
int file_copy_tree(int source_fd, int target_fd, const FileCopy *options, Error **err);
/* Bytes on disk of a tree, hard links counted once, mounts not entered. */
int file_usage(int dir_fd, uint64_t *ret_bytes, Error **err);
