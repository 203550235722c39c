#pragma once
/*
 * Ownership in declarations: `autofd int fd = -1;` closes at the end of the block. Heap memory uses
 * GLib's g_autofree and g_autoptr.
 */
#include <glib.h>
#include <stdio.h>
#include <dirent.h>
#include <unistd.h>

static inline void own_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline int own_steal_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

static inline void own_close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static inline void own_close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define autofd __attribute__((cleanup(own_close_fd)))
#define autodir __attribute__((cleanup(own_close_dir)))
#define autofile __attribute__((cleanup(own_close_file)))
