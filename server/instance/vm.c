/* The driver of virtual machines: started, stopped and found again through libvirt. What runs is
 * QEMU's process; its end is seen through a pidfd, as a container's. */
#include "server/instance/vm.h"
#include "server/guest/mount.h"
#include "server/instance/checkpoint.h"
#include "server/instance/flow.h"
#include "server/instance/guest_api.h"
#include "server/instance/live_private.h"
#include "server/instance/vm_carry.h"
#include "server/instance/vm_checkpoint.h"
#include "server/instance/vm_layout.h"
#include "server/key/server.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KILL_PATIENCE = 60000, TPM_PATIENCE = 10000 };

char *vm_uri(Daemon *d)
{
	return server_config_get(d->config, "core.libvirt_uri");
}

static char *run_file(const Instance *i, const char *name)
{
	g_autofree char *directory = runtime_directory(i);
	return g_build_filename(directory, name, NULL);
}

/* ---- the domain ---- */

int vm_open(Instance *i, VmHandle *ret_handle, Error **err)
{
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	g_autofree char *uri = vm_uri(i->daemon);
	*ret_handle = (VmHandle){ 0 };
	if (hypervisor_connect(i->daemon, uri, &ret_handle->link, err) < 0)
		return -1;
	if (hypervisor_find(i->daemon, uri, &ret_handle->link, uuid ? uuid : "",
		&ret_handle->domain, err) < 0) {
		vm_close(ret_handle);
		return -1;
	}
	if (ret_handle->domain)
		return 0;
	vm_close(ret_handle);
	return error_set(
	    err, ERROR_UNAVAILABLE, "libvirt does not know the virtual machine \"%s\"", i->name);
}

void vm_close(VmHandle *handle)
{
	if (handle->domain)
		handle->link.lv->domain_free(handle->domain);
	handle->domain = NULL;
	hypervisor_disconnect(&handle->link);
}

/* ---- its inside ---- */

/* Names, and no reference: the instance holds the guest. */
typedef struct Inside {
	Daemon *daemon;
	const char *project, *name; /* interned */
} Inside;

static void inside_changed(void *data, GuestEvent event)
{
	const Inside *inside = data;
	g_autoptr(Instance) i = NULL;
	if ((event != GUEST_SHUTDOWN && event != GUEST_REBOOTED) ||
	    instance_get(inside->daemon, inside->project, inside->name, &i, NULL) < 0)
		return;
	guest_api_forget_ready(i);
	if (event == GUEST_REBOOTED)
		instance_event(i, "instance-restarted", NULL, NULL);
}

static void inside_connected(void *data, int fd)
{
	const Inside *inside = data;
	g_autoptr(Instance) i = NULL;
	if (instance_get(inside->daemon, inside->project, inside->name, &i, NULL) < 0)
		close(fd);
	else
		guest_api_serve(i, fd);
}

/* On the guest's thread. What was just taken out or plugged in is the flow's, which knows. */
static GPtrArray *inside_mounts(void *data)
{
	const Inside *inside = data;
	guint n;
	GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)guest_mount_free);
	g_autoptr(Instance) i = NULL;
	if (instance_get(inside->daemon, inside->project, inside->name, &i, NULL) < 0)
		return list;
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree const char **names = device_sorted(devices, &n);
	for (guint k = 0; k < n; k++) {
		const Config *config = devices_get(devices, names[k]);
		g_autofree char *path = device_share_path(config);
		g_autofree char *tag = vm_disk_serial(names[k]);
		if (path)
			g_ptr_array_add(
			    list, guest_mount_new(tag, path, config_true(config, "readonly")));
	}
	return list;
}

static Guest *watch_inside(Instance *i, const char *channel)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	Inside *inside = g_new0(Inside, 1);
	*inside = (Inside){ i->daemon, i->project, i->name };
	return guest_new(&(GuestSpec){ .name = i->name,
	    .socket = channel,
	    .changed = inside_changed,
	    .mounts = inside_mounts,
	    .connected = config_false(config, "security.guestapi") ? NULL : inside_connected,
	    .data = inside,
	    .data_free = g_free });
}

/* ---- its process ---- */

/* libvirt's file of the machine, "run" or "log" / "qemu" / NAME and ending. */
static char *libvirt_file(Instance *i, const char *folder, const char *ending)
{
	g_autofree char *uri = vm_uri(i->daemon);
	g_autofree char *name = instance_file_name(i);
	g_autofree char *file = g_strconcat(name, ending, NULL);
	const char *root = uri ? strstr(uri, "root=") : NULL;
	if (!uri || !*uri)
		return g_build_filename(i->daemon->dir, "libvirt", folder, "qemu", file, NULL);
	if (root) {
		g_autofree char *own = g_strndup(root + 5, strcspn(root + 5, "&"));
		return g_build_filename(own, folder, "qemu", file, NULL);
	}
	return strcmp(folder, "run") == 0 ? g_build_filename("/run/libvirt/qemu", file, NULL) :
					    g_build_filename("/var/log/libvirt/qemu", file, NULL);
}

/* Process ids are used again; that of this machine has its UUID among its arguments. */
static gboolean is_its_process(pid_t pid, const char *uuid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
	g_autofree char *text = NULL;
	size_t length;
	if (!g_file_get_contents(path, &text, &length, NULL))
		return FALSE;
	for (const char *at = text; at < text + length; at += strlen(at) + 1)
		if (strcmp(at, "-uuid") == 0 && at + 6 < text + length)
			return strcmp(at + 6, uuid) == 0;
	return FALSE;
}

Runtime *vm_find_process(Instance *i)
{
	g_autofree char *path = libvirt_file(i, "run", ".pid");
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	g_autofree char *text = NULL;
	if (!uuid || !g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	g_autoptr(Runtime) r = runtime_new();
	r->init = r->monitor = (pid_t)atoi(text);
	r->monitor_fd = r->init > 0 ? (int)syscall(SYS_pidfd_open, r->init, 0) : -1;
	if (r->monitor_fd < 0 || !is_its_process(r->init, uuid))
		return NULL;
	r->init_fd = fcntl(r->monitor_fd, F_DUPFD_CLOEXEC, 0);
	r->cgroup = g_strdup("");
	g_autofree char *channel = run_file(i, VM_AGENT_SOCKET);
	r->guest = watch_inside(i, channel);
	return g_steal_pointer(&r);
}

static int adopt(Instance *i, Runtime **ret_runtime, Error **err)
{
	g_autofree char *note = run_file(i, "frozen");
	g_autofree char *uri = vm_uri(i->daemon);
	g_autoptr(Error) error = NULL;
	*ret_runtime = vm_find_process(i);
	if (!*ret_runtime)
		return 0;
	g_atomic_int_set(&(*ret_runtime)->frozen, access(note, F_OK) == 0);
	if ((*ret_runtime)->frozen)
		guest_pause((*ret_runtime)->guest, TRUE);
	if (hypervisor_ensure(i->daemon, uri, &error) < 0)
		log_warn("libvirtd does not start for a running virtual machine", "instance",
		    i->name, "err", error->message);
	if (!vm_carry_adopt(i, ret_runtime))
		vm_checkpoint_adopt(i, ret_runtime);
	return 0;
}

/* ---- starting ---- */

static int refuse_unbuilt(const Config *config, Error **err)
{
	static const struct {
		const char *key, *why;
	} refused[] = {
		{ "raw.qemu.conf",
		    "libvirt writes QEMU's configuration here; what can be changed has a key of its own" },
		{ "raw.apparmor",
		    "virtual machines run without an AppArmor profile in this version" },
	};
	for (gsize n = 0; n < G_N_ELEMENTS(refused); n++)
		if (config_get(config, refused[n].key))
			return error_set(err, ERROR_UNSUPPORTED, "\"%s\" cannot be used: %s",
			    refused[n].key, refused[n].why);
	return config_true(config, "security.sev") ?
	    error_set(err, ERROR_UNSUPPORTED, "AMD SEV is not built into this server") :
	    0;
}

static int check(Daemon *d, const Config *expanded, Error **err)
{
	g_auto(VmSize) size = { 0 };
	if (refuse_unbuilt(expanded, err) < 0)
		return -1;
	/* Nobody has signed it for this firmware, and BIOS would not look. */
	if (vm_is_direct(expanded) && !config_false(expanded, "security.secureboot"))
		return error_set(err, ERROR_INVALID,
		    "Secure boot can't be enabled for a kernel in \"raw.qemu\". Please set \"security.secureboot=false\" on the instance");
	if (config_true(expanded, "security.csm") && !config_false(expanded, "security.secureboot"))
		return error_set(err, ERROR_INVALID,
		    "Secure boot can't be enabled while CSM is turned on. Please set \"security.secureboot=false\" on the instance");
	if (config_get(expanded, "raw.idmap") && idmap_for(expanded, NULL, NULL, err) < 0)
		return -1;
	return vm_size(expanded, &size, err);
}

static int choose(Instance *i, StartPlan *plan, Error **err)
{
	plan->idmap = g_array_new(FALSE, TRUE, sizeof(IdRange));
	return 0;
}

static int find_firmware(VmFirmware firmware, int64_t bytes, const char **ret_code,
    const char **ret_variables, gboolean *ret_fits, Error **err)
{
	return hypervisor_firmware(firmware == VM_UEFI_SECURE ? FIRMWARE_SECURE : FIRMWARE_PLAIN,
	    bytes, ret_code, ret_variables, ret_fits, err);
}

gboolean instance_variables_fit(const Config *expanded, int64_t bytes)
{
	gboolean fits = TRUE;
	const char *code, *variables;
	VmFirmware firmware = vm_firmware(expanded);
	if (firmware != VM_BIOS)
		find_firmware(firmware, bytes, &code, &variables, &fits, NULL);
	return fits;
}

/* Incus and LXD have the variables under the name of what they were made from, and a link to it.
 * g_free. */
static char *find_nvram(const char *folder)
{
	struct stat st;
	g_autofree char *link = g_build_filename(folder, "qemu.nvram", NULL);
	g_autofree char *target = g_file_read_link(link, NULL);
	if (!target || strchr(target, '/') || !g_str_has_suffix(target, ".fd"))
		return g_steal_pointer(&link);
	g_autofree char *path = g_build_filename(folder, target, NULL);
	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? g_steal_pointer(&path) :
							      g_steal_pointer(&link);
}

/* The firmware, and its variables, which are the machine's own: boot entries, keys. Those of
 * a firmware that is not here, which an import may bring, are made anew. */
static int choose_firmware(Instance *i, VmFirmware firmware, const char *folder, VmDomain *vm,
    char **ret_nvram, Error **err)
{
	g_autofree char *again = instance_volatile_get(i, "apply_nvram");
	g_autofree char *kept = find_nvram(folder), *content = NULL;
	g_autofree char *nvram = g_build_filename(folder, "qemu.nvram", NULL);
	const char *fresh;
	size_t length;
	struct stat st;
	gboolean fits, there = !again && lstat(kept, &st) == 0 && S_ISREG(st.st_mode);
	if (find_firmware(firmware, there ? st.st_size : 0, &vm->code, &fresh, &fits, err) < 0)
		return -1;
	*ret_nvram = fits ? g_steal_pointer(&kept) : g_strdup(nvram);
	if (fits)
		return 0;
	if (file_read(AT_FDCWD, fresh, FILE_LINKS_NONE, 64 << 20, &content, &length, err) < 0 ||
	    file_write_atomic(AT_FDCWD, nvram, content, length, 0600, err) < 0)
		return error_prefix(err, "Cannot make the firmware's variables");
	return instance_volatile_set(i, "apply_nvram", NULL, err);
}

static int settle(Instance *i, StartPlan *plan, Error **err)
{
	return chmod(plan->path, 0700) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot close \"%s\"", plan->path);
}

/* The newest is "console.log", the run before that "console.log.old". */
static int prepare_log(Instance *i, char **ret_path, Error **err)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *old = g_build_filename(logs, "console.log.old", NULL);
	g_autofree char *log = g_build_filename(logs, "console.log", NULL);
	if (file_mkdir_all(logs, 0700, err) < 0)
		return -1;
	rename(log, old);
	*ret_path = g_steal_pointer(&log);
	return 0;
}

/* "tpm.NAME" in the volume, as Incus has it. What a volume from elsewhere has there must not lead
 * out of it. */
static int tpm_folder(const StartPlan *plan, const DevicePart *part, char **ret_path, Error **err)
{
	g_autofree char *device = g_strdelimit(g_strdup(part->device), "/", '-');
	g_autofree char *name = g_strconcat("tpm.", device, NULL);
	g_autofree char *path = g_build_filename(plan->path, name, NULL);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make \"%s\"", path);
	autofd int fd = file_open_directory(path, err);
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	autodir DIR *folder = copy < 0 ? NULL : fdopendir(copy);
	if (!folder)
		return error_set(err, ERROR_INTERNAL, "Cannot read \"%s\"", path);
	struct stat st;
	for (struct dirent *e; (e = readdir(folder));)
		if (e->d_name[0] != '.' &&
		    (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)))
			return error_set(err, ERROR_INVALID,
			    "\"%s\" holds something that is not of a TPM", path);
	*ret_path = g_steal_pointer(&path);
	return 0;
}

/* It ends when QEMU closes its socket. */
static int start_tpm(
    Instance *i, const StartPlan *plan, const DevicePart *part, char **ret_socket, Error **err)
{
	g_autofree char *state = NULL;
	if (hypervisor_check_tpm(err) < 0 || tpm_folder(plan, part, &state, err) < 0)
		return -1;
	g_autofree char *socket = g_build_filename(plan->directory, "tpm.sock", NULL);
	g_autofree char *kept = g_strconcat("dir=", state, NULL);
	g_autofree char *control = g_strconcat("type=unixio,path=", socket, NULL);
	const char *const argv[] = { "swtpm", "socket", "--tpm2", "--tpmstate", kept, "--ctrl",
		control, "--terminate", "--daemon", NULL };
	const Spawn spawn = { .argv = argv, .timeout_ms = TPM_PATIENCE };
	if (spawn_run(&spawn, NULL, NULL, err) < 0)
		return error_prefix(err, "Cannot start the virtual TPM");
	*ret_socket = g_steal_pointer(&socket);
	return 0;
}

static const DevicePart *find_tpm(const StartPlan *plan)
{
	for (guint n = 0; n < plan->devices.parts->len; n++)
		if (((DevicePart *)plan->devices.parts->pdata[n])->kind == PART_TPM)
			return plan->devices.parts->pdata[n];
	return NULL;
}

/* One of the same machine that is on its way out, or that a killed server asked for and did not see
 * come up: two must never write to one disk. */
static int clear_domain(Daemon *d, const VmDomain *vm, HypervisorLink *link, Error **err)
{
	virDomainPtr domain;
	if (hypervisor_find(d, vm->uri, link, vm->uuid, &domain, err) < 0)
		return -1;
	if (!domain)
		return 0;
	int result = link->lv->domain_destroy(domain, 0);
	link->lv->domain_free(domain);
	if (result == 0)
		return 0;
	/* It may have gone by itself. */
	if (hypervisor_find(d, vm->uri, link, vm->uuid, &domain, err) < 0)
		return -1;
	if (!domain)
		return 0;
	link->lv->domain_free(domain);
	return error_set(err, ERROR_BUSY, "An earlier run of the virtual machine does not end");
}

/* For people who look for a fault. */
static void write_copy(Instance *i, const char *xml)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *path = g_build_filename(logs, "domain.xml", NULL);
	file_write_plain(path, xml, 0600, NULL);
}

static int start_domain(Instance *i, HypervisorLink *link, const char *xml, Error **err)
{
	virDomainPtr domain = link->lv->domain_create(link->connection, xml, 0);
	if (!domain)
		return libvirt_error(link->lv, err, "Cannot start the virtual machine");
	link->lv->domain_free(domain);
	return 0;
}

static int create_domain(Instance *i, const VmDomain *vm, const StartPlan *plan, Error **err)
{
	g_auto(HypervisorLink) link = { 0 };
	g_autofree char *xml = NULL;
	if (hypervisor_connect(i->daemon, vm->uri, &link, err) < 0 ||
	    clear_domain(i->daemon, vm, &link, err) < 0 || vm_domain_xml(vm, &xml, err) < 0)
		return -1;
	write_copy(i, xml);
	if (fault_point("machine start", err) < 0)
		return -1;
	if (plan->gate && plan->gate->peer)
		return vm_carry_in(i, plan, vm->uri, xml, err);
	return i->stateful ? vm_restore(i, &link, plan, xml, err) :
			     start_domain(i, &link, xml, err);
}

static int prepare_domain(Instance *i, StartPlan *plan, VmDomain *vm, char **ret_nvram, Error **err)
{
	g_autofree char *nvram = NULL;
	VmFirmware firmware = vm_firmware(plan->host.config);
	if (firmware == VM_BIOS)
		return 0;
	if (choose_firmware(i, firmware, plan->path, vm, &nvram, err) < 0)
		return -1;
	*ret_nvram = hypervisor_path(i->daemon, vm->uri, nvram);
	vm->nvram = *ret_nvram;
	return 0;
}

static int spawn(Instance *i, StartPlan *plan, Runtime **ret_runtime, Error **err)
{
	g_autofree char *uri = vm_uri(i->daemon);
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	g_autofree char *log = NULL, *nvram = NULL, *tpm = NULL;
	g_auto(HypervisorLink) link = { 0 }; /* paths lead through its process */
	g_autoptr(Error) error = NULL;
	g_auto(VmLayout) layout = { 0 };
	g_auto(RawQemu) direct = { 0 };
	gboolean again = (i->stateful || (plan->gate && plan->gate->peer)) &&
	    vm_layout_get(i, &layout);
	VmDomain vm = { .instance = i,
		.uri = uri,
		.uuid = uuid,
		.config = plan->host.config,
		.direct = &direct,
		.parts = plan->devices.parts,
		.layout = again ? &layout : NULL };
	if (hypervisor_check(err) < 0 || (again && vm_layout_check(&layout, err) < 0) ||
	    hypervisor_connect(i->daemon, uri, &link, err) < 0 ||
	    vm_direct(i->daemon, plan->host.config, &direct, err) < 0 ||
	    prepare_domain(i, plan, &vm, &nvram, err) < 0 || prepare_log(i, &log, err) < 0 ||
	    (find_tpm(plan) && start_tpm(i, plan, find_tpm(plan), &tpm, err) < 0))
		return -1;
	g_autofree char *channel = run_file(i, VM_AGENT_SOCKET);
	g_autofree char *screen = run_file(i, VM_SCREEN_SOCKET);
	unlink(channel);
	unlink(screen);
	vm.agent_socket = channel;
	vm.screen_socket = (again ? layout.screen : hypervisor_has_spice(&link)) ? screen : NULL;
	vm.console_log = log;
	vm.tpm_socket = tpm;
	if ((!i->stateful && checkpoint_clear(i, err) < 0) || create_domain(i, &vm, plan, err) < 0)
		return -1;
	*ret_runtime = vm_find_process(i);
	if (!again && vm_layout_note(i, &error) < 0)
		log_warn("What a virtual machine was given is not noted", "instance", i->name,
		    "err", error->message);
	return *ret_runtime ? 0 :
			      error_set(err, ERROR_INTERNAL,
				  "The virtual machine ended at once: see its console log");
}

/* What QEMU said goes to the instance's logs, and with them. */
static void take_log(Instance *i)
{
	g_autofree char *theirs = libvirt_file(i, "log", ".log");
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *own = g_build_filename(logs, "qemu.log", NULL);
	if (rename(theirs, own) < 0 && errno != ENOENT)
		unlink(theirs);
}

static void release(Instance *i)
{
	take_log(i);
	static const char *const files[] = { "frozen", "tpm.sock", VM_AGENT_SOCKET,
		VM_SCREEN_SOCKET, VM_STATE_NOTE, VM_STATE_PIPE, VM_CARRY_NOTE, VM_CARRY_DISK,
		VM_CARRY_MEMORY };
	for (gsize n = 0; n < G_N_ELEMENTS(files); n++) {
		g_autofree char *path = run_file(i, files[n]);
		unlink(path);
	}
}

/* ---- stopping ---- */

static int shut_down(Instance *i, Runtime *r, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	return vm.link.lv->domain_shutdown(vm.domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0 ?
	    0 :
	    libvirt_error(vm.link.lv, err, "Cannot ask the virtual machine to shut down");
}

/* Also where libvirt does not answer. */
static int kill_now(Instance *i, Runtime *r, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, NULL) < 0 || vm.link.lv->domain_destroy(vm.domain, 0) < 0)
		syscall(SYS_pidfd_send_signal, r->init_fd, SIGKILL, NULL, 0);
	return runtime_wait(r, KILL_PATIENCE) ?
	    0 :
	    error_set(err, ERROR_TIMEOUT, "The virtual machine's process does not end");
}

static int freeze(Instance *i, Runtime *r, gboolean wanted, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	g_autofree char *note = run_file(i, "frozen");
	if (vm_open(i, &vm, err) < 0)
		return -1;
	if ((wanted ? vm.link.lv->domain_suspend(vm.domain) :
		      vm.link.lv->domain_resume(vm.domain)) < 0)
		return libvirt_error(vm.link.lv, err,
		    wanted ? "Cannot pause the virtual machine" :
			     "Cannot resume the virtual machine");
	if (wanted) {
		file_write_plain(note, "", 0600, NULL);
	} else {
		unlink(note);
		vm_carry_forget(i);
	}
	g_atomic_int_set(&r->frozen, wanted);
	guest_pause(r->guest, wanted);
	return 0;
}

static gboolean frozen(const Runtime *r)
{
	return g_atomic_int_get((gint *)&r->frozen);
}

/* A guest that reboots stays in the same process. */
static gboolean wants_reboot(Instance *i)
{
	return FALSE;
}

static int guest_of(Instance *i, Guest **ret_guest, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return error_set(err, ERROR_INVALID, "Instance is not running");
	*ret_guest = guest_ref(r->guest);
	return 0;
}

static void configured(Instance *i, const Config *before, const Config *after)
{
	/* Variables are of one firmware and its keys. */
	if (vm_firmware(before) != vm_firmware(after))
		instance_volatile_set(i, "apply_nvram", "true", NULL);
}

const InstanceDriver instance_driver_vm = {
	.name = "qemu",
	.available = hypervisor_check,
	.check = check,
	.choose = choose,
	.settle = settle,
	.spawn = spawn,
	.release = release,
	.adopt = adopt,
	.shut_down = shut_down,
	.kill = kill_now,
	.save = vm_save,
	.live = &live_driver_vm,
	.freeze = freeze,
	.frozen = frozen,
	.wants_reboot = wants_reboot,
	.configured = configured,
	.update = vm_update,
	.state = vm_state,
	.console_open = vm_console_open,
	.console_log = vm_console_log,
	.screen_open = vm_screen_open,
	.screen_shot = vm_screen_shot,
	.guest = guest_of,
};
