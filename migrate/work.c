#include "migrate/work.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char parent[] = "/var/tmp", prefix[] = "lxd-to-incus.";

/* Everybody may write there: only root's folders are ours. It is locked until it is gone, or a run
 * that has just made it would take it for its own and lose what it copies there. */
static void remove_if_left(const char *path)
{
	struct stat st;
	autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		file_remove_all(AT_FDCWD, path, NULL);
}

static void remove_left(void)
{
	g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *path = g_build_filename(parent, name, NULL);
		if (g_str_has_prefix(name, prefix))
			remove_if_left(path);
	}
}

/* Another process may have taken the new folder for one that was left, until it is locked. */
static gboolean hold(Work *work)
{
	struct stat here, there;
	work->fd = open(work->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return work->fd >= 0 && flock(work->fd, LOCK_EX | LOCK_NB) == 0 &&
	    fstat(work->fd, &here) == 0 && stat(work->path, &there) == 0 &&
	    here.st_ino == there.st_ino;
}

int work_open(Work *ret_work, Error **err)
{
	remove_left();
	*ret_work = (Work){ .fd = -1 };
	do {
		own_close_fd(&ret_work->fd);
		g_free(ret_work->path);
		ret_work->path = g_strdup_printf("%s/%sXXXXXX", parent, prefix);
		if (!mkdtemp(ret_work->path)) {
			g_clear_pointer(&ret_work->path, g_free);
			return error_errno(
			    err, ERROR_INTERNAL, errno, "No folder can be made in %s", parent);
		}
	} while (!hold(ret_work));
	return 0;
}

void work_close(Work *work)
{
	if (!work->path)
		return;
	file_remove_all(AT_FDCWD, work->path, NULL);
	own_close_fd(&work->fd);
	g_clear_pointer(&work->path, g_free);
}
