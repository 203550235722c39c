#include "cli/file_transfer.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIRECTORY_MODE 0750

typedef struct Push {
	Cli *cli;
	FileTarget to;       /* path is that of the last argument */
	bool into_directory; /* files keep their names beneath it */
	int64_t uid, gid, mode;
} Push;

static char *join(const char *directory, const char *name)
{
	return g_str_has_suffix(directory, "/") ? g_strconcat(directory, name, NULL) :
						  g_strconcat(directory, "/", name, NULL);
}

static int make_directory(
    const FileTarget *at, const char *path, int64_t uid, int64_t gid, int64_t mode, Error **err)
{
	FileTarget to = *at;
	FileFacts facts = { .uid = uid, .gid = gid, .mode = mode, .type = "directory" };
	to.path = path;
	return file_send_bytes(&to, &facts, "", 0, err);
}

/* mkdir -p of everything above the last component, or of all of it. */
static int make_parents(const Push *push, const char *path, bool all, Error **err)
{
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		g_autofree char *part = g_strndup(path, slash - path);
		if (make_directory(&push->to, part, push->uid, push->gid, DIRECTORY_MODE, err) < 0)
			return -1;
	}
	if (all && !g_str_has_suffix(path, "/") && path[1])
		return make_directory(&push->to, path, push->uid, push->gid, DIRECTORY_MODE, err);
	return 0;
}

static int push_fd(const Push *push, const char *path, const char *label, int fd,
    const struct stat *st, Error **err)
{
	FileTarget to = push->to;
	FileFacts facts = {
		.uid = push->uid, .gid = push->gid, .mode = push->mode, .type = "file"
	};
	Progress progress;
	to.path = path;
	if (st && S_ISREG(st->st_mode)) {
		facts.uid = push->uid >= 0 ? push->uid : st->st_uid;
		facts.gid = push->gid >= 0 ? push->gid : st->st_gid;
		facts.mode = push->mode >= 0 ? push->mode : st->st_mode & 07777;
	}
	progress_start(&progress, push->cli->quiet ? NULL : label);
	int result = file_send(&to, &facts, fd,
	    st && S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0, &progress, err);
	progress_end(&progress);
	return result;
}

static int push_link(const Push *push, const char *source, const char *path, const struct stat *st,
    Error **err)
{
	FileTarget to = push->to;
	FileFacts facts = { .uid = st->st_uid, .gid = st->st_gid, .mode = -1, .type = "symlink" };
	g_autofree char *target = g_file_read_link(source, NULL);
	to.path = path;
	if (!target)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the link \"%s\"", source);
	return file_send_bytes(&to, &facts, target, strlen(target), err);
}

static int push_regular(
    const Push *push, const char *source, const char *path, const struct stat *st, Error **err)
{
	autofd int fd = open(source, O_RDONLY | O_CLOEXEC);
	g_autofree char *label = g_strdup_printf("Pushing %s to %s", source, path);
	if (fd < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot open \"%s\"", source);
	return push_fd(push, path, label, fd, st, err);
}

static int push_tree(const Push *push, const char *source, const char *path, Error **err);

static int push_children(const Push *push, const char *source, const char *path, Error **err)
{
	g_autoptr(GError) failure = NULL;
	g_autoptr(GDir) dir = g_dir_open(source, 0, &failure);
	const char *name;
	if (!dir)
		return error_set(
		    err, ERROR_INTERNAL, "Cannot read \"%s\": %s", source, failure->message);
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *from = join(source, name), *to = join(path, name);
		if (push_tree(push, from, to, err) < 0)
			return -1;
	}
	return 0;
}

static int push_tree(const Push *push, const char *source, const char *path, Error **err)
{
	struct stat st;
	if (lstat(source, &st) < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot read \"%s\"", source);
	if (S_ISLNK(st.st_mode))
		return push_link(push, source, path, &st, err);
	if (S_ISREG(st.st_mode))
		return push_regular(push, source, path, &st, err);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID, "\"%s\" isn't a supported file type", source);
	if (make_directory(&push->to, path, st.st_uid, st.st_gid, st.st_mode & 07777, err) < 0)
		return -1;
	return push_children(push, source, path, err);
}

/* "source", "./source" and "../source" go to TARGET/source; "." and "source/." put their content
 * into TARGET. */
static int push_recursive(const Push *push, const char *source, Error **err)
{
	g_autofree char *clean = g_canonicalize_filename(source, NULL);
	g_autofree char *name = g_path_get_basename(clean);
	bool content = strcmp(source, ".") == 0 || strcmp(source, "./") == 0 ||
	    g_str_has_suffix(source, "/.");
	if (content)
		return push_children(push, source, push->to.path, err);
	g_autofree char *path = join(push->to.path, name);
	return push_tree(push, clean, path, err);
}

static int push_one(const Push *push, const char *source, Error **err)
{
	struct stat st;
	g_autofree char *base = g_path_get_basename(source);
	g_autofree char *path =
	    push->into_directory ? join(push->to.path, base) : g_strdup(push->to.path);
	if (strcmp(source, "-") == 0)
		return push_fd(
		    push, push->to.path, "Pushing the standard input", STDIN_FILENO, NULL, err);
	if (stat(source, &st) < 0)
		return error_errno(err, ERROR_INVALID, errno, "Cannot read \"%s\"", source);
	if (S_ISDIR(st.st_mode))
		return error_set(
		    err, ERROR_INVALID, "\"%s\" is a directory: use --recursive", source);
	return push_regular(push, source, path, &st, err);
}

static int parse_mode(Push *push, const char *text, Error **err)
{
	char *end;
	if (!*text)
		return 0;
	push->mode = strtol(text, &end, 8);
	if (*end || push->mode < 0 || push->mode > 07777)
		return error_set(
		    err, ERROR_INVALID, "Invalid mode \"%s\": octal digits expected", text);
	return 0;
}

/* A target that ends in "/" or "/." is a directory, and so is one that is there as one. */
static bool is_directory(Push *push, const char *argument)
{
	if (g_str_has_suffix(argument, "/") || g_str_has_suffix(argument, "/."))
		return true;
	FileFacts facts;
	g_autoptr(GString) text = g_string_new(NULL);
	return push->cli->n_args > 2 &&
	    (file_receive_text(&push->to, &facts, text, NULL) < 0 ||
		strcmp(facts.type, "directory") == 0);
}

int file_push(Cli *cli, Error **err)
{
	const char *target = cli->args[cli->n_args - 1];
	bool recursive = flag_bool(cli, "recursive"), create = flag_bool(cli, "create-dirs");
	Push push = {
		.cli = cli, .uid = flag_int(cli, "uid"), .gid = flag_int(cli, "gid"), .mode = -1
	};
	if (parse_mode(&push, flag_string(cli, "mode"), err) < 0 ||
	    file_target_parse(cli, target, &push.to, err) < 0)
		return -1;
	if (recursive && (push.uid >= 0 || push.gid >= 0 || push.mode >= 0))
		return error_set(err, ERROR_INVALID, "Can't supply uid/gid/mode in recursive mode");
	push.into_directory = recursive || is_directory(&push, target);
	if (g_str_has_suffix(push.to.path, "/."))
		push.to.path = arena_strndup(cli->arena, push.to.path, strlen(push.to.path) - 1);
	if (create && make_parents(&push, push.to.path, recursive, err) < 0)
		return -1;
	for (int i = 0; i + 1 < cli->n_args; i++)
		if ((recursive ? push_recursive(&push, cli->args[i], err) :
				 push_one(&push, cli->args[i], err)) < 0)
			return -1;
	return 0;
}
