#include "cli/file_transfer.h"
#include "cli/stream.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LINKS 16

/* One object on its way from the instance to `path`. */
typedef struct Pull {
	Cli *cli;
	FileTarget from;
	const char *path; /* NULL: standard output */
	bool recursive; /* links are pulled as links; else what they point to */
	unsigned links; /* followed so far */
	int fd;
	GString *link;
	GPtrArray *names;
	FileFacts facts;
	uint64_t done;
	Progress progress;
} Pull;

static int begin(const FileFacts *facts, void *user, Error **err)
{
	Pull *pull = user;
	pull->facts = *facts;
	if (strcmp(facts->type, "directory") == 0) {
		if (!pull->recursive)
			return error_set(
			    err, ERROR_INVALID, "Can't pull a directory without --recursive");
		if (g_mkdir(pull->path, facts->mode & 0777) < 0 && errno != EEXIST)
			return error_errno(
			    err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", pull->path);
		return 0;
	}
	if (strcmp(facts->type, "symlink") == 0)
		return 0;
	if (!pull->path) {
		pull->fd = STDOUT_FILENO;
		return 0;
	}
	pull->fd = open(pull->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, facts->mode & 0777);
	if (pull->fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", pull->path);
	fchmod(pull->fd, facts->mode & 07777);
	return 0;
}

static int data(const void *bytes, size_t length, void *user, Error **err)
{
	Pull *pull = user;
	if (pull->fd < 0) {
		g_string_append_len(pull->link, bytes, length);
		return 0;
	}
	pull->done += length;
	progress_bytes(&pull->progress, pull->done, pull->facts.size);
	return write_all(pull->fd, bytes, length, err);
}

static int file(void *user, Progress **ret_progress)
{
	Pull *pull = user;
	*ret_progress = &pull->progress;
	return pull->path ? pull->fd : -1;
}

static void entry(const char *name, void *user)
{
	g_ptr_array_add(((Pull *)user)->names, g_strdup(name));
}

static int pull_object(Cli *cli, const FileTarget *from, const char *path, bool recursive,
    unsigned links, Error **err);

static int pull_children(const Pull *pull, Error **err)
{
	for (guint i = 0; i < pull->names->len; i++) {
		const char *name = g_ptr_array_index(pull->names, i);
		FileTarget child = pull->from;
		/* A name is one component: nothing that an instance says may lead elsewhere. */
		if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    !*name)
			return error_set(err, ERROR_INVALID, "Invalid name \"%s\" in \"%s\"", name,
			    pull->from.path);
		g_autofree char *inside = g_build_path("/", pull->from.path, name, NULL);
		g_autofree char *outside = g_build_filename(pull->path, name, NULL);
		child.path = inside;
		if (pull_object(pull->cli, &child, outside, true, 0, err) < 0)
			return -1;
	}
	return 0;
}

static int follow_link(const Pull *pull, Error **err)
{
	FileTarget from = pull->from;
	g_autofree char *directory = g_path_get_dirname(from.path);
	g_autofree char *path = *pull->link->str == '/' ?
	    g_strdup(pull->link->str) :
	    g_build_path("/", directory, pull->link->str, NULL);
	if (pull->links >= MAX_LINKS)
		return error_set(err, ERROR_INVALID, "Too many links at \"%s\"", from.path);
	from.path = path;
	return pull_object(pull->cli, &from, pull->path, false, pull->links + 1, err);
}

static int finish(Pull *pull, Error **err)
{
	if (strcmp(pull->facts.type, "directory") == 0)
		return pull_children(pull, err);
	if (strcmp(pull->facts.type, "symlink") != 0)
		return 0;
	if (!pull->recursive)
		return follow_link(pull, err);
	if (symlink(pull->link->str, pull->path) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot create the link \"%s\"", pull->path);
	return 0;
}

static int pull_object(
    Cli *cli, const FileTarget *from, const char *path, bool recursive, unsigned links, Error **err)
{
	g_autoptr(GString) link = g_string_new(NULL);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	Pull pull = { .cli = cli,
		.from = *from,
		.path = path,
		.recursive = recursive,
		.links = links,
		.fd = -1,
		.link = link,
		.names = names };
	FileSink sink = {
		.begin = begin, .data = data, .entry = entry, .file = file, .user = &pull
	};
	g_autofree char *label = g_strdup_printf(
	    "Pulling %s from %s", path ? path : "-", from->path);
	progress_start(&pull.progress, path && !cli->quiet ? label : NULL);
	int result = file_receive(from, &sink, err);
	progress_end(&pull.progress);
	if (pull.fd >= 0 && pull.fd != STDOUT_FILENO && close(pull.fd) < 0 && result == 0)
		result = error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", path);
	return result == 0 ? finish(&pull, err) : -1;
}

/* The last component of a path inside, "" for the root. */
static char *last_component(const char *path)
{
	g_autofree char *trimmed = g_strdup(path);
	while (g_str_has_suffix(trimmed, "/") && *trimmed)
		trimmed[strlen(trimmed) - 1] = 0;
	const char *slash = strrchr(trimmed, '/');
	return g_strdup(slash ? slash + 1 : trimmed);
}

static int prepare_target(Cli *cli, const char *target, bool *ret_directory, Error **err)
{
	bool create = flag_bool(cli, "create-dirs"), several = cli->n_args > 2;
	bool slash = g_str_has_suffix(target, "/");
	*ret_directory = g_file_test(target, G_FILE_TEST_IS_DIR);
	g_autofree char *parent = g_path_get_dirname(target);
	bool make_self = !*ret_directory && (slash || several || flag_bool(cli, "recursive"));
	if (create && g_mkdir_with_parents(make_self ? target : parent, 0755) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", target);
	*ret_directory = g_file_test(target, G_FILE_TEST_IS_DIR);
	if ((several || slash) && !*ret_directory)
		return error_set(err, ERROR_INVALID,
		    "More than one file to download, but target is not a directory");
	return 0;
}

int file_pull(Cli *cli, Error **err)
{
	const char *target = cli->args[cli->n_args - 1];
	bool recursive = flag_bool(cli, "recursive"), directory = false;
	bool to_stdout = strcmp(target, "-") == 0;
	if (!to_stdout && prepare_target(cli, target, &directory, err) < 0)
		return -1;
	for (int i = 0; i + 1 < cli->n_args; i++) {
		FileTarget from;
		if (file_target_parse(cli, cli->args[i], &from, err) < 0)
			return -1;
		g_autofree char *name = last_component(from.path);
		g_autofree char *path = directory ? g_build_filename(target, name, NULL) :
						    g_strdup(target);
		if (pull_object(
			cli, &from, to_stdout ? NULL : path, recursive && !to_stdout, 0, err) < 0)
			return -1;
	}
	return 0;
}
