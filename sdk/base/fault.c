#include "sdk/base/fault.h"

#ifndef NDEBUG
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static GMutex lock;

/* What the file asks for: its verb, how many places are to be passed before, and their name. */
static gboolean read_order(const char *path, char ret_verb[8], int *ret_left, char ret_name[64])
{
	g_autofree char *text = NULL;
	*ret_name = '\0';
	return g_file_get_contents(path, &text, NULL, NULL) &&
	    sscanf(text, "%7s %d %63[^\n]", ret_verb, ret_left, ret_name) >= 2;
}

/* TRUE when this is the place. */
static gboolean count_down(const char *path, const char *name, char verb[8])
{
	int left;
	char wanted[64];
	if (!read_order(path, verb, &left, wanted) || (*wanted && strcmp(wanted, name) != 0))
		return FALSE;
	if (left > 0) {
		g_autofree char *text = g_strdup_printf("%s %d %s", verb, left - 1, wanted);
		g_file_set_contents(path, text, -1, NULL);
		return FALSE;
	}
	g_autofree char *hit = g_strconcat(path, ".hit", NULL);
	g_file_set_contents(hit, name, -1, NULL);
	g_unlink(path);
	return TRUE;
}

/* What is written from here on finds no room. */
static void fill_disk(void)
{
	static const char zeros[64 * 1024];
	const char *path = g_getenv("INCUS_FAULT_FILL");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
	size_t size = sizeof(zeros);
	while (fd >= 0 && size > 0)
		if (write(fd, zeros, size) <= 0)
			size /= 2; /* to the last block */
	if (fd >= 0)
		close(fd);
}

int fault_point(const char *name, Error **err)
{
	const char *path = g_getenv("INCUS_FAULT");
	char verb[8] = "";
	if (!path)
		return 0;
	g_mutex_lock(&lock);
	gboolean now = count_down(path, name, verb);
	g_mutex_unlock(&lock);
	if (!now)
		return 0;
	if (strcmp(verb, "kill") == 0)
		raise(SIGKILL);
	if (strcmp(verb, "full") == 0) {
		fill_disk();
		return 0;
	}
	return error_set(err, ERROR_INTERNAL, "A test made \"%s\" fail", name);
}
#endif
