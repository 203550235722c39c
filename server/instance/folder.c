#include "server/instance/folder.h"
#include "server/instance/flow.h"
#include "server/instance/private.h"
#include "sdk/base/file.h"

struct InstanceFolder {
	Instance *instance;
	Pool *pool;          /* mounted when not NULL */
	const char *name;    /* what it was mounted as: a rename waits for the unmount */
	char *path;
	int fd;
};

int instance_folder_open(Instance *i, InstanceFolder **ret_folder, Error **err)
{
	g_autoptr(InstanceFolder) folder = g_new0(InstanceFolder, 1);
	g_autoptr(Pool) pool = NULL;
	folder->fd = -1;
	folder->instance = instance_ref(i);
	folder->name = i->name;
	if (instance_pool(i, &pool, err) < 0 ||
	    pool_instance_mount(pool, i->project, folder->name, instance_type_name(i->type),
		&folder->path, err) < 0)
		return -1;
	folder->pool = g_steal_pointer(&pool);
	folder->fd = file_open_directory(folder->path, err);
	if (folder->fd < 0)
		return -1;
	*ret_folder = g_steal_pointer(&folder);
	return 0;
}

void instance_folder_close(InstanceFolder *folder)
{
	if (!folder)
		return;
	Instance *i = folder->instance;
	own_close_fd(&folder->fd);
	if (folder->pool)
		pool_instance_unmount(
		    folder->pool, i->project, folder->name, instance_type_name(i->type), NULL);
	pool_unref(folder->pool);
	instance_unref(i);
	g_free(folder->path);
	g_free(folder);
}

int instance_folder_fd(const InstanceFolder *folder)
{
	return folder->fd;
}

const char *instance_folder_path(const InstanceFolder *folder)
{
	return folder->path;
}
