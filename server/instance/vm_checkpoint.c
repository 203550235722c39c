#include "server/instance/vm_checkpoint.h"
#include "server/instance/checkpoint.h"
#include "server/instance/folder.h"
#include "server/instance/live_private.h"
#include "server/instance/state_pack.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { END_PATIENCE = 60000, ADOPT_PATIENCE = 5000, ADOPT_STEP = 50, PIPE_WAIT_US = 5000 };

static const char state_name[] = "state", fresh_name[] = "state.new",
		  packed_name[] = "state.packed";

/* ---- notes for a server that comes after this one ---- */

static char *note_path(const Instance *i)
{
	g_autofree char *directory = runtime_directory(i);
	return g_build_filename(directory, VM_STATE_NOTE, NULL);
}

static int note_begin(const Instance *i, Error **err)
{
	g_autofree char *path = note_path(i);
	return file_write_plain(path, "", 0600, err);
}

static void note_end(const Instance *i)
{
	g_autofree char *path = note_path(i);
	unlink(path);
}

/* ---- the file ---- */

/* libvirt writes another mark until the file is whole. */
static gboolean is_whole(int folder_fd)
{
	static const char mark[] = "LibvirtQemudSave";
	char head[sizeof mark - 1];
	autofd int fd = file_openat(folder_fd, fresh_name, O_RDONLY, 0, FILE_LINKS_NONE);
	return fd >= 0 && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
	    memcmp(head, mark, sizeof head) == 0;
}

static int pack(int folder_fd, Error **err)
{
	unlinkat(folder_fd, packed_name, 0);
	autofd int in = file_open_beneath(folder_fd, state_name, O_RDONLY, 0, FILE_LINKS_NONE, err);
	autofd int out = in < 0 ? -1 :
				  file_open_beneath(folder_fd, packed_name,
				      O_WRONLY | O_CREAT | O_EXCL, 0600, FILE_LINKS_NONE, err);
	if (out < 0 || state_pack(in, out, err) < 0)
		return -1;
	return renameat(folder_fd, packed_name, folder_fd, state_name) == 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the state");
}

/* What libvirt has written is the state from now on; where it cannot be packed (a full disk), it
 * stays as it is. */
static int keep(Instance *i, int folder_fd, Error **err)
{
	g_autoptr(Error) error = NULL;
	if (renameat(folder_fd, fresh_name, folder_fd, state_name) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the state");
	fault_point("state written", NULL);
	if (pack(folder_fd, &error) < 0) {
		unlinkat(folder_fd, packed_name, 0);
		log_warn("The state is not packed", "instance", i->name, "err", error->message);
	}
	return 0;
}

void vm_checkpoint_settle(Instance *i, int folder_fd)
{
	g_autoptr(Error) error = NULL;
	unlinkat(folder_fd, packed_name, 0);
	if (is_whole(folder_fd) && keep(i, folder_fd, &error) < 0)
		log_warn(
		    "A finished state is not kept", "instance", i->name, "err", error->message);
}

/* Part of what a machine is stands outside of QEMU with these, which so cannot save it. */
static gboolean holds_state(const Config *device)
{
	static const char *const types[] = { "usb", "pci", "gpu", NULL };
	g_autofree char *share = device_share_path(device);
	return share || g_strv_contains(types, config_get(device, "type"));
}

static int check_devices(Instance *i, const char *what, Error **err)
{
	guint n;
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	g_autofree const char **names = device_sorted(devices, &n);
	for (guint k = 0; k < n; k++)
		if (holds_state(devices_get(devices, names[k])))
			return error_set(err, ERROR_INVALID,
			    "%s is not possible with device \"%s\", which is the host's (a shared folder or hardware): take it out first",
			    what, names[k]);
	return 0;
}

/* As Incus has it. */
static int check_allowed(Instance *i, const char *what, Error **err)
{
	g_autoptr(Config) config = instance_expanded_config(i);
	if (!config_true(config, "migration.stateful"))
		return error_set(
		    err, ERROR_INVALID, "%s requires migration.stateful to be set to true", what);
	return check_devices(i, what, err);
}

static char *fresh_path(Instance *i, const InstanceFolder *folder)
{
	g_autofree char *uri = vm_uri(i->daemon);
	g_autofree char *path = g_build_filename(instance_folder_path(folder), fresh_name, NULL);
	return hypervisor_path(i->daemon, uri, path);
}

/* ---- saving ---- */

static int save_domain(Instance *i, const InstanceFolder *folder, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	g_autofree char *path = fresh_path(i, folder);
	return vm.link.lv->domain_save(vm.domain, path, NULL, 0) == 0 ?
	    0 :
	    libvirt_error(vm.link.lv, err, "libvirt");
}

int vm_save(Instance *i, Runtime *r, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (check_allowed(i, "Stateful stop", err) < 0 || checkpoint_open(i, &folder, err) < 0 ||
	    fault_point("state", err) < 0 || note_begin(i, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	g_autoptr(Error) error = NULL;
	/* The connection may have gone after the last byte was written. */
	if (save_domain(i, folder, &error) < 0 && !is_whole(fd)) {
		unlinkat(fd, fresh_name, 0);
		note_end(i);
		error_prefix(&error, "The state of the instance cannot be saved");
		return error_propagate(err, g_steal_pointer(&error));
	}
	/* From here on it is stopped, whatever fails. */
	fault_point("state saved", NULL);
	if (!runtime_wait(r, END_PATIENCE))
		return error_set(err, ERROR_TIMEOUT, "The virtual machine's process does not end");
	if (keep(i, fd, err) < 0)
		return -1;
	note_end(i);
	checkpoint_saved(i);
	return 0;
}

/* ---- standing still ---- */

/* Of memory alone: the disks are the volume's snapshot. */
static char *snapshot_xml(const char *domain, const char *path, Error **err)
{
	static const char mark[] = "<target dev='sd";
	g_autoptr(XmlWriter) x = xml_new();
	char *text = NULL;
	xml_open(x, "domainsnapshot", NULL);
	xml_leaf(x, "memory", "snapshot", "external", "file", path, NULL);
	xml_open(x, "disks", NULL);
	for (const char *at = domain; (at = strstr(at, mark)); at += strlen(mark)) {
		char name[] = { 's', 'd', at[strlen(mark)], 0 };
		xml_leaf(x, "disk", "name", name, "snapshot", "no", NULL);
	}
	xml_close(x);
	xml_close(x);
	return xml_finish(x, &text, err) < 0 ? NULL : text;
}

static int write_memory(const VmHandle *vm, const char *path, Error **err)
{
	char *now = vm->link.lv->domain_xml(vm->domain, 0);
	g_autofree char *xml = now ? snapshot_xml(now, path, err) : NULL;
	free(now);
	if (!xml)
		return libvirt_error(vm->link.lv, err, "Cannot read the virtual machine");
	virDomainSnapshotPtr made = vm->link.lv->domain_snapshot(
	    vm->domain, xml, VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
	if (!made)
		return libvirt_error(vm->link.lv, err, "libvirt");
	vm->link.lv->snapshot_free(made);
	return 0;
}

static int go_on(Instance *i, const VmHandle *vm, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	gboolean paused = r && g_atomic_int_get(&r->frozen);
	return paused || vm->link.lv->domain_resume(vm->domain) == 0 ?
	    0 :
	    libvirt_error(vm->link.lv, err, "The virtual machine does not go on");
}

/* It stands still already. */
static int write_fresh(Instance *i, const VmHandle *vm, const InstanceFolder *folder, Error **err)
{
	g_autofree char *path = fresh_path(i, folder);
	if (write_memory(vm, path, err) < 0)
		return -1;
	return is_whole(instance_folder_fd(folder)) ?
	    0 :
	    error_set(err, ERROR_INTERNAL, "libvirt wrote no state");
}

/* Its state has no name yet. */
static int hold(Instance *i, const InstanceFolder *folder, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (fault_point("state of a snapshot", err) < 0 || vm_open(i, &vm, err) < 0 ||
	    note_begin(i, err) < 0)
		return -1;
	int result = vm.link.lv->domain_suspend(vm.domain) == 0 ?
	    write_fresh(i, &vm, folder, err) :
	    libvirt_error(vm.link.lv, err, "Cannot pause the virtual machine");
	if (result == 0)
		return 0;
	unlinkat(instance_folder_fd(folder), fresh_name, 0);
	go_on(i, &vm, NULL);
	note_end(i);
	return error_prefix(err, "The state of the instance cannot be saved");
}

int vm_hold(Instance *i, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (check_allowed(i, "Stateful snapshot", err) < 0 || live_check_start(i, err) < 0 ||
	    checkpoint_open(i, &folder, err) < 0 || hold(i, folder, err) < 0)
		return -1;
	if (keep(i, instance_folder_fd(folder), err) == 0)
		return 0;
	vm_release(i, NULL);
	return error_prefix(err, "The state of the instance cannot be saved");
}

static void drop_state(Instance *i)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, NULL) < 0)
		return;
	unlinkat(instance_folder_fd(folder), state_name, 0);
	unlinkat(instance_folder_fd(folder), fresh_name, 0);
}

int vm_release(Instance *i, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	fault_point("state released", NULL);
	drop_state(i);
	if (vm_open(i, &vm, err) < 0 || go_on(i, &vm, err) < 0)
		return -1;
	note_end(i);
	return 0;
}

/* ---- on its way to another server ---- */

int vm_hold_unnamed(Instance *i, int *ret_fd, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (checkpoint_open(i, &folder, err) < 0 || hold(i, folder, err) < 0)
		return -1;
	*ret_fd = file_open_beneath(
	    instance_folder_fd(folder), fresh_name, O_RDONLY, 0, FILE_LINKS_NONE, err);
	if (*ret_fd < 0)
		vm_release(i, NULL);
	return *ret_fd < 0 ? -1 : 0;
}

int vm_name_state(Instance *i, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	autofd int state = file_open_beneath(fd, fresh_name, O_RDONLY, 0, FILE_LINKS_NONE, err);
	if (state < 0)
		return -1;
	if (fsync(state) < 0 || renameat(fd, fresh_name, fd, state_name) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the state");
	fsync(fd); /* a start after a crash of the host asks the other server in any case */
	return 0;
}

int vm_end(Instance *i, Runtime *r, Error **err)
{
	int result = instance_driver(i)->kill(i, r, err);
	note_end(i);
	return result;
}

int vm_receive_state(
    Instance *i, int (*write)(int fd, void *data, Error **err), void *data, Error **err)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (checkpoint_open(i, &folder, err) < 0)
		return -1;
	int fd = instance_folder_fd(folder);
	autofd int state = file_open_beneath(
	    fd, fresh_name, O_WRONLY | O_CREAT | O_EXCL, 0600, FILE_LINKS_NONE, err);
	int result = state < 0 ? -1 : write(state, data, err);
	if (result == 0 && renameat(fd, fresh_name, fd, state_name) < 0)
		result = error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the state");
	if (result < 0) {
		unlinkat(fd, fresh_name, 0);
		return -1;
	}
	return checkpoint_received(i, err);
}

/* ---- starting from it ---- */

typedef struct Feed {
	int in;
	const char *pipe;
	gint over; /* atomic */
	Error *error;
} Feed;

/* Whoever opens the other end may fail before it does. */
static int open_pipe(Feed *feed)
{
	int fd;
	while ((fd = open(feed->pipe, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0 && errno == ENXIO &&
	    !g_atomic_int_get(&feed->over))
		g_usleep(PIPE_WAIT_US);
	if (fd >= 0)
		fcntl(fd, F_SETFL, 0);
	return fd;
}

static void *feed_run(void *data)
{
	Feed *feed = data;
	autofd int fd = open_pipe(feed);
	if (fd >= 0)
		state_unpack(feed->in, fd, &feed->error);
	return NULL;
}

static int restore_domain(
    HypervisorLink *link, Feed *feed, const char *seen, const char *xml, Error **err)
{
	GThread *thread = g_thread_new("vm-state", feed_run, feed);
	int result = link->lv->domain_restore(link->connection, seen, xml, VIR_DOMAIN_SAVE_PAUSED);
	if (result < 0)
		result = libvirt_error(link->lv, err, "libvirt");
	g_atomic_int_set(&feed->over, 1);
	g_thread_join(thread);
	/* That the reader went is libvirt's to explain. */
	if (feed->error && feed->error->kind == ERROR_INVALID)
		result = -1;
	return result;
}

static int restore_paused(
    Instance *i, HypervisorLink *link, int state_fd, const char *xml, Error **err)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *pipe = g_build_filename(directory, VM_STATE_PIPE, NULL);
	g_autofree char *uri = vm_uri(i->daemon);
	g_autofree char *seen = hypervisor_path(i->daemon, uri, pipe);
	Feed feed = { .in = state_fd, .pipe = pipe };
	unlink(pipe);
	if (mkfifo(pipe, 0600) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	int result = restore_domain(link, &feed, seen, xml, err);
	unlink(pipe);
	if (feed.error && feed.error->kind == ERROR_INVALID)
		return error_propagate(err, feed.error);
	error_free(feed.error);
	return result;
}

static int resume(Instance *i, HypervisorLink *link, Error **err)
{
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	virDomainPtr domain = link->lv->domain_find(link->connection, uuid ? uuid : "");
	int result = domain ? link->lv->domain_resume(domain) : -1;
	if (result < 0)
		result = libvirt_error(link->lv, err, "The virtual machine does not go on");
	if (domain)
		link->lv->domain_free(domain);
	return result;
}

/* It stands still, restored, and is never to run. */
static int refuse_restored(Instance *i)
{
	g_autoptr(Runtime) r = vm_find_process(i);
	g_autoptr(Error) error = NULL;
	if (r && instance_driver(i)->kill(i, r, &error) < 0)
		log_error("A machine that is not to run stands still", "instance", i->name, "err",
		    error->message);
	note_end(i);
	return -1;
}

int vm_restore(
    Instance *i, HypervisorLink *link, const StartPlan *plan, const char *xml, Error **err)
{
	autofd int folder = file_open_directory(plan->path, err);
	autofd int state = folder < 0 ?
	    -1 :
	    file_open_beneath(folder, state_name, O_RDONLY, 0, FILE_LINKS_NONE, NULL);
	if (state < 0)
		return error_set(err, ERROR_INVALID,
		    "The saved state is gone: start the instance without it (--stateless)");
	if (note_begin(i, err) < 0)
		return -1;
	if (restore_paused(i, link, state, xml, err) < 0) {
		note_end(i);
		return error_prefix(err, "Cannot start from the saved state");
	}
	if (plan->gate && plan->gate->wait(plan->gate->data, err) < 0)
		return refuse_restored(i);
	fault_point("state read", NULL);
	/* From here on there is no way back to it: what runs is what there is. */
	unlinkat(folder, state_name, 0);
	fault_point("state used", NULL);
	int result = resume(i, link, err);
	if (result < 0 && plan->gate) /* it is where it came from */
		return refuse_restored(i);
	note_end(i);
	return result;
}

/* ---- after a crash ---- */

static gboolean has_state(Instance *i)
{
	struct stat st;
	g_autoptr(InstanceFolder) folder = NULL;
	return instance_folder_open(i, &folder, NULL) == 0 &&
	    fstatat(instance_folder_fd(folder), state_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What runs goes on from where it is now: what was written before is never to be read. */
static int runs_on(Instance *i)
{
	g_autoptr(InstanceFolder) folder = NULL;
	if (instance_folder_open(i, &folder, NULL) == 0)
		unlinkat(instance_folder_fd(folder), fresh_name, 0);
	return 0;
}

/* What was going on with its memory is given up; it runs, when it still does. */
static int end_job(Instance *i, const VmHandle *vm, const Runtime *r)
{
	int state, reason;
	vm->link.lv->domain_abort_job(vm->domain);
	for (int waited = 0; waited < ADOPT_PATIENCE; waited += ADOPT_STEP) {
		if (vm->link.lv->domain_state(vm->domain, &state, &reason, 0) < 0)
			return 0;
		if (state == VIR_DOMAIN_RUNNING)
			return runs_on(i);
		if (g_atomic_int_get((gint *)&r->frozen))
			return 0;
		if (vm->link.lv->domain_resume(vm->domain) == 0)
			return runs_on(i);
		g_usleep(ADOPT_STEP * 1000);
	}
	return -1;
}

/* Only its state is the machine any more, once that has its name. */
static gboolean is_leaving(Instance *i)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	return journal.phase == LIVE_LEAVING;
}

/* A machine that still has a state has done nothing since: it was being read, or was written for a
 * snapshot that is not made, or was to leave. The first and last end, the second goes on; where it
 * is not known which, both are right for both. */
void vm_checkpoint_adopt(Instance *i, Runtime **runtime)
{
	g_auto(VmHandle) vm = { 0 };
	g_autofree char *note = note_path(i);
	g_autoptr(Error) error = NULL;
	if (access(note, F_OK) < 0)
		return;
	gboolean reading = has_state(i) && (i->stateful || is_leaving(i));
	gboolean known = vm_open(i, &vm, &error) == 0;
	if (reading)
		instance_driver(i)->kill(i, *runtime, NULL);
	gboolean stuck = !known || (!reading && end_job(i, &vm, *runtime) < 0);
	/* libvirt may have come to the end of it. */
	if (runtime_wait(*runtime, reading || stuck ? ADOPT_PATIENCE : 0)) {
		g_clear_pointer(runtime, runtime_unref);
		return;
	}
	if (stuck)
		log_warn("A virtual machine may stand still", "instance", i->name, "err",
		    error ? error->message : "libvirt does not let it go on");
	note_end(i);
}
