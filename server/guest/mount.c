#include "server/guest/mount.h"

/* A slow guest sees what was plugged in after some seconds. */
enum { PLUG_MS = 20000 };

GuestMount *guest_mount_new(const char *tag, const char *path, gboolean readonly)
{
	GuestMount *mount = g_new0(GuestMount, 1);
	*mount = (GuestMount){ g_strdup(tag), g_strdup(path), readonly };
	return mount;
}

void guest_mount_free(GuestMount *mount)
{
	g_free(mount->tag);
	g_free(mount->path);
	g_free(mount);
}

static int call(GuestLink *link, int method, const GuestMount *mount, int patience_ms, Error **err)
{
	Pb__AgentMount in = PB__AGENT_MOUNT__INIT;
	in.tag = mount->tag;
	in.path = mount->path;
	in.readonly = mount->readonly;
	in.patience_ms = (uint32_t)patience_ms;
	return guest_call(link, method, &in, GUEST_CALL_MS + patience_ms, NULL, err);
}

int guest_mount_on(GuestLink *link, const GuestMount *mount, int patience_ms, Error **err)
{
	return call(link, AGENT_MOUNT, mount, patience_ms, err) < 0 ?
	    error_prefix(err, "The guest does not mount \"%s\"", mount->path) :
	    0;
}

int guest_mount(Guest *guest, const GuestMount *mount, Error **err)
{
	g_autoptr(GuestLink) link = NULL;
	return guest_link(guest, &link, err) < 0 ? -1 : guest_mount_on(link, mount, PLUG_MS, err);
}

int guest_unmount(Guest *guest, const GuestMount *mount, Error **err)
{
	g_autoptr(GuestLink) link = NULL;
	if (guest_link(guest, &link, err) < 0)
		return -1;
	return call(link, AGENT_UNMOUNT, mount, 0, err) < 0 ?
	    error_prefix(err, "The guest does not let go of \"%s\"", mount->path) :
	    0;
}
