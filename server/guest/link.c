#include "server/guest/link.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_DATA = 1, FRAME_PING = 2, FRAME_PONG = 3 };

enum {
	PING_AFTER_MS = 10000,	 /* nothing came while a call runs */
	SILENT_AFTER_MS = 30000, /* then the guest is given up */
	IDLE_BYTES = 8 << 20,	 /* that a guest nobody asks may send (what was under way) ... */
	IDLE_WINDOW_MS = 10000,	 /* ... in this time */
	STALL_BYTES = 4 << 20,	 /* taken from a guest that takes nothing itself */
};

/* The first byte stands nowhere else in it, so a mismatch begins again at most one byte back. */
static const uint8_t sync_text[LINK_SYNC - LINK_NUMBER] = "\xffincus-agent-0\r\n";

void link_sync(uint8_t out[LINK_SYNC], const uint8_t number[LINK_NUMBER])
{
	memcpy(out, sync_text, sizeof(sync_text));
	memcpy(out + sizeof(sync_text), number, LINK_NUMBER);
}

/* --- reading --- */

static void become(LinkReader *reader, int state)
{
	reader->state = state;
	reader->have = 0;
}

static void seek(LinkReader *reader, uint8_t byte)
{
	if (byte != sync_text[reader->have])
		reader->have = 0;
	if (byte == sync_text[reader->have] && ++reader->have == sizeof(sync_text))
		become(reader, LINK_NUMBERS);
}

/* The event that a whole header is; LINK_MORE: what follows it is data. */
static LinkEvent read_head(LinkReader *reader)
{
	const uint8_t *h = reader->head;
	uint32_t length = h[4] | h[5] << 8 | h[6] << 16 | (uint32_t)h[7] << 24;
	gboolean known = memcmp(h, "IAF", 3) == 0;
	become(reader, LINK_HEADS);
	if (known && h[3] == FRAME_PING && length == 0)
		return LINK_PING;
	if (known && h[3] == FRAME_PONG && length == 0)
		return LINK_PONG;
	if (!known || h[3] != FRAME_DATA || length == 0 || length > LINK_FRAME_MAX) {
		become(reader, LINK_SEEKS);
		return LINK_BROKEN;
	}
	reader->left = length;
	reader->state = LINK_PAYS;
	return LINK_MORE;
}

static LinkEvent read_byte(LinkReader *reader, uint8_t byte)
{
	switch (reader->state) {
	case LINK_SEEKS:
		seek(reader, byte);
		return LINK_MORE;
	case LINK_NUMBERS:
		reader->number[reader->have++] = byte;
		if (reader->have < LINK_NUMBER)
			return LINK_MORE;
		become(reader, LINK_HEADS);
		return LINK_SYNCED;
	default:
		reader->head[reader->have++] = byte;
		return reader->have < LINK_HEADER ? LINK_MORE : read_head(reader);
	}
}

LinkEvent link_read(LinkReader *reader, const uint8_t **in, size_t *length,
    const uint8_t **ret_data, size_t *ret_length)
{
	while (*length > 0) {
		if (reader->state == LINK_PAYS) {
			size_t n = MIN(*length, reader->left);
			*ret_data = *in;
			*ret_length = n;
			*in += n;
			*length -= n;
			reader->left -= (uint32_t)n;
			if (!reader->left)
				become(reader, LINK_HEADS);
			return LINK_DATA;
		}
		LinkEvent event = read_byte(reader, *(*in)++);
		--*length;
		if (event != LINK_MORE)
			return event;
	}
	return LINK_MORE;
}

/* --- carrying --- */

typedef struct Carrier {
	int port, plain;
	LinkReader *reader;
	LinkGuard *guard;
	LinkPair *link;
	const uint8_t *data; /* of link->in, to be given to gRPC */
	size_t n_data;
	uint8_t out[LINK_HEADER + LINK_FRAME_MAX];
	size_t out_at, out_end;
	gboolean ping_due, pong_due;
	gint64 heard_us, pinged_us; /* from the guest; 0: not asked since */
	gint64 idle_us;
	size_t idle_bytes;
	size_t stall_bytes; /* came since something could be sent */
} Carrier;

const char *link_end_text(LinkEnd end)
{
	static const char *const text[] = {
		[LINK_ENDED_PORT] = "channel was closed",
		[LINK_ENDED_PLAIN] = "connection was closed",
		[LINK_ENDED_BROKEN] = "what came is no frame",
		[LINK_ENDED_FLOOD] = "guest sends what nobody asked for",
		[LINK_ENDED_SILENT] = "guest does not answer",
		[LINK_ENDED_STOPPED] = "stopped",
	};
	return text[end];
}

static void frame(Carrier *c, uint8_t type, size_t length)
{
	uint8_t head[LINK_HEADER] = { 'I', 'A', 'F', type, (uint8_t)length,
		(uint8_t)(length >> 8) };
	memcpy(c->out, head, sizeof(head));
	c->out_at = 0;
	c->out_end = sizeof(head) + length;
}

/* The next frame to send, when there is none: 1 there is now, 0 not, -1 gRPC has closed. */
static int fill(Carrier *c, gboolean readable)
{
	if (c->out_at < c->out_end)
		return 1;
	if (c->pong_due || c->ping_due) {
		frame(c, c->pong_due ? FRAME_PONG : FRAME_PING, 0);
		*(c->pong_due ? &c->pong_due : &c->ping_due) = FALSE;
		return 1;
	}
	if (!readable)
		return 0;
	ssize_t n = read(c->plain, c->out + LINK_HEADER, LINK_FRAME_MAX);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	frame(c, FRAME_DATA, (size_t)n);
	return 1;
}

static int send_frames(Carrier *c, gboolean readable)
{
	int filled;
	while ((filled = fill(c, readable)) > 0) {
		ssize_t n = write(c->port, c->out + c->out_at, c->out_end - c->out_at);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return LINK_ENDED_PORT;
		if (n <= 0)
			return -1;
		c->out_at += (size_t)n;
		c->stall_bytes = 0;
	}
	return filled < 0 ? LINK_ENDED_PLAIN : -1;
}

/* Whether nobody asked for so much; forgets what came before the window. */
static gboolean floods(Carrier *c, size_t n, gint64 now)
{
	if (!c->guard)
		return FALSE;
	if (g_atomic_int_get(&c->guard->busy) > 0 ||
	    now - c->idle_us > (gint64)IDLE_WINDOW_MS * 1000) {
		c->idle_us = now;
		c->idle_bytes = 0;
	}
	c->idle_bytes += n;
	return g_atomic_int_get(&c->guard->busy) == 0 && c->idle_bytes > IDLE_BYTES;
}

/* Gives gRPC what is there: FALSE when it does not take all of it now. */
static gboolean hand_over(Carrier *c, int *ret_end)
{
	while (c->n_data > 0) {
		ssize_t n = write(c->plain, c->data, c->n_data);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			*ret_end = LINK_ENDED_PLAIN;
		if (n <= 0)
			return FALSE;
		c->data += n;
		c->n_data -= (size_t)n;
	}
	return TRUE;
}

static int take_frames(Carrier *c)
{
	int end = -1;
	while (hand_over(c, &end)) {
		switch (link_read(
		    c->reader, &c->link->unread, &c->link->n_unread, &c->data, &c->n_data)) {
		case LINK_MORE:
			return -1;
		case LINK_PING:
			c->pong_due = TRUE; /* one answer, however often it is asked */
			break;
		case LINK_BROKEN:
		case LINK_SYNCED:
			return LINK_ENDED_BROKEN;
		default:
			break;
		}
	}
	return end;
}

static int receive(Carrier *c)
{
	ssize_t n = read(c->port, c->link->in, sizeof(c->link->in));
	gint64 now = g_get_monotonic_time();
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -1;
	if (n <= 0)
		return LINK_ENDED_PORT;
	c->heard_us = now;
	c->pinged_us = 0;
	c->stall_bytes += c->guard && c->out_at < c->out_end ? (size_t)n : 0;
	if (floods(c, (size_t)n, now))
		return LINK_ENDED_FLOOD;
	c->link->unread = c->link->in;
	c->link->n_unread = (size_t)n;
	return take_frames(c);
}

/* How long a call may still wait for the guest's next sign of life; -1: nobody waits. */
static int patience(Carrier *c)
{
	if (!c->guard || g_atomic_int_get(&c->guard->busy) == 0 ||
	    g_atomic_int_get(&c->guard->paused))
		return -1;
	gint64 until = c->pinged_us ? c->pinged_us + (gint64)SILENT_AFTER_MS * 1000 :
				      c->heard_us + (gint64)PING_AFTER_MS * 1000;
	gint64 left = (until - g_get_monotonic_time() + 999) / 1000;
	return (int)MAX(left, 0);
}

static int lost_patience(Carrier *c)
{
	gint64 now = g_get_monotonic_time();
	if (patience(c) != 0)
		return -1;
	if (c->pinged_us)
		return LINK_ENDED_SILENT;
	/* It may have been idle for long: the time counts from the question on. */
	c->pinged_us = now;
	c->ping_due = TRUE;
	return -1;
}

static int step(Carrier *c, int stop_fd)
{
	/* Answers to what a guest sends pile up in gRPC while it takes none. */
	gboolean full = c->stall_bytes > STALL_BYTES;
	gboolean holds = c->n_data > 0,
		 sends = c->out_at < c->out_end || c->pong_due || c->ping_due;
	struct pollfd polls[] = {
		{ .fd = c->port,
		    .events = (short)((holds || full ? 0 : POLLIN) | (sends ? POLLOUT : 0)) },
		{ .fd = c->plain, .events = (short)((holds ? POLLOUT : 0) | (sends ? 0 : POLLIN)) },
		{ .fd = stop_fd, .events = POLLIN },
	};
	int ready = poll(polls, 3, patience(c));
	int end = ready == 0 ? lost_patience(c) : -1;
	if (ready <= 0)
		return end;
	if (polls[2].revents)
		return LINK_ENDED_STOPPED;
	if ((holds || sends) && (polls[1].revents & (POLLHUP | POLLERR)))
		return LINK_ENDED_PLAIN;
	if (end < 0 && holds && (polls[1].revents & ~POLLIN))
		end = take_frames(c);
	if (end < 0 && !holds && !full && (polls[0].revents & POLLIN))
		end = receive(c);
	else if (end < 0 && (polls[0].revents & (POLLHUP | POLLERR)))
		end = LINK_ENDED_PORT;
	if (end < 0 && (sends ? polls[0].revents & POLLOUT : polls[1].revents))
		end = send_frames(c, TRUE);
	return end;
}

LinkEnd link_carry(LinkPair *link)
{
	g_autofree Carrier *c = g_new0(Carrier, 1);
	c->link = link;
	c->port = link->port;
	c->plain = link->plain;
	c->reader = &link->reader;
	c->guard = link->guard;
	c->heard_us = c->idle_us = g_get_monotonic_time();
	int end = take_frames(c);
	while (end < 0)
		end = step(c, link->stop_fd);
	return (LinkEnd)end;
}
