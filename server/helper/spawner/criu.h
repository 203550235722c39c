#pragma once
/*
 * CRIU: running containers written to a folder and started from it again. CRIU restores by liblxc,
 * whose monitor the container then has as any other; what liblxc believes to be CRIU is this very
 * program under another name (criu_program.c), which makes ready what liblxc leaves out and only
 * then becomes CRIU. CRIU asks us before each step that counts, so that a folder gets and loses its
 * name in the instant in which its processes end and begin to run:
 *
 *   state.new   being written; worth nothing
 *   state       whole; the processes in it do not run
 *   state.used  they run again, or never stopped; worth nothing
 *
 * All are beside `rootfs` in the instance's volume, owned by the host's root, mode 0700.
 */
#include "server/helper/spawner/spawner.h"

/* What a run of CRIU needs to know, handed on in the environment. */
typedef struct Criu {
	const char *program, *version;
	const char *volume; /* the folder that holds the state's */
	const char *log;
	const char *idmap;
	/* "1": the restore knocks at a socket "gate" beside our stand-in before the processes run,
	 * which do once that answers with a packet whose n[0] is 1. "": not. */
	const char *gated;
} Criu;

/* Reads four strings of a packet: from program to log. 0, or -1 when program is "". */
int criu_read(Packet *packet, Criu *ret);
/* Sets the environment, PATH included, and puts our stand-in for CRIU into `folder`. 0 or -1. */
int criu_prepare(const Criu *criu, const char *folder);
/* The restore's gate in `folder`: a listening socket, or -1; and, of the other side, knocking there:
 * 1 when the processes may run. */
int criu_gate_open(const char *folder);
int criu_gate_pass(const char *folder);
/* main() under the names that criu_prepare() gave us; -1 for every other name. */
int criu_program(int argc, char **argv);
/* Of a process that is about to become CRIU: what stands still or is not there yet waits for it.
 * Those that it restores get the priority that they had. */
void criu_hurry(void);
/* In every process that is forked from here on, memory is not given back (keep_freed.c). */
void keep_freed_in_children(void);
/* Gives one of the volume's folders another name, for good. 0 or -1. */
int criu_rename(const Criu *criu, const char *from, const char *to);
/* Sees to it that what is in "state.new" survives. 0 or -1. */
int criu_images_flush(const Criu *criu);
/* Notes the id map in the folder, or looks whether it is that: 1, 0, -1. */
int criu_idmap_write(const Criu *criu, int folder);
int criu_idmap_same(const Criu *criu);
/* Lets the root of the container read the images, as a restore does in its place. */
int criu_images_own(const Criu *criu);

/* The container's control groups in every hierarchy with their modes and owners (as inside):
 * CRIU makes the groups it needs, but neither empty ones nor with owners. 0 or -1. */
int cgroup_tree_write(const char *group, const char *idmap, int folder);
int cgroup_tree_make(const char *group, const char *idmap, int folder);
/* Removes the group with all below it where nobody is in it, as is soon so of what is being ended. */
void cgroup_tree_remove(const char *group);
/* Calls `visit` with each hierarchy's name ("" is v2) and mount point until one answers not 0. */
int cgroup_hierarchies(int (*visit)(const char *name, const char *mount, void *data), void *data);
/*
 * CRIU mounts the hierarchies itself and sees of them what is below its cgroup namespace's root. That
 * is not what is mounted where incusd has a namespace of its own but its host's mounts (a chroot, a
 * container that was given /sys/fs/cgroup): the caller, who is about to become CRIU, then moves to
 * the mounts' roots and into a namespace that begins there. 0 or -1.
 */
int cgroup_view_enter(void);
