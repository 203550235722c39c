#include "server/storage/spread.h"
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Inodes of one flexible group as mkfs.ext4 lays them out: 16 groups of 8,192. With another layout
 * the guess is worse, and that is all. */
enum { REGION_BITS = 17, REGIONS = 64, TRIES = 8, RECENT_S = 300 };

typedef struct Region {
	dev_t device;
	ino_t number;
	int64_t freed_us;
} Region;

static GMutex lock;
static Region freed[REGIONS]; /* the last ones, the oldest is overwritten */
static unsigned n_freed;

static gboolean freed_lately(const struct stat *st)
{
	int64_t since = g_get_monotonic_time() - (int64_t)RECENT_S * G_USEC_PER_SEC;
	gboolean found = FALSE;
	g_mutex_lock(&lock);
	for (unsigned i = 0; i < MIN(n_freed, REGIONS) && !found; i++)
		found = freed[i].device == st->st_dev &&
		    freed[i].number == st->st_ino >> REGION_BITS && freed[i].freed_us > since;
	g_mutex_unlock(&lock);
	return found;
}

void spread_removing(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return;
	g_mutex_lock(&lock);
	freed[n_freed++ % REGIONS] = (Region){ st.st_dev, st.st_ino >> REGION_BITS,
		g_get_monotonic_time() };
	g_mutex_unlock(&lock);
}

/* A new directory with a name that begins with `path`; those in bad places stay until a good one is
 * found, so that the file system does not choose their place again. NULL: errno. */
static char *make_beside(const char *path)
{
	char *made[TRIES];
	int n = 0;
	struct stat st;
	gboolean again = TRUE;
	while (again && n < TRIES) {
		made[n] = g_strdup_printf("%s.%08x", path, g_random_int());
		if (mkdir(made[n], 0700) < 0) {
			g_free(made[n]);
			break;
		}
		again = lstat(made[n++], &st) == 0 && freed_lately(&st);
	}
	int saved = errno;
	for (int i = 0; i < n - 1; i++) {
		rmdir(made[i]);
		g_free(made[i]);
	}
	errno = saved;
	return n > 0 ? made[n - 1] : NULL;
}

int spread_mkdir(const char *path, const char *beside)
{
	g_autofree char *made = make_beside(beside);
	if (!made)
		return -1;
	if (renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	int saved = errno;
	rmdir(made);
	errno = saved;
	return saved == EINVAL ? mkdir(path, 0700) : -1; /* not every file system can */
}
