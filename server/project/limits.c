/* limits.* of projects: what each counts, and whether what is there stays below. */
#include "server/project/content.h"
#include "server/project/usage.h"

#include "sdk/base/units.h"

#include <inttypes.h>
#include <string.h>

#define MACHINE_CPU "1"
#define MACHINE_MEMORY "1GiB"

typedef int64_t Counter(const ProjectContent *content);
/* NULL: the instance does not say. */
typedef const char *Setting(const Holder *instance, const char *key);

static int64_t count_type(const ProjectContent *content, gboolean machine)
{
	int64_t n = 0;
	for (guint i = 0; i < content->instances->len; i++)
		n += ((const Holder *)g_ptr_array_index(content->instances, i))->machine == machine;
	return n;
}

static int64_t count_containers(const ProjectContent *content)
{
	return count_type(content, FALSE);
}

static int64_t count_machines(const ProjectContent *content)
{
	return count_type(content, TRUE);
}

static int64_t count_instances(const ProjectContent *content)
{
	return content->instances->len;
}

static int64_t count_networks(const ProjectContent *content)
{
	return content->networks;
}

static const char *key_setting(const Holder *instance, const char *key)
{
	return config_get(instance->config, key);
}

static const char *root_setting(const Holder *instance, const char *key)
{
	GHashTableIter iter;
	void *device;
	(void)key;
	g_hash_table_iter_init(&iter, instance->devices);
	while (g_hash_table_iter_next(&iter, NULL, &device))
		if (g_strcmp0(config_get(device, "type"), "disk") == 0 &&
		    g_strcmp0(config_get(device, "path"), "/") == 0)
			return config_get(device, "size");
	return NULL;
}

static int parse_count(const char *text, int64_t *ret_value, Error **err)
{
	return units_parse_int(text, 0, INT64_MAX, ret_value, err);
}

/* One limit: a number of objects (count), or a sum over instances (setting). */
typedef struct LimitRow {
	const char *name, *key;
	unsigned subjects; /* changes that can exceed it */
	Counter *count;
	const char *counted; /* "instances of type \"container\"" */
	Setting *setting;
	int (*parse)(const char *text, int64_t *ret_value, Error **err);
	const char *machine_default; /* what a virtual machine has when it does not say */
	gboolean volumes, bytes;     /* custom volumes are added */
} LimitRow;

static const LimitRow rows[] = {
    {.name = "containers",
	.key = "limits.containers",
	.subjects = LIMIT_OF_NEW_INSTANCE,
	.count = count_containers,
	.counted = "instances of type \"container\""},
    {.name = "cpu",
	.key = "limits.cpu",
	.subjects = LIMIT_OF_INSTANCE,
	.setting = key_setting,
	.parse = parse_count,
	.machine_default = MACHINE_CPU},
    {.name = "disk",
	.key = "limits.disk",
	.subjects = LIMIT_OF_INSTANCE | LIMIT_OF_VOLUME,
	.setting = root_setting,
	.parse = units_parse_bytes,
	.volumes = TRUE,
	.bytes = TRUE},
    {.name = "instances",
	.key = "limits.instances",
	.subjects = LIMIT_OF_NEW_INSTANCE,
	.count = count_instances,
	.counted = "instances"},
    {.name = "memory",
	.key = "limits.memory",
	.subjects = LIMIT_OF_INSTANCE,
	.setting = key_setting,
	.parse = units_parse_bytes,
	.machine_default = MACHINE_MEMORY,
	.bytes = TRUE},
    {.name = "networks",
	.key = "limits.networks",
	.subjects = LIMIT_OF_NETWORK,
	.count = count_networks,
	.counted = "networks"},
    {.name = "processes",
	.key = "limits.processes",
	.subjects = LIMIT_OF_INSTANCE,
	.setting = key_setting,
	.parse = parse_count},
    {.name = "virtual-machines",
	.key = "limits.virtual-machines",
	.subjects = LIMIT_OF_NEW_INSTANCE,
	.count = count_machines,
	.counted = "instances of type \"virtual-machine\""},
};

static int add(int64_t *total, int64_t value, const LimitRow *row, Error **err)
{
	if (__builtin_add_overflow(*total, value, total))
		return error_set(err, ERROR_INVALID, "The sum of \"%s\" is too large", row->key);
	return 0;
}

static int unset(
    const ProjectContent *content, const LimitRow *row, const Holder *instance, Error **err)
{
	return error_set(err, ERROR_INVALID,
	    row->setting == root_setting
		? "Instance \"%s\" in project \"%s\" has no \"size\" config set on the root device "
		  "either directly or via a profile"
		: "Instance \"%s\" in project \"%s\" has no \"%s\" config, either directly or via "
		  "a profile",
	    instance->name, content->project->name, row->key);
}

static int add_instance(const ProjectContent *content, const LimitRow *row, const Holder *instance,
    gboolean lenient, int64_t *total, Error **err)
{
	const char *text = row->setting(instance, row->key);
	int64_t value;
	if (!text && instance->machine)
		text = row->machine_default;
	if (!text)
		return lenient ? 0 : unset(content, row, instance, err);
	if (strchr(text, '%'))
		return lenient ? 0
			       : error_set(err, ERROR_INVALID,
				     "Instance \"%s\": the value of \"%s\" can't be a percentage "
				     "in project \"%s\"",
				     instance->name, row->key, content->project->name);
	if (row->parse(text, &value, NULL) < 0)
		return lenient ? 0
			       : error_set(err, ERROR_INVALID,
				     "Instance \"%s\": \"%s\" must be a single number in project "
				     "\"%s\", not \"%s\"",
				     instance->name, row->key, content->project->name, text);
	return add(total, value, row, err);
}

static int add_volume(const ProjectContent *content, const LimitRow *row, const HeldVolume *volume,
    gboolean lenient, int64_t *total, Error **err)
{
	int64_t value;
	if (!volume->size && !lenient)
		return error_set(err, ERROR_INVALID,
		    "Custom volume \"%s\" in project \"%s\" has no \"size\" config set",
		    volume->name, content->project->name);
	if (!volume->size || units_parse_bytes(volume->size, &value, NULL) < 0)
		return 0;
	return add(total, value, row, err);
}

/* lenient: what says nothing counts nothing; else every instance must say. */
static int total_of(const ProjectContent *content, const LimitRow *row, gboolean lenient,
    int64_t *ret_total, Error **err)
{
	*ret_total = 0;
	if (row->count) {
		*ret_total = row->count(content);
		return 0;
	}
	for (guint i = 0; i < content->instances->len; i++)
		if (add_instance(content, row, g_ptr_array_index(content->instances, i), lenient,
			ret_total, err) < 0)
			return -1;
	for (guint i = 0; row->volumes && i < content->volumes->len; i++)
		if (add_volume(content, row, g_ptr_array_index(content->volumes, i), lenient,
			ret_total, err) < 0)
			return -1;
	return 0;
}

static int exceeded(const ProjectContent *content, const LimitRow *row, int64_t total,
    gboolean lowered, Error **err)
{
	const char *project = content->project->name;
	g_autofree char *text =
	    row->bytes ? units_format_bytes(total, 2) : g_strdup_printf("%" PRId64, total);
	if (lowered && row->count)
		return error_set(err, ERROR_INVALID,
		    "\"%s\" is too low: there currently are %s %s in project \"%s\"", row->key,
		    text, row->counted, project);
	if (lowered)
		return error_set(err, ERROR_INVALID,
		    "\"%s\" is too low: the current total in project \"%s\" is %s", row->key,
		    project, text);
	if (row->count)
		return error_set(err, ERROR_FORBIDDEN,
		    "Reached maximum number of %s in project \"%s\"", row->counted, project);
	return error_set(err, ERROR_FORBIDDEN,
	    "Reached maximum aggregate value \"%s\" for \"%s\" in project \"%s\"",
	    config_get(content->project->config, row->key), row->key, project);
}

/* -1: none. */
static int64_t limit_of(const Project *project, const LimitRow *row)
{
	const char *text = config_get(project->config, row->key);
	int64_t limit;
	if (!text || (row->bytes ? units_parse_bytes : parse_count)(text, &limit, NULL) < 0)
		return -1;
	return limit;
}

int limits_check(const ProjectContent *content, unsigned subject, const Config *before, Error **err)
{
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		const LimitRow *row = &rows[i];
		int64_t limit = limit_of(content->project, row), total;
		const char *now = config_get(content->project->config, row->key);
		gboolean wanted = before ? g_strcmp0(config_get(before, row->key), now) != 0
					 : (row->subjects & subject) != 0;
		if (limit < 0 || !wanted)
			continue;
		if (total_of(content, row, FALSE, &total, err) < 0)
			return -1;
		if (total > limit)
			return exceeded(content, row, total, before != NULL, err);
	}
	return 0;
}

gboolean limits_any(const Project *project)
{
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		if (config_get(project->config, rows[i].key))
			return TRUE;
	return FALSE;
}

typedef struct UsageCall {
	const char *project;
	ProjectUse *uses;
	int64_t budget;
} UsageCall;

static int usage_tx(Tx *tx, void *data, Error **err)
{
	UsageCall *call = data;
	g_autoptr(Project) project = NULL;
	g_autoptr(ProjectContent) content = NULL;
	if (project_load_name(tx, call->project, &project, err) < 0 ||
	    content_load(tx, project->id, &content, err) < 0)
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		int64_t total;
		if (total_of(content, &rows[i], TRUE, &total, err) < 0)
			return -1;
		call->uses[i] =
		    (ProjectUse){rows[i].name, limit_of(content->project, &rows[i]), total};
	}
	return 0;
}

int project_usage(Daemon *d, const char *project, size_t *ret_n, ProjectUse **ret_uses, Error **err)
{
	g_autofree ProjectUse *uses = g_new0(ProjectUse, G_N_ELEMENTS(rows));
	UsageCall call = {.project = project, .uses = uses};
	if (db_read(d->db, usage_tx, &call, err) < 0)
		return -1;
	*ret_n = G_N_ELEMENTS(rows);
	*ret_uses = g_steal_pointer(&uses);
	return 0;
}

static int budget_tx(Tx *tx, void *data, Error **err)
{
	UsageCall *call = data;
	int64_t id, total = 0;
	g_autoptr(Project) project = NULL;
	g_autoptr(ProjectContent) content = NULL;
	const LimitRow *disk = rows;
	while (strcmp(disk->name, "disk") != 0)
		disk++;
	call->budget = -1;
	if (project_effective_id(tx, call->project, PROJECT_IMAGES, &id, err) < 0 ||
	    project_load_id(tx, id, &project, err) < 0)
		return -1;
	if (limit_of(project, disk) < 0)
		return 0;
	if (content_load(tx, id, &content, err) < 0 ||
	    total_of(content, disk, TRUE, &total, err) < 0)
		return -1;
	call->budget = MAX(limit_of(project, disk) - total, 0);
	return 0;
}

int project_image_budget(Daemon *d, const char *project, int64_t *ret_bytes, Error **err)
{
	UsageCall call = {.project = project && *project ? project : "default"};
	if (db_read(d->db, budget_tx, &call, err) < 0)
		return -1;
	*ret_bytes = call.budget;
	return 0;
}
