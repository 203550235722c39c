#include "server/instance/migration_carry.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/instance/migration_data.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zstd.h>

enum {
	CHUNK = 128 * 1024,
	PACKED = CHUNK + CHUNK / 64 + 1024, /* bytes that one may come to */
	LINES_MAX = 32,			    /* connections of one migration */
	LEVEL = 1,
	LIFE_MS = 30000,  /* between signs of life */
	DRAIN_MS = 10000, /* for what the work's programs have written last */
};

/* One connection. `fd` is read by the pump and written to by the feeder. */
typedef struct Line {
	guint number, place;
	int fd;
	gboolean drained; /* the pump has seen the end */
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
} Line;

/* Two threads: the pump reads the sockets and sends, the feeder receives and writes to them. */
typedef struct Carry {
	MigrationPeer *peer;
	const CarryPlace *places;
	Operation *op;
	gboolean sends;
	int wake; /* the pump's */
	int listeners[CARRY_PLACES];
	GMutex lock;
	GPtrArray *lines; /* under lock; a line stays until the end */
	gint over;	  /* atomic: the work is done, or the feeder has ended */
	gint given_up;	  /* atomic: the work has failed */
	Error *failure;	  /* of the other thread's side; under lock */
	/* For the progress, by the thread that sees what is sent. */
	guint shown;
	uint64_t bytes[CARRY_PLACES], wire[CARRY_PLACES]; /* towards the receiver */
	int64_t started_us, sent_us;
	uint8_t *in, *out, *fed;
} Carry;

static void line_free(void *data)
{
	Line *line = data;
	own_close_fd(&line->fd);
	ZSTD_freeCCtx(line->pack);
	ZSTD_freeDCtx(line->unpack);
	g_free(line);
}

static int level_of(const Carry *c)
{
	int level = migration_data_level(operation_daemon(c->op));
	return level > 0 ? level : level < 0 ? LEVEL : ZSTD_minCLevel(); /* as good as none */
}

static Line *line_new(Carry *c, guint number, guint place, int fd)
{
	Line *line = g_new0(Line, 1);
	*line = (Line){ number, place, fd, FALSE, ZSTD_createCCtx(), ZSTD_createDCtx() };
	ZSTD_CCtx_setParameter(line->pack, ZSTD_c_compressionLevel, level_of(c));
	g_mutex_lock(&c->lock);
	g_ptr_array_add(c->lines, line);
	g_mutex_unlock(&c->lock);
	return line;
}

static Line *find_line(Carry *c, guint number)
{
	Line *found = NULL;
	g_mutex_lock(&c->lock);
	for (guint n = 0; n < c->lines->len && !found; n++)
		if (((Line *)c->lines->pdata[n])->number == number)
			found = c->lines->pdata[n];
	g_mutex_unlock(&c->lock);
	return found;
}

static guint count_lines(Carry *c)
{
	g_mutex_lock(&c->lock);
	guint n = c->lines->len;
	g_mutex_unlock(&c->lock);
	return n;
}

/* Whoever is in the middle of writing to one, or reading from it, comes back. QEMU does not, while
 * what it has written before fills the socket: it waits for room, and takes no hangup for that. */
static void shut(int fd)
{
	char ignored[4096];
	shutdown(fd, SHUT_RDWR);
	while (recv(fd, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
		;
}

static void shut_all(Carry *c)
{
	g_mutex_lock(&c->lock);
	for (guint n = 0; n < c->lines->len; n++)
		shut(((Line *)c->lines->pdata[n])->fd);
	g_mutex_unlock(&c->lock);
}

/* For those who look where a move's time goes. */
static void trace(const Carry *c)
{
	for (guint n = 0; n < CARRY_PLACES; n++) {
		g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, c->bytes[n]);
		g_autofree char *wire = g_strdup_printf("%" G_GUINT64_FORMAT, c->wire[n]);
		log_debug("Carried", "what", c->places[n].name, "bytes", bytes, "packed", wire);
	}
}

static void carry_clear(Carry *c)
{
	trace(c);
	for (guint n = 0; n < CARRY_PLACES; n++) {
		own_close_fd(&c->listeners[n]);
		if (c->sends)
			unlink(c->places[n].path);
	}
	own_close_fd(&c->wake);
	g_ptr_array_unref(c->lines);
	g_mutex_clear(&c->lock);
	error_free(c->failure);
	g_free(c->in);
	g_free(c->out);
	g_free(c->fed);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Carry, carry_clear)

static int carry_init(Carry *c, Error **err)
{
	for (guint n = 0; n < CARRY_PLACES; n++)
		c->listeners[n] = -1;
	c->lines = g_ptr_array_new_with_free_func(line_free);
	c->in = g_malloc(CHUNK);
	c->fed = g_malloc(CHUNK);
	c->out = g_malloc(PACKED);
	c->started_us = c->sent_us = g_get_monotonic_time();
	g_mutex_init(&c->lock);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c->wake >= 0 ? 0 : error_errno(err, ERROR_INTERNAL, errno, "Cannot make an event");
}

static void end_pump(Carry *c)
{
	g_atomic_int_set(&c->over, 1);
	eventfd_write(c->wake, 1);
}

/* What is carried comes in the order of the places. */
static void count(Carry *c, guint place, size_t bytes)
{
	c->bytes[place] += bytes;
	if (place > c->shown) {
		c->shown = place;
		c->started_us = g_get_monotonic_time();
	}
	if (place == c->shown)
		operation_set_progress(
		    c->op, "fs", c->places[place].name, c->bytes[place], 0, c->started_us);
}

/* ---- sockets ---- */

static int socket_at(const char *path, struct sockaddr_un *address, Error **err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (g_strlcpy(address->sun_path, path, sizeof(address->sun_path)) >=
	    sizeof(address->sun_path))
		return error_set(err, ERROR_INVALID, "The path \"%s\" is too long", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? error_errno(err, ERROR_INTERNAL, errno, "Cannot make a socket") : fd;
}

static int listen_at(const char *path, int *ret_fd, Error **err)
{
	struct sockaddr_un address;
	autofd int fd = socket_at(path, &address, err);
	if (fd < 0)
		return -1;
	unlink(path);
	/* Nobody can connect before it listens. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0600) < 0 ||
	    listen(fd, LINES_MAX) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot listen at \"%s\"", path);
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

static int connect_to(const char *path, int *ret_fd, Error **err)
{
	struct sockaddr_un address;
	autofd int fd = socket_at(path, &address, err);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, ERROR_INTERNAL, errno,
		    "The virtual machine does not wait at \"%s\"", path);
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

/* ---- the pump: from the sockets to the other side ---- */

static int say(Carry *c, const Pb__MigrationChannel *channel, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	message.channel = (Pb__MigrationChannel *)channel;
	c->sent_us = g_get_monotonic_time();
	return migration_peer_send(c->peer, &message, err);
}

static int take_connection(Carry *c, guint place, Error **err)
{
	Pb__MigrationChannel channel = PB__MIGRATION_CHANNEL__INIT;
	guint number = count_lines(c) + 1;
	autofd int fd = accept4(c->listeners[place], NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return 0;
	if (number > LINES_MAX)
		return error_set(
		    err, ERROR_TOO_LARGE, "The virtual machine makes too many connections");
	line_new(c, number, place, own_steal_fd(&fd));
	channel.number = number;
	channel.place = place + 1;
	return say(c, &channel, err);
}

static int send_end(Carry *c, Line *line, Error **err)
{
	Pb__MigrationChannel channel = PB__MIGRATION_CHANNEL__INIT;
	line->drained = TRUE;
	channel.number = line->number;
	channel.end = TRUE;
	return say(c, &channel, err);
}

static int send_some(Carry *c, Line *line, Error **err)
{
	Pb__MigrationChannel channel = PB__MIGRATION_CHANNEL__INIT;
	ssize_t n = read(line->fd, c->in, CHUNK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return send_end(c, line, err);
	ZSTD_inBuffer in = { c->in, (size_t)n, 0 };
	ZSTD_outBuffer out = { c->out, PACKED, 0 };
	size_t left = ZSTD_compressStream2(line->pack, &out, &in, ZSTD_e_flush);
	if (ZSTD_isError(left) || left)
		return error_set(err, ERROR_INTERNAL, "Cannot compress what is carried");
	channel.number = line->number;
	channel.data = (ProtobufCBinaryData){ out.pos, c->out };
	if (c->sends) {
		c->wire[line->place] += out.pos;
		count(c, line->place, (size_t)n);
	}
	return say(c, &channel, err);
}

typedef struct Watched {
	struct pollfd fds[1 + CARRY_PLACES + LINES_MAX];
	Line *lines[1 + CARRY_PLACES + LINES_MAX];
	nfds_t n;
} Watched;

static void watch(Watched *w, int fd, Line *line)
{
	w->fds[w->n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	w->lines[w->n++] = line;
}

/* The number of lines that something may still come from. */
static guint watch_all(Carry *c, Watched *w)
{
	guint open = 0;
	w->n = 0;
	watch(w, c->wake, NULL);
	for (guint n = 0; n < CARRY_PLACES; n++)
		watch(w, c->listeners[n], NULL); /* -1: nothing */
	g_mutex_lock(&c->lock);
	for (guint n = 0; n < c->lines->len; n++) {
		Line *line = c->lines->pdata[n];
		if (line->drained)
			continue;
		watch(w, line->fd, line);
		open++;
	}
	g_mutex_unlock(&c->lock);
	return open;
}

static int serve_ready(Carry *c, const Watched *w, Error **err)
{
	eventfd_t ignored;
	if (w->fds[0].revents)
		eventfd_read(c->wake, &ignored);
	for (guint n = 0; n < CARRY_PLACES; n++)
		if (w->fds[1 + n].revents && take_connection(c, n, err) < 0)
			return -1;
	for (nfds_t n = 1 + CARRY_PLACES; n < w->n; n++)
		if (w->fds[n].revents && send_some(c, w->lines[n], err) < 0)
			return -1;
	return 0;
}

static gboolean has_failed(Carry *c)
{
	g_mutex_lock(&c->lock);
	gboolean failed = c->failure != NULL;
	g_mutex_unlock(&c->lock);
	return failed;
}

/* Until it is over; the sender's also takes what its programs have left in their sockets. */
static int pump(Carry *c, Error **err)
{
	int64_t until = 0;
	for (;;) {
		Watched w;
		guint open = watch_all(c, &w);
		gboolean over = g_atomic_int_get(&c->over);
		int64_t now = g_get_monotonic_time();
		if (has_failed(c) || g_atomic_int_get(&c->given_up) ||
		    (over && (!c->sends || !open)))
			return 0;
		if (over && !until)
			until = now + DRAIN_MS * (int64_t)1000;
		if (until && now > until)
			return error_set(
			    err, ERROR_TIMEOUT, "The virtual machine does not end its connections");
		if (operation_cancelled(c->op))
			return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
		Pb__MigrationChannel life = PB__MIGRATION_CHANNEL__INIT;
		if (now - c->sent_us > LIFE_MS * (int64_t)1000 && say(c, &life, err) < 0)
			return -1;
		int ready = poll(w.fds, w.n, over ? DRAIN_MS : LIFE_MS);
		if (ready < 0 && errno != EINTR)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot wait");
		if (ready > 0 && serve_ready(c, &w, err) < 0)
			return -1;
	}
}

/* ---- the feeder: from the other side to the sockets ---- */

static int unexpected(Error **err)
{
	return error_set(err, ERROR_INVALID, "Unexpected message in the migration stream");
}

/* A program that has gone says nothing here: it is its own end that tells. */
static int feed(Carry *c, Line *line, const ProtobufCBinaryData *data, Error **err)
{
	ZSTD_inBuffer in = { data->data, data->len, 0 };
	c->wire[line->place] += c->sends ? 0 : data->len;
	for (gboolean full = FALSE; in.pos < in.size || full;) {
		ZSTD_outBuffer out = { c->fed, CHUNK, 0 };
		size_t left = ZSTD_decompressStream(line->unpack, &out, &in);
		if (ZSTD_isError(left))
			return error_set(err, ERROR_INVALID, "Damaged migration stream: %s",
			    ZSTD_getErrorName(left));
		full = out.pos == out.size;
		if (!c->sends)
			count(c, line->place, out.pos);
		if (file_write_all(line->fd, c->fed, out.pos) < 0)
			return error_set(err, ERROR_UNAVAILABLE,
			    "The virtual machine takes no more of what is sent");
	}
	return 0;
}

static int open_line(Carry *c, const Pb__MigrationChannel *channel, Error **err)
{
	int fd;
	guint n = count_lines(c);
	if (c->sends || channel->number != n + 1 || channel->place == 0 ||
	    channel->place > CARRY_PLACES || n >= LINES_MAX)
		return unexpected(err);
	if (connect_to(c->places[channel->place - 1].path, &fd, err) < 0)
		return -1;
	line_new(c, channel->number, channel->place - 1, fd);
	eventfd_write(c->wake, 1);
	return 0;
}

static int take_channel(Carry *c, const Pb__MigrationChannel *channel, Error **err)
{
	Line *line = find_line(c, channel->number);
	if (channel->number == 0)
		return 0;
	if (!line)
		return open_line(c, channel, err);
	/* The sender's programs may have gone before the last answers come. */
	if (channel->data.len && feed(c, line, &channel->data, err) < 0 && !c->sends)
		return -1;
	if (channel->end)
		shutdown(line->fd, SHUT_WR);
	return 0;
}

/* 1: more; 0: *ret_end is how the other side says that it ended. */
static int take_one(Carry *c, Pb__MigrationStep__Kind *ret_end, Error **err)
{
	Pb__MigrationMessage *message;
	int result = 0;
	if (migration_peer_receive(c->peer, &message, err) < 0)
		return -1;
	if (message->channel)
		result = take_channel(c, message->channel, err) < 0 ? -1 : 1;
	else if (message->step)
		*ret_end = message->step->kind;
	else
		result = unexpected(err);
	pb__migration_message__free_unpacked(message, NULL);
	return result;
}

static int feed_all(Carry *c, Pb__MigrationStep__Kind *ret_end, Error **err)
{
	int more;
	while ((more = take_one(c, ret_end, err)) > 0)
		if (operation_cancelled(c->op))
			return error_set(err, ERROR_CANCELLED, "The migration was cancelled");
	return more;
}

static int say_step(Carry *c, Pb__MigrationStep__Kind kind, Error **err)
{
	Pb__MigrationMessage message = PB__MIGRATION_MESSAGE__INIT;
	Pb__MigrationStep step = PB__MIGRATION_STEP__INIT;
	step.kind = kind;
	message.step = &step;
	return migration_peer_send(c->peer, &message, err);
}

/* ---- the sender's side ---- */

static void *run_feeder(void *data)
{
	Carry *c = data;
	Error *error = NULL;
	Pb__MigrationStep__Kind end = PB__MIGRATION_STEP__KIND__NONE;
	if (feed_all(c, &end, &error) == 0 &&
	    (end != PB__MIGRATION_STEP__KIND__CARRIED || !g_atomic_int_get(&c->over)))
		unexpected(&error);
	g_mutex_lock(&c->lock);
	c->failure = error;
	g_mutex_unlock(&c->lock);
	eventfd_write(c->wake, 1);
	return NULL;
}

typedef struct Worker {
	Carry *carry;
	const CarryWork *work;
	int result;
	Error *error;
} Worker;

static void *run_work(void *data)
{
	Worker *w = data;
	w->result = w->work->run(w->work->data, &w->error);
	g_atomic_int_set(&w->carry->given_up, w->result < 0);
	end_pump(w->carry);
	return NULL;
}

/* Takes what each part says of its failure: the stream's is the cause where the others only saw it
 * go. */
static int judge(Worker *w, int result, Error *ours, Error *theirs, Error **err)
{
	Error *why = theirs ? theirs : result < 0 ? ours : w->result < 0 ? w->error : NULL;
	Error *const all[] = { theirs, ours, w->error };
	for (guint n = 0; n < G_N_ELEMENTS(all); n++)
		if (all[n] != why)
			error_free(all[n]);
	return why ? error_propagate(err, why) : 0;
}

static int send_all(Carry *c, const CarryWork *work, Error **err)
{
	Worker w = { .carry = c, .work = work };
	Error *ours = NULL;
	GThread *feeder = g_thread_new("carry-feed", run_feeder, c);
	GThread *worker = g_thread_new("carry-work", run_work, &w);
	int result = pump(c, &ours);
	if (result < 0 || has_failed(c)) {
		work->stop(work->data);
		shut_all(c);
	}
	for (guint n = 0; n < CARRY_PLACES; n++) {
		own_close_fd(&c->listeners[n]);
		c->listeners[n] = -1;
	}
	g_thread_join(worker);
	gboolean well = result == 0 && w.result == 0 && !has_failed(c);
	/* Answered by CARRIED, or by a stream that is broken. */
	say_step(
	    c, well ? PB__MIGRATION_STEP__KIND__CARRIED : PB__MIGRATION_STEP__KIND__STOPPED, NULL);
	g_thread_join(feeder);
	return judge(&w, result, ours, g_steal_pointer(&c->failure), err);
}

int migration_carry_out(MigrationPeer *peer, const CarryPlace places[CARRY_PLACES],
    const CarryWork *work, Operation *op, Error **err)
{
	g_auto(Carry) c = { .peer = peer, .places = places, .op = op, .sends = TRUE };
	int result = carry_init(&c, err);
	for (guint n = 0; result == 0 && n < CARRY_PLACES; n++)
		result = listen_at(places[n].path, &c.listeners[n], err);
	return result < 0 ? -1 : send_all(&c, work, err);
}

/* ---- the receiver's side ---- */

static void *run_pump(void *data)
{
	Carry *c = data;
	Error *error = NULL;
	if (pump(c, &error) < 0) /* the feeder sees the stream break, too */
		shut_all(c);
	error_free(error);
	return NULL;
}

/* Who waits for what never came would wait for ever. */
static gboolean has_all_places(Carry *c)
{
	guint seen = 0;
	g_mutex_lock(&c->lock);
	for (guint n = 0; n < c->lines->len; n++)
		seen |= 1U << ((Line *)c->lines->pdata[n])->place;
	g_mutex_unlock(&c->lock);
	return seen == (1U << CARRY_PLACES) - 1;
}

/* The sender has given up, and says why. */
static int hear_reason(Carry *c, Error **err)
{
	Pb__MigrationMessage *message;
	if (migration_peer_receive(c->peer, &message, err) < 0)
		return -1;
	pb__migration_message__free_unpacked(message, NULL);
	return unexpected(err);
}

int migration_carry_in(
    MigrationPeer *peer, const CarryPlace places[CARRY_PLACES], Operation *op, Error **err)
{
	g_auto(Carry) c = { .peer = peer, .places = places, .op = op };
	Pb__MigrationStep__Kind end = PB__MIGRATION_STEP__KIND__NONE;
	if (carry_init(&c, err) < 0 || say_step(&c, PB__MIGRATION_STEP__KIND__CARRY, err) < 0)
		return -1;
	GThread *thread = g_thread_new("carry-pump", run_pump, &c);
	int result = feed_all(&c, &end, err);
	end_pump(&c);
	if (result < 0)
		shut_all(&c);
	g_thread_join(thread);
	if (result < 0)
		return -1;
	if (end != PB__MIGRATION_STEP__KIND__CARRIED && end != PB__MIGRATION_STEP__KIND__STOPPED)
		return unexpected(err);
	if (end == PB__MIGRATION_STEP__KIND__CARRIED && !has_all_places(&c))
		return error_set(err, ERROR_INVALID, "The other server sent no machine");
	if (say_step(&c, PB__MIGRATION_STEP__KIND__CARRIED, err) < 0)
		return -1;
	return end == PB__MIGRATION_STEP__KIND__STOPPED ? hear_reason(&c, err) : 0;
}
