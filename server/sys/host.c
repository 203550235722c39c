#include "server/sys/host.h"

#include "sdk/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* By number in rows; index 0 is none. */
static const char *const names[] = { "unknown", "i686", "x86_64", "armv7l", "aarch64", "ppc",
	"ppc64", "ppc64le", "s390x", "mips", "mips64", "riscv32", "riscv64", "armv6l", "armv8l",
	"loongarch64" };

int host_architecture_number(const char *name)
{
	for (size_t i = 1; name && i < G_N_ELEMENTS(names); i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	if (g_strcmp0(name, "amd64") == 0)
		return 2;
	return g_strcmp0(name, "arm64") == 0 ? 4 : 0;
}

const char *host_architecture_name(int number)
{
	return number > 0 && (size_t)number < G_N_ELEMENTS(names) ? names[number] : names[0];
}

unsigned host_cpu_count(void)
{
	return (unsigned)MAX(1, get_nprocs());
}

/* A value of os-release, quotes removed; NULL when it is not there. */
static char *os_release_value(const char *text, const char *key)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	size_t length = strlen(key);
	for (char **line = lines; *line; line++)
		if (strncmp(*line, key, length) == 0 && (*line)[length] == '=') {
			char *value = g_shell_unquote(*line + length + 1, NULL);
			return value ? value : g_strdup(*line + length + 1);
		}
	return NULL;
}

static void read_os(HostFacts *facts)
{
	g_autofree char *text = NULL;
	if (file_read(AT_FDCWD, "/etc/os-release", FILE_LINKS_NONE, 65536, &text, NULL, NULL) < 0 &&
	    file_read(AT_FDCWD, "/usr/lib/os-release", FILE_LINKS_NONE, 65536, &text, NULL, NULL) <
		0)
		text = g_strdup("");
	facts->os_name = os_release_value(text, "NAME");
	facts->os_version = os_release_value(text, "VERSION_ID");
	if (!facts->os_name)
		facts->os_name = "";
	if (!facts->os_version)
		facts->os_version = "";
}

static gboolean kernel_at_least(const char *release, int major, int minor)
{
	int a = 0, b = 0;
	sscanf(release, "%d.%d", &a, &b);
	return a > major || (a == major && b >= minor);
}

static gboolean has_seccomp_listener(void)
{
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static gboolean has_idmapped_mounts(void)
{
	return syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno != ENOSYS;
}

static const char *const *architectures(const char *machine)
{
	static const char *lists[][3] = {{"x86_64", "i686", NULL}, {"aarch64", "armv7l", NULL}};
	static const char *own[2];
	for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
		if (strcmp(lists[i][0], machine) == 0)
			return lists[i];
	own[0] = machine;
	return own;
}

static const HostFacts *read_facts(void)
{
	static struct utsname name;
	static HostFeature features[7];
	HostFacts *facts = g_new0(HostFacts, 1);
	uname(&name);
	features[0] = (HostFeature){"netnsid_getifaddrs", kernel_at_least(name.release, 4, 20)};
	features[1] = (HostFeature){"uevent_injection", kernel_at_least(name.release, 4, 18)};
	features[2] = (HostFeature){"unpriv_fscaps", kernel_at_least(name.release, 4, 14)};
	features[3] = (HostFeature){"seccomp_listener", has_seccomp_listener()};
	features[4] = (HostFeature){ "seccomp_listener_continue",
		has_seccomp_listener() && kernel_at_least(name.release, 5, 5) };
	features[5] = (HostFeature){"idmapped_mounts", has_idmapped_mounts()};
	facts->kernel = name.sysname;
	facts->kernel_version = name.release;
	facts->architecture = name.machine;
	facts->architectures = architectures(name.machine);
	facts->host_name = name.nodename;
	facts->features = features;
	read_os(facts);
	return facts;
}

const HostFacts *host_facts(void)
{
	static const HostFacts *facts;
	if (g_once_init_enter(&facts))
		g_once_init_leave(&facts, read_facts());
	return facts;
}
