/* Making instances: from images of this server and of others, as copies, empty. */
#include "incus/v1/handlers.h"
#include "server/api/migration.h"
#include "server/daemon.h"
#include "server/image/image.h"
#include "server/image/download.h"
#include "server/image/remote.h"
#include "server/instance/size.h"
#include "server/instance/copy.h"
#include "server/instance/live.h"
#include "server/operation/operation.h"
#include "server/rpc/access.h"
#include <string.h>

/* What is to be made. */
typedef struct Work {
	char *name, *project, *image, *description, *architecture;
	InstanceType type;
	Config *config, *properties;
	Devices *devices;
	char **profiles;
	Arena *arena; /* of what follows */
	Pb__ImagesPostSource *remote; /* the image comes from there when the work begins */
	gboolean image_profiles; /* profiles are as the image says */
	gboolean ephemeral;
	InstanceOrigin origin;   /* source NULL: no copy */
	char *snapshot;
	Instance *refresh;       /* the copy that is there already */
	Instance *rebuild;
	MigrationPeer *peer; /* the other server of a migration */
	MigrationWish wish;
} Work;

static void work_free(gpointer data)
{
	Work *work = data;
	g_free(work->name);
	g_free(work->project);
	g_free(work->image);
	g_free(work->description);
	g_free(work->architecture);
	g_clear_pointer(&work->config, g_hash_table_unref);
	g_clear_pointer(&work->properties, g_hash_table_unref);
	g_clear_pointer(&work->devices, g_hash_table_unref);
	g_strfreev(work->profiles);
	arena_free(work->arena);
	g_clear_pointer(&work->origin.source, instance_unref);
	g_free(work->snapshot);
	g_clear_pointer(&work->refresh, instance_unref);
	g_clear_pointer(&work->rebuild, instance_unref);
	migration_peer_free(work->peer);
	g_free(work);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Work, work_free)

static InstanceSpec spec_of(const Work *work, const Caller *caller)
{
	return (InstanceSpec){ .project = work->project,
		.name = work->name,
		.type = work->type,
		.architecture = work->architecture,
		.description = work->description,
		.ephemeral = work->ephemeral,
		.config = work->config,
		.devices = work->devices,
		.profiles = work->profiles,
		.image = work->image,
		.image_properties = work->properties,
		.origin = work->origin.source ? &work->origin : NULL,
		.caller = caller };
}

/* What the instance takes from its image, where the request does not say it. */
static int use_image(Daemon *d, const Pb__Image *image, Work *work, Error **err)
{
	const char *type = instance_type_name(work->type);
	if (!g_str_equal(image->type, type))
		return error_set(err, ERROR_INVALID,
		    "Requested image's type '%s' doesn't match instance type '%s'", image->type, type);
	work->image = g_strdup(image->fingerprint);
	work->properties = config_from_map(image->n_properties, image->properties);
	if (!*work->architecture) {
		g_free(work->architecture);
		work->architecture = g_strdup(image->architecture);
	}
	if (work->image_profiles) {
		g_strfreev(work->profiles);
		work->profiles = request_strv(image->profiles, image->n_profiles);
	}
	image_touch(d, work->project, image->fingerprint, NULL);
	return 0;
}

/* An image of another server is fetched once the work has begun. */
static int fetch_image(Operation *op, Work *work, Error **err)
{
	ImageDownload download = {.project = work->project, .source = work->remote,
	    .architecture = work->architecture, .for_instance = TRUE};
	Pb__Image *image = NULL;
	if (!work->remote)
		return 0;
	if (image_download(operation_daemon(op), &download, op, work->arena, &image, err) < 0)
		return -1;
	return use_image(operation_daemon(op), image, work, err);
}

static int run_create(Operation *op, void *data, Error **err)
{
	Work *work = data;
	if (fetch_image(op, work, err) < 0)
		return -1;
	InstanceSpec spec = spec_of(work, operation_caller(op));
	if (work->peer && work->refresh)
		return migration_refresh(work->peer, work->refresh, &work->wish, op, err);
	if (work->peer)
		return migration_receive(
		    work->peer, operation_daemon(op), &spec, &work->wish, op, err);
	if (work->refresh)
		return instance_refresh(
		    work->refresh, &work->origin, op, operation_caller(op), err);
	if (work->origin.source)
		return instance_copy(operation_daemon(op), &spec, op, NULL, err);
	return instance_create(operation_daemon(op), &spec, op, NULL, err);
}

static int choose_remote(const Pb__InstanceSource *source, Work *work, Error **err)
{
	Pb__ImagesPostSource remote = PB__IMAGES_POST_SOURCE__INIT;
	remote.type = (char *)"image";
	remote.image_type = (char *)instance_type_name(work->type);
	remote.server = source->server;
	remote.protocol = source->protocol;
	remote.certificate = source->certificate;
	remote.alias = source->alias;
	remote.fingerprint = source->fingerprint;
	remote.secret = source->secret;
	remote.project = source->project;
	work->arena = arena_new();
	work->remote = arena_message_copy(work->arena, &remote);
	return image_remote_check(work->remote, err);
}

/* Finds the image that is asked for in the caller's project. */
static int choose_image(Request *rq, const Pb__InstanceSource *source, Work *work, Error **err)
{
	Pb__Image *image = NULL;
	const char *wanted = *source->alias ? source->alias : source->fingerprint;
	if (*source->server)
		return choose_remote(source, work, err);
	if (!*wanted)
		return error_set(err, ERROR_INVALID,
		    "Must specify one of alias, fingerprint or properties for init from image");
	if (image_resolve(rq->daemon, rq->project, wanted, rq->arena, &image, err) < 0)
		return -1;
	return use_image(rq->daemon, image, work, err);
}

/* Keys and devices of the source, below what the request says. */
static int merge_source(const Pb__CreateInstanceRequest *in, Work *work, Error **err)
{
	const Pb__InstancesPost *post = in->instance;
	g_autoptr(Config) config = NULL;
	g_autoptr(GHashTable) devices = NULL;
	GHashTableIter iter;
	void *key, *value;
	if (instance_copy_base(&work->origin, &config, &devices, err) < 0)
		return -1;
	g_hash_table_iter_init(&iter, work->config);
	while (g_hash_table_iter_next(&iter, &key, &value))
		config_set(config, key, value);
	g_hash_table_iter_init(&iter, work->devices);
	while (g_hash_table_iter_next(&iter, &key, &value))
		devices_set(devices, key, value);
	g_hash_table_unref(work->config);
	g_hash_table_unref(work->devices);
	work->config = g_steal_pointer(&config);
	work->devices = g_steal_pointer(&devices);
	if (!post->n_profiles && !mask_has(in->update_mask, in->n_update_mask, "profiles")) {
		g_strfreev(work->profiles);
		work->profiles = instance_profiles(work->origin.source);
	}
	return 0;
}

static int choose_copy(Request *rq, const Pb__CreateInstanceRequest *in, Work *work, Error **err)
{
	const Pb__InstanceSource *source = in->instance->source;
	const char *project = *source->project ? source->project : rq->project;
	const char *slash = strchr(source->source, '/');
	g_autofree char *name = slash ? g_strndup(source->source, (gsize)(slash - source->source)) :
					g_strdup(source->source);
	if (!*name)
		return error_set(err, ERROR_INVALID, "Must specify a source instance");
	if (access_check_object(rq, "instance", "can_view", project, err) < 0 ||
	    instance_get(rq->daemon, project, name, &work->origin.source, err) < 0)
		return -1;
	work->snapshot = slash ? g_strdup(slash + 1) : NULL;
	work->origin.snapshot = work->snapshot;
	work->origin.instance_only = source->instance_only;
	work->origin.allow_inconsistent = source->allow_inconsistent;
	work->image_profiles = FALSE;
	if (source->refresh &&
	    instance_get(rq->daemon, rq->project, work->name, &work->refresh, NULL) == 0)
		return 0;
	return merge_source(in, work, err);
}

/* What the source's server has for it at the moment is not ours. */
static void drop_local(Config *config)
{
	GHashTableIter iter;
	void *key;
	g_hash_table_iter_init(&iter, config);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (live_key_is_local(key))
			g_hash_table_iter_remove(&iter);
}

/* Keys, devices and profiles are as the request says: whoever drives the copy has read those of the
 * source. */
static int choose_migration(Request *rq, const Pb__InstanceSource *source, Work *work, Error **err)
{
	work->image_profiles = FALSE;
	work->wish.instance_only = source->instance_only;
	work->wish.live = source->live && !source->refresh;
	drop_local(work->config);
	if (*source->base_image)
		config_set(work->config, "volatile.base_image", source->base_image);
	if (source->refresh)
		instance_get(rq->daemon, rq->project, work->name, &work->refresh, NULL);
	return instance_migration_source(source, &work->peer, err);
}

static int choose_source(Request *rq, const Pb__CreateInstanceRequest *in, Work *work, Error **err)
{
	const Pb__InstancesPost *post = in->instance;
	const Pb__InstanceSource *source = post->source;
	const char *type = source ? source->type : "";
	if (g_str_equal(type, "image"))
		return choose_image(rq, source, work, err);
	if (g_str_equal(type, "none"))
		return 0;
	if (g_str_equal(type, "copy"))
		return choose_copy(rq, in, work, err);
	if (g_str_equal(type, "migration"))
		return choose_migration(rq, source, work, err);
	return error_set(err, ERROR_INVALID, "Unknown source type \"%s\"", type);
}

static char *random_name(void)
{
	static const char *const first[] = { "able", "bold", "calm", "deft", "easy", "fair", "glad",
		"keen", "kind", "live", "mild", "neat", "open", "quick", "safe", "true", "warm",
		"wise" };
	static const char *const second[] = { "ant", "bear", "crab", "deer", "eel", "fox", "goose",
		"hare", "ibis", "jay", "lynx", "mole", "newt", "otter", "pike", "ram", "seal",
		"toad", "wren" };
	return g_strdup_printf("%s-%s", first[g_random_int_range(0, G_N_ELEMENTS(first))],
	    second[g_random_int_range(0, G_N_ELEMENTS(second))]);
}

static char *choose_name(Request *rq, const char *wanted)
{
	if (*wanted)
		return g_strdup(wanted);
	for (int i = 0;; i++) {
		g_autofree char *name = random_name();
		g_autoptr(Instance) taken = NULL;
		g_autoptr(Error) error = NULL;
		if (i > 20)
			return g_strdup_printf("%s-%u", name, g_random_int_range(100, 1000000));
		if (instance_get(rq->daemon, rq->project, name, &taken, &error) < 0)
			return g_steal_pointer(&name);
	}
}

static int fill_create(Request *rq, const Pb__CreateInstanceRequest *in, Work *work, Error **err)
{
	const Pb__InstancesPost *post = in->instance;
	static char *const only_default[] = {(char *)"default", NULL};
	if (g_str_equal(post->type, "virtual-machine"))
		work->type = INSTANCE_MACHINE;
	else if (*post->type && !g_str_equal(post->type, "container"))
		return error_set(err, ERROR_INVALID, "Invalid instance type \"%s\"", post->type);
	work->name = choose_name(rq, post->name);
	work->project = g_strdup(rq->project);
	work->description = g_strdup(post->description);
	work->architecture = g_strdup(post->architecture);
	work->ephemeral = post->ephemeral;
	work->config = config_from_map(post->n_config, post->config);
	work->devices = devices_from_map(post->n_devices, post->devices);
	if (*post->instance_type && instance_size_apply(post->instance_type, work->config, err) < 0)
		return -1;
	gboolean none = !post->n_profiles &&
	    mask_has(in->update_mask, in->n_update_mask, "profiles");
	work->image_profiles = !post->n_profiles && !none;
	work->profiles = work->image_profiles ? g_strdupv((char **)only_default)
					      : request_strv(post->profiles, post->n_profiles);
	return choose_source(rq, in, work, err);
}

static void cancel_work(Operation *op, void *data)
{
	const Work *work = data;
	if (work->peer)
		migration_peer_cancel(work->peer);
	else
		image_download_cancel(op, data);
}

static int connect_work(Operation *op, void *data, const char *secret, Stream *stream, Error **err)
{
	return migration_peer_accept(((Work *)data)->peer, secret, stream, err);
}

/* Takes `work`. */
static int start(Request *rq, const char *what, int (*run)(Operation *, void *, Error **),
    Work *work, Pb__Operation *out, Error **err)
{
	g_autofree char *url = g_strdup_printf("/1.0/instances/%s", work->name);
	const char *resources[] = {"instances", url, "containers", url, NULL};
	g_autofree char *secrets = work->peer ? migration_peer_secrets(work->peer) : NULL;
	OperationSpec spec = { .op_class = secrets ? OPERATION_WEBSOCKET : OPERATION_TASK,
		.description = what,
		.run = run,
		.cancel = work->remote || work->peer ? cancel_work : NULL,
		.connect = secrets ? connect_work : NULL,
		.data = work,
		.destroy = work_free,
		.resources = resources,
		.metadata_json = secrets };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

int api_create_instance(
    Request *rq, const Pb__CreateInstanceRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (!in->instance)
		return error_set(err, ERROR_INVALID, "No instance was described");
	if (fill_create(rq, in, work, err) < 0)
		return -1;
	InstanceSpec spec = spec_of(work, rq->caller);
	if (!work->refresh && instance_create_check(rq->daemon, &spec, err) < 0)
		return -1;
	const char *what = work->refresh ? "Refreshing instance" :
	    work->origin.source		 ? "Copying instance" :
					   "Creating instance";
	return start(rq, what, run_create, g_steal_pointer(&work), out, err);
}

/* ---- a fresh root file system ---- */

static int run_rebuild(Operation *op, void *data, Error **err)
{
	Work *work = data;
	if (fetch_image(op, work, err) < 0)
		return -1;
	return instance_rebuild(
	    work->rebuild, work->image, work->properties, op, operation_caller(op), err);
}

int api_rebuild_instance(
    Request *rq, const Pb__RebuildInstanceRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Work) work = g_new0(Work, 1);
	if (instance_get(rq->daemon, rq->project, in->name, &work->rebuild, err) < 0)
		return -1;
	if (!in->instance || !in->instance->source)
		return error_set(err, ERROR_INVALID, "No source was given");
	if (instance_running(work->rebuild))
		return error_set(err, ERROR_INVALID, "Instance must be stopped to be rebuilt");
	work->project = g_strdup(rq->project);
	work->type = instance_type(work->rebuild);
	work->architecture = g_strdup("");
	if (g_str_equal(in->instance->source->type, "image")) {
		if (choose_image(rq, in->instance->source, work, err) < 0)
			return -1;
	} else if (!g_str_equal(in->instance->source->type, "none")) {
		return error_set(
		    err, ERROR_INVALID, "Unknown source type \"%s\"", in->instance->source->type);
	}
	work->name = g_strdup(in->name);
	return start(rq, "Rebuilding instance", run_rebuild, g_steal_pointer(&work), out, err);
}
