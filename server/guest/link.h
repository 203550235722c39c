#pragma once
/*
 * How gRPC travels over a virtual machine's serial channel, for both ends: incusd (through QEMU's
 * unix socket) and incus-agent (/dev/virtio-ports/org.incus.agent.0).
 *
 * The channel is a pair of pipes that outlives whoever is at its ends: QEMU and the guest's kernel
 * keep bytes of a connection that is long over, and cut what was being written. So the host begins
 * a connection with a run of zeros, longer than any frame, and a sync: a fixed text and a number
 * that it made up. Whatever the guest was in the middle of, the zeros end it, for they are no
 * frame; it looks for the sync, says it back, and only then do both speak HTTP/2, in frames. The
 * host takes nothing that comes before its own number. A guest that loses its place sends zeros,
 * which makes the host begin again.
 *
 * Frame: "IAF", a type, the length of what follows (32 bits, little endian).
 */
#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_PORT_NAME "org.incus.agent.0"

enum {
	LINK_HEADER = 8,
	LINK_FRAME_MAX = 32 * 1024,		   /* of what follows the header */
	LINK_ZEROS = LINK_HEADER + LINK_FRAME_MAX, /* end any frame, and are none */
	LINK_NUMBER = 16,
	LINK_SYNC = 16 + LINK_NUMBER,
};

/* --- reading: bytes as they come, no memory of its own --- */

typedef enum LinkEvent {
	LINK_MORE,   /* all bytes are used */
	LINK_DATA,   /* bytes for HTTP/2: data and length */
	LINK_SYNCED, /* reader->number is the one that came; frames follow */
	LINK_PING,
	LINK_PONG,
	LINK_BROKEN, /* no frame: the reader looks for a sync from here on */
} LinkEvent;

typedef struct LinkReader {
	enum { LINK_SEEKS, LINK_NUMBERS, LINK_HEADS, LINK_PAYS } state;
	uint8_t number[LINK_NUMBER];
	uint8_t head[LINK_HEADER];
	uint32_t have; /* of the text, number or header */
	uint32_t left; /* of the frame */
} LinkReader;

/* A reader of zeros looks for a sync. Takes from (*in, *length), which it moves on, up to the next
 * event. */
LinkEvent link_read(LinkReader *reader, const uint8_t **in, size_t *length,
    const uint8_t **ret_data, size_t *ret_length);
/* The 32 bytes of a sync. */
void link_sync(uint8_t out[LINK_SYNC], const uint8_t number[LINK_NUMBER]);

/* --- carrying --- */

typedef enum LinkEnd {
	LINK_ENDED_PORT,    /* the other end of the channel went */
	LINK_ENDED_PLAIN,   /* gRPC closed its side */
	LINK_ENDED_BROKEN,  /* what came is no frame */
	LINK_ENDED_FLOOD,   /* the guest sends what nobody asked for */
	LINK_ENDED_SILENT,  /* the guest is not there any more */
	LINK_ENDED_STOPPED, /* stop_fd became readable */
} LinkEnd;

const char *link_end_text(LinkEnd end);

/* What is watched for on the host, where the guest is not trusted; the guest has none. */
typedef struct LinkGuard {
	gint busy;   /* atomic: calls that run */
	gint paused; /* atomic: the machine does not run now, so it may be silent */
} LinkGuard;

/* A channel in which both sides have found each other. */
typedef struct LinkPair {
	int port, plain; /* the channel; gRPC's socket. Neither must block */
	int stop_fd;	 /* -1: none */
	LinkReader reader;
	uint8_t in[2 * LINK_FRAME_MAX]; /* from the port ... */
	const uint8_t *unread;		/* ... and what the reader has not taken of it */
	size_t n_unread;
	LinkGuard *guard; /* NULL in the guest */
} LinkPair;

/* Carries frames of the port to and from the plain socket until one ends. */
LinkEnd link_carry(LinkPair *link);
