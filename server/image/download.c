#include "server/image/download.h"
#include "server/db/db.h"
#include "server/event/event.h"
#include "server/image/import.h"
#include "server/image/metadata.h"
#include "server/image/remote.h"
#include "server/project/project.h"
#include "server/sys/host.h"
#include <string.h>

/* ---- one download of an image at a time ---- */

static GMutex turn_lock;
static GCond turn_changed;
static GHashTable *under_way; /* fingerprints */

static int take_turn(const char *fingerprint, Operation *op, Error **err)
{
	gboolean cancelled = FALSE;
	g_mutex_lock(&turn_lock);
	if (!under_way)
		under_way = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	while (!(cancelled = op && operation_cancelled(op)) &&
	       g_hash_table_contains(under_way, fingerprint))
		g_cond_wait(&turn_changed, &turn_lock);
	if (!cancelled)
		g_hash_table_add(under_way, g_strdup(fingerprint));
	g_mutex_unlock(&turn_lock);
	return cancelled ? error_set(err, ERROR_CANCELLED, "The download was cancelled") : 0;
}

static void end_turn(const char *fingerprint)
{
	g_mutex_lock(&turn_lock);
	g_hash_table_remove(under_way, fingerprint);
	g_cond_broadcast(&turn_changed);
	g_mutex_unlock(&turn_lock);
}

void image_download_cancel(Operation *op, void *data)
{
	g_mutex_lock(&turn_lock);
	g_cond_broadcast(&turn_changed);
	g_mutex_unlock(&turn_lock);
}

/* ---- what is here already ---- */

typedef struct CachedCall {
	const char *project;
	const Pb__ImageSource *origin;
	int architecture, type; /* type -1: any */
	char fingerprint[65];
} CachedCall;

static int cached_tx(Tx *tx, void *data, Error **err)
{
	CachedCall *call = data;
	g_autoptr(Rows) rows = NULL;
	call->fingerprint[0] = '\0';
	if (tx_query(tx, &rows, err,
		"SELECT i.fingerprint FROM images_source s JOIN images i ON i.id = s.image_id JOIN "
		"projects p ON p.id = i.project_id"
		" WHERE p.name = ? AND s.server = ? AND s.protocol = ? AND s.alias = ? AND "
		"i.auto_update = 1"
		" AND i.architecture = ? AND (? = -1 OR i.type = ?) ORDER BY i.creation_date DESC",
		"ssisiii", call->project, call->origin->server,
		(int64_t)image_protocol_number(call->origin->protocol), call->origin->alias,
		(int64_t)call->architecture, (int64_t)call->type, (int64_t)call->type) < 0)
		return -1;
	int more = rows_next(rows, err);
	if (more > 0)
		g_strlcpy(call->fingerprint, rows_text(rows, 0), sizeof(call->fingerprint));
	return more < 0 ? -1 : 0;
}

/* An image that is kept up to date with this alias, so that its server need not be asked: 1. */
static int find_cached(Daemon *d, const ImageDownload *download, const ImageRemote *remote,
    Arena *arena, Pb__Image **ret_image, Error **err)
{
	const char *type = download->source->image_type;
	const char *wanted = download->architecture && *download->architecture
				 ? download->architecture
				 : host_facts()->architecture;
	g_autofree char *interval =
	    project_setting(d, download->project, "images.auto_update_interval");
	g_autofree char *project = NULL;
	if (!download->for_instance || !*download->source->alias || g_strcmp0(interval, "0") == 0)
		return 0;
	if (project_effective(d, download->project, PROJECT_IMAGES, &project, err) < 0)
		return -1;
	CachedCall call = {.project = project,
	    .origin = image_remote_source(remote),
	    .architecture = image_architecture_id(wanted),
	    .type = !*type ? -1 : strcmp(type, "virtual-machine") == 0};
	if (db_read(d->db, cached_tx, &call, err) < 0)
		return -1;
	return *call.fingerprint && image_get(d, download->project, call.fingerprint, FALSE, arena,
					ret_image, NULL) == 0;
}

/* A copy that was made before gets what is asked for now: 1 when there is one. */
static int reuse(Daemon *d, const ImageDownload *download, const ImageRemote *remote,
    const char *fingerprint, Arena *arena, Pb__Image **ret_image, Error **err)
{
	Pb__Image *image;
	Error *missing = NULL;
	if (image_get(d, download->project, fingerprint, FALSE, arena, &image, &missing) < 0) {
		if (missing->kind != ERROR_NOT_FOUND)
			return error_propagate(err, missing);
		error_free(missing);
		return 0;
	}
	*ret_image = image;
	if (download->for_instance)
		return 1;
	Pb__ImagePut put = PB__IMAGE_PUT__INIT;
	put.public_ = image->public_ || download->public;
	put.auto_update = image->auto_update || download->auto_update;
	put.expires_at = image->expires_at;
	g_autoptr(Config) properties = config_from_map(image->n_properties, image->properties);
	config_merge(properties, download->properties);
	config_to_map(properties, arena, &pb__image_put__properties_entry__descriptor,
	    &put.n_properties, &put.properties);
	gboolean profiles = download->profiles && *download->profiles;
	put.n_profiles = profiles ? g_strv_length(download->profiles) : image->n_profiles;
	put.profiles = profiles ? download->profiles : image->profiles;
	if (image_update(d, download->project, fingerprint, &put, err) < 0)
		return -1;
	if (image->cached && !download->cached &&
	    image_adopt(d, download->project, fingerprint, image_remote_source(remote), err) < 0)
		return -1;
	return image_get(d, download->project, fingerprint, FALSE, arena, ret_image, err) < 0 ? -1
											      : 1;
}

/* ---- the download ---- */

static gboolean wants_updates(Daemon *d, const ImageDownload *download)
{
	if (!download->for_instance)
		return download->auto_update;
	/* By its fingerprint an image is never another one. */
	g_autofree char *cached =
	    project_setting(d, download->project, "images.auto_update_cached");
	return *download->source->alias && cached && g_strcmp0(cached, "false") != 0;
}

/* What the import is told: what the caller says goes over what the other server says. */
static ImageImportOptions options_of(Daemon *d, const ImageDownload *download,
    const ImageRemote *remote, const Pb__Image *found, const Config *properties)
{
	const char *filename =
	    download->filename && *download->filename ? download->filename : NULL;
	return (ImageImportOptions){.project = download->project,
	    .filename = filename,
	    .fingerprint = found->fingerprint,
	    .public = download->public,
	    .auto_update = wants_updates(d, download),
	    .cached = download->for_instance || download->cached,
	    .source = image_remote_source(remote),
	    .properties = properties,
	    .profiles = download->profiles,
	    .expires_at = download->expires_at ? download->expires_at
			  : found->expires_at && found->expires_at->seconds > 0
			      ? found->expires_at->seconds
			      : 0};
}

/* Whose bytes need not be proven by sending them: what anybody may read, and what the caller may
 * read anyway. Not in a refresh, which nobody with rights of his own has asked for: a server could
 * name the fingerprint of somebody's private image. */
static gboolean may_share(
    const ImageDownload *download, const Pb__Image *image, const Caller *caller)
{
	return image->public_ || (caller && caller->admin && !download->known);
}

static int share_locked(Daemon *d, const ImageDownload *download, const ImageImportOptions *options,
    const Caller *caller, Arena *arena, Error **err)
{
	ImageQuery query = {.fingerprint = options->fingerprint};
	Pb__Image **images;
	size_t n, i = 0;
	if (image_list(d, &query, arena, &n, &images, err) < 0)
		return -1;
	while (i < n && !may_share(download, images[i], caller))
		i++;
	if (i == n)
		return 0;
	Pb__Image *image = images[i];
	image_import_apply(image, options, arena);
	return image_insert(d, download->project, image, err) < 0 ? -1 : 1;
}

/* Another project has it: a row is enough. 1 when that was done. */
static int share(Daemon *d, const ImageDownload *download, const ImageImportOptions *options,
    const Caller *caller, Arena *arena, Error **err)
{
	image_files_lock();
	int result = share_locked(d, download, options, caller, arena, err);
	image_files_unlock();
	return result;
}

static int fetch(Daemon *d, const ImageDownload *download, ImageRemote *remote,
    const Pb__Image *found, const Caller *caller, Arena *arena, Pb__Image **ret_image, Error **err)
{
	g_autoptr(ImageImport) import = NULL;
	g_autoptr(Config) properties = config_from_map(found->n_properties, found->properties);
	config_merge(properties, download->properties);
	ImageImportOptions options = options_of(d, download, remote, found, properties);
	int shared = share(d, download, &options, caller, arena, err);
	if (shared < 0)
		return -1;
	if (!shared &&
	    (image_import_new(d, &import, err) < 0 ||
		image_import_limit(import, download->project, err) < 0 ||
		image_remote_fetch(remote, found, import, err) < 0 ||
		image_import_finish(import, &options, arena, ret_image, err) < 0))
		return -1;
	g_autofree char *url = g_strdup_printf("/1.0/images/%s", found->fingerprint);
	event_lifecycle(d->events, download->project, "image-created", url, NULL, caller);
	/* As it is stored: with its profiles. */
	return image_get(d, download->project, found->fingerprint, FALSE, arena, ret_image, err);
}

int image_download(Daemon *d, const ImageDownload *download, Operation *op, Arena *arena,
    Pb__Image **ret_image, Error **err)
{
	g_autoptr(ImageRemote) remote = NULL;
	Pb__Image *found;
	if (image_remote_open(d, download->project, download->source, download->architecture, op,
		&remote, err) < 0)
		return -1;
	int here = find_cached(d, download, remote, arena, ret_image, err);
	if (here != 0)
		return here < 0 ? -1 : 0;
	*ret_image = NULL;
	if (image_remote_find(remote, arena, &found, err) < 0)
		return -1;
	if (g_strcmp0(found->fingerprint, download->known) == 0)
		return 0;
	if (take_turn(found->fingerprint, op, err) < 0)
		return -1;
	here = reuse(d, download, remote, found->fingerprint, arena, ret_image, err);
	if (here == 0)
		here = fetch(d, download, remote, found, op ? operation_caller(op) : NULL, arena,
		    ret_image, err);
	end_turn(found->fingerprint);
	return here < 0 ? -1 : 0;
}
