#pragma once
/*
 * The files that an instance leaves behind for its administrator: its logs in INCUS_DIR/logs/NAME,
 * and the recorded output of commands in the folder exec-output/ of its volume. Only file names
 * that this daemon (or one that ran here before) gives are shown; the console's log is console.h.
 */
#include "server/instance/instance.h"

typedef enum LogsKind { LOGS_OWN, LOGS_EXEC_OUTPUT } LogsKind;
typedef struct Logs Logs;

/* The volume stays mounted while Logs is held. A folder that is not there yet is an empty one. */
int logs_open(Instance *instance, LogsKind kind, Logs **ret_logs, Error **err);
void logs_close(Logs *logs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Logs, logs_close)

/* Known names that are there, sorted. */
int logs_list(Logs *logs, GPtrArray **ret_names, Error **err);
/* ERROR_INVALID for a name that is not a log's, ERROR_NOT_FOUND when there is none. */
int logs_file_open(Logs *logs, const char *name, int *ret_fd, uint64_t *ret_size, Error **err);
/* Logs that the instance goes on writing to are ERROR_INVALID. */
int logs_file_delete(Logs *logs, const char *name, Error **err);
/* A new file of LOGS_EXEC_OUTPUT, for writing. */
int logs_file_create(Logs *logs, const char *name, int *ret_fd, Error **err);
