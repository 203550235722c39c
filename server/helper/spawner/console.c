#include "server/helper/spawner/keeper.h"
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <lxc/lxccontainer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct lxc_container *container_open(Job *job)
{
	const char *name = packet_next(job->request);
	struct lxc_container *c = lxc_container_new(name, packet_next(job->request));
	if (!c)
		job_fail(job, ENOMEM, "Cannot make a container object");
	return c;
}

/* What a restored container's keeper says; NULL when it has none. */
static Packet *ask_keeper(Job *job, KeeperOp op, int *ret_socket)
{
	const char *name = packet_next(job->request);
	int fd = keeper_connect(packet_next(job->request), name);
	job->request->cursor = 0;
	Packet *packet = packet_new(op);
	if (fd < 0 || packet_send(fd, packet) < 0 || packet_recv(fd, packet) <= 0) {
		packet_free(packet);
		return NULL;
	}
	if (packet->error)
		job_fail(job, (int)packet->error, "%s", packet_next(packet));
	*ret_socket = fd;
	return packet;
}

static void answer_kept(Job *job, Packet *kept, int socket)
{
	Packet *packet = packet_new(0);
	packet_add_fd(packet, packet_take_fd(kept, 0));
	packet_add_fd(packet, socket);
	packet_add_fd(packet, packet_take_fd(kept, 1));
	job_answer(job, packet);
}

void job_console(Job *job)
{
	int socket;
	Packet *kept = ask_keeper(job, KEEPER_ATTACH, &socket);
	if (kept) {
		answer_kept(job, kept, socket);
		return;
	}
	struct lxc_container *c = container_open(job);
	int tty = 0, terminal = -1;
	int keep = c->console_getfd(c, &tty, &terminal);
	if (keep < 0)
		job_fail(job, EBUSY, "The console is in use or cannot be opened");
	Packet *packet = packet_new(0);
	packet_add_fd(packet, terminal);
	packet_add_fd(packet, keep);
	packet_add_fd(packet, terminal);
	job_answer(job, packet);
}

void job_console_log(Job *job)
{
	int socket;
	Packet *kept = ask_keeper(job, job->request->n[0] ? KEEPER_CLEAR : KEEPER_LOG, &socket);
	if (kept) {
		job_answer(job, kept);
		return;
	}
	struct lxc_container *c = container_open(job);
	uint64_t size = 0;
	struct lxc_console_log log = {
		.clear = job->request->n[0] != 0, .read = job->request->n[0] == 0, .read_max = &size
	};
	int result = c->console_log(c, &log);
	if (result < 0 && result != -ENODATA)
		job_fail(job, -result, "Cannot read the console's buffer: %s", strerror(-result));
	Packet *packet = packet_new(0);
	int fd = memfd_create("console", MFD_CLOEXEC);
	if (fd >= 0 && result == 0 && log.data && write(fd, log.data, size) < 0)
		job_fail(job, errno, "Cannot keep the console's buffer");
	packet->n[0] = result == 0 ? (int64_t)size : 0;
	packet_add_fd(packet, fd);
	job_answer(job, packet);
}
