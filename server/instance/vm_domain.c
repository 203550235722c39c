/* What libvirt is told of a virtual machine. */
#include "server/instance/vm.h"
#include "server/instance/cgroup.h"
#include "server/instance/vm_layout.h"
#include "server/device/drive.h"
#include "sdk/base/units.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MEMORY_DEFAULT "1GiB"

enum { MEMORY_GRAIN = 1 << 20 };

/* ---- sizes ---- */

int vm_size(const Config *config, VmSize *ret_size, Error **err)
{
	const char *memory = config_get(config, "limits.memory"),
		   *cpu = config_get(config, "limits.cpu");
	int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), count = 1;
	*ret_size = (VmSize){ 0 };
	if (units_parse_bytes_or_percent(
		memory ? memory : MEMORY_DEFAULT, total, &ret_size->memory, err) < 0)
		return error_prefix(err, "Invalid limits.memory");
	if (ret_size->memory < MEMORY_GRAIN)
		return error_set(err, ERROR_INVALID,
		    "Virtual machines need more memory than limits.memory says");
	/* libvirt does so when it starts one, but not when one comes in. */
	ret_size->memory = (ret_size->memory + MEMORY_GRAIN - 1) / MEMORY_GRAIN * MEMORY_GRAIN;
	if (cpu && units_parse_int(cpu, 1, 4096, &count, NULL) < 0) {
		if (units_parse_cpuset(cpu, &ret_size->pins, err) < 0)
			return error_prefix(err, "Invalid limits.cpu");
		count = ret_size->pins->len;
	}
	g_autoptr(GArray) host = cgroup_cpus();
	ret_size->cpus = (guint)count;
	ret_size->cpus_max = MAX((guint)count, host->len);
	return 0;
}

void vm_size_clear(VmSize *size)
{
	g_clear_pointer(&size->pins, g_array_unref);
}

VmFirmware vm_firmware(const Config *config)
{
	if (config_true(config, "security.csm") ||
	    (vm_is_direct(config) && !config_false(config, "security.csm")))
		return VM_BIOS;
	return config_false(config, "security.secureboot") ? VM_UEFI : VM_UEFI_SECURE;
}

/* ---- parts ---- */

/* What QEMU, udev and file systems take as a name. */
char *vm_disk_serial(const char *device)
{
	enum { LONGEST = 30 };
	char *serial = g_strconcat("incus_", device, NULL);
	for (char *at = serial; *at; at++)
		if (!g_ascii_isalnum(*at) && !strchr("_.-", *at))
			*at = '-';
	if (strlen(serial) <= LONGEST)
		return serial;
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, device, -1);
	memcpy(serial + 6, sum, LONGEST - 6);
	serial[LONGEST] = 0;
	return serial;
}

static void add_disk(
    XmlWriter *x, const DevicePart *part, const char *source, const char *target, int boot)
{
	gboolean device = part->source && g_str_has_prefix(part->source, "/dev/");
	g_autofree char *serial = vm_disk_serial(part->device);
	g_autofree char *order = boot ? g_strdup_printf("%d", boot) : NULL;
	xml_open(x, "disk", "type", device ? "block" : "file", "device",
	    part->cdrom ? "cdrom" : "disk", NULL);
	/* Never guessed from the content: a guest could write a header that names files of the
	 * host. */
	xml_leaf(x, "driver", "name", "qemu", "type", "raw", "cache", part->cache, "discard",
	    part->readonly ? NULL : "unmap", NULL);
	if (source) /* not of one that is to go */
		xml_leaf(x, "source", device ? "dev" : "file", source, NULL);
	xml_leaf(x, "target", "dev", target, "bus", "scsi", NULL);
	if (part->readonly)
		xml_leaf(x, "readonly", NULL);
	if (order)
		xml_leaf(x, "boot", "order", order, NULL);
	xml_text(x, "serial", serial);
	xml_close(x);
}

/* Where it was, for a memory that knows it there. */
static void add_place(XmlWriter *x, const VmLayout *layout, const char *device)
{
	guint bus = vm_layout_bus(layout, device);
	g_autofree char *number = g_strdup_printf("%u", bus);
	if (bus)
		xml_leaf(x, "address", "type", "pci", "domain", "0", "bus", number, "slot", "0",
		    "function", "0", NULL);
}

static void add_card(XmlWriter *x, const DevicePart *part, int boot, const VmLayout *layout)
{
	g_autofree char *order = boot ? g_strdup_printf("%d", boot) : NULL;
	g_autofree char *mtu = g_strdup_printf("%u", part->mtu);
	xml_open(x, "interface", "type", part->direct ? "direct" : "ethernet", NULL);
	xml_leaf(x, "mac", "address", part->hwaddr, NULL);
	if (part->direct)
		xml_leaf(x, "source", "dev", part->link, "mode", part->direct, NULL);
	else if (part->link)
		xml_leaf(x, "target", "dev", part->link, "managed", "no", NULL);
	xml_leaf(x, "model", "type", "virtio", NULL);
	if (part->mtu && part->mtu != 1500)
		xml_leaf(x, "mtu", "size", mtu, NULL);
	if (order)
		xml_leaf(x, "boot", "order", order, NULL);
	else /* it is not there on every host, and only booting wants it */
		xml_leaf(x, "rom", "enabled", "no", NULL);
	add_place(x, layout, part->hwaddr);
	xml_close(x);
}

/* virtiofsd is there already (device/share.h). */
static void add_share(XmlWriter *x, const DevicePart *part)
{
	g_autofree char *tag = vm_disk_serial(part->device);
	xml_open(x, "filesystem", "type", "mount", NULL);
	xml_leaf(x, "driver", "type", "virtiofs", NULL);
	xml_leaf(x, "source", "socket", part->source, NULL);
	xml_leaf(x, "target", "dir", tag, NULL);
	xml_close(x);
}

/* Hardware of the host's, which libvirt takes from the host's driver and gives back. */
static void add_host_device(XmlWriter *x, const DevicePart *part)
{
	unsigned n[4];
	gboolean usb = sscanf(part->source, "usb %u %u", &n[0], &n[1]) == 2;
	if (!usb &&
	    sscanf(part->source, "pci %x:%x:%x.%x", &n[0], &n[1], &n[2], &n[3]) != 4)
		return;
	char text[4][12];
	for (int k = 0; k < (usb ? 2 : 4); k++)
		g_snprintf(text[k], sizeof(text[k]), usb ? "%u" : "0x%x", n[k]);
	xml_open(x, "hostdev", "mode", "subsystem", "type", usb ? "usb" : "pci", "managed", "yes",
	    NULL);
	xml_open(x, "source", NULL);
	if (usb)
		xml_leaf(x, "address", "bus", text[0], "device", text[1], NULL);
	else
		xml_leaf(x, "address", "domain", text[0], "bus", text[1], "slot", text[2],
		    "function", text[3], NULL);
	xml_close(x);
	xml_close(x);
}

int vm_part_xml(Daemon *d, const char *uri, const DevicePart *part, const char *target,
    char **ret_xml, Error **err)
{
	g_autoptr(XmlWriter) x = xml_new();
	if (part->kind == PART_CARD) {
		add_card(x, part, 0, NULL);
	} else if (part->kind == PART_SHARE) {
		add_share(x, part);
	} else if (part->kind == PART_HOST) {
		add_host_device(x, part);
	} else {
		g_autofree char *source = part->source ? hypervisor_path(d, uri, part->source) :
							 NULL;
		add_disk(x, part, source, target, 0);
	}
	return xml_finish(x, ret_xml, err);
}

/* What the firmware tries first has the highest boot.priority; the root disk has 1 unless it says
 * another one, and what has none is not booted from. */
static int compare_boot(const void *a, const void *b)
{
	const DevicePart *x = *(DevicePart *const *)a, *y = *(DevicePart *const *)b;
	int p = x->boot_order ? x->boot_order : x->root,
	    q = y->boot_order ? y->boot_order : y->root;
	return p != q ? (p > q ? -1 : 1) : strcmp(x->device, y->device);
}

static int boot_number(const GPtrArray *sorted, const DevicePart *part)
{
	guint at;
	if (!part->boot_order && !part->root && !part->cdrom)
		return 0;
	return g_ptr_array_find((GPtrArray *)sorted, part, &at) ? (int)at + 1 : 0;
}

static void add_parts(XmlWriter *x, const VmDomain *vm)
{
	Daemon *d = instance_daemon(vm->instance);
	g_autoptr(GPtrArray) sorted = g_ptr_array_new();
	unsigned disks = 0;
	for (guint n = 0; n < vm->parts->len; n++)
		g_ptr_array_add(sorted, vm->parts->pdata[n]);
	qsort(sorted->pdata, sorted->len, sizeof(void *), compare_boot);
	for (guint n = 0; n < vm->parts->len; n++) {
		const DevicePart *part = vm->parts->pdata[n];
		int boot = boot_number(sorted, part);
		if (part->kind == PART_CARD) {
			add_card(x, part, boot, vm->layout);
		} else if (part->kind == PART_DISK) {
			g_autofree char *source = hypervisor_path(d, vm->uri, part->source);
			char target[] = { 's', 'd', (char)('a' + disks++ % 26), 0 };
			add_disk(x, part, source, target, boot);
		} else if (part->kind == PART_SHARE) {
			add_share(x, part);
		} else if (part->kind == PART_HOST) {
			add_host_device(x, part);
		} else {
			xml_open(x, "tpm", "model", "tpm-crb", NULL);
			xml_open(x, "backend", "type", "external", NULL);
			xml_leaf(x, "source", "type", "unix", "mode", "connect", "path",
			    vm->tpm_socket, NULL);
			xml_close(x);
			xml_close(x);
		}
	}
}

/* ---- the machine ---- */

static void add_cpus(XmlWriter *x, const VmDomain *vm, const VmSize *size)
{
	guint cpus_max = vm->layout ? MAX(vm->layout->cpus_max, size->cpus) : size->cpus_max;
	g_autofree char *now = g_strdup_printf("%u", size->cpus);
	g_autofree char *most = g_strdup_printf("%u", cpus_max);
	xml_open(x, "vcpu", "placement", "static", "current", now, NULL);
	xml_content(x, most);
	xml_close(x);
	if (!size->pins)
		return;
	xml_open(x, "cputune", NULL);
	for (guint n = 0; n < size->pins->len; n++) {
		g_autofree char *cpu = g_strdup_printf("%u", n);
		g_autofree char *pin = g_strdup_printf(
		    "%u", g_array_index(size->pins, unsigned, n));
		xml_leaf(x, "vcpupin", "vcpu", cpu, "cpuset", pin, NULL);
	}
	xml_close(x);
}

static void add_memory(XmlWriter *x, const VmDomain *vm, const VmSize *size)
{
	xml_number(x, "memory", size->memory / 1024);
	xml_number(x, "currentMemory", size->memory / 1024);
	xml_open(x, "memoryBacking", NULL);
	if (config_true(vm->config, "limits.memory.hugepages"))
		xml_leaf(x, "hugepages", NULL);
	/* virtiofsd reads and writes there, also of folders that are plugged in later. */
	xml_leaf(x, "source", "type", "memfd", NULL);
	xml_leaf(x, "access", "mode", "shared", NULL);
	xml_close(x);
}

static void add_direct(XmlWriter *x, const RawQemu *direct)
{
	if (!direct->kernel)
		return;
	xml_text(x, "kernel", direct->kernel);
	if (direct->initrd)
		xml_text(x, "initrd", direct->initrd);
	if (direct->append)
		xml_text(x, "cmdline", direct->append);
}

static void add_firmware(XmlWriter *x, const VmDomain *vm)
{
	struct utsname host;
	gboolean secure = vm_firmware(vm->config) == VM_UEFI_SECURE;
	uname(&host);
	xml_open(x, "os", NULL);
	xml_open(x, "type", "arch", host.machine, "machine",
	    vm->layout ? vm->layout->machine : "q35", NULL);
	xml_content(x, "hvm");
	xml_close(x);
	if (vm->code) {
		xml_open(x, "loader", "readonly", "yes", "secure", secure ? "yes" : "no", "type",
		    "pflash", NULL);
		xml_content(x, vm->code);
		xml_close(x);
		xml_text(x, "nvram", vm->nvram);
	}
	add_direct(x, vm->direct);
	xml_close(x);
	xml_open(x, "features", NULL);
	xml_leaf(x, "acpi", NULL);
	xml_leaf(x, "apic", NULL);
	if (secure)
		xml_leaf(x, "smm", "state", "on", NULL);
	xml_close(x);
}

static void add_console(XmlWriter *x, const VmDomain *vm)
{
	xml_open(x, "serial", "type", "pty", NULL);
	xml_leaf(x, "log", "file", vm->console_log, "append", "on", NULL);
	xml_leaf(x, "target", "port", "0", NULL);
	xml_close(x);
	xml_open(x, "console", "type", "pty", NULL);
	xml_leaf(x, "target", "type", "serial", "port", "0", NULL);
	xml_close(x);
}

/* The agent's channel: a program in the guest finds it as /dev/virtio-ports/org.incus.agent.0. */
static void add_agent(XmlWriter *x, const VmDomain *vm)
{
	xml_open(x, "channel", "type", "unix", NULL);
	xml_leaf(x, "source", "mode", "bind", "path", vm->agent_socket, NULL);
	xml_leaf(x, "target", "type", "virtio", "name", "org.incus.agent.0", NULL);
	xml_close(x);
}

/* Far from where the machine's own disks are numbered, and not booted from. A machine that was
 * given the drive as a device has it there. */
static void add_agent_drive(XmlWriter *x, const VmDomain *vm)
{
	Daemon *d = instance_daemon(vm->instance);
	g_autofree char *path = NULL;
	if (drive_agent(d, &path, NULL) < 0)
		return;
	for (guint n = 0; n < vm->parts->len; n++)
		if (g_strcmp0(((DevicePart *)vm->parts->pdata[n])->source, path) == 0)
			return;
	g_autofree char *source = hypervisor_path(d, vm->uri, path);
	xml_open(x, "disk", "type", "file", "device", "cdrom", NULL);
	xml_leaf(x, "driver", "name", "qemu", "type", "raw", NULL);
	xml_leaf(x, "source", "file", source, NULL);
	xml_leaf(x, "target", "dev", "sdz", "bus", "scsi", NULL);
	xml_leaf(x, "readonly", NULL);
	xml_text(x, "serial", "incus-agent");
	xml_leaf(x, "address", "type", "drive", "controller", "0", "bus", "0", "target", "200",
	    "unit", "0", NULL);
	xml_close(x);
}

/* Keys and a pointer by virtio, which needs no USB. */
static void add_input(XmlWriter *x, const VmDomain *vm, const char *type)
{
	xml_open(x, "input", "type", type, "bus", "virtio", NULL);
	add_place(x, vm->layout, type);
	xml_close(x);
}

static void add_screen(XmlWriter *x, const VmDomain *vm)
{
	if (!vm->screen_socket)
		return;
	add_input(x, vm, "keyboard");
	add_input(x, vm, "tablet");
	xml_open(x, "graphics", "type", "spice", NULL);
	xml_leaf(x, "listen", "type", "socket", "socket", vm->screen_socket, NULL);
	xml_close(x);
	xml_open(x, "video", NULL);
	xml_leaf(x, "model", "type", "virtio", "heads", "1", "primary", "yes", NULL);
	add_place(x, vm->layout, "video");
	xml_close(x);
	xml_leaf(x, "audio", "id", "1", "type", "none", NULL);
}

/* Firmware looks for USB for a while, so only who may get a device of it has it. */
static gboolean wants_usb(Instance *i)
{
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	GHashTableIter iter;
	void *config;
	g_hash_table_iter_init(&iter, devices);
	while (g_hash_table_iter_next(&iter, NULL, &config))
		if (g_strcmp0(config_get(config, "type"), "usb") == 0)
			return TRUE;
	return FALSE;
}

static void add_devices(XmlWriter *x, const VmDomain *vm)
{
	xml_open(x, "devices", NULL);
	xml_open(x, "controller", "type", "scsi", "index", "0", "model", "virtio-scsi", NULL);
	add_place(x, vm->layout, "scsi");
	xml_close(x);
	xml_open(x, "controller", "type", "virtio-serial", "index", "0", NULL);
	add_place(x, vm->layout, "serial");
	xml_close(x);
	xml_leaf(x, "controller", "type", "usb", "model",
	    wants_usb(vm->instance) ? "qemu-xhci" : "none", NULL);
	xml_leaf(x, "controller", "type", "pci", "index", "0", "model", "pcie-root", NULL);
	/* Six are taken; room for cards and folders that are plugged in later. Firmware looks at
	 * each. */
	for (int n = 0; n < 12; n++)
		xml_leaf(x, "controller", "type", "pci", "model", "pcie-root-port", NULL);
	add_parts(x, vm);
	add_console(x, vm);
	add_agent(x, vm);
	add_screen(x, vm);
	add_agent_drive(x, vm);
	xml_open(x, "memballoon", "model", "virtio", NULL);
	xml_leaf(x, "stats", "period", "10", NULL);
	add_place(x, vm->layout, "balloon");
	xml_close(x);
	xml_open(x, "rng", "model", "virtio", NULL);
	xml_open(x, "backend", "model", "random", NULL);
	xml_content(x, "/dev/urandom");
	xml_close(x);
	add_place(x, vm->layout, "rng");
	xml_close(x);
	xml_close(x);
}

int vm_domain_xml(const VmDomain *vm, char **ret_xml, Error **err)
{
	g_auto(VmSize) size = { 0 };
	g_autoptr(XmlWriter) x = xml_new();
	g_autofree char *name = instance_file_name(vm->instance);
	const char *kind = hypervisor_kind();
	if (vm_size(vm->config, &size, err) < 0)
		return -1;
	xml_open(x, "domain", "type", kind, NULL);
	xml_text(x, "name", name);
	xml_text(x, "uuid", vm->uuid);
	add_memory(x, vm, &size);
	add_cpus(x, vm, &size);
	add_firmware(x, vm);
	xml_leaf(x, "cpu", "mode", strcmp(kind, "kvm") == 0 ? "host-passthrough" : "maximum", NULL);
	xml_leaf(x, "clock", "offset", "utc", NULL);
	xml_text(x, "on_poweroff", "destroy");
	xml_text(x, "on_reboot", "restart");
	xml_text(x, "on_crash", "destroy");
	add_devices(x, vm);
	xml_close(x);
	return xml_finish(x, ret_xml, err);
}
