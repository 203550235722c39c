#pragma once
/*
 * Sending files to instances and fetching them: single ones here, trees in file_push.c and
 * file_pull.c.
 */
#include "cli/progress.h"
#include "cli/server.h"

typedef struct FileTarget {
	Server *server;
	const char *instance;
	const char *path; /* absolute, inside the instance */
} FileTarget;

typedef struct FileFacts {
	int64_t uid, gid, mode; /* -1: leave to the server */
	const char *type;       /* "file", "directory", "symlink" */
	int64_t size;
} FileFacts;

int file_target_parse(Cli *cli, const char *argument, FileTarget *ret, Error **err);

/* The rest of fd becomes the file; size is for the progress only (0: not known). */
int file_send(const FileTarget *to, const FileFacts *facts, int fd, uint64_t size,
    Progress *progress, Error **err);
int file_send_bytes(
    const FileTarget *to, const FileFacts *facts, const void *data, size_t length, Error **err);

/* Called with the facts before, and then with every piece of the data. -1 stops. */
typedef struct FileSink {
	int (*begin)(const FileFacts *facts, void *user, Error **err);
	int (*data)(const void *bytes, size_t length, void *user, Error **err);
	/* Names in a directory; NULL: not wanted. */
	void (*entry)(const char *name, void *user);
	/* The file that the data goes to, -1 when it goes elsewhere: large ones the server may then
	 * write itself. NULL: none. */
	int (*file)(void *user, Progress **ret_progress);
	void *user;
} FileSink;
int file_receive(const FileTarget *from, const FileSink *sink, Error **err);
/* A file's text or a link's target. facts->type is a constant. */
int file_receive_text(const FileTarget *from, FileFacts *ret_facts, GString *text, Error **err);

int file_push(Cli *cli, Error **err);
int file_pull(Cli *cli, Error **err);
