#pragma once
/*
 * Virtual machines: the other driver of instances (driver.h), on libvirt. vm.c starts, stops and
 * finds them again; vm_domain.c is what libvirt is told; vm_live.c changes one that runs. For the
 * files of this folder only.
 */
#include "server/helper/hypervisor.h"
#include "server/instance/driver.h"
#include "server/key/raw_qemu.h"
#include "server/sys/xml_write.h"

/* In the instance's run directory: the host's end of the agent's channel. */
#define VM_AGENT_SOCKET "agent.sock"

/* Beside it: SPICE, where its screen is seen. */
#define VM_SCREEN_SOCKET "screen.sock"

/* There while its memory is written or read (vm_checkpoint.h), and what it is read from. */
#define VM_STATE_NOTE "vm.state"
#define VM_STATE_PIPE "vm.state.pipe"

/* There while it moves as it runs (vm_carry.h), and the sockets that it does so by. */
#define VM_CARRY_NOTE "vm.carry"
#define VM_CARRY_DISK "move.disk"
#define VM_CARRY_MEMORY "move.memory"

/* What a virtual machine's configuration comes to. */
typedef struct VmSize {
	int64_t memory; /* bytes */
	guint cpus, cpus_max;
	GArray *pins; /* unsigned: a host's CPU for each; NULL: anywhere */
} VmSize;
int vm_size(const Config *config, VmSize *ret_size, Error **err);
void vm_size_clear(VmSize *size);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmSize, vm_size_clear)

/* A kernel of the host's (raw.qemu) is booted by BIOS, which is quicker and wants no variables,
 * unless security.csm=false asks for UEFI. */
typedef enum VmFirmware { VM_BIOS, VM_UEFI, VM_UEFI_SECURE } VmFirmware;
VmFirmware vm_firmware(const Config *config);

/* One domain as libvirt is to start it. Borrowed. */
typedef struct VmDomain {
	Instance *instance;
	const char *uri; /* core.libvirt_uri */
	const char *uuid;
	const Config *config;
	const GPtrArray *parts;	  /* DevicePart * */
	const char *code, *nvram; /* firmware; NULL with VM_BIOS */
	const RawQemu *direct;	  /* its files as libvirtd sees them */
	const char *console_log;
	const char *tpm_socket; /* NULL: none */
	const struct VmLayout *layout; /* that its memory relies on; NULL: it has none */
	const char *agent_socket;
	const char *screen_socket; /* NULL: no screen */
} VmDomain;
int vm_domain_xml(const VmDomain *domain, char **ret_xml, Error **err);
/* `target`: "sdb", of disks. */
int vm_part_xml(Daemon *d, const char *uri, const DevicePart *part, const char *target,
    char **ret_xml, Error **err);
/* "incus_root": what a guest finds the disk or folder by (g_free). */
char *vm_disk_serial(const char *device);

/* core.libvirt_uri (g_free). */
char *vm_uri(Daemon *d);
/* The running domain; ERROR_UNAVAILABLE when libvirt does not know it. */
typedef struct VmHandle {
	HypervisorLink link;
	virDomainPtr domain;
} VmHandle;
int vm_open(Instance *i, VmHandle *ret_handle, Error **err);
void vm_close(VmHandle *handle);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmHandle, vm_close)

/* QEMU's process, published or not; NULL: there is none. */
Runtime *vm_find_process(Instance *i);

/* vm_direct.c */
/* Whether the machine boots a kernel of the host's. */
gboolean vm_is_direct(const Config *config);
/* That kernel, if any, by paths that libvirtd sees. ERROR_NOT_FOUND, ERROR_INVALID where this host
 * does not have it. */
int vm_direct(Daemon *d, const Config *config, RawQemu *ret_direct, Error **err);
/* The same, but only whether the host has it. */
int vm_direct_check(const Config *config, Error **err);

/* vm_live.c */
int vm_update(Instance *i, const Config *before, const Config *after, Error **err);
int vm_part_add(Instance *i, const DevicePart *part, Error **err);
int vm_part_remove(Instance *i, const DevicePart *part, Error **err);
/* The name ("sda") of the device's disk in libvirt's description of the machine. */
gboolean vm_disk_target(const char *xml, const char *device, char ret_target[4]);
/* The root disk's file has grown. */
int vm_root_grown(Instance *i, int64_t bytes, Error **err);

/* vm_state.c */
void vm_state(Instance *i, Runtime *r, const void *inside, Arena *arena, Pb__InstanceState *out);

/* vm_screen.c */
int vm_screen_open(Instance *i, int *ret_fd, Error **err);
int vm_screen_shot(Instance *i, int *ret_fd, uint64_t *ret_size, Error **err);

/* vm_console.c */
int vm_console_open(Instance *i, Console *ret_console, Error **err);
int vm_console_log(Instance *i, gboolean clear, int *ret_fd, uint64_t *ret_size, Error **err);
/* A guest may write there for ever: keeps the end of it. */
void vm_logs_trim(Instance *i);
