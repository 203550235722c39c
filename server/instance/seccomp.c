/* The system call filter of a container, in liblxc's policy format. */
#include "server/instance/private.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What no container should do even where the kernel would let it: other kernels, file handles past
 * the mount tree, modules, and lazy unmounts that strand a parent's files. */
static const char default_deny[] =
	"reject_force_umount\n"
	"kexec_load errno 38\n"
	"kexec_file_load errno 38\n"
	"open_by_handle_at errno 38\n"
	"init_module errno 38\n"
	"finit_module errno 38\n"
	"delete_module errno 38\n";

static const char compat_deny[] =
	"[x86]\n"
	"reject_force_umount\n"
	"[x32]\n"
	"[x86_64]\n";

static char *policy_path(Instance *i)
{
	g_autofree char *name = instance_file_name(i);
	return g_build_filename(i->daemon->dir, "security", "seccomp", name, NULL);
}

static const char *either(const Config *c, const char *key, const char *old)
{
	const char *value = config_get(c, key);
	return value ? value : config_get(c, old);
}

static char *policy(const Config *c)
{
	const char *raw = config_get(c, "raw.seccomp");
	if (raw)
		return g_strdup(raw);
	const char *allow = either(c, "security.syscalls.allow", "security.syscalls.whitelist");
	if (allow)
		return g_strconcat("2\nallowlist\n[all]\n", allow, "\n", NULL);
	GString *text = g_string_new("2\ndenylist\n");
	gboolean any = FALSE;
	const char *deny_default = either(
	    c, "security.syscalls.deny_default", "security.syscalls.blacklist_default");
	const char *deny_compat = either(
	    c, "security.syscalls.deny_compat", "security.syscalls.blacklist_compat");
	const char *deny = either(c, "security.syscalls.deny", "security.syscalls.blacklist");
	g_string_append(text, "[all]\n");
	g_autoptr(Config) probe = config_new();
	config_set(probe, "d", deny_default);
	config_set(probe, "c", deny_compat);
	if (!config_false(probe, "d")) {
		g_string_append(text, default_deny);
		any = TRUE;
	}
	if (deny) {
		g_string_append_printf(text, "%s\n", deny);
		any = TRUE;
	}
	if (config_true(probe, "c")) {
		g_string_append(text, compat_deny);
		any = TRUE;
	}
	return g_string_free(text, !any);
}

int seccomp_write(Instance *i, const Config *expanded, char **ret_path, Error **err)
{
	g_autofree char *text = policy(expanded);
	*ret_path = NULL;
	if (!text)
		return 0;
	g_autofree char *path = policy_path(i);
	g_autofree char *folder = g_path_get_dirname(path);
	if (g_mkdir_with_parents(folder, 0700) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", folder);
	/* Read once, right after; it need not survive a crash. */
	if (file_write_plain(path, text, 0600, err) < 0)
		return -1;
	*ret_path = g_steal_pointer(&path);
	return 0;
}

void seccomp_remove(Instance *i)
{
	g_autofree char *path = policy_path(i);
	unlink(path);
}
