/*
 * The AppArmor profile of a container: written to INCUS_DIR/security/apparmor/profiles and loaded
 * before the start, taken out of the kernel after the stop. A container gets a policy namespace of
 * its own below it where the kernel stacks profiles, so that what runs inside may load its own.
 */
#include "server/instance/private.h"
#include "sdk/base/file.h"
#include "sdk/base/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECURITYFS "/sys/kernel/security/apparmor"

enum { PARSER_PATIENCE = 60 * 1000 };

/* What one host can do. */
typedef enum AppArmorHost {
	APPARMOR_NONE,	   /* no AppArmor, or it is switched off for us */
	APPARMOR_CONFINED, /* this daemon runs under a profile itself: containers keep it */
	APPARMOR_PROFILES,
	APPARMOR_STACKS, /* profiles, and namespaces for them */
} AppArmorHost;

static gboolean file_says(const char *path, const char *word)
{
	g_autofree char *text = NULL;
	return g_file_get_contents(path, &text, NULL, NULL) && strcmp(g_strchomp(text), word) == 0;
}

static AppArmorHost look_at_host(void)
{
	g_autofree char *parser = g_find_program_in_path("apparmor_parser");
	const char *wanted = g_getenv("INCUS_SECURITY_APPARMOR");
	if (!file_says("/sys/module/apparmor/parameters/enabled", "Y") ||
	    access(SECURITYFS "/.remove", F_OK) < 0)
		return APPARMOR_NONE;
	if (g_strcmp0(wanted, "false") == 0) {
		log_warn("AppArmor is switched off by INCUS_SECURITY_APPARMOR: containers run "
			 "without profiles");
		return APPARMOR_NONE;
	}
	if (!parser) {
		log_warn("AppArmor needs apparmor_parser: containers run without profiles");
		return APPARMOR_NONE;
	}
	if (!file_says("/proc/self/attr/current", "unconfined"))
		return APPARMOR_CONFINED;
	return file_says(SECURITYFS "/features/domain/stack", "yes") ? APPARMOR_STACKS
								     : APPARMOR_PROFILES;
}

static AppArmorHost apparmor_host(void)
{
	static gsize once;
	static AppArmorHost host;
	if (g_once_init_enter(&once)) {
		host = look_at_host();
		g_once_init_leave(&once, 1);
	}
	return host;
}

/* Names. Project names and folders may hold what means something in a profile: such a name is told
 * apart by a hash. */

static char *plain(const char *text)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
	char *name = g_strcanon(g_strdup(text), allowed, '-');
	if (strcmp(name, text) == 0)
		return name;
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
	g_autofree char *first = name;
	return g_strdup_printf("%s-%.8s", first, sum);
}

static char *profile_name(Instance *i)
{
	g_autofree char *file = instance_file_name(i);
	g_autofree char *name = plain(file), *folder = plain(i->daemon->dir);
	return g_strdup_printf("incus-%s_<%s>", name, folder);
}

static char *namespace_name(Instance *i)
{
	char *name = profile_name(i);
	char *folder = strchr(name, '<') + 1;
	g_strdelimit(folder, "/", '-');
	if (*folder == '-')
		memmove(folder, folder + 1, strlen(folder));
	return name;
}

static char *profile_path(Instance *i)
{
	g_autofree char *file = instance_file_name(i);
	g_autofree char *name = g_strconcat("incus-", file, NULL);
	return g_build_filename(i->daemon->dir, "security", "apparmor", "profiles", name, NULL);
}

/* The text. */

enum { PRIVILEGED = 1, FLAT = 2, STACKED = 4, UNSTACKED = 8 }; /* FLAT: no nesting */

/* Rows with all their bits among the container's are its rules. The file system of a container
 * without privileges is guarded by its user namespace; paths are denied for what the kernel gives
 * to any root. What may not be mounted is denied, for apparmor_parser before 4.0 takes any rule
 * about mount propagation for leave to mount everything. */
static const struct {
	unsigned when;
	const char *rules;
} sections[] = {
    {0, "capability,\ndbus,\nfile,\nmount,\nnetwork,\npivot_root,\numount,\nunix,\n"
	"signal (receive) peer=unconfined,\nptrace (readby,tracedby) peer=unconfined,\n"},
    {0, "deny /proc/acpi/** rwklx,\ndeny /proc/kcore rwklx,\ndeny /proc/sysrq-trigger rwklx,\n"
	"deny /sys/firmware/efi/efivars/** rwklx,\ndeny /sys/kernel/debug/** wklx,\n"},
    {UNSTACKED, "deny /sys/kernel/security/** rwklx,\n"},
    {STACKED, "deny /sys/kernel/security/[^a]** rwklx,\n"},
    {PRIVILEGED | FLAT,
	"deny mount fstype=(binfmt_misc,bpf,configfs,debugfs,efivarfs,pstore,securityfs,tracefs),\n"
	"deny mount fstype=proc -> /[^p]**,\ndeny mount fstype=sysfs -> /[^s]**,\n"},
};

/* Files below `base` that a privileged container may write: all others are denied. Names end the
 * list with NULL; one with a star stands for all that begin so. AppArmor has no rule for "all but",
 * hence one for each wrong next letter. */
static void deny_others(
    GString *text, const char *base, const char *const *names, const char *prefix)
{
	g_autoptr(GString) next = g_string_new(NULL);
	size_t length = strlen(prefix);
	for (const char *const *name = names; *name; name++) {
		if (strncmp(*name, prefix, length) != 0)
			continue;
		if ((*name)[length] == '*')
			return;
		if ((*name)[length] && !strchr(next->str, (*name)[length]))
			g_string_append_c(next, (*name)[length]);
	}
	if (next->len)
		g_string_append_printf(
		    text, "deny %s/%s[^%s]*{,/**} wklx,\n", base, prefix, next->str);
	else
		g_string_append_printf(text, "deny %s/%s?*{,/**} wklx,\n", base, prefix);
	for (const char *letter = next->str; *letter; letter++) {
		g_autofree char *longer = g_strdup_printf("%s%c", prefix, *letter);
		deny_others(text, base, names, longer);
	}
}

static void deny_kernel_settings(GString *text)
{
	static const struct {
		const char *base;
		const char *names[8];
	} writable[] = {
	    {"/proc/sys", {"fs", "kernel", "net"}},
	    {"/proc/sys/fs", {"mqueue"}},
	    {"/proc/sys/kernel", {"domainname", "hostname", "msg*", "sem*", "shm*"}},
	    {"/sys", {"class", "devices", "fs"}},
	    {"/sys/class", {"net"}},
	    {"/sys/devices", {"virtual"}},
	    {"/sys/devices/virtual", {"net"}},
	    {"/sys/fs", {"cgroup"}},
	};
	for (guint n = 0; n < G_N_ELEMENTS(writable); n++)
		deny_others(text, writable[n].base, writable[n].names, "");
}

/* A line may not end the profile: what would follow is a profile of somebody else. */
static int add_raw(GString *text, const char *raw, Error **err)
{
	int depth = 0;
	for (const char *c = raw; *c; c++) {
		depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
		if (depth < 0)
			break;
	}
	if (depth != 0)
		return error_set(
		    err, ERROR_INVALID, "Invalid raw.apparmor: its braces do not match");
	g_string_append_printf(text, "# raw.apparmor\n%s\n", raw);
	return 0;
}

static char *profile_text(Instance *i, const Config *c, Error **err)
{
	g_autofree char *name = profile_name(i), *space = namespace_name(i);
	g_autoptr(GString) text = g_string_new("#include <tunables/global>\n");
	gboolean privileged = config_true(c, "security.privileged");
	gboolean stacked = apparmor_host() == APPARMOR_STACKS;
	unsigned is = (privileged ? PRIVILEGED : 0) |
		      (config_true(c, "security.nesting") ? 0 : FLAT) |
		      (stacked ? STACKED : UNSTACKED);
	g_string_append_printf(
	    text, "profile \"%s\" flags=(attach_disconnected,mediate_deleted) {\n", name);
	for (guint n = 0; n < G_N_ELEMENTS(sections); n++)
		if ((sections[n].when & is) == sections[n].when)
			g_string_append(text, sections[n].rules);
	if (privileged)
		deny_kernel_settings(text);
	g_string_append_printf(text, "signal peer=\"%s\",\nptrace peer=\"%s\",\n", name, name);
	if (stacked) {
		g_string_append_printf(text,
		    "signal peer=\"%s//&:%s:*\",\nptrace peer=\"%s//&:%s:*\",\n", name, space, name,
		    space);
		g_string_append_printf(text,
		    "change_profile -> \":%s:*\",\nchange_profile -> \":%s://*\",\n", space, space);
	}
	const char *raw = config_get(c, "raw.apparmor");
	if (raw && add_raw(text, raw, err) < 0)
		return NULL;
	g_string_append(text, "}\n");
	return g_string_free(g_steal_pointer(&text), FALSE);
}

/* The kernel's side. */

static int load(const char *path, Error **err)
{
	const char *argv[] = {
	    "apparmor_parser", "--replace", "--skip-cache", "--quiet", path, NULL};
	Spawn spawn = {.argv = argv, .timeout_ms = PARSER_PATIENCE};
	return spawn_run(&spawn, NULL, NULL, err);
}

static int write_and_load(Instance *i, const Config *c, Error **err)
{
	g_autofree char *path = profile_path(i);
	g_autofree char *text = profile_text(i, c, err);
	if (!text)
		return -1;
	/* Read once, right after; it need not survive a crash. */
	if (file_write_plain(path, text, 0600, err) < 0)
		return -1;
	if (load(path, err) < 0)
		return error_prefix(
		    err, "Cannot load the AppArmor profile of instance \"%s\"", i->name);
	return 0;
}

static char *namespace_path(Instance *i)
{
	g_autofree char *space = namespace_name(i);
	return g_build_filename(SECURITYFS "/policy/namespaces", space, NULL);
}

int apparmor_load(Instance *i, const Config *expanded, char **ret_label, Error **err)
{
	AppArmorHost host = apparmor_host();
	if (host == APPARMOR_NONE || host == APPARMOR_CONFINED) {
		*ret_label = g_strdup(host == APPARMOR_NONE ? "unconfined" : "unchanged");
		return 0;
	}
	if (write_and_load(i, expanded, err) < 0)
		return -1;
	g_autofree char *name = profile_name(i), *space = namespace_name(i),
			*path = namespace_path(i);
	if (host == APPARMOR_PROFILES) {
		*ret_label = g_steal_pointer(&name);
		return 0;
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make the AppArmor namespace \"%s\"", space);
	*ret_label = g_strdup_printf("%s//&:%s:", name, space);
	return 0;
}

int apparmor_reload(Instance *i, const Config *before, const Config *after, Error **err)
{
	static const char *const keys[] = {"raw.apparmor", "security.nesting"};
	gboolean same = TRUE;
	for (guint n = 0; n < G_N_ELEMENTS(keys); n++)
		same =
		    same && g_strcmp0(config_get(before, keys[n]), config_get(after, keys[n])) == 0;
	return same || apparmor_host() < APPARMOR_PROFILES ? 0 : write_and_load(i, after, err);
}

void apparmor_unload(Instance *i)
{
	g_autofree char *path = profile_path(i), *name = profile_name(i),
			*space = namespace_path(i);
	if (apparmor_host() < APPARMOR_PROFILES || unlink(path) < 0)
		return;
	autofd int fd = open(SECURITYFS "/.remove", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, name, strlen(name)) < 0)
		log_warn("An AppArmor profile stays loaded", "instance", i->name, "err",
		    g_strerror(errno));
	if (rmdir(space) < 0 && errno != ENOENT)
		log_warn(
		    "An AppArmor namespace stays", "instance", i->name, "err", g_strerror(errno));
}
