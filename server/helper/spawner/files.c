/*
 * Where files of an instance are reached from: a child that has entered the container's user and
 * mount namespaces (running), or a mount namespace whose root is the instance's rootfs, idmapped
 * (stopped).
 */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Makes the stopped instance's rootfs the root of a mount namespace of ours. */
static void enter_rootfs(Job *job, const char *rootfs, const char *idmap, int shifted)
{
	int userns = *idmap ? userns_open(idmap) : -1;
	if (*idmap && userns < 0)
		job_fail(job, errno, "Cannot make a user namespace with the instance's id map");
	if (mntns_private() < 0)
		job_fail(job, errno, "Cannot make a mount namespace");
	/* after the new namespace: open_tree clones mounts of its own namespace only */
	int source = open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (source < 0)
		job_fail(
		    job, errno, "Cannot open the instance's root file system: %s", strerror(errno));
	int tree = tree_clone(source, 0, 0, shifted ? -1 : userns);
	if (tree < 0)
		job_fail(job, errno, "Cannot mount the instance's root file system: %s",
		    strerror(errno));
	if (syscall(SYS_move_mount, tree, "", source, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ||
	    fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		job_fail(job, errno, "Cannot enter the instance's root file system: %s",
		    strerror(errno));
	if (userns >= 0 && namespaces_enter(userns, CLONE_NEWUSER) < 0)
		job_fail(
		    job, errno, "Cannot enter the instance's user namespace: %s", strerror(errno));
}

void job_files(Job *job)
{
	Packet *rq = job->request;
	int sftp = rq->n[2] ? packet_take_fd(rq, rq->n_fds - 1) : -1;
	umask(0);
	if (rq->n[0]) {
		const char *rootfs = packet_next(rq);
		const char *idmap = packet_next(rq);
		enter_rootfs(job, rootfs, idmap, rq->n[1] != 0);
	} else if (namespaces_enter(rq->fds[1], CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		job_fail(job, errno, "Cannot enter the container: %s", strerror(errno));
	}
	job_answer(job, packet_new(0));
	files_serve(job, sftp);
}
