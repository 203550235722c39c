#include "server/rpc/local_file.h"
#include "sdk/base/own.h"
#include "server/sys/process.h"
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RANGE = 16 << 20, BLOCK = 1 << 20 };

static gboolean is_socket_of(const Caller *caller)
{
	struct stat st;
	return fstat(caller->socket, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    st.st_ino == caller->socket_inode;
}

/* The process that connected, -1 when it cannot be had. The number of a socket that was closed
 * meanwhile may be another one's: it is asked before and after. */
static int peer_process(const Caller *caller)
{
	if (caller->kind != CALLER_UNIX || !caller->admin || !is_socket_of(caller))
		return -1;
	autofd int process = process_open_peer(caller->socket);
	return is_socket_of(caller) ? own_steal_fd(&process) : -1;
}

int local_file_take(const Request *rq, const Pb__LocalFile *file, int *ret_fd, Error **err)
{
	struct stat st;
	autofd int process = peer_process(rq->caller);
	autofd int fd = process < 0 ?
	    -1 :
	    (int)syscall(SYS_pidfd_getfd, process, (int)file->descriptor, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_dev != file->device ||
	    st.st_ino != file->inode)
		return error_set(
		    err, ERROR_UNSUPPORTED, "The file cannot be reached from here: send its data");
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

/* Through memory: between file systems that cannot copy to each other. */
static ssize_t copy_block(int in_fd, int out_fd, char *buffer)
{
	ssize_t got = read(in_fd, buffer, BLOCK);
	for (ssize_t done = 0; done < got;) {
		ssize_t n = write(out_fd, buffer + done, (size_t)(got - done));
		if (n < 0 && errno != EINTR)
			return -1;
		done += MAX(n, 0);
	}
	return got;
}

/* What copy_file_range says where it cannot work at all; 0 stands for files of procfs and such. */
static gboolean needs_memory(ssize_t n)
{
	return n == 0 ||
	    (n < 0 &&
		(errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ||
		    errno == EPERM));
}

int local_file_copy(const Request *rq, int in_fd, int out_fd, Error **err)
{
	g_autofree char *buffer = NULL;
	ssize_t n = 1;
	if (lseek(in_fd, 0, SEEK_CUR) == 0 && lseek(out_fd, 0, SEEK_CUR) == 0 &&
	    ioctl(out_fd, FICLONE, in_fd) == 0)
		return 0;
	while (n != 0) {
		if (request_cancelled(rq))
			return error_set(err, ERROR_CANCELLED, "Cancelled by the client");
		n = buffer ? copy_block(in_fd, out_fd, buffer) :
			     copy_file_range(in_fd, NULL, out_fd, NULL, RANGE, 0);
		if (!buffer && needs_memory(n)) {
			buffer = g_malloc(BLOCK);
			n = 1;
		} else if (n < 0 && errno != EINTR) {
			return error_errno(err, ERROR_INTERNAL, errno, "Failed to copy the file");
		}
	}
	return 0;
}
