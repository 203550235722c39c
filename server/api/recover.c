/* Handlers of ServerService for `incus admin recover`. */
#include "incus/v1/handlers.h"
#include "server/instance/recover.h"

/* /internal is for the unix socket, whatever certificate a caller has. */
static int scan(
    Request *rq, const Pb__InternalRecoverPost *post, Recovery **ret_recovery, Error **err)
{
	if (rq->caller->kind != CALLER_UNIX || !rq->caller->admin)
		return error_set(err, ERROR_FORBIDDEN, "not authorized");
	size_t n = post ? post->n_pools : 0;
	RecoverySource *sources = arena_alloc(rq->arena, (n + 1) * sizeof(*sources));
	g_autoptr(GPtrArray) configs = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)g_hash_table_unref);
	for (size_t i = 0; i < n; i++) {
		const Pb__StoragePoolsPost *pool = post->pools[i];
		Config *config = config_from_map(pool->n_config, pool->config);
		g_ptr_array_add(configs, config);
		sources[i] = (RecoverySource){ pool->name, pool->driver, pool->description,
			config };
	}
	return recovery_scan(rq->daemon, sources, n, ret_recovery, err);
}

static Pb__InternalRecoverVolume *render(Request *rq, const RecoveryItem *item)
{
	Pb__InternalRecoverVolume *out = arena_message(
	    rq->arena, Pb__InternalRecoverVolume, pb__internal_recover_volume);
	out->name = request_strdup(rq, item->volume->name);
	out->type = (char *)volume_type_name(item->volume->type);
	out->snapshot_count = item->snapshots->len;
	out->project = request_strdup(rq, item->volume->project);
	out->pool = request_strdup(rq, pool_name(item->pool));
	return out;
}

int api_validate_recovery(Request *rq, const Pb__ValidateRecoveryRequest *in,
    Pb__InternalRecoverValidateResult *out, Error **err)
{
	g_autoptr(Recovery) recovery = NULL;
	if (scan(rq, in->recovery, &recovery, err) < 0)
		return -1;
	const GPtrArray *items = recovery->items, *missing = recovery->missing;
	out->unknown_volumes = arena_alloc(rq->arena, (items->len + 1) * sizeof(void *));
	for (guint n = 0; n < items->len; n++)
		out->unknown_volumes[out->n_unknown_volumes++] = render(rq, items->pdata[n]);
	out->dependency_errors = arena_alloc(rq->arena, (missing->len + 1) * sizeof(char *));
	for (guint n = 0; n < missing->len; n++)
		out->dependency_errors[out->n_dependency_errors++] = request_strdup(
		    rq, missing->pdata[n]);
	return 0;
}

int api_import_recovery(
    Request *rq, const Pb__ImportRecoveryRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_autoptr(Recovery) recovery = NULL;
	return scan(rq, in->recovery, &recovery, err) < 0 ? -1 : recovery_import(recovery, err);
}
