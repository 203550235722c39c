/* Programs that speak with strangers about one directory see nothing else of this machine. */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 125 }; /* what env(1) and its kin say of themselves */

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "Cannot confine a program: %s: %s\n", what, strerror(errno));
	_exit(CANNOT);
}

/* ---- what it sees ---- */

static int attach(int tree, int root, const char *name)
{
	return (int)syscall(SYS_move_mount, tree, "", root, name, MOVE_MOUNT_F_EMPTY_PATH);
}

/* The directory: its devices are none, its programs do not run. */
static void show_place(int source, int root, int read_only)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
		    MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0) };
	int tree = tree_clone(source, 0, 0, -1);
	if (tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
	    mkdirat(root, &CONFINE_PLACE[1], 0700) < 0 || attach(tree, root, &CONFINE_PLACE[1]) < 0)
		fail("the directory");
}

/* What programs and their libraries are in: a link as it is, a directory to be read. */
static void show_programs(int root, const char *name)
{
	char path[32], target[256];
	snprintf(path, sizeof(path), "/%s", name);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	if (length > 0) {
		target[length] = '\0';
		if (symlinkat(target, root, name) < 0)
			fail(path);
		return;
	}
	int source = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (source < 0 && errno == ENOENT)
		return;
	int tree = source < 0 ? -1 : tree_clone(source, 1, 1, -1);
	if (tree < 0 || mkdirat(root, name, 0755) < 0 || attach(tree, root, name) < 0)
		fail(path);
}

/* This program, as what joins rsync to a socket. By its path: the link itself leads into the mount
 * namespace that was left. */
static void show_self(int root)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[length < 0 ? 0 : length] = '\0';
	int self = open(path, O_PATH | O_CLOEXEC);
	int file = openat(root, &CONFINE_SELF[1], O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0700);
	int tree = self < 0 ? -1 : tree_clone(self, 0, 1, -1);
	if (file < 0 || tree < 0 || attach(tree, root, &CONFINE_SELF[1]) < 0)
		fail("the helper");
}

/* Its own processes alone, and nothing that can be written to. Kernels before 5.8 have no such
 * thing; rsync does without. */
static void show_processes(int root)
{
	int fs = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "subset", "pid", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return;
	int tree = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (tree < 0 || mkdirat(root, "proc", 0555) < 0 || attach(tree, root, "proc") < 0)
		fail("/proc");
}

static int make_root(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail("tmpfs");
	int tree = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
	if (tree < 0)
		fail("tmpfs");
	return tree;
}

/* The new root stands over the directory, in this namespace alone, and is then all there is. */
static void enter(const char *directory, int read_only)
{
	static const char *const programs[] = { "usr", "bin", "lib", "lib64" };
	struct mount_attr sealed = { .attr_set = MOUNT_ATTR_RDONLY };
	/* after the new namespace: clones are made of mounts in it */
	int source = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (source < 0)
		fail(directory);
	int root = make_root();
	if (syscall(SYS_move_mount, root, "", source, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		fail("the root");
	show_place(source, root, read_only);
	for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		show_programs(root, programs[i]);
	show_self(root);
	show_processes(root);
	if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &sealed, sizeof(sealed)) < 0 ||
	    fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir(CONFINE_PLACE) < 0)
		fail("the root");
}

/* ---- what it may ---- */

/* Trees with any owners and attributes are written and read; all else of root's is gone, for what
 * it starts too. Files are not opened by handle: that leads anywhere. */
static void drop_rights(void)
{
	static const unsigned long long kept = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE |
	    1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | 1ULL << CAP_MKNOD | 1ULL << CAP_SETFCAP;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };
	for (int n = 0; n < 64 && prctl(PR_CAPBSET_READ, n) >= 0; n++)
		if (!(kept >> n & 1) && prctl(PR_CAPBSET_DROP, n) < 0)
			fail("capabilities");
	for (int n = 0; n < 2; n++)
		sets[n].effective = sets[n].permitted = (uint32_t)(kept >> (32 * n));
	if (syscall(SYS_capset, &head, sets) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("capabilities");
}

/* Whoever started us hears of its end through us, and takes it away with us. */
static _Noreturn void await(pid_t child)
{
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

int confine_run(int argc, char **argv)
{
	if (argc < 3)
		return CANNOT;
	if (unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
	    mntns_private() < 0)
		fail("namespaces");
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child > 0)
		await(child);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(0);
	enter(argv[1], strcmp(argv[0], "ro") == 0);
	drop_rights();
	execvp(argv[2], argv + 2);
	fail(argv[2]);
}
