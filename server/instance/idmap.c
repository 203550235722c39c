/* Which host ids an instance's users have: ranges of /etc/subuid and /etc/subgid. */
#include "server/instance/private.h"
#include "sdk/base/units.h"
#include "server/key/raw_idmap.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_BASE = 1000000, DEFAULT_COUNT = 1000000000, SMALLEST = 65536 };

/* The largest range of root in the file; the default when it has none at all. */
static int host_range(const char *file, uint32_t *ret_base, uint32_t *ret_count, Error **err)
{
	g_autofree char *text = NULL;
	gboolean any = FALSE;
	uint32_t base = DEFAULT_BASE, count = 0;
	if (g_file_get_contents(file, &text, NULL, NULL)) {
		g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
		for (char **line = lines; *line; line++) {
			g_auto(GStrv) field = g_strsplit(g_strstrip(*line), ":", 4);
			if (g_strv_length(field) != 3 ||
			    (strcmp(field[0], "root") != 0 && strcmp(field[0], "0") != 0))
				continue;
			any = TRUE;
			guint64 n = g_ascii_strtoull(field[2], NULL, 10),
				from = g_ascii_strtoull(field[1], NULL, 10);
			if (n > count && from > 0 && from + n <= G_MAXUINT32) {
				base = (uint32_t)from;
				count = (uint32_t)n;
			}
		}
	}
	if (!any)
		count = DEFAULT_COUNT;
	if (count < SMALLEST)
		return error_set(err, ERROR_INTERNAL, "%s gives root no range of at least %d ids",
		    file, SMALLEST);
	*ret_base = base;
	*ret_count = count;
	return 0;
}

static void add_range(
    GArray *ranges, gboolean uid, gboolean gid, uint32_t inside, uint32_t outside, uint32_t count)
{
	IdRange range = {
		.is_uid = uid, .is_gid = gid, .inside = inside, .outside = outside, .count = count
	};
	if (count)
		g_array_append_val(ranges, range);
}

/* Cuts [inside, inside+count) out of the ranges of one kind and puts `outside` there. */
static void replace_range(
    GArray *ranges, gboolean uid, uint32_t inside, uint32_t outside, uint32_t count)
{
	g_autoptr(GArray) old = g_array_copy(ranges);
	g_array_set_size(ranges, 0);
	uint64_t end = (uint64_t)inside + count;
	for (guint n = 0; n < old->len; n++) {
		IdRange r = g_array_index(old, IdRange, n);
		uint64_t r_end = (uint64_t)r.inside + r.count;
		if ((uid ? !r.is_uid : !r.is_gid) || r_end <= inside || r.inside >= end) {
			g_array_append_val(ranges, r);
			continue;
		}
		if (r.inside < inside)
			add_range(ranges, uid, !uid, r.inside, r.outside, inside - r.inside);
		if (r_end > end)
			add_range(ranges, uid, !uid, (uint32_t)end,
			    r.outside + (uint32_t)(end - r.inside), (uint32_t)(r_end - end));
	}
	add_range(ranges, uid, !uid, inside, outside, count);
}

/* A host id that two ids inside would share: the kernel refuses such maps when it is too late. */
static int check_host_ids(const GArray *ranges, Error **err)
{
	for (guint n = 0; n < ranges->len; n++) {
		const IdRange *a = &g_array_index(ranges, IdRange, n);
		for (guint m = n + 1; m < ranges->len; m++) {
			const IdRange *b = &g_array_index(ranges, IdRange, m);
			gboolean same_kind = (a->is_uid && b->is_uid) || (a->is_gid && b->is_gid);
			if (same_kind && a->outside < (uint64_t)b->outside + b->count &&
			    b->outside < (uint64_t)a->outside + a->count)
				return error_set(err, ERROR_INVALID,
				    "raw.idmap maps host id %u twice", MAX(a->outside, b->outside));
		}
	}
	return 0;
}

static int apply_raw(GArray *ranges, const char *raw, Error **err)
{
	g_autoptr(GArray) lines = NULL;
	if (raw_idmap_parse(raw, &lines, err) < 0)
		return -1;
	for (guint n = 0; n < lines->len; n++) {
		const RawIdmapLine *line = &g_array_index(lines, RawIdmapLine, n);
		if (line->uid)
			replace_range(ranges, TRUE, line->inside, line->host, line->count);
		if (line->gid)
			replace_range(ranges, FALSE, line->inside, line->host, line->count);
	}
	return 0;
}

typedef struct HostRange {
	uint32_t from, count;
} HostRange;

/* The part of a host range that the instance has to itself; `range` stays whole when it shares. */
static int own_range(const Config *expanded, const char *base, HostRange *range, Error **err)
{
	int64_t count = SMALLEST, from;
	const char *size = config_get(expanded, "security.idmap.size");
	if (size && units_parse_int(size, 1, G_MAXUINT32, &count, err) < 0)
		return error_prefix(err, "Invalid value for config option \"security.idmap.size\"");
	if (count > range->count)
		return error_set(
		    err, ERROR_INVALID, "Not enough uid/gid available for the container");
	if (!base)
		return 0;
	if (units_parse_int(base, 0, G_MAXUINT32, &from, err) < 0)
		return error_prefix(err, "Invalid base of the instance's id map");
	/* Outside are the host's own users, and those of other instances' managers. */
	if (from < range->from || from + count > (int64_t)range->from + range->count)
		return error_set(err, ERROR_INVALID,
		    "The id map from %" G_GINT64_FORMAT " on (%" G_GINT64_FORMAT
		    " ids) leaves the range %u to %u that the host gives",
		    from, count, range->from, range->from + range->count - 1);
	*range = (HostRange){ (uint32_t)from, (uint32_t)count };
	return 0;
}

/* "0" stands for: none was chosen yet. */
static const char *chosen_base(const Config *expanded)
{
	const char *base = config_get(expanded, "security.idmap.base");
	if (!base && config_true(expanded, "security.idmap.isolated"))
		base = config_get(expanded, "volatile.idmap.base");
	return base && strcmp(base, "0") != 0 ? base : NULL;
}

int idmap_for(const Config *expanded, GArray **ret_ranges, char **ret_text, Error **err)
{
	g_autoptr(GArray) ranges = g_array_new(FALSE, TRUE, sizeof(IdRange));
	if (!config_true(expanded, "security.privileged")) {
		HostRange uids, gids;
		const char *base = chosen_base(expanded);
		if (host_range("/etc/subuid", &uids.from, &uids.count, err) < 0 ||
		    host_range("/etc/subgid", &gids.from, &gids.count, err) < 0 ||
		    own_range(expanded, base, &uids, err) < 0 ||
		    own_range(expanded, base, &gids, err) < 0)
			return -1;
		add_range(ranges, TRUE, FALSE, 0, uids.from, uids.count);
		add_range(ranges, FALSE, TRUE, 0, gids.from, gids.count);
		if (apply_raw(ranges, config_get(expanded, "raw.idmap"), err) < 0 ||
		    check_host_ids(ranges, err) < 0)
			return -1;
	}
	if (ret_text)
		*ret_text = id_map_text(ranges);
	if (ret_ranges)
		*ret_ranges = g_steal_pointer(&ranges);
	return 0;
}

/* Adds what the kernel says of one kind of id. */
static int read_map(pid_t pid, gboolean users, GArray *ranges, Error **err)
{
	g_autofree char *path = g_strdup_printf(
	    "/proc/%d/%s", (int)pid, users ? "uid_map" : "gid_map");
	g_autofree char *text = NULL;
	if (!g_file_get_contents(path, &text, NULL, NULL))
		return error_set(
		    err, ERROR_INTERNAL, "Cannot read the id map of the running instance");
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		unsigned int inside, outside, count;
		if (sscanf(*line, "%u %u %u", &inside, &outside, &count) == 3)
			add_range(ranges, users, !users, inside, outside, count);
	}
	return 0;
}

int instance_idmap(Instance *i, GArray **ret_ranges, char **ret_text, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	g_autoptr(GArray) ranges = g_array_new(FALSE, TRUE, sizeof(IdRange));
	struct stat own, its;
	if (!r) {
		g_autoptr(Config) config = instance_expanded_config(i);
		return idmap_for(config, ret_ranges, ret_text, err);
	}
	g_autofree char *space = g_strdup_printf("/proc/%d/ns/user", (int)r->init);
	if (stat("/proc/self/ns/user", &own) < 0 || stat(space, &its) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot read the id map of the running instance");
	/* Privileged: it has no map of its own. */
	if (own.st_ino != its.st_ino &&
	    (read_map(r->init, TRUE, ranges, err) < 0 || read_map(r->init, FALSE, ranges, err) < 0))
		return -1;
	if (ret_text)
		*ret_text = id_map_text(ranges);
	if (ret_ranges)
		*ret_ranges = g_steal_pointer(&ranges);
	return 0;
}

/* A range that no other isolated instance has; the first one is left to the instances that share.
 */
static int64_t free_base(Instance *i, int64_t size)
{
	g_autoptr(GPtrArray) all = instance_list(i->daemon, NULL);
	uint32_t base = DEFAULT_BASE, count = DEFAULT_COUNT;
	if (host_range("/etc/subuid", &base, &count, NULL) < 0)
		return 0;
	for (int64_t from = (int64_t)base + SMALLEST; from + size <= (int64_t)base + count;
	     from += SMALLEST) {
		gboolean taken = FALSE;
		for (guint n = 0; !taken && n < all->len; n++) {
			g_autofree char *other = instance_volatile_get(all->pdata[n], "idmap.base");
			g_autofree char *length = instance_expanded_get(
			    all->pdata[n], "security.idmap.size");
			int64_t at = other ? g_ascii_strtoll(other, NULL, 10) : 0;
			int64_t span = length ? g_ascii_strtoll(length, NULL, 10) : SMALLEST;
			taken = all->pdata[n] != i && at > 0 && from < at + span &&
			    at < from + size;
		}
		if (!taken)
			return from;
	}
	return 0;
}

int idmap_choose(Instance *i, Error **err)
{
	g_autoptr(Config) expanded = instance_expanded_config(i);
	gboolean isolated = config_true(expanded, "security.idmap.isolated") &&
	    !config_true(expanded, "security.privileged");
	if (!isolated || config_get(expanded, "security.idmap.base"))
		return instance_volatile_set(i, "idmap.base",
		    isolated ? config_get(expanded, "security.idmap.base") : "0", err);
	const char *now = config_get(expanded, "volatile.idmap.base");
	if (now && strcmp(now, "0") != 0)
		return 0;
	const char *size = config_get(expanded, "security.idmap.size");
	int64_t base = free_base(i, size ? g_ascii_strtoll(size, NULL, 10) : SMALLEST);
	if (!base)
		return error_set(
		    err, ERROR_INTERNAL, "Not enough uid/gid available for the container");
	g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, base);
	return instance_volatile_set(i, "idmap.base", text, err);
}

int idmap_own(const char *directory, const GArray *ranges, Error **err)
{
	autofd int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	uid_t uid = id_map_outside(ranges, TRUE, 0);
	if (fd < 0 || fstat(fd, &st) < 0 ||
	    (st.st_uid != uid && fchownat(fd, "", uid, (gid_t)-1, AT_EMPTY_PATH) < 0) ||
	    ((st.st_mode & 07777) != 0100 && chmod(directory, 0100) < 0))
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot set the owner of \"%s\"", directory);
	return 0;
}
