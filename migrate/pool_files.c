#include "migrate/pool_files.h"
#include "migrate/tool.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "server/storage/loop.h"
#include "server/storage/program.h"
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));
	return text ? text : "";
}

static int note(Journal *journal, const char *action, json_t *details, Error **err)
{
	if (journal)
		return journal_note(journal, action, details, err);
	json_decref(details);
	return 0;
}

/* ---- ZFS: a pool is in use from its import to its export ---- */

static gboolean is_in(const char *device, const char *folder)
{
	char *real = realpath(device, NULL);
	gboolean in = tool_within(real ? real : device, folder);
	free(real);
	return in;
}

/* Imported pools (char *) with a device in `folder`, or (NULL) all. A line of `zpool list -v` is a
 * pool's or, after a tab, that of a device of the pool above. */
static GPtrArray *imported(const char *folder)
{
	const char *const argv[] = { "zpool", "list", "-vHP", NULL };
	GPtrArray *pools = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *output = NULL, *pool = NULL;
	if (program_output(argv, &output, NULL) < 0) /* there is no ZFS */
		return pools;
	g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
	for (size_t i = 0; lines[i]; i++) {
		g_auto(GStrv) fields = g_strsplit(lines[i], "\t", 3);
		gboolean device = g_strv_length(fields) > 1 && !*fields[0];
		if (!device) {
			g_free(pool);
			pool = g_strdup(fields[0] ? fields[0] : "");
		}
		gboolean wanted = folder ? device && is_in(fields[1], folder) : !device;
		if (wanted && *pool &&
		    !g_ptr_array_find_with_equal_func(pools, pool, g_str_equal, NULL))
			g_ptr_array_add(pools, g_strdup(pool));
	}
	return pools;
}

static gboolean is_imported(const char *pool, const char *folder)
{
	g_autoptr(GPtrArray) pools = imported(folder);
	return g_ptr_array_find_with_equal_func(pools, pool, g_str_equal, NULL);
}

static int export_pools(Journal *journal, const char *folder, Error **err)
{
	g_autoptr(GPtrArray) pools = imported(folder);
	for (guint i = 0; i < pools->len; i++) {
		const char *pool = pools->pdata[i];
		g_autoptr(Error) problem = NULL;
		json_t *details = json_pack("{s:s, s:s}", "pool", pool, "folder", folder);
		if (note(journal, "export", details, err) < 0)
			return -1;
		if (program_run(&problem, "zpool", "export", pool, NULL) < 0)
			return error_set(err, ERROR_BUSY,
			    "ZFS pool \"%s\" in \"%s\" cannot be exported: %s", pool, folder,
			    problem->message);
	}
	return 0;
}

int pool_files_import(const json_t *line, Error **err)
{
	const char *pool = text_of(line, "pool"), *folder = text_of(line, "folder");
	g_autoptr(Error) problem = NULL;
	if (is_imported(pool, folder))
		return 0;
	/* From a copy that Incus had, and that is gone now. */
	if (is_imported(pool, NULL))
		program_run(NULL, "zpool", "export", pool, NULL);
	if (program_run(&problem, "zpool", "import", "-f", "-N", "-d", folder, pool, NULL) < 0)
		log_warn(
		    "A ZFS pool is left to LXD to import", "pool", pool, "err", problem->message);
	return 0;
}

/* ---- loop devices, and LVM's volume groups on them ---- */

/* The group whose device it is (g_free); NULL: none. */
static char *group_of(const char *device)
{
	const char *const argv[] = { "pvs", "--noheadings", "-o", "vg_name", device, NULL };
	g_autofree char *output = NULL;
	if (program_output(argv, &output, NULL) < 0) /* it is no device of LVM's */
		return NULL;
	g_strstrip(output);
	return *output ? g_steal_pointer(&output) : NULL;
}

/* With a user that is left it goes only with that one: udev may be looking for a moment. */
static int wait_detached(const char *file, Error **err)
{
	enum { PATIENCE_S = 10 };
	gint64 end = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
	for (;;) {
		g_autofree char *device = NULL;
		autofd int fd = loop_find(file, &device);
		if (fd < 0)
			return 0;
		if (g_get_monotonic_time() > end)
			return error_set(err, ERROR_BUSY, "\"%s\" is mounted elsewhere", device);
		own_close_fd(&fd);
		g_usleep(20000); /* a device gives no event when it is let go */
	}
}

static int detach_file(Journal *journal, const char *file, const char *device, Error **err)
{
	g_autofree char *group = group_of(device);
	g_autoptr(Error) problem = NULL;
	if (group &&
	    note(journal, "deactivate", json_pack("{s:s, s:s}", "group", group, "file", file),
		err) < 0)
		return -1;
	if ((group && program_run(&problem, "vgchange", "-an", group, NULL) < 0) ||
	    loop_detach(file, &problem) < 0 || wait_detached(file, &problem) < 0)
		return error_set(err, ERROR_BUSY, "\"%s\" is in use: %s", file, problem->message);
	return 0;
}

static int detach_files(Journal *journal, const char *folder, Error **err)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *file = g_build_filename(folder, name, NULL), *device = NULL;
		autofd int fd = loop_find(file, &device);
		if (fd < 0)
			continue;
		own_close_fd(&fd); /* or it would be in use by ourselves */
		if (detach_file(journal, file, device, err) < 0)
			return -1;
	}
	return 0;
}

int pool_files_activate(const json_t *line, Error **err)
{
	const char *group = text_of(line, "group"), *file = text_of(line, "file");
	g_autofree char *device = NULL;
	g_autoptr(Error) problem = NULL;
	autofd int fd = loop_attach(file, LOOP_UNTIL_DETACHED, &device, &problem);
	if (fd < 0 || program_run(&problem, "vgchange", "-ay", group, NULL) < 0)
		log_warn("A volume group is left to LXD to activate", "group", group, "err",
		    problem->message);
	return 0;
}

int pool_files_release(Journal *journal, const char *directory, Error **err)
{
	g_autofree char *folder = g_build_filename(directory, "disks", NULL);
	return export_pools(journal, folder, err) < 0 ? -1 : detach_files(journal, folder, err);
}
