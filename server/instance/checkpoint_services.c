/* What systemd inside a container must do without, so that the container can be saved. */
#include "server/instance/checkpoint.h"
#include "sdk/base/file.h"
#include <fcntl.h>
#include <string.h>

/* CRIU saves no service that has a host name, users or mounts of credentials of its own; images of
 * containers turn most of these off anyway. A drop-in for all services, in the place that is
 * read last. */
static const char services[] =
    "# Written by Incus (migration.stateful): services without namespaces of their own.\n"
    "[Service]\n"
    "ProtectHostname=no\n"
    "PrivateUsers=no\n"
    "PrivateNetwork=no\n"
    "PrivateIPC=no\n"
    "PrivateTmp=no\n"
    "PrivateDevices=no\n"
    "PrivateMounts=no\n"
    "ProtectSystem=no\n"
    "ProtectHome=no\n"
    "ProtectControlGroups=no\n"
    "ProtectKernelTunables=no\n"
    "ProtectKernelModules=no\n"
    "ProtectKernelLogs=no\n"
    "ProtectClock=no\n"
    "ProtectProc=default\n"
    "ProcSubset=all\n"
    "RestrictNamespaces=no\n"
    "ReadWritePaths=\n"
    "ReadOnlyPaths=\n"
    "InaccessiblePaths=\n"
    "TemporaryFileSystem=\n"
    "BindPaths=\n"
    "BindReadOnlyPaths=\n"
    "LoadCredential=\n"
    "LoadCredentialEncrypted=\n"
    "SetCredential=\n"
    "SetCredentialEncrypted=\n";

static gboolean has_systemd(const char *volume)
{
	static const char *const places[] = { "rootfs/usr/lib/systemd/systemd",
		"rootfs/lib/systemd/systemd" };
	gboolean found = FALSE;
	autofd int folder = open(volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (guint n = 0; folder >= 0 && !found && n < G_N_ELEMENTS(places); n++) {
		autofd int fd = file_openat(folder, places[n], O_PATH, 0, FILE_LINKS_NONE);
		found = fd >= 0;
	}
	return found;
}

int checkpoint_config(Instance *i, const StartPlan *plan, GPtrArray *pairs, Error **err)
{
	if (!config_true(plan->host.config, "migration.stateful") || !has_systemd(plan->path))
		return 0;
	g_autofree char *folder = g_build_filename(i->daemon->dir, "security", NULL);
	g_autofree char *path = g_build_filename(folder, "stateful-services.conf", NULL);
	g_autofree char *there = NULL;
	if (file_mkdir_all(folder, 0700, err) < 0)
		return -1;
	if ((!g_file_get_contents(path, &there, NULL, NULL) || strcmp(there, services) != 0) &&
	    file_write_plain(path, services, 0644, err) < 0)
		return -1;
	/* systemd leaves alone what is mounted there already. */
	g_ptr_array_add(pairs, g_strdup("lxc.mount.entry"));
	g_ptr_array_add(pairs, g_strdup("tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0"));
	DeviceMount *mount = g_new0(DeviceMount, 1);
	mount->source = g_steal_pointer(&path);
	mount->target = g_strdup("/run/systemd/system/service.d/zz-incus.conf");
	mount->readonly = mount->is_file = TRUE;
	g_ptr_array_add(plan->devices.mounts, mount);
	return 0;
}
