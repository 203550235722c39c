/*
 * Entering a container's cgroups without the wait that a write to cgroup.procs costs. That write
 * stops all forks of the host through a per-CPU lock, which takes an RCU grace period (some 10 ms).
 * A process that is born into its group (clone3, v2) or is one thread that moves itself ("0" to
 * `tasks`, v1) needs no such lock.
 */
#include "server/helper/spawner/criu.h"
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HIERARCHIES = 24 };

static struct {
	char *unified; /* mount points; NULL: none */
	char *v1[HIERARCHIES];
	char *v1_options[HIERARCHIES]; /* as mounted: "rw,name=systemd" */
	int n_v1, complete;
} mounts;

void cgroup_find_mounts(void)
{
	char line[4096], path[1024], type[64], options[1024];
	FILE *file = fopen("/proc/self/mounts", "re");
	mounts.complete = file != NULL;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %1023s %63s %1023s", path, type, options) != 3)
			continue;
		if (strcmp(type, "cgroup2") == 0 && !mounts.unified)
			mounts.unified = strdup(path);
		else if (strcmp(type, "cgroup") == 0 && mounts.n_v1 < HIERARCHIES) {
			mounts.v1_options[mounts.n_v1] = strdup(options);
			mounts.v1[mounts.n_v1++] = strdup(path);
		}
		else if (strcmp(type, "cgroup") == 0)
			mounts.complete = 0;
	}
	if (file)
		fclose(file);
}

/* `list` is "tasks" (v1) or "cgroup.procs". */
static int move_self(const char *mount, const char *group, const char *list)
{
	char path[4096];
	if (snprintf(path, sizeof(path), "%s%s/%s", mount, group, list) >= (int)sizeof(path))
		return -1;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, "0", 1);
	close(fd);
	return n == 1 ? 0 : -1;
}

/* Where liblxc attaches processes: a leaf of the group that it makes with the first of them. */
static int open_leaf(const char *group)
{
	char path[4096];
	if (snprintf(path, sizeof(path), "%s%s/.lxc", mounts.unified, group) >= (int)sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static pid_t fork_into(int leaf)
{
	struct clone_args args = {.flags = leaf >= 0 ? CLONE_INTO_CGROUP : 0,
	    .exit_signal = SIGCHLD,
	    .cgroup = leaf >= 0 ? (uint64_t)leaf : 0};
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

pid_t cgroup_fork(const char *group, int *ret_inside)
{
	int leaf = -1;
	*ret_inside = 0;
	if (!mounts.complete || *group != '/' || (mounts.unified && (leaf = open_leaf(group)) < 0))
		return fork();
	pid_t pid = fork_into(leaf);
	if (leaf >= 0)
		close(leaf);
	if (pid < 0) /* an old kernel, or a group at its limit: the slow way may do */
		return fork();
	if (pid > 0)
		return pid;
	*ret_inside = 1;
	for (int i = 0; i < mounts.n_v1; i++)
		if (move_self(mounts.v1[i], group, "tasks") < 0)
			*ret_inside = 0;
	return 0;
}

/* "cpu,cpuacct" or "name=systemd": the options of the mount that are no mount's. */
static void hierarchy_name(const char *options, char *ret, size_t size)
{
	static const char *const common[] = { "rw", "ro", "nosuid", "nodev", "noexec", "relatime",
		"noatime", "xattr", "clone_children", NULL };
	size_t used = 0;
	*ret = '\0';
	for (const char *at = options; *at;) {
		size_t n = strcspn(at, ",");
		int skip = strncmp(at, "release_agent=", 14) == 0;
		for (int i = 0; common[i]; i++)
			skip |= strlen(common[i]) == n && strncmp(at, common[i], n) == 0;
		if (!skip && used + n + 2 < size)
			used += (size_t)snprintf(
			    ret + used, size - used, "%s%.*s", used ? "," : "", (int)n, at);
		at += n + (at[n] == ',');
	}
}

int cgroup_hierarchies(int (*visit)(const char *name, const char *mount, void *data), void *data)
{
	char name[64];
	int result = mounts.unified ? visit("", mounts.unified, data) : 0;
	for (int i = 0; result == 0 && i < mounts.n_v1; i++) {
		hierarchy_name(mounts.v1_options[i], name, sizeof(name));
		result = visit(name, mounts.v1[i], data);
	}
	return result;
}

int cgroup_view_enter(void)
{
	char line[4096], root[1024], path[1024], type[64];
	int n = 0, failed = 0;
	FILE *file = fopen("/proc/self/mountinfo", "re");
	while (file && fgets(line, sizeof(line), file)) {
		const char *rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*s %*s %*s %1023s %1023s", root, path) != 2 ||
		    sscanf(rest, " - %63s", type) != 1 || strncmp(type, "cgroup", 6) != 0 ||
		    strncmp(root, "/..", 3) != 0)
			continue;
		n++;
		if (move_self(path, "", strcmp(type, "cgroup2") == 0 ? "cgroup.procs" : "tasks") < 0)
			failed = 1;
	}
	if (file)
		fclose(file);
	return n == 0 ? 0 : failed ? -1 : unshare(CLONE_NEWCGROUP);
}
