#include "server/storage/volume_relay.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "server/storage/pool_private.h"
#include "server/storage/volume_build.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- one stream ---- */

typedef struct Sending {
	DriverCall *call;
	const char *parent;
	int fd, result;
	Error *error;
} Sending;

static void *send_thread(void *data)
{
	Sending *sending = data;
	DriverCall *call = sending->call;
	sending->result = call->pool.driver->volume_send(
	    &call->pool, &call->volume, sending->parent, sending->fd, &sending->error);
	close(sending->fd);
	return NULL;
}

/* Of the two that fail together the sender knows why. */
static int transfer(DriverCall *from, const char *parent, DriverCall *to, Error **err)
{
	int ends[2];
	Error *inner = NULL;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	Sending sending = { .call = from, .parent = parent, .fd = ends[1] };
	GThread *thread = g_thread_new("volume-send", send_thread, &sending);
	int result = to->pool.driver->volume_receive(&to->pool, &to->volume, ends[0], &inner);
	close(ends[0]);
	g_thread_join(thread);
	if (sending.result < 0) {
		g_clear_pointer(&inner, error_free);
		return error_propagate(err, sending.error);
	}
	return result < 0 ? error_propagate(err, inner) : 0;
}

typedef struct Relay {
	const VolumeCopy *copy;
	const Config *config; /* of the new volume */
	gboolean foreign;
} Relay;

static int stream_one(
    const Relay *relay, const Volume *source, const char *parent, const Volume *target, Error **err)
{
	g_autoptr(DriverCall) from = driver_call_load(relay->copy->from_pool, source, PLACE_OWN);
	g_autoptr(DriverCall) to = driver_call_new(
	    relay->copy->to_pool, target, PLACE_UNFINISHED, relay->config);
	g_autofree char *folder = g_path_get_dirname(to->path);
	to->volume.foreign = relay->foreign;
	return file_mkdir_all(folder, 0711, err) < 0 || fault_point("volume stream", err) < 0 ?
	    -1 :
	    transfer(from, parent, to, err);
}

/* ---- the volume with its snapshots ---- */

/* A stream brings the source's file system along. */
static int is_like(const VolumeCopy *copy, const Config *config, gboolean *ret_like, Error **err)
{
	static const char *const keys[] = { "block.filesystem", "zfs.block_mode", "zfs.blocksize" };
	g_autoptr(Config) own = NULL;
	g_autoptr(Volume) volume = volume_new(
	    copy->from_pool, copy->from->type, copy->from->project, copy->from->name);
	if (volume_row_find(copy->from_pool, volume, NULL, &own, err) < 0)
		return -1;
	*ret_like = TRUE;
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		*ret_like &= g_strcmp0(config_get(own, keys[i]), config_get(config, keys[i])) == 0;
	return 0;
}

static int stream_snapshots(const Relay *relay, const char **ret_last, Error **err)
{
	const VolumeCopy *copy = relay->copy;
	g_autoptr(Volume) volume = volume_new(
	    copy->from_pool, copy->from->type, copy->from->project, copy->from->name);
	volume->content = copy->from->content;
	*ret_last = NULL;
	for (guint n = 0; copy->snapshots && n < copy->snapshots->len; n++) {
		const char *name = copy->snapshots->pdata[n];
		g_autoptr(Volume) source = volume_snapshot(copy->from_pool, volume, name);
		g_autoptr(Volume) target = volume_snapshot(copy->to_pool, copy->to, name);
		if (stream_one(relay, source, *ret_last, target, err) < 0)
			return -1;
		*ret_last = name;
	}
	return 0;
}

static gboolean is_foreign(const VolumeCopy *copy)
{
	g_autoptr(DriverCall) call = driver_call_new(copy->from_pool, copy->from, PLACE_OWN, NULL);
	const StorageDriver *driver = call->pool.driver;
	return driver->volume_is_foreign && driver->volume_is_foreign(&call->pool, &call->volume);
}

static int stream_all(const VolumeCopy *copy, const Config *config, Error **err)
{
	const char *parent;
	const Relay relay = { copy, config, is_foreign(copy) };
	g_autoptr(DriverCall) made = driver_call_new(
	    copy->to_pool, copy->to, PLACE_UNFINISHED, config);
	return stream_snapshots(&relay, &parent, err) < 0 ||
		stream_one(&relay, copy->from, parent, copy->to, err) < 0 ?
	    -1 :
	    volume_limit_received(made, err);
}

int volume_relay(const VolumeCopy *copy, const Config *config, Error **err)
{
	const StorageDriver *driver = copy->from_pool->driver;
	gboolean like = FALSE;
	gboolean streams = driver == copy->to_pool->driver && driver->volume_send &&
	    driver->volume_receive;
	if (streams && is_like(copy, config, &like, err) < 0)
		return -1;
	if (!like)
		return error_set(err, ERROR_UNSUPPORTED, "There is no stream from \"%s\" to \"%s\"",
		    copy->from_pool->name, copy->to_pool->name);
	if (volume_exists(copy->to_pool, copy->to, PLACE_UNFINISHED) &&
	    volume_destroy(copy->to_pool, copy->to, PLACE_UNFINISHED, err) < 0)
		return -1;
	if (stream_all(copy, config, err) == 0)
		return 0;
	volume_destroy(copy->to_pool, copy->to, PLACE_UNFINISHED, NULL);
	return -1;
}
