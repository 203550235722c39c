/* Handlers of ProjectService. */
#include "incus/v1/handlers.h"
#include "sdk/base/json_text.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/operation/operation.h"
#include "server/operation/schedule.h"
#include "server/project/project.h"
#include "server/project/usage.h"

#include <string.h>

static GMutex change_lock;

static void fill(Arena *arena, const Project *project, Pb__Project *out)
{
	out->name = arena_strdup(arena, project->name);
	out->description = arena_strdup(arena, project->description);
	config_to_map(project->config, arena, &pb__project__config_entry__descriptor,
	    &out->n_config, &out->config);
	out->n_used_by = project->used_by ? g_strv_length(project->used_by) : 0;
	out->used_by = arena_alloc(arena, (out->n_used_by + 1) * sizeof(char *));
	for (size_t i = 0; i < out->n_used_by; i++)
		out->used_by[i] = arena_strdup(arena, project->used_by[i]);
}

/* Restricted callers see the projects they may use. */
int api_get_projects(
    Request *rq, const Pb__GetProjectsRequest *in, Pb__GetProjectsResponse *out, Error **err)
{
	g_autoptr(GPtrArray) projects = NULL;
	if (project_list(rq->daemon, TRUE, &projects, err) < 0)
		return -1;
	out->items = arena_alloc(rq->arena, (projects->len + 1) * sizeof(*out->items));
	for (guint i = 0; i < projects->len; i++) {
		const Project *project = g_ptr_array_index(projects, i);
		if (!caller_has_project(rq->caller, project->name))
			continue;
		Pb__Project *item = arena_message(rq->arena, Pb__Project, pb__project);
		fill(rq->arena, project, item);
		out->items[out->n_items++] = item;
	}
	return 0;
}

/* For callers who may not use it, it does not exist. */
static int get_visible(
    Request *rq, const char *name, gboolean used_by, Project **ret_project, Error **err)
{
	if (!caller_has_project(rq->caller, name))
		return error_set(err, ERROR_NOT_FOUND, "Project not found");
	return project_get(rq->daemon, name, used_by, ret_project, err);
}

int api_get_project(Request *rq, const Pb__GetProjectRequest *in, Pb__Project *out, Error **err)
{
	g_autoptr(Project) project = NULL;
	if (get_visible(rq, in->name, TRUE, &project, err) < 0)
		return -1;
	fill(rq->arena, project, out);
	return 0;
}

static void tell(struct Daemon *daemon, const Caller *caller, const char *action, const char *name,
    const char *context)
{
	g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
	g_autofree char *source = g_strconcat("/1.0/projects/", escaped, NULL);
	event_lifecycle(daemon->events, name, action, source, context, caller);
}

int api_create_project(
    Request *rq, const Pb__CreateProjectRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	const Pb__ProjectsPost *body = in->body;
	if (!body || !*body->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	g_autoptr(Config) config = config_from_map(body->n_config, body->config);
	if (project_create(rq->daemon, body->name, body->description, config, err) < 0)
		return -1;
	tell(rq->daemon, rq->caller, "project-created", body->name, NULL);
	return 0;
}

/* Under change_lock. mask NULL: everything is replaced. */
static int change(Request *rq, const char *name, const Pb__ProjectPut *body, gboolean patch,
    gboolean description, Error **err)
{
	g_autoptr(Project) project = NULL;
	if (!body)
		return error_set(err, ERROR_INVALID, "No project provided");
	if (get_visible(rq, name, FALSE, &project, err) < 0)
		return -1;
	Pb__Project *object = arena_message(rq->arena, Pb__Project, pb__project);
	fill(rq->arena, project, object);
	if (request_check_etag(rq, object, err) < 0)
		return -1;
	g_autoptr(Config) config = patch ? config_copy(project->config) : config_new();
	for (size_t i = 0; i < body->n_config; i++)
		config_set(config, body->config[i]->key, body->config[i]->value);
	if (project_update(rq->daemon, name, description ? body->description : project->description,
		config, err) < 0)
		return -1;
	tell(rq->daemon, rq->caller, "project-updated", name, NULL);
	schedule_changed(rq->daemon);
	return 0;
}

int api_update_project(
    Request *rq, const Pb__UpdateProjectRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	g_mutex_lock(&change_lock);
	int failed = change(rq, in->name, in->body, FALSE, TRUE, err);
	g_mutex_unlock(&change_lock);
	return failed;
}

int api_patch_project(
    Request *rq, const Pb__PatchProjectRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	gboolean description = FALSE;
	for (size_t i = 0; i < in->n_update_mask; i++)
		description = description || strcmp(in->update_mask[i], "description") == 0;
	g_mutex_lock(&change_lock);
	int failed = change(rq, in->name, in->body, TRUE, description, err);
	g_mutex_unlock(&change_lock);
	return failed;
}

typedef struct Rename {
	char *name, *new_name;
} Rename;

static void rename_free(void *data)
{
	Rename *names = data;
	g_free(names->name);
	g_free(names->new_name);
	g_free(names);
}

static int rename_run(Operation *op, void *data, Error **err)
{
	const Rename *names = data;
	struct Daemon *daemon = operation_daemon(op);
	if (project_rename(daemon, names->name, names->new_name, err) < 0)
		return -1;
	g_autofree char *context = json_text_object("old_name", names->name, NULL);
	tell(daemon, operation_caller(op), "project-renamed", names->new_name, context);
	return 0;
}

int api_rename_project(
    Request *rq, const Pb__RenameProjectRequest *in, Pb__Operation *out, Error **err)
{
	g_autoptr(Project) project = NULL;
	if (!in->body || !*in->body->name)
		return error_set(err, ERROR_INVALID, "No name provided");
	if (project_get(rq->daemon, in->name, FALSE, &project, err) < 0)
		return -1;
	if (strcmp(in->name, "default") == 0)
		return error_set(err, ERROR_FORBIDDEN, "The 'default' project cannot be renamed");
	Rename *names = g_new(Rename, 1);
	*names = (Rename){g_strdup(in->name), g_strdup(in->body->name)};
	OperationSpec spec = { .op_class = OPERATION_TASK,
		.description = "Renaming project",
		.project = "",
		.run = rename_run,
		.data = names,
		.destroy = rename_free };
	return operation_create(rq->daemon, rq, &spec, NULL, out, err);
}

int api_delete_project(
    Request *rq, const Pb__DeleteProjectRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	if (project_delete(rq->daemon, in->name, err) < 0)
		return -1;
	tell(rq->daemon, rq->caller, "project-deleted", in->name, NULL);
	return 0;
}

int api_get_project_state(
    Request *rq, const Pb__GetProjectStateRequest *in, Pb__ProjectState *out, Error **err)
{
	g_autofree ProjectUse *uses = NULL;
	size_t n;
	if (!caller_has_project(rq->caller, in->name))
		return error_set(err, ERROR_NOT_FOUND, "Project not found");
	if (project_usage(rq->daemon, in->name, &n, &uses, err) < 0)
		return -1;
	out->resources = arena_alloc(rq->arena, sizeof(*out->resources) * n);
	for (size_t i = 0; i < n; i++) {
		Pb__ProjectState__ResourcesEntry *entry = arena_message(rq->arena,
		    Pb__ProjectState__ResourcesEntry, pb__project_state__resources_entry);
		entry->key = arena_strdup(rq->arena, uses[i].name);
		entry->value = arena_message(
		    rq->arena, Pb__ProjectStateResource, pb__project_state_resource);
		entry->value->limit = uses[i].limit;
		entry->value->usage = uses[i].used;
		out->resources[i] = entry;
	}
	out->n_resources = n;
	return 0;
}
