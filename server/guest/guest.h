#pragma once
/*
 * The inside of a running virtual machine, as incusd reaches it: one connection to its incus-agent
 * over the machine's serial channel (link.h), made anew whenever either end was started again, and
 * the calls of agent.proto over it. Commands are exec.h's, files session.h's, figures state.h's.
 *
 * The guest is hostile. Everything it sends has a limit and is checked, every call has a deadline
 * or is ended by its caller, and a guest that does not answer is left alone for a while: it delays
 * nobody but who wants something of it.
 */
#include "sdk/base/error.h"
#include <stdint.h>

typedef struct Guest Guest;

typedef enum GuestEvent {
	GUEST_ONLINE,	/* the agent answers */
	GUEST_OFFLINE,	/* it does not any more */
	GUEST_SHUTDOWN, /* the guest goes down by itself, or at our request */
	GUEST_REBOOTED, /* before GUEST_ONLINE: it has booted since it was online last */
} GuestEvent;

typedef struct GuestSpec {
	const char *name;   /* for the log, and as host name for a guest that has none */
	const char *socket; /* path of QEMU's socket of the channel; under 108 bytes */
	/* On the guest's own thread, for which guest_close() waits: it takes no lock that is held
	 * there. NULL: nobody. */
	void (*changed)(void *data, GuestEvent event);
	/* A process of the guest's root has connected to /dev/incus/sock: serves the socket (taken)
	 * until it is closed, on a thread of its own, for which guest_close() waits. NULL: the
	 * guest has no such socket. */
	void (*connected)(void *data, int fd);
	/* What the agent is to mount whenever it comes online (GuestMount, owned); on the guest's
	 * own thread, as above. NULL: nothing. */
	GPtrArray *(*mounts)(void *data);
	void *data;
	void (*data_free)(void *data); /* with the last reference; NULL: not */
} GuestSpec;

/* What the agent said about its system; all copied, "" where it did not. */
typedef struct GuestInfo {
	char version[32], os[64], os_version[64], os_name[128], kernel[128], architecture[32],
	    host_name[256];
} GuestInfo;

/* Connects on a thread of its own, as soon as there is somebody. A guest without
 * an agent is one that stays offline. */
Guest *guest_new(const GuestSpec *spec);
Guest *guest_ref(Guest *guest);
void guest_unref(Guest *guest);
/* The machine has ended: ends calls and threads. The caller's reference is given up. NULL is
 * allowed. */
void guest_close(Guest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_unref)

gboolean guest_online(Guest *guest);
/* FALSE after timeout_ms (-1: never), or when it is closed. */
gboolean guest_wait_online(Guest *guest, int timeout_ms);
/* FALSE while it is offline. */
gboolean guest_info(Guest *guest, GuestInfo *ret_info);
/* Ends what is going on with it; there is a new connection as soon as it answers. */
void guest_hang_up(Guest *guest);
/* The machine was paused, or goes on: silence is no sign then; and its clock is set after it. */
void guest_pause(Guest *guest, gboolean paused);
