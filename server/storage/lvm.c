#include "server/storage/lvm.h"
#include "server/storage/program.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FRESH_US = 1000000 };

/* What exists, as of the last report: a start asks for every volume that has a row, and for each
 * type of them in each place. */
static struct {
	GMutex lock;
	char *group;
	GPtrArray *volumes; /* LvmVolume, oldest first */
	GHashTable *by_name; /* the same */
	gint64 until, changes; /* it is counted what we change: a report may be older than that */
} seen;

static void seen_forget(void)
{
	g_mutex_lock(&seen.lock);
	seen.until = 0;
	seen.changes++;
	g_mutex_unlock(&seen.lock);
}

/* ---- running ---- */

int lvm_run_words(GPtrArray *words, Error **err)
{
	g_ptr_array_add(words, NULL);
	int result = program_run_vector((const char *const *)words->pdata, err);
	seen_forget();
	return result;
}

int lvm_run(Error **err, const char *tool, ...)
{
	va_list words;
	va_start(words, tool);
	int result = program_run_list(err, tool, words);
	va_end(words);
	seen_forget();
	return result;
}

/* The rows that a reporting tool (lvs, vgs, pvs) gives under "lv", "vg", "pv". */
static int report(
    const char *const *argv, const char *kind, json_t **ret_root, json_t **ret_rows, Error **err)
{
	g_autofree char *output = NULL;
	if (program_output(argv, &output, err) < 0)
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
	if (program_output(argv, &output, NULL) < 0)
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
		"-o", "vg_size,vg_free,lv_count,vg_tags", "-S", select, NULL };
	if (report(argv, "vg", &root, &rows, err) < 0)
		return -1;
	json_t *row = json_array_get(rows, 0);
	if (row)
		*ret_group = (LvmGroup){ .bytes = number(row, "vg_size"),
			.free = number(row, "vg_free"),
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
	volume->extent = number(row, "vg_extent_size");
	volume->used = *used ? g_ascii_strtod(used, NULL) : -1;
	volume->origin = g_ascii_tolower(*text(row, "lv_attr")) == 'o'; /* lvs(8) */
	return volume;
}

static void *volume_copy(const void *from, void *data)
{
	const LvmVolume *volume = from;
	LvmVolume *copy = g_memdup2(volume, sizeof(*volume));
	copy->name = g_strdup(volume->name);
	copy->tags = g_strdup(volume->tags);
	return copy;
}

static GPtrArray *copy_all(GPtrArray *volumes)
{
	GPtrArray *copy = g_ptr_array_copy(volumes, volume_copy, NULL);
	g_ptr_array_set_free_func(copy, (GDestroyNotify)lvm_volume_free);
	return copy;
}

/* A report that was asked for before the last change may be old already. */
static void seen_set(const char *group, GPtrArray *volumes, gint64 changes)
{
	g_mutex_lock(&seen.lock);
	if (changes == seen.changes) {
		g_free(seen.group);
		g_clear_pointer(&seen.by_name, g_hash_table_unref);
		g_clear_pointer(&seen.volumes, g_ptr_array_unref);
		seen.group = g_strdup(group);
		seen.volumes = copy_all(volumes);
		seen.by_name = g_hash_table_new(g_str_hash, g_str_equal);
		for (guint i = 0; i < seen.volumes->len; i++) {
			LvmVolume *volume = seen.volumes->pdata[i];
			g_hash_table_insert(seen.by_name, volume->name, volume);
		}
		seen.until = g_get_monotonic_time() + FRESH_US;
	}
	g_mutex_unlock(&seen.lock);
}

/* Under the lock. */
static gboolean seen_is_fresh(const char *group)
{
	return g_get_monotonic_time() < seen.until && strcmp(seen.group, group) == 0;
}

static GPtrArray *seen_list(const char *group, gint64 *ret_changes)
{
	g_mutex_lock(&seen.lock);
	GPtrArray *volumes = seen_is_fresh(group) ? copy_all(seen.volumes) : NULL;
	*ret_changes = seen.changes;
	g_mutex_unlock(&seen.lock);
	return volumes;
}

int lvm_volume_list(const char *group, GPtrArray **ret_volumes, Error **err)
{
	gint64 changes;
	if ((*ret_volumes = seen_list(group, &changes)))
		return 0;
	json_t *root, *rows, *row;
	size_t i;
	if (check_name(group, err) < 0)
		return -1;
	g_autofree char *select = g_strdup_printf("vg_name=\"%s\"", group);
	const char *const argv[] = { "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_name,lv_size,lv_attr,data_percent,lv_tags,vg_extent_size", "-O",
		"lv_time", "-S", select, NULL };
	if (report(argv, "lv", &root, &rows, err) < 0)
		return -1;
	*ret_volumes = g_ptr_array_new_with_free_func((GDestroyNotify)lvm_volume_free);
	json_array_foreach(rows, i, row)
		g_ptr_array_add(*ret_volumes, volume_new_from(row));
	json_decref(root);
	seen_set(group, *ret_volumes, changes);
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
	gboolean fresh = seen_is_fresh(group);
	gboolean there = fresh && g_hash_table_contains(seen.by_name, name);
	g_mutex_unlock(&seen.lock);
	g_autoptr(LvmVolume) volume = NULL;
	return fresh ? there : lvm_volume_find(group, name, &volume, NULL) == 0;
}

char *lvm_volume_device(const char *group, const char *name)
{
	return g_strdup_printf("/dev/%s/%s", group, name);
}
