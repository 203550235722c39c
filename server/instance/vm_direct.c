/* A kernel of the host's that a virtual machine boots, instead of what is on its disk (raw.qemu).
 */
#include "server/instance/vm.h"
#include <errno.h>
#include <sys/stat.h>

static int check_file(const char *path, Error **err)
{
	struct stat st;
	if (!path)
		return 0;
	if (stat(path, &st) < 0)
		return error_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INVALID, errno,
		    "raw.qemu: cannot boot \"%s\" of this host", path);
	return S_ISREG(st.st_mode) ? 0 :
				     error_set(err, ERROR_INVALID,
					 "raw.qemu: cannot boot \"%s\", which is not a file", path);
}

static int parse(const Config *config, RawQemu *ret_direct, Error **err)
{
	return raw_qemu_parse(config_get(config, "raw.qemu"), ret_direct, err);
}

gboolean vm_is_direct(const Config *config)
{
	g_auto(RawQemu) direct = { 0 };
	return parse(config, &direct, NULL) == 0 && direct.kernel;
}

int vm_direct_check(const Config *config, Error **err)
{
	g_auto(RawQemu) direct = { 0 };
	return parse(config, &direct, err) < 0 || check_file(direct.kernel, err) < 0 ?
	    -1 :
	    check_file(direct.initrd, err);
}

int vm_direct(Daemon *d, const Config *config, RawQemu *ret_direct, Error **err)
{
	g_autofree char *uri = vm_uri(d);
	if (vm_direct_check(config, err) < 0 || parse(config, ret_direct, err) < 0)
		return -1;
	char **const files[] = { &ret_direct->kernel, &ret_direct->initrd };
	for (gsize n = 0; n < G_N_ELEMENTS(files); n++) {
		g_autofree char *path = *files[n];
		*files[n] = path ? hypervisor_path(d, uri, path) : NULL;
	}
	return 0;
}
