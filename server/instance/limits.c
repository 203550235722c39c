/* limits.*: as settings for the start, and as live writes to the running container's cgroups. */
#include "server/instance/cgroup.h"
#include "server/instance/private.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One cgroup file and the value a configuration gives it. */
typedef struct Setting {
	const char *controller;
	const char *v1, *v2;      /* file names; NULL: nothing to set there */
	char *value_v1, *value_v2; /* value; NULL: what the kernel starts with (none_v1, none_v2) */
	const char *none_v1, *none_v2;
} Setting;

enum { SETTINGS = 16 };

typedef struct Settings {
	Setting item[SETTINGS];
	guint n;
} Settings;

static void settings_clear(Settings *s)
{
	for (guint n = 0; n < s->n; n++) {
		g_free(s->item[n].value_v1);
		g_free(s->item[n].value_v2);
	}
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Settings, settings_clear)

static Setting *put(Settings *s, const char *controller, const char *v1, const char *none_v1,
    const char *v2, const char *none_v2)
{
	Setting *item = &s->item[s->n++];
	*item = (Setting){
		.controller = controller, .v1 = v1, .none_v1 = none_v1, .v2 = v2, .none_v2 = none_v2
	};
	return item;
}

static char *number(int64_t value)
{
	return g_strdup_printf("%" G_GINT64_FORMAT, value);
}

/* Live changes go through this order: without the swap limit first, the memory limit could not
 * rise. */
static int settings_memory(Settings *s, const Config *c, Error **err)
{
	const char *limit = config_get(c, "limits.memory");
	gboolean soft = g_strcmp0(config_get(c, "limits.memory.enforce"), "soft") == 0;
	int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), bytes = 0;
	if (limit && units_parse_bytes_or_percent(limit, total, &bytes, err) < 0)
		return error_prefix(err, "Invalid limits.memory");
	put(s, "memory", "memory.memsw.limit_in_bytes", "-1", NULL, NULL);
	Setting *hard = put(s, "memory", "memory.limit_in_bytes", "-1", "memory.max", "max");
	Setting *weak = put(s, "memory", "memory.soft_limit_in_bytes", "-1", "memory.high", "max");
	Setting *swap = put(s, "memory", NULL, NULL, "memory.swap.max", "max");
	if (limit) {
		Setting *to = soft ? weak : hard;
		to->value_v1 = number(bytes);
		to->value_v2 = number(bytes);
	}
	const char *swapping = config_get(c, "limits.memory.swap");
	if (swapping && config_false(c, "limits.memory.swap")) {
		swap->value_v2 = g_strdup("0");
		Setting *never = put(s, "memory", "memory.swappiness", "60", NULL, NULL);
		never->value_v1 = g_strdup("0");
		if (limit && !soft)
			put(s, "memory", "memory.memsw.limit_in_bytes", "-1", NULL, NULL)
			    ->value_v1 = number(bytes);
	} else {
		put(s, "memory", "memory.swappiness", "60", NULL, NULL);
	}
	return 0;
}

/* "50%" is a share when CPUs are scarce, "25ms/100ms" a hard quota. */
static int settings_cpu(Settings *s, const Config *c, Error **err)
{
	const char *allowance = config_get(c, "limits.cpu.allowance");
	const char *priority = config_get(c, "limits.cpu.priority");
	int percent = 100;
	unsigned quota = 0, period = 0;
	if (allowance && g_str_has_suffix(allowance, "%")) {
		if (units_parse_percent(allowance, 100000, &percent, err) < 0)
			return error_prefix(err, "Invalid limits.cpu.allowance");
	} else if (allowance &&
	    (sscanf(allowance, "%ums/%ums", &quota, &period) != 2 || !period || !quota)) {
		return error_set(
		    err, ERROR_INVALID, "Invalid limits.cpu.allowance: \"%s\"", allowance);
	}
	Setting *share = put(s, "cpu", "cpu.shares", "1024", "cpu.weight", "100");
	Setting *cycle = put(s, "cpu", "cpu.cfs_period_us", "100000", NULL, NULL);
	Setting *hard = put(s, "cpu", "cpu.cfs_quota_us", "-1", "cpu.max", "max");
	int64_t below = priority ? 10 - g_ascii_strtoll(priority, NULL, 10) : 0;
	if (percent != 100 || below > 0) {
		share->value_v1 = number(MAX(2, 1024 * (int64_t)percent / 100 - below));
		share->value_v2 = number(CLAMP(percent - below, 1, 10000));
	}
	if (quota) {
		cycle->value_v1 = number((int64_t)period * 1000);
		hard->value_v1 = number((int64_t)quota * 1000);
		hard->value_v2 = g_strdup_printf("%u %u", quota * 1000, period * 1000);
	}
	return 0;
}

static int settings_for(const Config *c, Settings *s, Error **err)
{
	if (settings_memory(s, c, err) < 0 || settings_cpu(s, c, err) < 0)
		return -1;
	Setting *pids = put(s, "pids", "pids.max", "max", "pids.max", "max");
	pids->value_v1 = g_strdup(config_get(c, "limits.processes"));
	pids->value_v2 = g_strdup(pids->value_v1);
	Setting *io = put(s, "blkio", "blkio.bfq.weight", "100", NULL, NULL);
	const char *disk = config_get(c, "limits.disk.priority");
	if (disk)
		io->value_v1 = number(MAX(10, g_ascii_strtoll(disk, NULL, 10) * 100));
	return 0;
}

static const char *current(const Setting *item, const char **ret_file, const char **ret_none)
{
	gboolean v2 = cgroup_version(item->controller) == CGROUP_V2;
	*ret_file = v2 ? item->v2 : item->v1;
	*ret_none = v2 ? item->none_v2 : item->none_v1;
	return v2 ? item->value_v2 : item->value_v1;
}

/* A CPU set as limits.cpu gives it: *ret_count > 0 for a number, else *ret_set. */
static int cpu_limit(const char *text, unsigned *ret_count, GArray **ret_set, Error **err)
{
	*ret_count = 0;
	*ret_set = NULL;
	if (!text)
		return 0;
	int64_t count;
	if (units_parse_int(text, 1, 4096, &count, NULL) == 0) {
		*ret_count = (unsigned)count;
		return 0;
	}
	return units_parse_cpuset(text, ret_set, err) < 0 ?
	    error_prefix(err, "Invalid limits.cpu") :
	    0;
}

int limits_lxc(const Config *c, GPtrArray *pairs, Error **err)
{
	g_auto(Settings) s = { 0 };
	unsigned count;
	g_autoptr(GArray) set = NULL;
	if (settings_for(c, &s, err) < 0 ||
	    cpu_limit(config_get(c, "limits.cpu"), &count, &set, err) < 0)
		return -1;
	for (guint n = 0; n < s.n; n++) {
		const char *file, *none, *value = current(&s.item[n], &file, &none);
		CgroupVersion version = cgroup_version(s.item[n].controller);
		if (!value || !file || version == CGROUP_NONE)
			continue;
		g_ptr_array_add(pairs,
		    g_strconcat(version == CGROUP_V2 ? "lxc.cgroup2." : "lxc.cgroup.", file, NULL));
		g_ptr_array_add(pairs, g_strdup(value));
	}
	return 0;
}

int limits_apply(Instance *i, const Config *before, const Config *after, Error **err)
{
	g_auto(Settings) old = { 0 };
	g_auto(Settings) new = { 0 };
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r || !*r->cgroup)
		return 0;
	if (settings_for(before, &old, NULL) < 0 || settings_for(after, &new, err) < 0)
		return -1;
	gboolean memory = FALSE;
	static const char *const keys[] = { "limits.memory", "limits.memory.enforce",
		"limits.memory.swap" };
	for (guint n = 0; n < G_N_ELEMENTS(keys); n++)
		memory |= g_strcmp0(config_get(before, keys[n]), config_get(after, keys[n])) != 0;
	for (guint n = 0; n < new.n; n++) {
		const Setting *item = &new.item[n];
		const char *file, *none, *value = current(item, &file, &none), *was = NULL;
		if (n < old.n)
			was = cgroup_version(item->controller) == CGROUP_V2 ? old.item[n].value_v2 :
									      old.item[n].value_v1;
		gboolean changed = strcmp(item->controller, "memory") == 0 ?
		    memory :
		    g_strcmp0(value, was) != 0;
		g_autofree char *path = file ? cgroup_file(item->controller, r->cgroup, file) :
					       NULL;
		if (!changed || !path || (access(path, F_OK) < 0 && !value))
			continue;
		Error *error = NULL;
		if (cgroup_write(item->controller, r->cgroup, file, value ? value : none, &error) ==
		    0)
			continue;
		if (value)
			return error_propagate(err, error);
		error_free(error); /* back to a default that this kernel does not have */
	}
	if (g_strcmp0(config_get(before, "limits.cpu"), config_get(after, "limits.cpu")) != 0)
		limits_balance(i->daemon);
	return 0;
}

/* Balancing. */

typedef struct Load {
	unsigned cpu, used;
} Load;

static int compare_load(const void *a, const void *b)
{
	const Load *x = a, *y = b;
	return x->used != y->used ? (x->used < y->used ? -1 : 1) :
				    (x->cpu < y->cpu ? -1 : x->cpu > y->cpu);
}

static int compare_cpu(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	return x < y ? -1 : x > y;
}

static void set_cpus(Instance *i, const GArray *cpus)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r || !*r->cgroup)
		return;
	g_autofree char *text = units_format_cpuset(cpus);
	g_autofree char *now = cgroup_read("cpuset", r->cgroup, "cpuset.cpus");
	Error *error = NULL;
	if (g_strcmp0(now, text) == 0 ||
	    cgroup_write("cpuset", r->cgroup, "cpuset.cpus", text, &error) == 0)
		return;
	log_warn("CPUs are not assigned", "instance", i->name, "err", error->message);
	error_free(error);
}

static void use_cpus(GArray *load, const GArray *set)
{
	for (guint n = 0; n < set->len; n++)
		for (guint k = 0; k < load->len; k++)
			if (g_array_index(load, Load, k).cpu == g_array_index(set, unsigned, n))
				g_array_index(load, Load, k).used++;
}

static GArray *least_used(GArray *load, unsigned count)
{
	GArray *set = g_array_new(FALSE, FALSE, sizeof(unsigned));
	g_array_sort(load, compare_load);
	for (guint k = 0; k < load->len && k < count; k++)
		g_array_append_val(set, g_array_index(load, Load, k).cpu);
	g_array_sort(set, compare_cpu);
	use_cpus(load, set);
	return set;
}

void limits_balance(Daemon *d)
{
	static GMutex lock;
	if (cgroup_version("cpuset") == CGROUP_NONE)
		return;
	g_mutex_lock(&lock);
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	g_autoptr(GArray) cpus = cgroup_cpus();
	g_autoptr(GArray) load = g_array_new(FALSE, TRUE, sizeof(Load));
	for (guint n = 0; n < cpus->len; n++) {
		Load one = { .cpu = g_array_index(cpus, unsigned, n) };
		g_array_append_val(load, one);
	}
	for (int pass = 0; pass < 2;
	     pass++) { /* pinned ones first, then the counted ones around them */
		for (guint n = 0; n < all->len; n++) {
			unsigned count;
			g_autoptr(GArray) set = NULL;
			g_autofree char *text = instance_expanded_get(all->pdata[n], "limits.cpu");
			if (!instance_running(all->pdata[n]) ||
			    cpu_limit(text, &count, &set, NULL) < 0)
				continue;
			if (pass == 0 && set) {
				set_cpus(all->pdata[n], set);
				use_cpus(load, set);
			} else if (pass == 1 && !set) {
				g_autoptr(GArray) chosen = count ? least_used(load, count) : NULL;
				set_cpus(all->pdata[n], chosen ? chosen : cpus);
			}
		}
	}
	g_mutex_unlock(&lock);
}
