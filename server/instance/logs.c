#include "server/instance/logs.h"
#include "server/instance/folder.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define OUTPUT "exec-output"

struct Logs {
	LogsKind kind;
	InstanceFolder *folder; /* LOGS_EXEC_OUTPUT */
	int fd;                 /* -1: there is no such folder */
};

/* What names are known: exact without a suffix, else everything between prefix and suffix. */
static const struct {
	LogsKind kind;
	const char *prefix, *suffix;
	gboolean keep; /* refused to be deleted: somebody writes there */
} known[] = {
	{LOGS_OWN, "lxc.log", NULL, TRUE},
	{LOGS_OWN, "lxc.conf", NULL, TRUE},
	{LOGS_OWN, "qemu.log", NULL, TRUE},
	{LOGS_OWN, "qemu.conf", NULL, TRUE},
	{LOGS_OWN, "console.log", NULL, FALSE},
	{LOGS_OWN, "virtiofsd.", ".log", TRUE},
	{LOGS_OWN, "forkexec", ".log", FALSE},
	{LOGS_OWN, "forkstart", ".log", FALSE},
	{LOGS_OWN, "migration_", ".log", FALSE},
	{LOGS_OWN, "snapshot_", ".log", FALSE},
	{LOGS_EXEC_OUTPUT, "exec_", ".stdout", FALSE},
	{LOGS_EXEC_OUTPUT, "exec_", ".stderr", FALSE},
};

/* Its row in known, or -1. */
static int find_known(LogsKind kind, const char *name)
{
	if (strchr(name, '/') || strlen(name) > NAME_MAX || name_check_line(name, NULL) < 0)
		return -1;
	for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
		if (known[i].kind != kind)
			continue;
		if (known[i].suffix ? g_str_has_prefix(name, known[i].prefix) &&
			    g_str_has_suffix(name, known[i].suffix) :
				      strcmp(name, known[i].prefix) == 0)
			return (int)i;
	}
	return -1;
}

static int refuse_name(LogsKind kind, const char *name, Error **err)
{
	return error_set(err, ERROR_INVALID, kind == LOGS_OWN ? "Log file name \"%s\" not valid" :
	    "Exec record-output file name \"%s\" not valid", name);
}

static int output_open(Logs *logs, Error **err)
{
	logs->fd = file_open_beneath(instance_folder_fd(logs->folder), OUTPUT,
	    O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_NONE, err);
	return logs->fd < 0 ? -1 : 0;
}

static int folder_open(Logs *logs, Instance *instance, Error **err)
{
	if (logs->kind == LOGS_OWN) {
		g_autofree char *path = instance_log_path(instance);
		logs->fd = file_open_directory(path, err);
		return logs->fd < 0 ? -1 : 0;
	}
	return instance_folder_open(instance, &logs->folder, err) < 0 ? -1 : output_open(logs, err);
}

int logs_open(Instance *instance, LogsKind kind, Logs **ret_logs, Error **err)
{
	Error *error = NULL;
	g_autoptr(Logs) logs = g_new0(Logs, 1);
	logs->kind = kind;
	logs->fd = -1;
	if (folder_open(logs, instance, &error) < 0) {
		if (error->kind != ERROR_NOT_FOUND || (kind == LOGS_EXEC_OUTPUT && !logs->folder))
			return error_propagate(err, error);
		error_free(error);
	}
	*ret_logs = g_steal_pointer(&logs);
	return 0;
}

void logs_close(Logs *logs)
{
	if (!logs)
		return;
	own_close_fd(&logs->fd);
	instance_folder_close(logs->folder);
	g_free(logs);
}

int logs_list(Logs *logs, GPtrArray **ret_names, Error **err)
{
	g_autoptr(GPtrArray) names = NULL;
	if (logs->fd < 0) {
		*ret_names = g_ptr_array_new_with_free_func(g_free);
		return 0;
	}
	if (file_names(logs->fd, &names, err) < 0)
		return -1;
	for (guint i = names->len; i-- > 0;)
		if (find_known(logs->kind, names->pdata[i]) < 0)
			g_ptr_array_remove_index(names, i);
	*ret_names = g_steal_pointer(&names);
	return 0;
}

static int missing(const char *name, Error **err)
{
	return error_set(err, ERROR_NOT_FOUND, "Log file \"%s\" not found", name);
}

int logs_file_open(Logs *logs, const char *name, int *ret_fd, uint64_t *ret_size, Error **err)
{
	struct stat st;
	if (find_known(logs->kind, name) < 0)
		return refuse_name(logs->kind, name, err);
	/* O_NONBLOCK: a FIFO that an image brought must not hang us. */
	autofd int fd = logs->fd < 0 ? -1 :
	    file_openat(logs->fd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, FILE_LINKS_NONE);
	if (fd < 0 && (logs->fd < 0 || errno == ENOENT))
		return missing(name, err);
	if (fd < 0 && errno != ELOOP)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot read log file \"%s\"", name);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, ERROR_FORBIDDEN, "Log file \"%s\" is no regular file", name);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

int logs_file_delete(Logs *logs, const char *name, Error **err)
{
	int row = find_known(logs->kind, name);
	if (row < 0)
		return refuse_name(logs->kind, name, err);
	if (known[row].keep)
		return error_set(err, ERROR_INVALID,
		    "Only log files excluding qemu.log and lxc.log may be deleted");
	if (logs->fd < 0)
		return missing(name, err);
	if (unlinkat(logs->fd, name, 0) == 0)
		return 0;
	if (errno == ENOENT)
		return missing(name, err);
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot delete log file \"%s\"", name);
}

int logs_file_create(Logs *logs, const char *name, int *ret_fd, Error **err)
{
	if (find_known(logs->kind, name) < 0)
		return refuse_name(logs->kind, name, err);
	if (logs->fd < 0 &&
	    (file_mkdir_beneath(instance_folder_fd(logs->folder), OUTPUT, 0700, FALSE, err) < 0 ||
		output_open(logs, err) < 0))
		return -1;
	int fd = file_openat(
	    logs->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, FILE_LINKS_NONE);
	if (fd < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make the log file \"%s\"", name);
	*ret_fd = fd;
	return 0;
}
