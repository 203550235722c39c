#pragma once
/*
 * The messages between incusd and incus-spawner: one SEQPACKET datagram with an operation, some
 * numbers, NUL-terminated strings and file descriptors. Plain C without GLib, because the spawner
 * stays small: every container monitor is a copy of it.
 *
 * A request carries, as its first fd, a socket of its own; the child that the spawner forks answers
 * there, so answers need no numbering and a dead child shows as end of file.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PACKET_NUMBERS = 10, PACKET_FDS = 8, PACKET_TEXT = 160 * 1024 };

/* Requests to the spawner's main socket. "->" is what comes back on success. */
typedef enum SpawnOp {
	/* strings: name, lxcpath, rootfs, state directory, idmap lines ("" privileged), n[1] pairs
	 * of liblxc configuration, n[2] mounts of 7 (source, beneath, target, propagation,
	 * filesystem, options, flags "ro,rec,shift,file,dev,opt"), the four of criu.h (the first is ""
	 * for a start from nothing). n[0]: mount the rootfs idmapped; n[3]: what is restored waits
	 * in the moment before its processes run: -> first an empty packet, for which n[0] 1 is the
	 * answer that lets them; any other, or the socket's end, ends them.
	 * -> n: init pid, monitor pid, their start times; fds: init pidfd, monitor pidfd, netlink
	 * socket; strings: path of the container's cgroup. */
	SPAWN_START = 1,
	/* n: init pid. fds: pidfd of init. -> fds: NETLINK_ROUTE socket in its network namespace.
	 */
	SPAWN_NETLINK,
	/* strings: name, lxcpath, cgroup, cwd, n[0] arguments, n[1] environment lines. n[2..6]:
	 * uid, gid, interactive, width, height. fds: stdin, stdout, stderr unless interactive.
	 * -> n[0] pid; fds: pidfd, pty when interactive. Then a second packet: n[0] wait status. */
	SPAWN_EXEC,
	/* fds: pidfd of init (running), or strings: rootfs, idmap lines (stopped; n[0] set; n[1]:
	 * its owners are shifted on disk). -> an empty packet; then the socket takes FILE_*
	 * requests until it is closed; or, with n[2] and a stream socket as last fd, SFTP is spoken
	 * on that. */
	SPAWN_FILES,
	/* fds: pidfd of init; strings: one mount of 7 as in SPAWN_START, idmap lines. */
	SPAWN_MOUNT,
	/* fds: pidfd; strings: target. An empty file below /dev that it stood on goes too. */
	SPAWN_UNMOUNT,
	/* strings: name, lxcpath. -> fds: terminal, its keep-alive socket, what takes
	 * the window's size (the terminal again, where that is one). */
	SPAWN_CONSOLE,
	/* strings: name, lxcpath. n[0]: clear instead of read. -> fds: memfd with the ring buffer.
	 */
	SPAWN_CONSOLE_LOG,
	/* strings: directory, lines of the id map that its owners have, of the one that they are to
	 * have ("" the host's own ids), a label, the journal's path. What a whole journal says is
	 * done before anything else, whatever the maps; n[0]: nothing but that. -> n[0] 1 and the
	 * label of the journal that was carried out; n[0] 0 when there was none. */
	SPAWN_SHIFT,
	/* strings: lxcpath, n[0] pairs of liblxc configuration: whether liblxc takes them. */
	SPAWN_CHECK,
	/* strings: directory, idmap lines. -> n[0] 1 when its file system can be mounted so. */
	SPAWN_MAPPABLE,
	/* strings: name, lxcpath, cgroup, state directory, idmap lines, the four of criu.h, n[2]
	 * targets of disk devices. n[0]: init pid; n[1]: a DumpKind. fds: pidfd of init. -> first,
	 * unless it ends at once, an empty packet while the container stands still and waits for an
	 * answer; then an empty packet when all is done. */
	SPAWN_DUMP,
	/* strings: name, lxcpath, a setting of control groups without "lxc.cgroup.", its value: sets
	 * it of the running container. */
	SPAWN_CGROUP,
	/* The forwarder of a proxy device, which goes on until the container ends. strings: the file
	 * for its "PID START-TIME", n[2] pairs of where to listen and where to connect (proxy.h).
	 * fds: pidfd of init. n: listens inside, announces callers, -, mode, uid and gid of socket
	 * files, uid and gid of who connects. -> empty once it serves. */
	SPAWN_PROXY,
	/* virtiofsd, which goes on until the virtual machine that connects to it has ended. strings: the
	 * file for its "PID START-TIME", the program, a folder that it sees the source on, one mount
	 * of 7, idmap lines ("": the host's ids). fds: the listening socket, its log. -> empty. */
	SPAWN_SHARE,
} SpawnOp;

typedef enum DumpKind {
	DUMP_END, /* its processes end once they are written */
	/* They go on after any answer, or the socket's end. */
	DUMP_STAY,
	/* A packet comes once they stand still, another when all is written. The answer to it
	 * decides: with n[0] 1 the state gets its name, for which another empty packet is the
	 * receipt, and they end; anything else, or the socket's end, and they go on as if nothing
	 * had been. */
	DUMP_ASK,
} DumpKind;

/* Requests within a SPAWN_FILES session. Paths are absolute, as inside the instance. Attributes are
 * n[0] type and mode (st_mode), n[1] uid, n[2] gid, n[3] size, n[4] mtime s, n[5] atime s, n[6]
 * mtime ns. */
typedef enum FileOp {
	FILE_STAT = 32, /* n[0]: do not follow the last link. -> attributes */
	FILE_OPEN, /* n: flags (O_*), mode, uid, gid for a new file (-1: keep). -> attributes, fd;
		    * n[7] is 1 when the file was made */
	FILE_READDIR, /* -> packets of names and, in strings pairs, "mode uid gid size mtime atime";
		       * n[7] is 1 on the last */
	FILE_READLINK, /* -> strings: target */
	FILE_MKDIR,    /* n: -, mode, uid, gid */
	FILE_SYMLINK,  /* strings: target, path; n: -, -, uid, gid */
	FILE_REMOVE,   /* n[0]: 0 file or empty directory, 1 file only, 2 directory only */
	FILE_RENAME,   /* strings: from, to; n[0]: replace */
	FILE_SETSTAT,  /* n: which (1 size, 2 owner, 4 mode, 8 times), mode, uid, gid, size, mtime,
			  atime */
	FILE_REPLACE,  /* strings: path; n: -, mode, uid, gid: a new file put in the place of the
			* path without following links, missing folders made. -> fd */
} FileOp;

typedef struct Packet {
	uint32_t op;
	int32_t error;        /* answers: errno, with a message as the first string */
	int64_t n[PACKET_NUMBERS];
	uint32_t n_strings, size; /* of text */
	/* Not sent: */
	uint32_t n_fds, cursor;
	int fds[PACKET_FDS];      /* received ones are close-on-exec and the receiver's */
	int overflow;
	char text[PACKET_TEXT];
} Packet;

Packet *packet_new(uint32_t op);
/* Empties it for another message; closes no fd. */
void packet_reset(Packet *packet, uint32_t op);
/* Frees it and closes the fds it still holds (set those taken over to -1). */
void packet_free(Packet *packet);
/* NULL is sent as "". More than fits makes packet_send fail with EMSGSIZE. */
void packet_add(Packet *packet, const char *text);
void packet_add_fd(Packet *packet, int fd);   /* borrowed until sent; send does not close */
/* The next string, "" after the last. */
const char *packet_next(Packet *packet);
/* Takes fds[i] out of the packet; -1 when there is none. */
int packet_take_fd(Packet *packet, unsigned i);
/* 0, or -1 with errno. Never SIGPIPE. */
int packet_send(int fd, const Packet *packet);
/* 1, 0 at the end of file, or -1 with errno (EPROTO: malformed). Closes fds held before. */
int packet_recv(int fd, Packet *packet);
