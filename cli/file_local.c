#include "cli/file_local.h"
#include "cli/stream.h"
#include <sys/stat.h>
#include <unistd.h>

enum { STEP_US = 100000 };

/* The server moves the offset of the file that is open here. */
typedef struct Watch {
	GMutex lock;
	GCond ended;
	gboolean over;
	int fd;
	uint64_t size;
	Progress *progress;
	GThread *thread;
} Watch;

static void *watch_run(void *data)
{
	Watch *watch = data;
	g_mutex_lock(&watch->lock);
	while (!watch->over) {
		off_t at = lseek(watch->fd, 0, SEEK_CUR);
		progress_bytes(watch->progress, at > 0 ? (uint64_t)at : 0, watch->size);
		g_cond_wait_until(
		    &watch->ended, &watch->lock, g_get_monotonic_time() + STEP_US);
	}
	g_mutex_unlock(&watch->lock);
	return NULL;
}

static void watch_start(Watch *watch)
{
	g_mutex_init(&watch->lock);
	g_cond_init(&watch->ended);
	if (watch->progress && watch->progress->label)
		watch->thread = g_thread_new("progress", watch_run, watch);
}

static void watch_end(Watch *watch)
{
	g_mutex_lock(&watch->lock);
	watch->over = TRUE;
	g_cond_signal(&watch->ended);
	g_mutex_unlock(&watch->lock);
	if (watch->thread)
		g_thread_join(watch->thread);
	g_cond_clear(&watch->ended);
	g_mutex_clear(&watch->lock);
}

bool file_local_server(const Server *server)
{
	return g_str_has_prefix(server->remote->addr, "unix:");
}

static bool fill(const Server *server, int fd, uint64_t size, Pb__LocalFile *ret)
{
	struct stat st;
	if (size < FILE_LOCAL_LEAST || !file_local_server(server) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	pb__local_file__init(ret);
	ret->descriptor = (uint32_t)fd;
	ret->device = st.st_dev;
	ret->inode = st.st_ino;
	return true;
}

static int result_of(int result, Error *problem, Error **err)
{
	if (result == 0)
		return 1;
	if (problem->kind != ERROR_UNSUPPORTED)
		return error_propagate(err, problem);
	error_free(problem);
	return 0;
}

int file_local_push(Server *server, const Pb__CreateInstanceFileRequest *in, int fd,
    Progress *progress, Error **err)
{
	Pb__CreateInstanceFileRequest request = *in;
	Pb__LocalFile local;
	Error *problem = NULL;
	struct stat st;
	if (fstat(fd, &st) < 0 || !fill(server, fd, (uint64_t)st.st_size, &local))
		return 0;
	request.local_file = &local;
	Watch watch = { .fd = fd, .size = (uint64_t)st.st_size, .progress = progress };
	watch_start(&watch);
	g_autoptr(Stream) stream = stream_open(
	    server, "CreateInstanceFile", &request.base, &problem);
	int result = stream ? stream_finish(stream, NULL, &problem) : -1;
	watch_end(&watch);
	return result_of(result, problem, err);
}

static int wait_for_end(Stream *stream, Error **err)
{
	ProtobufCMessage *message;
	while (stream_receive(stream, &message, err) == 0) {
		if (!message)
			return 0;
		stream_message_free(message);
	}
	return -1;
}

int file_local_pull(Server *server, const Pb__GetInstanceFileRequest *in, int fd, uint64_t size,
    Progress *progress, Error **err)
{
	Pb__GetInstanceFileRequest request = *in;
	Pb__LocalFile local;
	Error *problem = NULL;
	if (!fill(server, fd, size, &local))
		return 0;
	request.local_file = &local;
	Watch watch = { .fd = fd, .size = size, .progress = progress };
	watch_start(&watch);
	g_autoptr(Stream) stream = stream_open(server, "GetInstanceFile", &request.base, &problem);
	int result = stream ? wait_for_end(stream, &problem) : -1;
	watch_end(&watch);
	return result_of(result, problem, err);
}
