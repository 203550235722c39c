/* The driver of containers: liblxc through incus-spawner, control groups, pidfds. */
#include "server/instance/cgroup.h"
#include "server/instance/checkpoint.h"
#include "server/instance/driver.h"
#include "server/instance/flow.h"
#include "server/instance/live_private.h"
#include "sdk/base/fault.h"
#include "sdk/base/file.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { START_PATIENCE = 120000, KILL_PATIENCE = 60000 };

static int available(Error **err)
{
	return 0;
}

static int check(Daemon *d, const Config *expanded, Error **err)
{
	return idmap_for(expanded, NULL, NULL, err) < 0 ? -1 : lxc_config_check(d, expanded, err);
}

/* ---- starting ---- */

static int choose(Instance *i, StartPlan *plan, Error **err)
{
	return idmap_choose(i, err) < 0 ?
	    -1 :
	    instance_idmap(i, &plan->idmap, &plan->idmap_text, err);
}

static int note_idmap(Instance *i, const StartPlan *plan, Error **err)
{
	g_autofree char *json = id_map_json(plan->idmap);
	return instance_volatile_set(i, "idmap.current", json, err) < 0 ?
	    -1 :
	    instance_volatile_set(i, "idmap.next", json, err);
}

/* Not beneath processes that go on: they have the files open. */
static int apply_templates(Instance *i, const StartPlan *plan, Error **err)
{
	if (i->stateful)
		return 0;
	g_autofree char *pending = instance_volatile_get(i, "apply_template");
	if (pending &&
	    (template_apply(i, plan->path, pending, err) < 0 ||
		instance_volatile_set(i, "apply_template", NULL, err) < 0))
		return -1;
	return template_apply(i, plan->path, "start", err);
}

static int settle(Instance *i, StartPlan *plan, Error **err)
{
	if (owners_settle(i, plan->pool, plan->path, plan->idmap, &plan->mapped, err) < 0 ||
	    idmap_own(plan->path, plan->idmap, err) < 0 || note_idmap(i, plan, err) < 0)
		return -1;
	return apply_templates(i, plan, err);
}

static void rotate_log(Instance *i)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *log = g_build_filename(logs, "lxc.log", NULL);
	g_autofree char *old = g_build_filename(logs, "lxc.log.old", NULL);
	rename(log, old);
}

/* What liblxc was told, for people who look for a fault. */
static void write_config_copy(Instance *i, GPtrArray *pairs)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *path = g_build_filename(logs, "lxc.conf", NULL);
	g_autoptr(GString) text = g_string_new(NULL);
	for (guint n = 0; n + 1 < pairs->len; n += 2)
		g_string_append_printf(
		    text, "%s = %s\n", (char *)pairs->pdata[n], (char *)pairs->pdata[n + 1]);
	file_write_plain(path, text->str, 0640, NULL);
}

/* What is restored waits at the gate; it ends there when it is not let through. */
static int pass_gate(const StartGate *gate, int socket, Packet **ret_answer, Error **err)
{
	g_autoptr(Packet) packet = packet_new(0);
	int passed = gate->wait(gate->data, err);
	packet->n[0] = passed == 0;
	packet_send(socket, packet);
	int got = spawner_receive(socket, START_PATIENCE, packet, passed == 0 ? err : NULL);
	if (passed < 0 || got < 0)
		return -1;
	if (got == 0 || packet->error)
		return error_set(err, ERROR_INTERNAL, "The instance does not go on: %s",
		    got ? packet_next(packet) : "the spawner ended");
	*ret_answer = g_steal_pointer(&packet);
	return 0;
}

static int call_start(
    Instance *i, const StartGate *gate, Packet *rq, Packet **ret_answer, Error **err)
{
	autofd int socket = -1;
	SpawnerCall call = { .timeout_ms = START_PATIENCE, .ret_socket = gate ? &socket : NULL };
	rq->n[3] = gate != NULL;
	if (spawner_call(i->daemon->spawner, rq, &call, gate ? NULL : ret_answer, err) < 0)
		return -1;
	return gate ? pass_gate(gate, socket, ret_answer, err) : 0;
}

static int start_container(
    Instance *i, StartPlan *plan, GPtrArray *pairs, Runtime **ret_runtime, Error **err)
{
	g_autofree char *name = instance_file_name(i);
	g_autofree char *lxcpath = instance_lxcpath(i->daemon);
	g_autofree char *rootfs = g_build_filename(plan->path, "rootfs", NULL);
	Packet *rq = packet_new(SPAWN_START);
	g_autoptr(Packet) answer = NULL;
	packet_add(rq, name);
	packet_add(rq, lxcpath);
	packet_add(rq, rootfs);
	packet_add(rq, plan->directory);
	packet_add(rq, plan->idmap_text);
	rq->n[0] = plan->mapped;
	rq->n[1] = pairs->len / 2;
	rq->n[2] = plan->devices.mounts->len;
	for (guint n = 0; n < pairs->len; n++)
		packet_add(rq, pairs->pdata[n]);
	for (guint n = 0; n < plan->devices.mounts->len; n++)
		device_mount_pack(plan->devices.mounts->pdata[n], rq);
	if (checkpoint_request(i, plan->path, rq, err) < 0) {
		packet_free(rq);
		return -1;
	}
	if (call_start(i, plan->gate, rq, &answer, err) < 0)
		return -1;
	Runtime *r = runtime_new();
	r->init = (pid_t)answer->n[0];
	r->monitor = (pid_t)answer->n[1];
	r->init_start = (uint64_t)answer->n[2];
	r->monitor_start = (uint64_t)answer->n[3];
	r->cgroup = g_strdup(packet_next(answer));
	r->init_fd = packet_take_fd(answer, 0);
	r->monitor_fd = packet_take_fd(answer, 1);
	r->netlink_fd = packet_take_fd(answer, 2);
	*ret_runtime = r;
	return 0;
}

/* The reason of a failed start is in liblxc's log: its last error lines. */
static void explain(Instance *i, Error **err)
{
	g_autofree char *logs = instance_log_path(i);
	g_autofree char *log = g_build_filename(logs, "lxc.log", NULL);
	g_autofree char *text = NULL;
	if (!err || !*err || !g_file_get_contents(log, &text, NULL, NULL))
		return;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		char *at = strstr(*line, " ERROR ");
		char *said = at ? strstr(at, " - ") : NULL;
		said = said ? strstr(said + 3, " - ") : NULL;
		if (!said)
			continue;
		g_autofree char *message = g_strdup_printf("%s: %s", (*err)->message, said + 3);
		g_free((*err)->message);
		(*err)->message = g_steal_pointer(&message);
		return;
	}
}

/* Everything that liblxc is to be told. */
static int build_config(Instance *i, const StartPlan *plan, GPtrArray *pairs, Error **err)
{
	if (fault_point("container configuration", err) < 0 ||
	    lxc_config_build(i, plan->host.config, plan->idmap_text, pairs, err) < 0 ||
	    checkpoint_config(i, plan, pairs, err) < 0)
		return -1;
	if (plan->devices.n_nics == 0) { /* a network namespace of its own, with nothing in it */
		g_ptr_array_add(pairs, g_strdup("lxc.net.0.type"));
		g_ptr_array_add(pairs, g_strdup("empty"));
	}
	for (guint n = 0; n < plan->devices.lxc_config->len; n++)
		g_ptr_array_add(pairs, g_strdup(plan->devices.lxc_config->pdata[n]));
	if (plan->idmap->len == 0)
		for (guint n = 0; n < plan->devices.device_rules->len; n++)
			lxc_config_device_rule(pairs, plan->devices.device_rules->pdata[n]);
	rotate_log(i);
	write_config_copy(i, pairs);
	return 0;
}

static int spawn(Instance *i, StartPlan *plan, Runtime **ret_runtime, Error **err)
{
	g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(g_free);
	if (build_config(i, plan, pairs, err) < 0)
		return -1;
	int result = start_container(i, plan, pairs, ret_runtime, err);
	if (result < 0 && i->stateful)
		checkpoint_explain(i, err);
	else if (result < 0)
		explain(i, err);
	return result;
}

static void release(Instance *i)
{
	seccomp_remove(i);
	apparmor_unload(i);
}

/* ---- while it runs ---- */

static gboolean frozen(const Runtime *r)
{
	char state[32];
	if (!*r->cgroup ||
	    !cgroup_meter_text(r->meters, r->cgroup, CGROUP_FROZEN, state, sizeof(state)))
		return FALSE;
	return strcmp(state, cgroup_version("freezer") == CGROUP_V1 ? "THAWED" : "0") != 0;
}

static int update(Instance *i, const Config *before, const Config *after, Error **err)
{
	return apparmor_reload(i, before, after, err) < 0 ? -1 :
							    limits_apply(i, before, after, err);
}

int instance_mount_add(Instance *i, const DeviceMount *mount, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	g_autofree char *idmap = NULL;
	if (!r)
		return error_set(err, ERROR_INVALID, "The instance isn't running");
	if (instance_idmap(i, NULL, &idmap, err) < 0)
		return -1;
	Packet *rq = packet_new(SPAWN_MOUNT);
	device_mount_pack(mount, rq);
	packet_add(rq, idmap);
	packet_add_fd(rq, r->init_fd);
	return spawner_call(i->daemon->spawner, rq, NULL, NULL, err);
}

int instance_mount_remove(Instance *i, const char *target, Error **err)
{
	g_autoptr(Runtime) r = instance_runtime(i);
	if (!r)
		return 0;
	Packet *rq = packet_new(SPAWN_UNMOUNT);
	packet_add(rq, target);
	packet_add_fd(rq, r->init_fd);
	return spawner_call(i->daemon->spawner, rq, NULL, NULL, err);
}

int instance_device_rule(Instance *i, const char *rule, gboolean allow, Error **err)
{
	g_autoptr(GArray) idmap = NULL;
	if (instance_idmap(i, &idmap, NULL, err) < 0)
		return -1;
	if (idmap->len > 0)
		return 0;
	g_autofree char *name = instance_file_name(i);
	g_autofree char *lxcpath = instance_lxcpath(i->daemon);
	Packet *rq = packet_new(SPAWN_CGROUP);
	packet_add(rq, name);
	packet_add(rq, lxcpath);
	packet_add(rq, allow ? "devices.allow" : "devices.deny");
	packet_add(rq, rule);
	return spawner_call(i->daemon->spawner, rq, NULL, NULL, err);
}

/* ---- stopping ---- */

/* SIGRTMIN+3 is what systemd calls halt; it blocks that signal to read it from a file descriptor.
 */
static int halt_signal(Instance *i, pid_t init)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)init);
	g_autofree char *text = NULL;
	g_autofree char *raw = instance_expanded_get(i, "raw.lxc");
	const char *said = raw ? strstr(raw, "lxc.signal.halt") : NULL;
	if (said && (said = strchr(said, '='))) {
		static const struct {
			const char *name;
			int number;
		} names[] = { { "SIGPWR", SIGPWR }, { "SIGTERM", SIGTERM }, { "SIGINT", SIGINT },
			{ "SIGKILL", SIGKILL }, { "SIGUSR1", SIGUSR1 }, { "SIGUSR2", SIGUSR2 },
			{ "SIGHUP", SIGHUP } };
		while (*++said == ' ')
			;
		for (guint n = 0; n < G_N_ELEMENTS(names); n++)
			if (g_str_has_prefix(said, names[n].name))
				return names[n].number;
		int number = atoi(said);
		if (number > 0 && number < NSIG)
			return number;
	}
	const char *blocked = g_file_get_contents(path, &text, NULL, NULL) ?
	    strstr(text, "SigBlk:") :
	    NULL;
	guint64 mask = blocked ? g_ascii_strtoull(blocked + 7, NULL, 16) : 0;
	return mask & (G_GUINT64_CONSTANT(1) << (SIGRTMIN + 3 - 1)) ? SIGRTMIN + 3 : SIGPWR;
}

static int freeze(Instance *i, Runtime *r, gboolean wanted, Error **err)
{
	gboolean v1 = cgroup_version("freezer") == CGROUP_V1;
	return cgroup_write("freezer", r->cgroup, v1 ? "freezer.state" : "cgroup.freeze",
	    v1 ? (wanted ? "FROZEN" : "THAWED") : (wanted ? "1" : "0"), err);
}

static int shut_down(Instance *i, Runtime *r, Error **err)
{
	syscall(SYS_pidfd_send_signal, r->init_fd, halt_signal(i, r->init), NULL, 0);
	return 0;
}

static int kill_and_wait(Instance *i, Runtime *r, Error **err)
{
	syscall(SYS_pidfd_send_signal, r->init_fd, SIGKILL, NULL, 0);
	if (frozen(r))
		freeze(i, r, FALSE, NULL);
	if (!runtime_wait(r, KILL_PATIENCE))
		return error_set(err, ERROR_TIMEOUT, "The instance's monitor did not end");
	return 0;
}

/* "reboot" or "stop", as liblxc's hook wrote it. */
static gboolean wants_reboot(Instance *i)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *path = g_build_filename(directory, "stopped", NULL);
	g_autofree char *text = NULL;
	return g_file_get_contents(path, &text, NULL, NULL) && g_str_has_prefix(text, "reboot");
}

const InstanceDriver instance_driver_lxc = {
	.name = "lxc",
	.available = available,
	.check = check,
	.choose = choose,
	.settle = settle,
	.spawn = spawn,
	.release = release,
	.adopt = lxc_adopt,
	.shut_down = shut_down,
	.kill = kill_and_wait,
	.save = checkpoint_save,
	.live = &live_driver_criu,
	.freeze = freeze,
	.frozen = frozen,
	.wants_reboot = wants_reboot,
	.update = update,
	.state = state_of_container,
	.console_open = lxc_console_open,
	.console_log = lxc_console_log,
};
