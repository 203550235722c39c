#include "server/rpc/access.h"
#include "server/key/server.h"
#include "server/project/project.h"
#include "server/rpc/field.h"
#include "server/rpc/method.h"
#include <string.h>

/* Kinds of objects outside projects: any trusted caller may look, only administrators change. */
static const char *const shared_objects[] = { "server", "storage_pool", "certificate", "warning",
	"cluster", "cluster_group", "cluster_member", NULL };

static int refuse(Error **err)
{
	return error_set(err, ERROR_FORBIDDEN, "not authorized");
}

static gboolean only_looks(const char *entitlement)
{
	return !entitlement || g_str_has_prefix(entitlement, "can_view");
}

int access_check_admin(const Request *rq, Error **err)
{
	const Caller *caller = rq->caller;
	return caller->kind != CALLER_UNTRUSTED && caller->admin && !caller->metrics_only ?
	    0 :
	    refuse(err);
}

/* Objects that a project without the feature has from "default". */
static const struct {
	const char *object, *entitlement; /* entitlement NULL: any that changes */
	ProjectFeature feature;
} shared[] = {
	{"profile", NULL, PROJECT_PROFILES},
	{"project", "can_create_profiles", PROJECT_PROFILES},
	{"image", NULL, PROJECT_IMAGES},
	{"project", "can_create_images", PROJECT_IMAGES},
	{"network", NULL, PROJECT_NETWORKS},
	{"project", "can_create_networks", PROJECT_NETWORKS},
	{"network_acl", NULL, PROJECT_NETWORKS},
	{"project", "can_create_network_acls", PROJECT_NETWORKS},
	{"network_zone", NULL, PROJECT_NETWORK_ZONES},
	{"project", "can_create_network_zones", PROJECT_NETWORK_ZONES},
	{"storage_volume", NULL, PROJECT_STORAGE_VOLUMES},
	{"project", "can_create_storage_volumes", PROJECT_STORAGE_VOLUMES},
	{"storage_bucket", NULL, PROJECT_STORAGE_BUCKETS},
	{"project", "can_create_storage_buckets", PROJECT_STORAGE_BUCKETS},
};

/* Who may use another project's object in his own may look at it, but change it only where it is.
 */
static int check_owner(const Request *rq, const char *object, const char *entitlement,
    const char *project, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(shared); i++) {
		g_autofree char *owner = NULL;
		if (strcmp(shared[i].object, object) != 0 ||
		    (shared[i].entitlement && strcmp(shared[i].entitlement, entitlement) != 0))
			continue;
		if (project_effective(rq->daemon, project, shared[i].feature, &owner, err) < 0)
			return -1;
		if (!caller_has_project(rq->caller, owner))
			return refuse(err);
	}
	return 0;
}

/* Strangers may read them where the administrator says so. */
static gboolean may_measure(const Request *rq)
{
	return rq->caller->kind != CALLER_UNTRUSTED ||
	    !server_config_bool(rq->daemon->config, "core.metrics_authentication");
}

int access_check_object(const Request *rq, const char *object, const char *entitlement,
    const char *project, Error **err)
{
	const Caller *caller = rq->caller;
	if (object && !strcmp(object, "public"))
		return 0;
	if (object && !strcmp(object, "metrics"))
		return may_measure(rq) ? 0 : refuse(err);
	if (caller->kind == CALLER_UNTRUSTED || caller->metrics_only)
		return refuse(err);
	if (caller->admin)
		return 0;
	/* Restricted: a method that says nothing of its object is for administrators. */
	if (!object || !strcmp(object, "admin"))
		return refuse(err);
	if (!strcmp(object, "authenticated") || !strcmp(object, "operation"))
		return 0; /* the handler compares the operation's project and owner */
	if (!strcmp(object, "certificate") && entitlement && !strcmp(entitlement, "can_edit"))
		return 0; /* the handler lets callers change only their own key */
	if (g_strv_contains(shared_objects, object))
		return only_looks(entitlement) ? 0 : refuse(err);
	/* A project itself is looked at (the handler compares the name); things are made in it. */
	if (!strcmp(object, "project") && only_looks(entitlement))
		return 0;
	if (!project || !caller_has_project(caller, project))
		return refuse(err);
	return only_looks(entitlement) ? 0 : check_owner(rq, object, entitlement, project, err);
}

/* "/internal" is for the host itself and for members of the cluster. */
static gboolean is_internal(const SchemaMethod *schema)
{
	return schema->http_path && g_str_has_prefix(schema->http_path, "/internal/");
}

/* The port for metrics says who it is, and how the instances are. */
static gboolean is_on_metrics_port(const SchemaMethod *schema)
{
	static const char *const paths[] = { "/", "/1.0", "/1.0/metrics", NULL };
	return schema->http_path && g_strv_contains(paths, schema->http_path) &&
	    !strcmp(schema->http_verb, "GET");
}

/* Any client may ask for what there is in all his projects. */
static gboolean lists_his_own(const Request *rq)
{
	const SchemaMethod *schema = rq->method->schema;
	return rq->all_projects && rq->caller->kind != CALLER_UNTRUSTED &&
	    !rq->caller->metrics_only && schema->object && strcmp(schema->object, "admin") != 0 &&
	    only_looks(schema->entitlement);
}

int access_check(const Request *rq, Error **err)
{
	const SchemaMethod *schema = rq->method->schema;
	CallerKind kind = rq->caller->kind;
	if (rq->caller->metrics_port && !is_on_metrics_port(schema))
		return error_set(err, ERROR_NOT_FOUND, "not found");
	if (is_internal(schema) &&
	    (kind == CALLER_UNIX ? !rq->caller->admin : kind != CALLER_CLUSTER))
		return refuse(err);
	if (lists_his_own(rq))
		return 0;
	gboolean in_project = field_find(schema->input, "project", strlen("project")) ||
	    schema->kind == METHOD_BIDI;
	return access_check_object(
	    rq, schema->object, schema->entitlement, in_project ? rq->project : NULL, err);
}
