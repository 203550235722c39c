/* Mounts that enter or leave a running container. */
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

/* Makes the target and the folders above it, as the container's root. */
static int target_make(const char *target, int is_file)
{
	char path[4096];
	size_t length = strlen(target);
	if (length >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(path, target, length + 1);
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -1;
		*at = '/';
	}
	if (!is_file)
		return mkdir(path, 0755) < 0 && errno != EEXIST ? -1 : 0;
	int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

void job_mount(Job *job)
{
	MountSpec spec;
	mount_spec_read(job->request, &spec);
	const char *idmap = packet_next(job->request);
	int pidfd = packet_take_fd(job->request, 1);
	int is_file;
	int tree = tree_open(job, &spec, spec.shift && *idmap ? userns_open(idmap) : -1, &is_file);
	if (namespaces_enter(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0)
		job_fail(job, errno, "Cannot enter the container: %s", strerror(errno));
	if (target_make(spec.target, is_file) < 0)
		job_fail(job, errno, "Cannot make \"%s\": %s", spec.target, strerror(errno));
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, spec.target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		job_fail(job, errno, "Cannot mount on \"%s\": %s", spec.target, strerror(errno));
	job_answer(job, packet_new(0));
}

/* A device's place was made for it. */
static void remove_place(const char *target)
{
	struct stat st;
	if (strncmp(target, "/dev/", 5) == 0 && lstat(target, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == 0)
		unlink(target);
}

void job_unmount(Job *job)
{
	const char *target = packet_next(job->request);
	int pidfd = packet_take_fd(job->request, 1);
	if (namespaces_enter(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0)
		job_fail(job, errno, "Cannot enter the container: %s", strerror(errno));
	if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		job_fail(job, errno, "Cannot unmount \"%s\": %s", target, strerror(errno));
	remove_place(target);
	job_answer(job, packet_new(0));
}

void job_mappable(Job *job)
{
	const char *directory = packet_next(job->request);
	int userns = userns_open(packet_next(job->request));
	int source = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (userns < 0 || source < 0)
		job_fail(job, errno, "Cannot look at \"%s\": %s", directory, strerror(errno));
	Packet *answer = packet_new(0);
	answer->n[0] = tree_clone(source, 0, 0, userns) >= 0;
	job_answer(job, answer);
}
