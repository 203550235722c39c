/* An instance's configuration as liblxc settings. */
#include "server/instance/private.h"
#include "server/instance/cgroup.h"
#include "sdk/base/file.h"
#include "sdk/base/names.h"
#include "server/key/raw_lxc.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static void add(GPtrArray *pairs, const char *key, const char *value)
{
	g_ptr_array_add(pairs, g_strdup(key));
	g_ptr_array_add(pairs, g_strdup(value));
}

static void add_entry(GPtrArray *pairs, const char *source, const char *entry)
{
	struct stat st;
	if (!source || stat(source, &st) == 0)
		add(pairs, "lxc.mount.entry", entry);
}

static void add_mounts(GPtrArray *pairs, const Daemon *d, const Config *c)
{
	g_autofree char *guest_api = g_strdup_printf(
	    "%s/guestapi dev/incus none bind,create=dir 0 0", d->dir);
	if (!config_false(c, "security.guestapi"))
		add_entry(pairs, NULL, guest_api);
	add(pairs, "lxc.mount.auto",
	    config_true(c, "security.privileged") ? "proc:mixed sys:mixed" : "proc:rw sys:rw");
	add_entry(pairs, NULL, "mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0");
	add_entry(pairs, "/dev/fuse", "/dev/fuse dev/fuse none bind,create=file,optional 0 0");
	add_entry(
	    pairs, "/dev/net/tun", "/dev/net/tun dev/net/tun none bind,create=file,optional 0 0");
	add_entry(pairs, "/proc/sys/fs/binfmt_misc",
	    "/proc/sys/fs/binfmt_misc proc/sys/fs/binfmt_misc none rbind,optional 0 0");
	static const char *const host[] = { "sys/firmware/efi/efivars", "sys/fs/fuse/connections",
		"sys/fs/pstore", "sys/kernel/config", "sys/kernel/debug", "sys/kernel/security",
		"sys/kernel/tracing" };
	for (guint n = 0; n < G_N_ELEMENTS(host); n++) {
		g_autofree char *source = g_strconcat("/", host[n], NULL);
		g_autofree char *entry = g_strdup_printf(
		    "%s %s none rbind,optional 0 0", source, host[n]);
		add_entry(pairs, source, entry);
	}
	if (config_true(c, "security.nesting")) {
		/* Nested containers may mount proc and sysfs only where whole ones are in sight. */
		add_entry(pairs, NULL, "proc dev/.lxc/proc proc create=dir,optional 0 0");
		add_entry(pairs, NULL, "sys dev/.lxc/sys sysfs create=dir,optional 0 0");
	}
}

void lxc_config_device_rule(GPtrArray *pairs, const char *rule)
{
	add(pairs,
	    cgroup_version("devices") == CGROUP_V1 ? "lxc.cgroup.devices.allow" :
						     "lxc.cgroup2.devices.allow",
	    rule);
}

static void add_privileged(GPtrArray *pairs)
{
	add(pairs, "lxc.cap.drop", "sys_time sys_module sys_rawio mac_admin mac_override");
	static const char *const allowed[] = { "b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm",
		"c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm",
		"c 10:200 rwm", "c 10:229 rwm", "c 136:* rwm" };
	CgroupVersion version = cgroup_version("devices");
	const char *deny = version == CGROUP_V1 ? "lxc.cgroup.devices.deny" :
						  "lxc.cgroup2.devices.deny";
	add(pairs, deny, "a");
	for (guint n = 0; n < G_N_ELEMENTS(allowed); n++)
		lxc_config_device_rule(pairs, allowed[n]);
}

static void add_idmap(GPtrArray *pairs, const char *idmap)
{
	g_auto(GStrv) lines = g_strsplit(idmap, "\n", -1);
	for (char **line = lines; *line; line++)
		if (**line)
			add(pairs, "lxc.idmap", *line);
}

/* environment.*, linux.sysctl.*, limits.kernel.*: the rest of the key is the name. */
static int add_prefixed(GPtrArray *pairs, const Config *c, Error **err)
{
	guint n;
	g_autofree const char **keys = config_sorted_keys(c, &n);
	for (guint k = 0; k < n; k++) {
		const char *key = keys[k], *value = config_get(c, key);
		g_autofree char *name = NULL, *text = NULL;
		if (g_str_has_prefix(key, "environment.")) {
			name = g_strdup("lxc.environment");
			text = g_strdup_printf("%s=%s", key + strlen("environment."), value);
		} else if (g_str_has_prefix(key, "linux.sysctl.")) {
			name = g_strconcat("lxc.sysctl.", key + strlen("linux.sysctl."), NULL);
			text = g_strdup(value);
		} else if (g_str_has_prefix(key, "limits.kernel.")) {
			name = g_strconcat("lxc.prlimit.", key + strlen("limits.kernel."), NULL);
			text = g_strdup(value);
		} else {
			continue;
		}
		if (name_check_line(name, err) < 0 || name_check_line(text, err) < 0)
			return error_prefix(err, "Invalid value of \"%s\"", key);
		add(pairs, name, text);
	}
	return 0;
}

int lxc_config_build(Instance *i, const Config *c, const char *idmap, GPtrArray *pairs, Error **err)
{
	struct utsname host;
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *log = g_build_filename(logs, "lxc.log", NULL);
	g_autofree char *console = g_build_filename(logs, "console.log", NULL);
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *quoted = g_shell_quote(directory);
	/* Says why the container ended, and by failing keeps liblxc from restarting it without its
	 * devices. */
	g_autofree char *hook = g_strdup_printf(
	    "/bin/sh -c 'echo \"$LXC_TARGET\" >\"$0/stopped\"; exit 1' %s", quoted);
	g_autofree char *seccomp = NULL, *label = NULL;
	if (file_mkdir_all(logs, 0755, err) < 0)
		return -1;
	uname(&host);
	add(pairs, "lxc.log.file", log);
	add(pairs, "lxc.log.level", "warn");
	add(pairs, "lxc.console.buffer.size", "auto");
	add(pairs, "lxc.console.size", "auto");
	add(pairs, "lxc.console.logfile", console);
	add(pairs, "lxc.arch", host.machine);
	add(pairs, "lxc.uts.name", i->name);
	add(pairs, "lxc.tty.max", "0");
	add(pairs, "lxc.pty.max", "1024");
	add(pairs, "lxc.autodev", "1");
	add(pairs, "lxc.signal.halt", "SIGPWR");
	add(pairs, "lxc.monitor.unshare", "0");
	add(pairs, "lxc.hook.post-stop", hook);
	if (apparmor_load(i, c, &label, err) < 0)
		return -1;
	add(pairs, "lxc.apparmor.profile", label);
	add_mounts(pairs, i->daemon, c);
	if (*idmap)
		add_idmap(pairs, idmap);
	else
		add_privileged(pairs);
	if (!config_get(c, "environment.PATH"))
		add(pairs, "lxc.environment",
		    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add(pairs, "lxc.environment", "container=lxc");
	if (seccomp_write(i, c, &seccomp, err) < 0)
		return -1;
	if (seccomp) {
		add(pairs, "lxc.seccomp.profile", seccomp);
		if (config_true(c, "security.nesting"))
			add(pairs, "lxc.seccomp.allow_nesting", "1");
	}
	if (add_prefixed(pairs, c, err) < 0 || limits_lxc(c, pairs, err) < 0)
		return -1;
	return raw_lxc_parse(config_get(c, "raw.lxc"), pairs, err);
}

int lxc_config_check(Daemon *d, const Config *expanded, Error **err)
{
	const char *raw = config_get(expanded, "raw.lxc");
	g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(g_free);
	if (!raw || raw_lxc_parse(raw, pairs, err) < 0)
		return raw ? -1 : 0;
	if (!d)
		return 0;
	g_autofree char *lxcpath = instance_lxcpath(d);
	Packet *rq = packet_new(SPAWN_CHECK);
	g_autoptr(Packet) answer = NULL;
	packet_add(rq, lxcpath);
	rq->n[0] = pairs->len / 2;
	for (guint n = 0; n < pairs->len; n++)
		packet_add(rq, pairs->pdata[n]);
	SpawnerCall call = { .timeout_ms = 10000 };
	return spawner_call(d->spawner, rq, &call, &answer, err);
}
