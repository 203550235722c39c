#include "server/storage/lvm.h"
#include "sdk/base/spawn.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TOOL_MS = 600000, FRESH_US = 1000000 };

/* What exists, as of the last report: a start asks for every volume that has a row. */
static struct {
	GMutex lock;
	char *group;
	GHashTable *names;
	gint64 until;
} seen;

static void seen_forget(void)
{
	g_mutex_lock(&seen.lock);
	seen.until = 0;
	g_mutex_unlock(&seen.lock);
}

/* ---- running ---- */

static int run(const char *const *argv, char **ret_output, Error **err)
{
	g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
	Spawn spawn = {
		.argv = argv, .environment = (const char *const *)environment, .timeout_ms = TOOL_MS
	};
	return spawn_run(&spawn, ret_output, NULL, err);
}

int lvm_run_vector(const char *const *argv, Error **err)
{
	int result = run(argv, NULL, err);
	seen_forget();
	return result;
}

int lvm_run(Error **err, const char *tool, ...)
{
	va_list list;
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	va_start(list, tool);
	for (const char *word = tool; word; word = va_arg(list, const char *))
		g_ptr_array_add(argv, (void *)word);
	va_end(list);
	g_ptr_array_add(argv, NULL);
	return lvm_run_vector((const char *const *)argv->pdata, err);
}

/* The rows that a reporting tool (lvs, vgs, pvs) gives under "lv", "vg", "pv". */
static int report(
    const char *const *argv, const char *kind, json_t **ret_root, json_t **ret_rows, Error **err)
{
	g_autofree char *output = NULL;
	if (run(argv, &output, err) < 0)
		return -1;
	json_t *root = json_loads(output, 0, NULL);
	json_t *rows = json_object_get(json_array_get(json_object_get(root, "report"), 0), kind);
	if (!json_is_array(rows)) {
		json_decref(root);
		return error_set(
		    err, ERROR_INTERNAL, "\"%s\" does not report what it should", argv[0]);
	}
	*ret_root = root;
	*ret_rows = rows;
	return 0;
}

static const char *text(const json_t *row, const char *key)
{
	const char *value = json_string_value(json_object_get(row, key));
	return value ? value : "";
}

static int64_t number(const json_t *row, const char *key)
{
	return g_ascii_strtoll(text(row, key), NULL, 10);
}

/* The value of a "Name:   value" line (g_free). */
static char *line_value(const char *output, const char *name)
{
	const char *at = strstr(output, name);
	return at ? g_strstrip(g_strndup(at + strlen(name), strcspn(at + strlen(name), "\n"))) :
		    NULL;
}

int lvm_version(char **ret_version, Error **err)
{
	const char *const argv[] = { "lvm", "version", NULL };
	g_autofree char *output = NULL;
	if (run(argv, &output, NULL) < 0)
		return error_set(err, ERROR_UNSUPPORTED, "Required tool \"lvm\" is missing");
	g_autofree char *tools = line_value(output, "LVM version:"),
			*library = line_value(output, "Library version:");
	g_autofree char *driver = line_value(output, "Driver version:");
	if (!tools || !library || !driver)
		return error_set(err, ERROR_UNSUPPORTED, "The kernel has no device-mapper");
	*ret_version = g_strdup_printf("%s / %s / %s", tools, library, driver);
	return 0;
}

/* ---- groups ---- */

/* lvm(8): letters, digits and +_.- ; no leading hyphen. It goes into selections and paths. */
static int check_name(const char *name, Error **err)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-";
	if (*name && *name != '-' && strlen(name) < 128 && !name[strspn(name, allowed)] &&
	    strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return 0;
	return error_set(err, ERROR_INVALID, "Invalid LVM name \"%s\"", name);
}

void lvm_group_clear(LvmGroup *group)
{
	g_clear_pointer(&group->tags, g_free);
}

int lvm_group_find(const char *name, LvmGroup *ret_group, Error **err)
{
	json_t *root, *rows;
	if (check_name(name, err) < 0)
		return -1;
	g_autofree char *select = g_strdup_printf("vg_name=\"%s\"", name);
	const char *const argv[] = { "vgs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "vg_size,vg_free,vg_extent_size,lv_count,vg_tags", "-S", select, NULL };
	if (report(argv, "vg", &root, &rows, err) < 0)
		return -1;
	json_t *row = json_array_get(rows, 0);
	if (row)
		*ret_group = (LvmGroup){ .bytes = number(row, "vg_size"),
			.free = number(row, "vg_free"),
			.extent = number(row, "vg_extent_size"),
			.volumes = (int)number(row, "lv_count"),
			.tags = g_strdup(text(row, "vg_tags")) };
	json_decref(root);
	return row ? 0 :
		     error_set(err, ERROR_NOT_FOUND, "Volume group \"%s\" does not exist", name);
}

int lvm_group_devices(const char *name, GPtrArray **ret_devices, Error **err)
{
	json_t *root, *rows, *row;
	size_t i;
	if (check_name(name, err) < 0)
		return -1;
	g_autofree char *select = g_strdup_printf("vg_name=\"%s\"", name);
	const char *const argv[] = { "pvs", "--reportformat", "json", "-o", "pv_name", "-S", select,
		NULL };
	if (report(argv, "pv", &root, &rows, err) < 0)
		return -1;
	*ret_devices = g_ptr_array_new_with_free_func(g_free);
	json_array_foreach(rows, i, row)
		g_ptr_array_add(*ret_devices, g_strdup(text(row, "pv_name")));
	json_decref(root);
	return 0;
}

/* ---- volumes ---- */

void lvm_volume_free(LvmVolume *volume)
{
	if (!volume)
		return;
	g_free(volume->name);
	g_free(volume->tags);
	g_free(volume);
}

static LvmVolume *volume_new_from(const json_t *row)
{
	LvmVolume *volume = g_new0(LvmVolume, 1);
	const char *used = text(row, "data_percent");
	volume->name = g_strdup(text(row, "lv_name"));
	volume->tags = g_strdup(text(row, "lv_tags"));
	volume->bytes = number(row, "lv_size");
	volume->used = *used ? g_ascii_strtod(used, NULL) : -1;
	return volume;
}

static void seen_set(const char *group, const GPtrArray *volumes)
{
	g_mutex_lock(&seen.lock);
	g_free(seen.group);
	g_clear_pointer(&seen.names, g_hash_table_unref);
	seen.group = g_strdup(group);
	seen.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	for (guint i = 0; i < volumes->len; i++)
		g_hash_table_add(
		    seen.names, g_strdup(((const LvmVolume *)volumes->pdata[i])->name));
	seen.until = g_get_monotonic_time() + FRESH_US;
	g_mutex_unlock(&seen.lock);
}

int lvm_volume_list(const char *group, GPtrArray **ret_volumes, Error **err)
{
	json_t *root, *rows, *row;
	size_t i;
	if (check_name(group, err) < 0)
		return -1;
	g_autofree char *select = g_strdup_printf("vg_name=\"%s\"", group);
	const char *const argv[] = { "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_name,lv_size,data_percent,lv_tags", "-O", "lv_time", "-S", select, NULL };
	if (report(argv, "lv", &root, &rows, err) < 0)
		return -1;
	*ret_volumes = g_ptr_array_new_with_free_func((GDestroyNotify)lvm_volume_free);
	json_array_foreach(rows, i, row)
		g_ptr_array_add(*ret_volumes, volume_new_from(row));
	json_decref(root);
	seen_set(group, *ret_volumes);
	return 0;
}

int lvm_volume_find(const char *group, const char *name, LvmVolume **ret_volume, Error **err)
{
	g_autoptr(GPtrArray) volumes = NULL;
	if (lvm_volume_list(group, &volumes, err) < 0)
		return -1;
	for (guint i = 0; i < volumes->len; i++) {
		LvmVolume *volume = volumes->pdata[i];
		if (strcmp(volume->name, name) != 0)
			continue;
		*ret_volume = g_ptr_array_steal_index_fast(volumes, i);
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND,
	    "Logical volume \"%s\" does not exist in volume group \"%s\"", name, group);
}

gboolean lvm_volume_exists(const char *group, const char *name)
{
	g_mutex_lock(&seen.lock);
	gboolean fresh = g_get_monotonic_time() < seen.until && strcmp(seen.group, group) == 0;
	gboolean there = fresh && g_hash_table_contains(seen.names, name);
	g_mutex_unlock(&seen.lock);
	g_autoptr(LvmVolume) volume = NULL;
	return fresh ? there : lvm_volume_find(group, name, &volume, NULL) == 0;
}

char *lvm_volume_device(const char *group, const char *name)
{
	return g_strdup_printf("/dev/%s/%s", group, name);
}
