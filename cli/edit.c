#include "cli/edit.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const char *editor_command(void)
{
	static const char *const usual[] = { "editor", "vi", "nano", "emacs" };
	const char *command = g_getenv("VISUAL");
	if (!command || !*command)
		command = g_getenv("EDITOR");
	for (size_t i = 0; (!command || !*command) && i < G_N_ELEMENTS(usual); i++) {
		g_autofree char *path = g_find_program_in_path(usual[i]);
		if (path)
			command = usual[i];
	}
	return command;
}

static int run_editor(const char *path, Error **err)
{
	const char *command = editor_command();
	g_auto(GStrv) argv = NULL;
	g_autoptr(GError) failure = NULL;
	int n, status;
	if (!command || !*command)
		return error_set(err, ERROR_NOT_FOUND, "No text editor found: set EDITOR");
	if (!g_shell_parse_argv(command, &n, &argv, &failure))
		return error_set(err, ERROR_INVALID, "Cannot read EDITOR: %s", failure->message);
	argv = g_realloc_n(argv, n + 2, sizeof(char *));
	argv[n] = g_strdup(path);
	argv[n + 1] = NULL;
	if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN,
		NULL, NULL, NULL, NULL, &status, &failure))
		return error_set(
		    err, ERROR_INTERNAL, "Cannot run the editor: %s", failure->message);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(err, ERROR_CANCELLED, "The editor \"%s\" failed", command);
	return 0;
}

static int write_file(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, text, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		length -= n;
	}
	return 0;
}

int edit_text(const char *text, size_t length, const char *suffix, char **ret_text,
    size_t *ret_length, Error **err)
{
	g_autofree char *path =
	    g_strdup_printf("%s/incus_edit_XXXXXX%s", g_get_tmp_dir(), suffix ? suffix : "");
	g_autoptr(GError) failure = NULL;
	autofd int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot create \"%s\"", path);
	int result = 0;
	if (write_file(fd, text, length) < 0)
		result = error_errno(err, ERROR_INTERNAL, errno, "Cannot write \"%s\"", path);
	else
		result = run_editor(path, err);
	if (result == 0 && !g_file_get_contents(path, ret_text, ret_length, &failure))
		result = error_set(
		    err, ERROR_INTERNAL, "Cannot read \"%s\": %s", path, failure->message);
	unlink(path);
	return result;
}

int edit_again(const char *problem)
{
	fprintf(stderr, "%s\nPress enter to open the editor again or ctrl+c to give up\n", problem);
	int c;
	while ((c = getchar()) != '\n')
		if (c == EOF)
			return 0;
	return 1;
}
