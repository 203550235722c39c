#pragma once
/*
 * incus-spawner: does for incusd what needs fork, setns or liblxc. One thread; every request is
 * handled in a child of its own, which answers on the request's socket and exits. It holds no state
 * but the user namespaces it made for id maps, so it can die and be started again at any time.
 */
#include "server/helper/confine.h"
#include "server/helper/packet.h"

/* One request, in its child. `answer` is the request's socket. */
typedef struct Job {
	Packet *request;
	int answer;
} Job;

typedef struct JobRow {
	SpawnOp op;
	void (*run)(Job *job);
} JobRow;

/* Serves requests, each in a child of its own, until `control` is closed. `jobs` ends with a row
 * without a function. */
int jobs_run(int control, const JobRow *jobs);

void job_start(Job *job);
void job_netlink(Job *job);
void job_exec(Job *job);
void job_files(Job *job);
void job_mount(Job *job);
void job_unmount(Job *job);
void job_console(Job *job);
void job_console_log(Job *job);
void job_shift(Job *job);
void job_check(Job *job);
void job_mappable(Job *job);
void job_dump(Job *job);
void job_proxy(Job *job);
void job_share(Job *job);
void job_cgroup(Job *job);

/* Answers with errno and a message and ends the child. */
_Noreturn void job_fail(Job *job, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Sends `packet` as the answer and frees it. */
void job_answer(Job *job, Packet *packet);

/* Nothing blocked, nothing ignored: before another program takes our place. */
void signals_default(void);

/* What SPAWN_EXEC asks for, wherever it is to run. */
typedef struct Command {
	char **argv, **environment;
	const char *cwd;
	unsigned uid, gid;
	int interactive, width, height;
	int ready; /* SEQPACKET, write end: the pty, or what went wrong before the command ran */
} Command;

/* Reads the strings from cwd on, and makes the pair of `ready`: its read end. Fails the job. */
int command_read(Job *job, Command *command);
/* In the child, where and who it is to be: becomes the command. */
int command_run(void *command);
/* Once it runs: tells the caller its pid, pidfd and pty, and its status when it has ended. */
_Noreturn void command_attend(Job *job, const Command *command, pid_t pid, int ready);

/* What a child in the instance's root file system answers: FILE_* requests, or (sftp >= 0) SFTP. */
void files_serve(Job *job, int sftp);

/* One mount as SPAWN_START and SPAWN_MOUNT carry it; strings are borrowed from the packet. */
typedef struct MountSpec {
	const char *source, *beneath, *target, *propagation, *filesystem, *options;
	int readonly, recursive, shift, is_file, is_device, optional;
} MountSpec;

void mount_spec_read(Packet *packet, MountSpec *ret_spec);

/* fd of a new user namespace with the given map ("u 0 1000000 1000000000\ng ..."); -1 with errno.
 */

int userns_open(const char *idmap);
/* O_PATH fd of a host path, not through magic links, nor out of the folder `beneath` ("": none); -1
 * with errno. */
int source_open(const char *path, const char *beneath);
/* Detached clone of the tree at `source` (an O_PATH fd), idmapped when userns >= 0; -1 with errno.
 */
int tree_clone(int source, int recursive, int readonly, int userns);
/* Detached tree of a mount's source, with its options and, when it is to be shifted, the map: a
 * clone of what is there, or the file system on a block device. Fails the job. */
int tree_open(Job *job, const MountSpec *spec, int userns, int *ret_is_file);
/* A mount namespace of our own in which nothing we mount is seen outside. 0 or -1. */
int mntns_private(void);
int pidfd_open_pid(pid_t pid);
unsigned long long pid_start_time(pid_t pid);
/* Writes "PID START-TIME" of this process for who looks for it later. 0, or -1 with errno. */
int note_write(const char *path);
/* Enters namespaces (CLONE_NEW*) of the process behind pidfd; as root of its user namespace when
 * that is among them. 0 or -1. */
int namespaces_enter(int pidfd, int flags);
/* Once, at the start: where the cgroup hierarchies are. */
void cgroup_find_mounts(void);
/* fork() whose child, where the kernel lets it, is already in the container's group
 * ("/lxc.payload.c1") of every hierarchy: then *ret_inside is set in the child. Else it is where
 * its parent is, or half-way. */
pid_t cgroup_fork(const char *group, int *ret_inside);
/* An O_PATH fd of the host's /proc, opened before any container is entered, so that fds can be
 * opened again by number. */
extern int host_proc;
/* Opens fd (perhaps O_PATH) again with flags, whatever /proc the container has. */
int fd_reopen(int fd, int flags);

/* `incus-spawner --wire`, a program of its own: what rsync starts in place of a remote shell. Bytes
 * between its standard input and output and this socket, until nothing more comes from it. */
int wire_run(int socket);

/* `incus-spawner --confined ro|rw DIRECTORY PROGRAM...`, a program of its own: runs PROGRAM where
 * it sees this machine's programs and libraries (/usr and its like, to be read), the directory as
 * CONFINE_PLACE, which it stands in, this program as CONFINE_SELF, and nothing else: no network, no
 * other processes, of root's rights only those over files. Its standard fds and 3 are the caller's.
 * The status is PROGRAM's, 125 when it could not be confined. argv begins behind the first word. */
int confine_run(int argc, char **argv);
