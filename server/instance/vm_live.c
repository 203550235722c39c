/* Changing a virtual machine that runs: CPUs, memory, disks, cards. */
#include "server/guest/mount.h"
#include "server/instance/vm_layout.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAVE_TRIES = 100, LEAVE_WAIT_US = 100000 };

/* Keys that a guest need not notice, or that are carried out below; everything else waits for a
 * restart, and so is refused while the machine runs. */
static gboolean can_change(const char *key)
{
	static const char *const exact[] = { "limits.cpu", "limits.memory", "cluster.evacuate",
		"security.protection.delete", "security.agent.metrics", "security.guestapi",
		"agent.nic_config" };
	static const char *const beginnings[] = { "user.", "boot.", "snapshots.", "volatile.",
		"image.", "cloud-init.", "environment.", "migration." };
	for (gsize n = 0; n < G_N_ELEMENTS(exact); n++)
		if (strcmp(key, exact[n]) == 0)
			return TRUE;
	for (gsize n = 0; n < G_N_ELEMENTS(beginnings); n++)
		if (g_str_has_prefix(key, beginnings[n]))
			return TRUE;
	return FALSE;
}

static int check_changes(const Config *before, const Config *after, Error **err)
{
	GHashTableIter iter;
	void *key, *value;
	g_hash_table_iter_init(&iter, (GHashTable *)before);
	while (g_hash_table_iter_next(&iter, &key, &value))
		if (g_strcmp0(config_get(after, key), value) != 0 && !can_change(key))
			return error_set(err, ERROR_INVALID,
			    "Key \"%s\" cannot be updated when VM is running", (char *)key);
	return 0;
}

static int set_memory(const VmHandle *vm, const VmSize *was, const VmSize *wanted, Error **err)
{
	if (wanted->memory == was->memory)
		return 0;
	if (vm->link.lv->domain_set_memory(
		vm->domain, (unsigned long)(wanted->memory / 1024), VIR_DOMAIN_AFFECT_LIVE) == 0)
		return 0;
	return wanted->memory > was->memory ?
	    error_set(err, ERROR_INVALID,
		"Cannot increase memory size beyond boot time size when VM is running") :
	    libvirt_error(vm->link.lv, err, "Cannot change the virtual machine's memory");
}

static int set_cpus(const VmHandle *vm, const VmSize *was, const VmSize *wanted, Error **err)
{
	if (was->pins || wanted->pins)
		return error_set(err, ERROR_INVALID,
		    "Pinned CPUs cannot be changed while the virtual machine is running");
	if (wanted->cpus == was->cpus)
		return 0;
	return vm->link.lv->domain_set_vcpus(vm->domain, wanted->cpus, VIR_DOMAIN_AFFECT_LIVE) ==
		0 ?
	    0 :
	    libvirt_error(vm->link.lv, err, "Cannot change the virtual machine's CPUs");
}

static gboolean differs(const Config *before, const Config *after, const char *key)
{
	return g_strcmp0(config_get(before, key), config_get(after, key)) != 0;
}

int vm_update(Instance *i, const Config *before, const Config *after, Error **err)
{
	g_auto(VmSize) was = { 0 };
	g_auto(VmSize) wanted = { 0 };
	g_auto(VmHandle) vm = { 0 };
	if (check_changes(before, after, err) < 0 || check_changes(after, before, err) < 0)
		return -1;
	gboolean cpus = differs(before, after, "limits.cpu"),
		 memory = differs(before, after, "limits.memory");
	if (!cpus && !memory)
		return 0;
	if (vm_size(before, &was, err) < 0 || vm_size(after, &wanted, err) < 0 ||
	    vm_open(i, &vm, err) < 0)
		return -1;
	if (memory && set_memory(&vm, &was, &wanted, err) < 0)
		return -1;
	return cpus ? set_cpus(&vm, &was, &wanted, err) : 0;
}

/* ---- parts ---- */

/* The first name that the domain's description does not have. */
static int free_target(const char *xml, char ret_target[4], Error **err)
{
	for (char letter = 'a'; letter <= 'z'; letter++) {
		g_autofree char *used = g_strdup_printf("dev='sd%c'", letter);
		if (strstr(xml, used))
			continue;
		g_snprintf(ret_target, 4, "sd%c", letter);
		return 0;
	}
	return error_set(err, ERROR_INVALID, "A virtual machine can have 26 disks at most");
}

/* The serial comes after the name in libvirt's description. */
gboolean vm_disk_target(const char *xml, const char *device, char ret_target[4])
{
	static const char mark[] = "<target dev='";
	g_autofree char *serial = vm_disk_serial(device);
	g_autofree char *element = g_strdup_printf("<serial>%s</serial>", serial);
	const char *at = strstr(xml, element);
	const char *target = at ? g_strrstr_len(xml, at - xml, mark) : NULL;
	if (!target)
		return FALSE;
	g_snprintf(ret_target, 4, "%.3s", target + strlen(mark));
	return TRUE;
}

/* A machine has USB from its start, or not. */
static int check_usb(const VmHandle *vm, const DevicePart *part, Error **err)
{
	if (part->kind != PART_HOST || !g_str_has_prefix(part->source, "usb "))
		return 0;
	char *now = vm->link.lv->domain_xml(vm->domain, 0);
	gboolean has = now && strstr(now, "model='qemu-xhci'");
	free(now);
	return has ? 0 :
		     error_set(err, ERROR_INVALID,
			 "The virtual machine was started without USB: restart it with the device");
}

static int describe_part(Instance *i, const VmHandle *vm, const DevicePart *part, gboolean there,
    char **ret_xml, Error **err)
{
	char target[4] = "";
	g_autofree char *uri = vm_uri(i->daemon);
	if (part->kind == PART_DISK) {
		char *now = vm->link.lv->domain_xml(vm->domain, 0);
		if (!now)
			return libvirt_error(vm->link.lv, err, "Cannot read the virtual machine");
		int result = 0;
		if (!there)
			result = free_target(now, target, err);
		else if (!vm_disk_target(now, part->device, target))
			result = error_set(err, ERROR_NOT_FOUND,
			    "The virtual machine has no disk \"%s\"", part->device);
		free(now);
		if (result < 0)
			return -1;
	}
	return vm_part_xml(i->daemon, uri, part, target, ret_xml, err);
}

/* Without it, the machine moves and is restored only where all is as here. */
static void note_layout(Instance *i)
{
	g_autoptr(Error) error = NULL;
	if (vm_layout_note(i, &error) < 0)
		log_warn("What a virtual machine was given is not noted", "instance",
		    instance_name(i), "err", error->message);
}

/* As libvirt writes what add_host_device() asked for. */
static gboolean has_host_device(const char *xml, const char *unit)
{
	unsigned n[4];
	g_autofree char *address = NULL;
	if (sscanf(unit, "usb %u %u", &n[0], &n[1]) == 2)
		address = g_strdup_printf("<address bus='%u' device='%u'/>", n[0], n[1]);
	else if (sscanf(unit, "pci %x:%x:%x.%x", &n[0], &n[1], &n[2], &n[3]) == 4)
		address = g_strdup_printf(
		    "<address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/>", n[0],
		    n[1], n[2], n[3]);
	return address && strstr(xml, address);
}

static gboolean is_there(const char *xml, const DevicePart *part)
{
	char target[4];
	g_autofree char *tag = vm_disk_serial(part->device);
	g_autofree char *folder = g_strdup_printf("<target dir='%s'/>", tag);
	switch (part->kind) {
	case PART_DISK:
		return vm_disk_target(xml, part->device, target);
	case PART_SHARE:
		return strstr(xml, folder) != NULL;
	case PART_HOST:
		return has_host_device(xml, part->source);
	default:
		return strstr(xml, part->hwaddr) != NULL;
	}
}

/* 1, 0, -1: libvirt does not say. */
static int has_part(const VmHandle *vm, const DevicePart *part, Error **err)
{
	char *now = vm->link.lv->domain_xml(vm->domain, 0);
	if (!now)
		return libvirt_error(vm->link.lv, err, "Cannot read the virtual machine");
	int has = is_there(now, part);
	free(now);
	return has;
}

/* libvirt asks the guest and returns; a guest that does not react keeps the device. */
static int take_out(Instance *i, const VmHandle *vm, const DevicePart *part, Error **err)
{
	g_autofree char *xml = NULL;
	if (describe_part(i, vm, part, TRUE, &xml, err) < 0)
		return -1;
	if (vm->link.lv->domain_detach(vm->domain, xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
		return libvirt_error(vm->link.lv, err, "Cannot take the device out");
	int has;
	for (int n = 0; (has = has_part(vm, part, err)) == 1 && n < LEAVE_TRIES; n++)
		g_usleep(LEAVE_WAIT_US);
	if (has == 1)
		return error_set(
		    err, ERROR_TIMEOUT, "The guest does not let go of device \"%s\"", part->device);
	return has;
}

/* A guest without an agent mounts it by itself, or when it has one. */
static int mount_inside(Instance *i, const DevicePart *part, gboolean wanted, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	g_autofree char *tag = vm_disk_serial(part->device);
	GuestMount mount = { tag, part->target, part->readonly };
	if (part->kind != PART_SHARE || !r || !guest_online(r->guest))
		return 0;
	return wanted ? guest_mount(r->guest, &mount, err) : guest_unmount(r->guest, &mount, err);
}

int vm_part_add(Instance *i, const DevicePart *part, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	g_autofree char *xml = NULL;
	if (vm_open(i, &vm, err) < 0 || check_usb(&vm, part, err) < 0 ||
	    describe_part(i, &vm, part, FALSE, &xml, err) < 0)
		return -1;
	if (vm.link.lv->domain_attach(vm.domain, xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
		return libvirt_error(vm.link.lv, err, "Cannot plug the device in");
	if (mount_inside(i, part, TRUE, err) < 0) {
		take_out(i, &vm, part, NULL);
		return -1;
	}
	note_layout(i);
	return 0;
}

int vm_part_remove(Instance *i, const DevicePart *part, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	/* One whose source was missing, or that left when nobody waited any more. */
	int has = has_part(&vm, part, err);
	if (has <= 0 || mount_inside(i, part, FALSE, err) < 0)
		return has == 0 ? 0 : -1;
	if (take_out(i, &vm, part, err) < 0) {
		mount_inside(i, part, TRUE, NULL);
		return -1;
	}
	note_layout(i);
	return 0;
}

int vm_root_grown(Instance *i, int64_t bytes, Error **err)
{
	const char *root;
	char target[4];
	g_auto(VmHandle) vm = { 0 };
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	if (device_root_disk(devices, &root, NULL, err) < 0 || vm_open(i, &vm, err) < 0)
		return -1;
	char *now = vm.link.lv->domain_xml(vm.domain, 0);
	gboolean found = now && vm_disk_target(now, root, target);
	free(now);
	if (!found)
		return error_set(err, ERROR_INTERNAL, "The virtual machine has no root disk");
	return vm.link.lv->domain_block_resize(vm.domain, target, (unsigned long long)bytes,
		   VIR_DOMAIN_BLOCK_RESIZE_BYTES) == 0 ?
	    0 :
	    libvirt_error(vm.link.lv, err, "Cannot grow the virtual machine's disk");
}
