#pragma once
/*
 * Devices of instances: one table row per type, with validation, cold start, hot plug and live
 * change. A device sees its instance through DeviceHost, which the instance layer fills; it never
 * includes server/instance. Not for the machines' hardware lists (server/sys).
 *
 * Life of a device: validate (at every change of configuration) -> start (before the container) ->
 * stop (after it ended); or attach/detach while it runs. start and attach undo what they did when
 * they fail; stop must succeed on half-started devices and after a crash of the daemon.
 */
#include "sdk/base/error.h"
#include "sdk/base/map.h"
#include "server/daemon.h"
#include "server/sys/id_map.h"
#include <sys/types.h>

/* What a device may know and do of its instance. Borrowed for the length of the call; the
 * instance's lock is held by the caller. */
typedef struct DeviceHost DeviceHost;
struct DeviceMount;
struct DevicePart;
struct Packet;
struct DeviceHost {
	Daemon *daemon; /* NULL: none runs, what only a server knows is not asked (lxd-to-incus) */
	const char *project, *instance; /* names */
	const char *type;               /* "container" or "virtual-machine" */
	const Config *config;           /* expanded configuration */
	const Devices *devices;         /* expanded devices */
	const Devices *before; /* in a validation: those that it had so far; NULL: it is new */
	gboolean running;
	pid_t init_pid;                 /* 0 when not running */
	const GArray *idmap;            /* of IdRange; empty when privileged */
	void *instance_private;
	/* Value of "volatile.KEY", NULL when unset; valid until the next set. `key` is without
	 * prefix: "eth0.hwaddr". */
	const char *(*volatile_get)(const DeviceHost *host, const char *key);
	/* Stores "volatile.KEY" in memory and database; an empty or NULL value removes it. */
	int (*volatile_set)(
	    const DeviceHost *host, const char *key, const char *value, Error **err);
	/* While an instance starts its keys stay in memory; this stores them now. For what must be
	 * known after a crash, before it is made on the host. */
	int (*volatile_sync)(const DeviceHost *host, Error **err);
	/* The id map that an unprivileged container has, of IdRange. */
	int (*unprivileged_map)(const DeviceHost *host, GArray **ret_map, Error **err);
	/* Bind-mounts into the running container (see DeviceMount) or takes a mount away again. */
	int (*mount_add)(const DeviceHost *host, const struct DeviceMount *mount, Error **err);
	int (*mount_remove)(const DeviceHost *host, const char *target, Error **err);
	/* Lets the running container use a device ("c 10:200 rwm"), or not any more. Unprivileged ones
	 * are not restricted so: nothing to do. */
	int (*device_rule)(const DeviceHost *host, const char *rule, gboolean allow, Error **err);
	/* Plugs a part into the running virtual machine, or takes the device's part out and waits
	 * until the guest lets go of it. */
	int (*part_add)(const DeviceHost *host, const struct DevicePart *part, Error **err);
	int (*part_remove)(const DeviceHost *host, const struct DevicePart *part, Error **err);
	/* The running virtual machine's root disk has that many bytes now: tells the guest. */
	int (*root_grown)(const DeviceHost *host, int64_t bytes, Error **err);
};

/* A mount that the container gets before its init runs. */
typedef struct DeviceMount {
	char *source;        /* absolute host path; opened without following magic links */
	char *beneath; /* folder of the host that no link may lead the source out of; NULL: none */
	char *target;        /* path inside the container, made when missing */
	char *propagation;   /* "private" (default, NULL), "shared", "slave", "rshared", ... */
	char *filesystem;    /* NULL: bind, or what is on a block device; else "tmpfs", ... */
	char *options;       /* "ro,nosuid,uid=1"; NULL: none */
	gboolean readonly, recursive, optional;
	gboolean shift;      /* idmap the source with the container's map */
	gboolean of_volume;  /* the source is a custom volume */
	gboolean is_file;    /* the source is not a directory */
	gboolean is_device;  /* it is a device node, which is itself what is mounted */
} DeviceMount;

void device_mount_free(DeviceMount *mount);
/* Adds its seven strings to a request to incus-spawner. */
void device_mount_pack(const DeviceMount *mount, struct Packet *request);

/* Whether it is a virtual machine, which gets parts instead of mounts and interfaces. */
gboolean device_host_is_machine(const DeviceHost *host);
/* Whether there is an instance and a server that can be asked of pools and networks. */
gboolean device_host_serves(const DeviceHost *host);

typedef enum DevicePartKind { PART_DISK, PART_CARD, PART_TPM, PART_SHARE, PART_HOST } DevicePartKind;

/* What a virtual machine gets of a device: a disk, a network card, a TPM, a folder. */
typedef struct DevicePart {
	DevicePartKind kind;
	char *device;        /* the device's name */
	int boot_order;      /* 0: not booted from */
	/* disks: a file or block device; folders: virtiofsd's socket; hardware of the host's: its
	 * unit (hardware.h), "usb 1 4" or "pci 0000:3b:00.0" */
	char *source;
	char *target; /* folders: where the guest mounts it */
	gboolean cdrom, readonly, root;
	char *cache, *bus;   /* "none", "writeback", "unsafe"; "virtio-scsi", "nvme", ...; or NULL */
	/* cards: a tap interface, or the parent of a macvtap of libvirt's own */
	char *link, *hwaddr;
	const char *direct; /* the macvtap's mode: "bridge", "passthrough"; NULL: a tap */
	unsigned mtu;
} DevicePart;

DevicePart *device_part_new(DevicePartKind kind, const char *device, const Config *config);
void device_part_free(DevicePart *part);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DevicePart, device_part_free)

/* What a device adds to the start of a container. */
typedef struct DeviceStart {
	GPtrArray *lxc_config; /* char *: key, value, key, value, ...; without line breaks */
	GPtrArray *mounts;     /* DeviceMount * */
	unsigned n_nics;       /* next N for lxc.net.N; a nic takes one and increments */
	GPtrArray *device_rules; /* char *: "c 10:200 rwm", for control groups that restrict */
	GPtrArray *parts;      /* DevicePart *, of virtual machines */
} DeviceStart;

/* Appends one liblxc setting; value is a format. */
void device_start_config(DeviceStart *start, const char *key, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

typedef struct DeviceType {
	const char *type;      /* "nic", "disk", "none" */
	/* Every key, with value checks. host NULL: a device of a profile. */
	int (*validate)(
	    const DeviceHost *host, const char *name, const Config *config, Error **err);
	/* The device enters an instance's configuration (instance may be stopped): volatile keys,
	 * static leases. May be NULL. */
	int (*add)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	/* It left the configuration or the instance is deleted; never fails. May be NULL. */
	void (*remove)(const DeviceHost *host, const char *name, const Config *config);
	int (*start)(const DeviceHost *host, const char *name, const Config *config,
	    DeviceStart *out, Error **err);
	/* After the instance started (init exists); a failure stops it again. May be NULL. */
	int (*started)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	void (*stop)(const DeviceHost *host, const char *name, const Config *config);
	/* It does not run, and did when an earlier server was killed or ended: what that left goes.
	 * May be NULL. */
	void (*left)(const DeviceHost *host, const char *name, const Config *config);
	/* The instance outlived the server: counts again what stop will give back, and starts again what
	 * did not. May be NULL. */
	void (*adopt)(const DeviceHost *host, const char *name, const Config *config);
	/* Something of the host's that it waits for (watch.h) came or went; the instance runs. May be
	 * NULL. */
	int (*changed)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	/* Hot plug into and out of a running container. NULL: needs a restart (ERROR_INVALID). */
	int (*attach)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	int (*detach)(const DeviceHost *host, const char *name, const Config *config, Error **err);
	/* True when update can carry old to new on a running instance; else detach and attach. */
	gboolean (*can_update)(
	    const char *name, const Config *old_config, const Config *new_config);
	int (*update)(const DeviceHost *host, const char *name, const Config *old_config,
	    const Config *new_config, Error **err);
} DeviceType;

extern const DeviceType device_disk, device_none, device_tpm, device_proxy,
    device_unix_char, device_unix_block, device_usb, device_gpu, device_pci;
extern const DeviceType device_nic; /* nic.c: all nictypes behind one row */
/* An instance has one name on a managed network: ERROR_INVALID for two nics there, unless VLANs tell
 * them apart or the network gives no names. */
int nic_check_dns_names(const DeviceHost *host, const Devices *devices, Error **err);

/* By config "type". Unknown: ERROR_INVALID; known to Incus but not built here: ERROR_UNSUPPORTED.
 */
int device_type_find(const Config *config, const DeviceType **ret_type, Error **err);
/* Checks the name and the configuration. host NULL: a device of a profile. */
int device_validate(const DeviceHost *host, const char *name, const Config *config, Error **err);
/* Each of them, and what they must be together. */
int device_validate_all(const DeviceHost *host, const Devices *devices, Error **err);
/* Root disk (type=disk, path=/, pool set): its name and config; ERROR_INVALID when there is none
 * ("No root device could be found") or more than one. ret_name may be NULL; results are borrowed.
 */
int device_root_disk(
    const Devices *devices, const char **ret_name, Config **ret_config, Error **err);
/* The bytes that it says; 0: nothing. */
int device_root_size(const Devices *devices, uint64_t *ret_bytes, Error **err);
/* Gives the root disk the size that it could not get while it was in use
 * (volatile.NAME.apply_quota); before its volume is mounted. */
int device_root_settle(const DeviceHost *host, Error **err);
/* Where a virtual machine's disk is seen as a folder of the host (g_free); NULL: it is no folder.
 * "opt" means "/opt", as scripts for Incus write it. */
char *device_share_path(const Config *config);
/* Among the instance's logs, what the server of that folder says (g_free). */
char *device_share_log(const char *name);
/* Names in the order devices start (disks by path depth, then the others by name); g_free. */
const char **device_sorted(const Devices *devices, guint *ret_n);
