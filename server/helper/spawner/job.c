/* A child for every request. */
#include "server/helper/spawner/spawner.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void job_answer(Job *job, Packet *packet)
{
	packet_send(job->answer, packet);
	packet->n_fds = 0; /* ours stay open: the child's end closes them */
	packet_free(packet);
}

_Noreturn void job_fail(Job *job, int error, const char *format, ...)
{
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	Packet *packet = packet_new(0);
	packet->error = error ? error : EIO;
	packet_add(packet, text);
	packet_send(job->answer, packet);
	_exit(1);
}

static _Noreturn void run_job(const JobRow *jobs, Packet *request)
{
	Job job = { .request = request, .answer = packet_take_fd(request, 0) };
	signal(SIGCHLD, SIG_DFL);
	for (const JobRow *row = jobs; row->run; row++)
		if ((uint32_t)row->op == request->op) {
			row->run(&job);
			_exit(0);
		}
	job_fail(&job, ENOSYS, "Unknown request %u", request->op);
}

int jobs_run(int control, const JobRow *jobs)
{
	Packet *request = packet_new(0);
	while (packet_recv(control, request) > 0) {
		if (request->n_fds == 0)
			continue;
		pid_t child = fork();
		if (child == 0) {
			close(control);
			run_job(jobs, request);
		}
		if (child < 0) {
			Job job = { .request = request, .answer = request->fds[0] };
			Packet *packet = packet_new(0);
			packet->error = errno;
			packet_add(packet, "Cannot fork");
			job_answer(&job, packet);
		}
	}
	packet_free(request);
	return 0;
}
