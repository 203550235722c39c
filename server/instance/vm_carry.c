#include "server/instance/vm_carry.h"
#include "server/instance/live_private.h"
#include "server/instance/migration_carry.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <stdlib.h>
#include <string.h>

enum { GO_ON_PATIENCE = 15000, GO_ON_STEP = 50, PERFORM_PATIENCE = 2000 }; /* ms */
enum {
	FLAGS = VIR_MIGRATE_LIVE | VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_PAUSED |
	    VIR_MIGRATE_UNSAFE
};

gboolean vm_carries(Daemon *d)
{
	const Libvirt *lv;
	g_autofree char *uri = vm_uri(d);
	return fault_point("machine carries", NULL) == 0 &&
	    (!uri || !g_str_has_prefix(uri, "qemu:///embed")) && libvirt_load(&lv, NULL) == 0 &&
	    libvirt_has_steps(lv);
}

/* ---- notes for a server that comes after this one ---- */

static char *run_file(const Instance *i, const char *name)
{
	g_autofree char *directory = runtime_directory(i);
	return g_build_filename(directory, name, NULL);
}

static int note_begin(const Instance *i, Error **err)
{
	g_autofree char *path = run_file(i, VM_CARRY_NOTE);
	return file_write_plain(path, "", 0600, err);
}

static void note_end(const Instance *i)
{
	g_autofree char *path = run_file(i, VM_CARRY_NOTE);
	unlink(path);
}

static gboolean has_note(const Instance *i)
{
	g_autofree char *path = run_file(i, VM_CARRY_NOTE);
	return access(path, F_OK) == 0;
}

gboolean vm_carried(Instance *i)
{
	return instance_running(i) && has_note(i);
}

/* ---- what libvirt is told ---- */

typedef struct Params {
	const Libvirt *lv;
	virTypedParameterPtr all;
	int n, room;
} Params;

static void params_clear(Params *p)
{
	p->lv->params_free(p->all, p->n);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Params, params_clear)

static int params_add(Params *p, const char *name, const char *value, Error **err)
{
	return p->lv->params_add_string(&p->all, &p->n, &p->room, name, value) == 0 ?
	    0 :
	    libvirt_error(p->lv, err, "libvirt");
}

static void places_of(const Instance *i, CarryPlace places[CARRY_PLACES])
{
	places[0] = (CarryPlace){ run_file(i, VM_CARRY_DISK), "disk" };
	places[1] = (CarryPlace){ run_file(i, VM_CARRY_MEMORY), "memory" };
}

static void places_clear(CarryPlace places[CARRY_PLACES])
{
	for (guint n = 0; n < CARRY_PLACES; n++) {
		unlink(places[n].path);
		g_free((char *)places[n].path);
	}
}

/* disk: the root's name, "sda". */
static int add_places(
    Params *p, const CarryPlace places[CARRY_PLACES], const char *disk, Error **err)
{
	g_autofree char *disks = g_strconcat("unix:", places[0].path, NULL);
	g_autofree char *memory = g_strconcat("unix:", places[1].path, NULL);
	return params_add(p, VIR_MIGRATE_PARAM_URI, memory, err) < 0 ||
		params_add(p, VIR_MIGRATE_PARAM_DISKS_URI, disks, err) < 0 ?
	    -1 :
	    params_add(p, VIR_MIGRATE_PARAM_MIGRATE_DISKS, disk, err);
}

/* What one libvirt tells the other. Theirs is XML that a stranger wrote; the least that all of them
 * take is the same for every machine. */
static char *cookie_of(Instance *i)
{
	g_autofree char *name = instance_file_name(i);
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	g_autofree char *host = g_uuid_string_random();
	return g_strdup_printf("<qemu-migration><name>%s</name><uuid>%s</uuid>"
			       "<hostname>other</hostname><hostuuid>%s</hostuuid><nbd/>"
			       "<capabilities><cap name='pause-before-switchover' auto='yes'/>"
			       "<cap name='late-block-activate' auto='yes'/></capabilities>"
			       "</qemu-migration>",
	    name, uuid ? uuid : "", host);
}

/* ---- at the source ---- */

static int find_root(Instance *i, const VmHandle *vm, char ret_target[4], Error **err)
{
	const char *root;
	g_autoptr(GHashTable) devices = instance_expanded_devices(i);
	if (device_root_disk(devices, &root, NULL, err) < 0)
		return -1;
	char *now = vm->link.lv->domain_xml(vm->domain, 0);
	gboolean found = now && vm_disk_target(now, root, ret_target);
	free(now);
	return found ? 0 : error_set(err, ERROR_INTERNAL, "The virtual machine has no root disk");
}

typedef struct Out {
	Instance *instance;
	const CarryPlace *places;
	VmHandle vm; /* on a connection of its own */
} Out;

/* libvirt refuses here what it cannot move. */
static int begin(const Out *out, Error **err)
{
	char *cookie = NULL;
	int length = 0;
	const Libvirt *lv = out->vm.link.lv;
	char *xml = lv->migrate_begin(out->vm.domain, NULL, 0, &cookie, &length, FLAGS);
	if (!xml)
		return libvirt_error(lv, err, "It cannot move while it runs");
	free(xml);
	free(cookie);
	return 0;
}

static int run_out(void *data, Error **err)
{
	const Out *out = data;
	const Libvirt *lv = out->vm.link.lv;
	g_auto(Params) p = { .lv = lv };
	g_autofree char *cookie = cookie_of(out->instance);
	char disk[4], *answer = NULL;
	int length = 0;
	if (begin(out, err) < 0 || find_root(out->instance, &out->vm, disk, err) < 0 ||
	    add_places(&p, out->places, disk, err) < 0)
		return -1;
	int result = lv->migrate_perform(out->vm.domain, NULL, p.all, p.n, cookie,
	    (int)strlen(cookie) + 1, &answer, &length, FLAGS | VIR_MIGRATE_AUTO_CONVERGE);
	if (result < 0)
		result = libvirt_error(lv, err, "It did not move");
	live_trace(out->instance, "source: libvirt is done");
	free(answer);
	return result;
}

static void stop_out(void *data)
{
	const Out *out = data;
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(out->instance, &vm, NULL) == 0)
		vm.link.lv->domain_abort_job(vm.domain);
}

static gboolean runs(const VmHandle *vm)
{
	int state, reason;
	return vm->link.lv->domain_state(vm->domain, &state, &reason, 0) == 0 &&
	    state == VIR_DOMAIN_RUNNING;
}

static gboolean is_busy(const VmHandle *vm)
{
	virDomainJobInfo job = { 0 };
	return vm->link.lv->domain_job(vm->domain, &job) == 0 && job.type != VIR_DOMAIN_JOB_NONE;
}

/* What libvirt does with it is given up, however far that has come: it may be at it (for that long,
 * when a server that was killed asked for it), wait for our word, or have forgotten. */
static int go_on(Instance *i, int busy_ms, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	const Libvirt *lv = vm.link.lv;
	for (int waited = 0; !runs(&vm) || is_busy(&vm); waited += GO_ON_STEP) {
		if (runs(&vm) || (is_busy(&vm) && waited < busy_ms))
			lv->domain_abort_job(vm.domain);
		else if (lv->migrate_confirm(vm.domain, NULL, 0, NULL, 0, FLAGS, 1) < 0)
			lv->domain_resume(vm.domain);
		if (runs(&vm) && !is_busy(&vm))
			break;
		if (waited >= GO_ON_PATIENCE)
			return libvirt_error(lv, err, "The virtual machine does not go on");
		g_usleep(GO_ON_STEP * 1000);
	}
	note_end(i);
	return 0;
}

static int open_own(Instance *i, VmHandle *vm, Error **err)
{
	g_autofree char *uri = vm_uri(i->daemon);
	g_autofree char *uuid = instance_volatile_get(i, "uuid");
	g_auto(VmHandle) shared = { 0 }; /* a connection that was killed is noticed by this */
	if (vm_open(i, &shared, err) < 0 ||
	    hypervisor_connect_own(i->daemon, uri, &vm->link, err) < 0)
		return -1;
	vm->domain = vm->link.lv->domain_find(vm->link.connection, uuid ? uuid : "");
	return vm->domain ? 0 :
			    libvirt_error(vm->link.lv, err, "libvirt does not know the machine");
}

int vm_carry_out(
    Instance *i, MigrationPeer *peer, Operation *op, HypervisorLink *ret_link, Error **err)
{
	CarryPlace places[CARRY_PLACES];
	Out out = { .instance = i, .places = places };
	CarryWork work = { run_out, stop_out, &out };
	g_autoptr(Error) error = NULL;
	if (open_own(i, &out.vm, err) < 0 || note_begin(i, err) < 0) {
		vm_close(&out.vm);
		return -1;
	}
	places_of(i, places);
	int result = migration_carry_out(peer, places, &work, op, err);
	places_clear(places);
	if (result == 0) {
		out.vm.link.lv->domain_free(g_steal_pointer(&out.vm.domain));
		*ret_link = out.vm.link;
		return 0;
	}
	vm_close(&out.vm);
	if (go_on(i, PERFORM_PATIENCE, &error) < 0)
		log_error("A virtual machine that did not move stands still", "instance", i->name,
		    "err", error->message);
	return -1;
}

/* Ends one of which there is another, or no one is to be. */
static int lose(Instance *i, Runtime *r, Error **err)
{
	int result = instance_driver(i)->kill(i, r, err);
	if (result == 0)
		note_end(i);
	return result;
}

int vm_carry_settle(Instance *i, gboolean arrived, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return 0;
	if (arrived)
		return lose(i, r, err);
	if (go_on(i, 0, err) < 0)
		return -1;
	g_atomic_int_set(&r->frozen, FALSE);
	guest_pause(r->guest, FALSE);
	return 0;
}

void vm_carry_forget(Instance *i)
{
	note_end(i);
}

/* ---- at the target ---- */

/* As vm_domain.c names them. */
static char root_letter(const StartPlan *plan)
{
	char letter = 'a';
	for (guint n = 0; n < plan->devices.parts->len; n++) {
		const DevicePart *part = plan->devices.parts->pdata[n];
		if (part->kind == PART_DISK && part->root)
			break;
		letter += part->kind == PART_DISK;
	}
	return letter;
}

static int prepare(Instance *i, const StartPlan *plan, const HypervisorLink *link, const char *xml,
    const CarryPlace places[CARRY_PLACES], Error **err)
{
	g_auto(Params) p = { .lv = link->lv };
	g_autofree char *cookie = cookie_of(i);
	char disk[] = { 's', 'd', root_letter(plan), 0 }, *answer = NULL, *uri = NULL;
	int length = 0;
	if (params_add(&p, VIR_MIGRATE_PARAM_DEST_XML, xml, err) < 0 ||
	    add_places(&p, places, disk, err) < 0)
		return -1;
	int result = link->lv->migrate_prepare(link->connection, p.all, p.n, cookie,
	    (int)strlen(cookie) + 1, &answer, &length, &uri, FLAGS);
	free(answer);
	free(uri);
	return result == 0 ? 0 : libvirt_error(link->lv, err, "The machine cannot come in");
}

/* cancelled: it is gone afterwards. Otherwise it stands still, with all that it was. */
static int finish(Instance *i, const HypervisorLink *link, gboolean cancelled, Error **err)
{
	g_auto(Params) p = { .lv = link->lv };
	g_autofree char *name = instance_file_name(i);
	g_autofree char *cookie = cookie_of(i); /* without it, the disk's server stays */
	char *answer = NULL;
	int length = 0;
	if (params_add(&p, VIR_MIGRATE_PARAM_DEST_NAME, name, err) < 0)
		return -1;
	virDomainPtr domain = link->lv->migrate_finish(link->connection, p.all, p.n, cookie,
	    (int)strlen(cookie) + 1, &answer, &length, FLAGS, cancelled);
	int result = domain ? 0 : libvirt_error(link->lv, err, "The machine did not come in whole");
	if (domain)
		link->lv->domain_free(domain);
	free(answer);
	return result;
}

static int take(Instance *i, const StartPlan *plan, const HypervisorLink *link, const char *xml,
    const CarryPlace places[CARRY_PLACES], Error **err)
{
	const StartGate *gate = plan->gate;
	live_trace(i, "target: prepare");
	if (prepare(i, plan, link, xml, places, err) < 0)
		return -1;
	live_trace(i, "target: carry");
	if (migration_carry_in(gate->peer, places, gate->op, err) == 0) {
		live_trace(i, "target: finish");
		return finish(i, link, FALSE, err);
	}
	finish(i, link, TRUE, NULL);
	return -1;
}

/* Whatever is there of it, it never runs here. */
static int refuse(Instance *i)
{
	g_autoptr(Runtime) r = vm_find_process(i);
	g_autoptr(Error) error = NULL;
	if (r && lose(i, r, &error) < 0)
		log_error("A machine that is not to run stands still", "instance", i->name, "err",
		    error->message);
	note_end(i);
	return -1;
}

int vm_carry_in(Instance *i, const StartPlan *plan, const char *uri, const char *xml, Error **err)
{
	g_auto(HypervisorLink) link = { 0 };
	CarryPlace places[CARRY_PLACES];
	if (hypervisor_connect_own(i->daemon, uri, &link, err) < 0 || note_begin(i, err) < 0)
		return -1;
	places_of(i, places);
	int result = take(i, plan, &link, xml, places, err);
	places_clear(places);
	if (result < 0 || plan->gate->wait(plan->gate->data, err) < 0)
		return refuse(i);
	fault_point("live open", NULL);
	/* The source knows of no way back any more, but for our word that it did not run. */
	return go_on(i, 0, err) < 0 ? refuse(i) : 0;
}

/* ---- after a crash ---- */

static void adopt_as(Instance *i, Runtime **runtime, LivePhase phase, gboolean record)
{
	g_autoptr(Error) error = NULL;
	gboolean ends = phase == LIVE_LEFT || (phase == LIVE_ARRIVING && !record);
	int result = ends ? lose(i, *runtime, &error) : go_on(i, PERFORM_PATIENCE, &error);
	if (result < 0)
		log_error("A virtual machine that was moving stands still", "instance", i->name,
		    "err", error->message);
	if (runtime_wait(*runtime, 0))
		g_clear_pointer(runtime, runtime_unref);
}

gboolean vm_carry_adopt(Instance *i, Runtime **runtime)
{
	g_auto(LiveJournal) journal = live_journal_read(i);
	if (!has_note(i))
		return FALSE;
	if (journal.phase == LIVE_LEAVING && journal.given) { /* its target knows */
		g_atomic_int_set(&(*runtime)->frozen, TRUE);
		guest_pause((*runtime)->guest, TRUE);
	} else {
		adopt_as(i, runtime, journal.phase, live_record_exists(i->daemon, journal.id));
	}
	return TRUE;
}
