/* The state of virtual machines on its way to another server: what libvirt saves. */
#include "server/instance/checkpoint.h"
#include "server/instance/live_private.h"
#include "server/instance/migration_data.h"
#include "server/instance/state_pack.h"
#include "server/instance/vm_carry.h"
#include "server/instance/vm_checkpoint.h"
#include "server/device/drive.h"
#include "sdk/base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than a machine's memory: that of its devices, and what describes it. */
#define STATE_EXTRA ((uint64_t)1 << 30)

struct LiveHold {
	Instance *instance;
	Runtime *runtime;
	int fd;		     /* of the state; -1: it was carried */
	HypervisorLink link; /* that carried it */
	gboolean ended;
};

static int available(Daemon *d, char **ret_version, Error **err)
{
	const HypervisorFacts *facts = hypervisor_facts();
	if (hypervisor_check(err) < 0)
		return -1;
	*ret_version = g_strdup(facts && facts->version ? facts->version : "");
	return 0;
}

/* ---- what cannot go ---- */

static int check_disk(const char *name, const Config *device, Error **err)
{
	const char *source = config_get(device, "source");
	if (g_strcmp0(config_get(device, "path"), "/") == 0 ||
	    g_strcmp0(source, DRIVE_AGENT) == 0 || g_strcmp0(source, DRIVE_CLOUD_INIT) == 0)
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Disk \"%s\" does not move with a virtual machine that runs, only its root disk does: take it out, stop the instance, or use --stateless",
	    name);
}

static int check_device(const char *name, const Config *device, Error **err)
{
	static const char *const go[] = { "nic", "tpm", "none", NULL };
	const char *type = config_get(device, "type");
	if (g_strcmp0(type, "disk") == 0)
		return check_disk(name, device, err);
	if (type && g_strv_contains(go, type))
		return 0;
	return error_set(err, ERROR_INVALID,
	    "Device \"%s\" (%s) is the host's, and does not move with a virtual machine that runs: take it out, stop the instance, or use --stateless",
	    name, type ? type : "");
}

/* Its memory knows the machine's UUID and addresses, and libvirt holds it to them: there cannot be
 * two of one. */
static int check(Instance *i, gboolean stays, Error **err)
{
	guint n;
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree const char **names = device_sorted(devices, &n);
	if (stays)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The state of a virtual machine cannot be copied: who it is (its UUID, its MAC addresses) is in its memory, and there would be two of it. Move it, or copy it with --stateless");
	for (guint k = 0; k < n; k++)
		if (check_device(names[k], devices_get(devices, names[k]), err) < 0)
			return -1;
	return 0;
}

/* ---- at the source ---- */

static int hold(Instance *i, Runtime *r, LiveHold **ret_hold, Error **err)
{
	int fd;
	guest_pause(r->guest, TRUE);
	if (vm_hold_unnamed(i, &fd, err) < 0) {
		guest_pause(r->guest, FALSE);
		return -1;
	}
	*ret_hold = g_new0(LiveHold, 1);
	**ret_hold = (LiveHold){ .instance = instance_ref(i), .runtime = runtime_ref(r), .fd = fd };
	return 0;
}

static int size(LiveHold *held, uint64_t *ret_bytes, Error **err)
{
	struct stat st;
	*ret_bytes = fstat(held->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

static int carry(
    Instance *i, Runtime *r, MigrationPeer *peer, Operation *op, LiveHold **ret_hold, Error **err)
{
	HypervisorLink link;
	if (vm_carry_out(i, peer, op, &link, err) < 0)
		return -1;
	guest_pause(r->guest, TRUE);
	*ret_hold = g_new0(LiveHold, 1);
	**ret_hold = (LiveHold){
		.instance = instance_ref(i), .runtime = runtime_ref(r), .fd = -1, .link = link
	};
	return 0;
}

static int write_state(int fd, void *data, Error **err)
{
	const LiveHold *held = data;
	return state_copy(held->fd, fd, err);
}

static int send_state(LiveHold *held, MigrationPeer *peer, Operation *op, Error **err)
{
	return migration_data_send(peer, write_state, held, op, "memory", err);
}

static int end(LiveHold *held, Error **err)
{
	if (held->fd >= 0 && vm_name_state(held->instance, err) < 0)
		return -1;
	held->ended = TRUE;
	return 0;
}

static int release(LiveHold *held, Error **err)
{
	int result = 0;
	if (held->fd >= 0)
		result = held->ended ? vm_end(held->instance, held->runtime, err) :
				       vm_release(held->instance, err);
	else if (!held->ended)
		result = vm_carry_settle(held->instance, FALSE, err);
	/* Else it stands until its target tells. */
	gboolean stands = held->fd < 0 && vm_carried(held->instance);
	g_atomic_int_set(&held->runtime->frozen, stands);
	guest_pause(held->runtime->guest, stands);
	own_close_fd(&held->fd);
	hypervisor_disconnect(&held->link);
	runtime_unref(held->runtime);
	instance_unref(held->instance);
	g_free(held);
	return result;
}

/* ---- at the target ---- */

typedef struct Taken {
	MigrationPeer *peer;
	Operation *op;
	int fd;
	uint64_t bytes;
} Taken;

static int read_state(int fd, void *data, Error **err)
{
	const Taken *taken = data;
	return state_copy(fd, taken->fd, err);
}

static int fill(int fd, void *data, Error **err)
{
	Taken *taken = data;
	gboolean refused;
	taken->fd = fd;
	if (migration_data_receive(taken->peer, read_state, taken, taken->op, "memory",
		taken->bytes, &refused, err) < 0)
		return -1;
	return refused ?
	    error_set(err, ERROR_UNSUPPORTED, "The other server cannot send the state") :
	    0;
}

static int check_size(Instance *i, uint64_t bytes, Error **err)
{
	g_auto(VmSize) size = { 0 };
	g_autoptr(Config) config = instance_expanded_config(i);
	if (vm_size(config, &size, err) < 0)
		return -1;
	return bytes && bytes <= (uint64_t)size.memory + STATE_EXTRA ?
	    0 :
	    error_set(err, ERROR_INVALID,
		"The other server's state is not of a machine with this memory");
}

static int receive(Instance *i, uint64_t bytes, MigrationPeer *peer, Operation *op, Error **err)
{
	Taken taken = { .peer = peer, .op = op, .bytes = bytes };
	return check_size(i, bytes, err) < 0 ? -1 : vm_receive_state(i, fill, &taken, err);
}

const LiveDriver live_driver_vm = {
	.name = "libvirt",
	.available = available,
	.check = check,
	.fits = vm_direct_check,
	.hold = hold,
	.size = size,
	.send = send_state,
	.carries = vm_carries,
	.carry = carry,
	.carried = vm_carried,
	.settle = vm_carry_settle,
	.end = end,
	.release = release,
	.receive = receive,
};
