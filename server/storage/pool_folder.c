#include "server/storage/pool_folder.h"
#include "sdk/base/log.h"
#include "server/storage/filesystem.h"
#include <errno.h>
#include <string.h>
#include <sys/mount.h>

static char *folder_path(const Daemon *d)
{
	return g_build_filename(d->dir, "storage-pools", NULL);
}

/* "36 35 98:0 /root /mount/point options ...": one line each (proc(5)). */
static gboolean has_mounts_below(const char *path)
{
	g_autofree char *text = NULL;
	g_autofree char *prefix = g_strconcat(path, "/", NULL);
	if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
		return TRUE;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) words = g_strsplit(*line, " ", 6);
		if (g_strv_length(words) == 6 && g_str_has_prefix(words[4], prefix))
			return TRUE;
	}
	return FALSE;
}

int pool_folder_share(Daemon *d, Error **err)
{
	g_autofree char *path = folder_path(d);
	/* From before a restart, or what an administrator put there. A new mount would hide others. */
	if (filesystem_is_mounted(path) || has_mounts_below(path))
		return 0;
	if (mount(path, path, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, path, NULL, MS_SHARED, NULL) < 0)
		log_warn("Storage pools may stay mounted in containers' namespaces", "path", path,
		    "err", strerror(errno));
	return 0;
}

void pool_folder_release(Daemon *d)
{
	g_autofree char *path = folder_path(d);
	if (umount2(path, UMOUNT_NOFOLLOW) < 0)
		log_debug("Storage pools stay mounted", "err", strerror(errno));
}
