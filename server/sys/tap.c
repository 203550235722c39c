#include "server/sys/tap.h"
#include "sdk/base/own.h"
#include "server/sys/netlink.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

int tap_create(const char *name, Error **err)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	if (netlink_exists(name)) /* a tap would be opened, not refused */
		return error_set(err, ERROR_EXISTS, "Network interface \"%s\" exists", name);
	autofd int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	g_strlcpy(request.ifr_name, name, sizeof(request.ifr_name));
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return error_errno(
		    err, ERROR_INTERNAL, errno, "Cannot make the network interface \"%s\"", name);
	return 0;
}
