#pragma once
/*
 * The way to libvirt: a private libvirtd below INCUS_DIR/libvirt, kept by incus-libvirt
 * (helper/libvirt/main.c), or another one by its URI. Nothing is started before it is needed; what
 * runs is found again after a restart. Thread-safe.
 */
#include "server/daemon.h"
#include "server/sys/libvirt.h"

typedef struct Hypervisor Hypervisor;

int hypervisor_start(Daemon *d, Error **err);
/* Virtual machines go on, and libvirtd while there are any. */
void hypervisor_stop(Daemon *d);

/* ERROR_UNSUPPORTED naming the package that is missing, when virtual machines cannot run here. */
int hypervisor_check(Error **err);
/* The same for virtual machines with a TPM. */
int hypervisor_check_tpm(Error **err);
/* "kvm" where the processor and the kernel have it, else "qemu": what libvirt calls emulation. */
const char *hypervisor_kind(void);
/* What to tell people: "7.2.22", or what is missing. Asks QEMU, so it is done once, on a thread
 * that has time; NULL until then. */
typedef struct HypervisorFacts {
	char *version, *missing; /* one of the two */
} HypervisorFacts;
void hypervisor_probe(void);
const HypervisorFacts *hypervisor_facts(void);
/* A firmware that is installed: its code, and the variables that a new machine begins with. Its
 * size is all that tells whose variables a machine has: where there are some, `bytes` long (0: none),
 * the firmware that has such ones is taken before others. */
typedef enum Firmware { FIRMWARE_PLAIN, FIRMWARE_SECURE } Firmware;
int hypervisor_firmware(Firmware which, int64_t bytes, const char **ret_code,
    const char **ret_variables, gboolean *ret_fits, Error **err);

/* A reference to the connection (connect_close). uri NULL or "": the private one, which is started
 * when it does not run. */
typedef struct HypervisorLink {
	const Libvirt *lv;
	virConnectPtr connection;
} HypervisorLink;
int hypervisor_connect(Daemon *d, const char *uri, HypervisorLink *ret_link, Error **err);
/* The same, but a connection that nobody else uses: what libvirt does for it ends with it. */
int hypervisor_connect_own(Daemon *d, const char *uri, HypervisorLink *ret_link, Error **err);
void hypervisor_disconnect(HypervisorLink *link);
/* The domain of that UUID, NULL (and success) when libvirt knows none. A connection whose other end
 * was killed is noticed only here, and made anew: this comes first on every link. */
int hypervisor_find(Daemon *d, const char *uri, HypervisorLink *link, const char *uuid,
    virDomainPtr *ret_domain, Error **err);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HypervisorLink, hypervisor_disconnect)
/* Whether QEMU on the other side has SPICE, without which machines have no screen. */
gboolean hypervisor_has_spice(const HypervisorLink *link);
/* Of virtual machines that run since before: libvirtd is to see their end. */
int hypervisor_ensure(Daemon *d, const char *uri, Error **err);
/* Whether the private libvirtd runs, or something that it left. */
gboolean hypervisor_may_run(Daemon *d);
/* What leads from the private libvirtd's mounts to a path of ours (g_free): it does not see pools.
 */
char *hypervisor_path(Daemon *d, const char *uri, const char *path);
