/*
 * virtiofsd for a folder that a virtual machine sees. What is shared is mounted in a mount
 * namespace of its own, as a device's mount of a container is: the folder opened beneath its
 * limits, read-only and with mapped owners where asked. Nothing of it is left on the host when the
 * program ends; it confines itself further, to that folder.
 */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LISTEN_FD = 3, HIGH_FD = 10 };

typedef struct Share {
	const char *note, *program, *place;
	int listener, log;
} Share;

static int open_source(Job *job, const MountSpec *spec, const char *idmap)
{
	int is_file, userns = -1;
	if (spec->shift && (userns = userns_open(idmap)) < 0)
		job_fail(job, errno, "Cannot make the id map: %s", strerror(errno));
	int tree = tree_open(job, spec, userns, &is_file);
	if (is_file)
		job_fail(job, ENOTDIR,
		    "\"%s\" is no folder: a disk image or block device has no \"path\" in a virtual machine",
		    spec->source);
	return tree;
}

/* Its descriptors, and nothing else of ours. */
static int settle(const Share *share)
{
	int listener = fcntl(share->listener, F_DUPFD_CLOEXEC, HIGH_FD);
	int log = fcntl(share->log, F_DUPFD_CLOEXEC, HIGH_FD);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (listener < 0 || log < 0 || null < 0 || dup2(listener, LISTEN_FD) < 0 ||
	    dup2(log, STDERR_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
	    dup2(null, STDIN_FILENO) < 0)
		return -1;
	signals_default();
	return setsid() < 0 && errno != EPERM ? -1 : 0;
}

/* Options that QEMU's own virtiofsd and the one in Rust both take. A guest makes no device nodes:
 * on the host they would be the host's devices. */
static _Noreturn void become_virtiofsd(const Share *share)
{
	char source[4200], listener[16];
	snprintf(source, sizeof(source), "source=%s", share->place);
	snprintf(listener, sizeof(listener), "--fd=%d", LISTEN_FD);
	if (settle(share) == 0)
		execl(share->program, "virtiofsd", listener, "-o", source, "-o", "modcaps=-mknod",
		    (char *)NULL);
	_exit(127);
}

void job_share(Job *job)
{
	MountSpec spec;
	Share share = { .note = packet_next(job->request) };
	share.program = packet_next(job->request);
	share.place = packet_next(job->request);
	share.listener = packet_take_fd(job->request, 1);
	share.log = packet_take_fd(job->request, 2);
	mount_spec_read(job->request, &spec);
	int tree = open_source(job, &spec, packet_next(job->request));
	if (note_write(share.note) < 0)
		job_fail(job, errno, "Cannot write \"%s\": %s", share.note, strerror(errno));
	/* From here on its folder is what is shared. */
	if (mntns_private() < 0 ||
	    syscall(SYS_move_mount, tree, "", AT_FDCWD, share.place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		job_fail(job, errno, "Cannot mount \"%s\": %s", spec.source, strerror(errno));
	close(tree);
	job_answer(job, packet_new(0));
	become_virtiofsd(&share);
}
