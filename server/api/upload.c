#include "server/api/upload.h"
#include "sdk/base/names.h"
#include "server/operation/schedule.h"
#include "server/rpc/method.h"
#include <string.h>

#define KEPT_US ((int64_t)600 * G_USEC_PER_SEC)
enum { EACH_MOST = 8, ALL_MOST = 64, NOTICE_S = 10 };

typedef struct Uploads {
	GMutex lock;
	GCond changed;
	GHashTable *by_id; /* Upload * */
} Uploads;

typedef struct Upload {
	char *id, *owner, *project;
	const char *method;
	Stream *stream; /* of the turn that goes on; NULL: none does */
	void *received;
	GDestroyNotify destroy;
	uint64_t bytes;
	char *operation;
	int64_t until_us; /* monotonic; without a turn */
} Upload;

struct UploadTurn {
	Daemon *d;
	Upload *upload;
	void *received; /* of earlier turns, not taken yet */
	GDestroyNotify destroy;
};

static void upload_free(void *data)
{
	Upload *u = data;
	if (u->received)
		u->destroy(u->received);
	g_free(u->id);
	g_free(u->owner);
	g_free(u->project);
	g_free(u->operation);
	g_free(u);
}

int upload_table_start(Daemon *d, Error **err)
{
	Uploads *all = g_new0(Uploads, 1);
	g_mutex_init(&all->lock);
	g_cond_init(&all->changed);
	all->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, upload_free);
	d->uploads = all;
	return 0;
}

void upload_table_stop(Daemon *d)
{
	Uploads *all = g_steal_pointer(&d->uploads);
	if (!all)
		return;
	g_hash_table_unref(all->by_id);
	g_cond_clear(&all->changed);
	g_mutex_clear(&all->lock);
	g_free(all);
}

/* ---- what is old ---- */

static int64_t earliest(Uploads *all)
{
	GHashTableIter iter;
	void *upload;
	int64_t until = G_MAXINT64;
	g_mutex_lock(&all->lock);
	g_hash_table_iter_init(&iter, all->by_id);
	while (g_hash_table_iter_next(&iter, NULL, &upload))
		if (!((Upload *)upload)->stream)
			until = MIN(until, ((Upload *)upload)->until_us);
	g_mutex_unlock(&all->lock);
	return until;
}

static gint64 due(Daemon *d, gint64 now_us)
{
	int64_t until = earliest(d->uploads);
	return until == G_MAXINT64 ? until : now_us + MAX(until - g_get_monotonic_time(), 0);
}

static gboolean is_old(void *id, void *data, void *now_us)
{
	const Upload *u = data;
	return !u->stream && u->until_us <= *(const int64_t *)now_us;
}

static int remove_old(Operation *op, void *data, Error **err)
{
	Uploads *all = operation_daemon(op)->uploads;
	int64_t now_us = g_get_monotonic_time();
	g_mutex_lock(&all->lock);
	g_hash_table_foreach_remove(all->by_id, is_old, &now_us);
	g_mutex_unlock(&all->lock);
	return 0;
}

int upload_tasks_start(Daemon *d, Error **err)
{
	static const ScheduleJob job = { "Removing uploads that did not go on", due, remove_old };
	schedule_add(d, &job);
	return 0;
}

/* ---- turns ---- */

static char *owner_of(const Caller *caller)
{
	return g_strdup_printf("%d %u %s %s", (int)caller->kind, (unsigned)caller->uid,
	    caller->fingerprint ? caller->fingerprint : "",
	    caller->username ? caller->username : "");
}

static gboolean is_of(const Upload *u, const Request *rq)
{
	g_autofree char *owner = owner_of(rq->caller);
	return strcmp(u->owner, owner) == 0 && strcmp(u->project, rq->project) == 0;
}

static int not_kept(Error **err)
{
	return error_set(err, ERROR_NOT_FOUND, "Nothing of this upload is kept: begin anew");
}

/* The owner's (NULL: anybody's) that waits longest, where there are so many. Locked. */
static void make_room(Uploads *all, const char *owner, guint most)
{
	GHashTableIter iter;
	void *value;
	Upload *oldest = NULL;
	guint n = 0;
	g_hash_table_iter_init(&iter, all->by_id);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		Upload *u = value;
		if (u->stream || (owner && strcmp(u->owner, owner) != 0))
			continue;
		n++;
		if (!oldest || u->until_us < oldest->until_us)
			oldest = u;
	}
	if (n >= most)
		g_hash_table_remove(all->by_id, oldest->id);
}

/* Locked. */
static Upload *upload_new(Uploads *all, const Request *rq, const char *id)
{
	Upload *u = g_new0(Upload, 1);
	u->id = g_strdup(id);
	u->owner = owner_of(rq->caller);
	u->project = g_strdup(rq->project);
	u->method = rq->method->schema->name;
	make_room(all, u->owner, EACH_MOST);
	make_room(all, NULL, ALL_MOST);
	g_hash_table_insert(all->by_id, u->id, u);
	return u;
}

/* Locked. */
static int find_turn(
    Uploads *all, Request *rq, const char *id, uint64_t offset, Upload **ret, Error **err)
{
	Upload *u = g_hash_table_lookup(all->by_id, id);
	if (u && (!is_of(u, rq) || u->stream))
		return error_set(err, ERROR_BUSY, "An upload with this id is going on");
	if (offset && (!u || !u->received || strcmp(u->method, rq->method->schema->name) != 0))
		return not_kept(err);
	if (offset && u->bytes != offset)
		return error_set(err, ERROR_INVALID,
		    "Of this upload %" G_GUINT64_FORMAT " bytes are kept", (guint64)u->bytes);
	if (!offset && u)
		g_hash_table_remove(all->by_id, id);
	*ret = offset ? u : upload_new(all, rq, id);
	return 0;
}

int upload_begin(
    Request *rq, const char *id, uint64_t offset, Stream *stream, UploadTurn **ret, Error **err)
{
	Uploads *all = rq->daemon->uploads;
	Upload *u = NULL;
	*ret = NULL;
	if (!*id)
		return offset ? not_kept(err) : 0;
	if (name_check_uuid(id, err) < 0)
		return -1;
	g_mutex_lock(&all->lock);
	int result = find_turn(all, rq, id, offset, &u, err);
	if (result == 0) {
		UploadTurn *turn = g_new0(UploadTurn, 1);
		*turn = (UploadTurn){ rq->daemon, u, g_steal_pointer(&u->received), u->destroy };
		u->stream = stream;
		*ret = turn;
	}
	g_mutex_unlock(&all->lock);
	return result;
}

void *upload_take(UploadTurn *turn)
{
	return turn ? g_steal_pointer(&turn->received) : NULL;
}

/* The upload stays when it has something; *turn goes. */
static void turn_over(UploadTurn *turn)
{
	Uploads *all = turn->d->uploads;
	Upload *u = turn->upload;
	g_mutex_lock(&all->lock);
	u->stream = NULL;
	u->until_us = g_get_monotonic_time() + KEPT_US;
	gboolean stays = u->received || u->operation;
	if (!stays)
		g_hash_table_remove(all->by_id, u->id);
	g_cond_broadcast(&all->changed);
	g_mutex_unlock(&all->lock);
	if (turn->received)
		turn->destroy(turn->received);
	if (stays)
		schedule_changed(turn->d);
	g_free(turn);
}

void upload_keep(UploadTurn *turn, void *received, GDestroyNotify destroy, uint64_t bytes)
{
	if (!turn || !bytes) { /* as good as nothing */
		destroy(received);
		upload_end(turn);
		return;
	}
	turn->upload->received = received; /* nobody else's while it has a turn */
	turn->upload->destroy = destroy;
	turn->upload->bytes = bytes;
	turn_over(turn);
}

void upload_done(UploadTurn *turn, const char *operation)
{
	if (!turn)
		return;
	turn->upload->operation = g_strdup(operation);
	turn_over(turn);
}

void upload_end(UploadTurn *turn)
{
	if (turn)
		turn_over(turn);
}

/* ---- asking ---- */

/* Locked. The one of that id without a turn; NULL with *err. */
static Upload *wait_for_turn(Uploads *all, const Request *rq, const char *id, Error **err)
{
	int64_t end = g_get_monotonic_time() + NOTICE_S * G_USEC_PER_SEC;
	for (;;) {
		Upload *u = g_hash_table_lookup(all->by_id, id);
		if (!u || !is_of(u, rq)) {
			not_kept(err);
			return NULL;
		}
		if (!u->stream)
			return u;
		stream_cancel(u->stream);
		if (!g_cond_wait_until(&all->changed, &all->lock, end)) {
			error_set(err, ERROR_BUSY, "The upload is still going on");
			return NULL;
		}
	}
}

int upload_find(Request *rq, const char *id, uint64_t *ret_bytes, char **ret_operation, Error **err)
{
	Uploads *all = rq->daemon->uploads;
	if (name_check_uuid(id, err) < 0)
		return -1;
	g_mutex_lock(&all->lock);
	const Upload *u = wait_for_turn(all, rq, id, err);
	if (u) {
		*ret_bytes = u->bytes;
		*ret_operation = g_strdup(u->operation);
	}
	g_mutex_unlock(&all->lock);
	return u ? 0 : -1;
}
