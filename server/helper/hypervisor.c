#include "server/helper/hypervisor.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/spawn.h"
#include "server/helper/client.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { READY_MS = 10000, END_MS = 10000 };

struct Hypervisor {
	GMutex lock;
	char *folder; /* INCUS_DIR/libvirt */
	pid_t pid;    /* of incus-libvirt; 0: not known to run */
	int pid_fd, wake_fd;
	GThread *keeper; /* starts it again when it dies */
	gint stopping;
	char *uri;	     /* of the connection */
	HypervisorLink link; /* connection NULL: none */
};

/* ---- what the host has ---- */

static char *find_program(const char *name)
{
	g_autofree char *system = g_build_filename("/usr/sbin", name, NULL);
	return g_file_test(system, G_FILE_TEST_IS_EXECUTABLE) ? g_steal_pointer(&system) :
								g_find_program_in_path(name);
}

const char *hypervisor_kind(void)
{
	static gsize kind = 0;
	if (g_once_init_enter(&kind)) {
		g_autofree char *text = NULL;
		gboolean can = g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) &&
		    (strstr(text, " vmx") || strstr(text, " svm")) &&
		    access("/dev/kvm", R_OK | W_OK) == 0;
		g_once_init_leave(&kind, can ? 1 : 2);
	}
	return kind == 1 ? "kvm" : "qemu";
}

static char *read_version(void)
{
	static const char before[] = "QEMU emulator version ";
	const char *const argv[] = { "qemu-system-x86_64", "--version", NULL };
	const Spawn spawn = { .argv = argv, .timeout_ms = 10000 };
	g_autofree char *said = NULL;
	if (spawn_run(&spawn, &said, NULL, NULL) < 0 || !g_str_has_prefix(said, before))
		return g_strdup("unknown");
	const char *version = said + strlen(before);
	return g_strndup(version, strcspn(version, " \n")); /* "7.2.22 (Debian ...)" */
}

static HypervisorFacts *facts; /* kept */

void hypervisor_probe(void)
{
	g_autoptr(Error) missing = NULL;
	HypervisorFacts *found = g_new0(HypervisorFacts, 1);
	if (hypervisor_check(&missing) < 0)
		found->missing = g_strdup(missing->message);
	else
		found->version = read_version();
	g_atomic_pointer_set(&facts, found);
}

const HypervisorFacts *hypervisor_facts(void)
{
	return g_atomic_pointer_get(&facts);
}

int hypervisor_firmware(Firmware which, int64_t bytes, const char **ret_code,
    const char **ret_variables, gboolean *ret_fits, Error **err)
{
	static const struct {
		Firmware which;
		const char *code, *variables;
	} known[] = {
		{ FIRMWARE_SECURE, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
		    "/usr/share/OVMF/OVMF_VARS_4M.ms.fd" },
		{ FIRMWARE_SECURE, "/usr/share/OVMF/OVMF_CODE.secboot.fd",
		    "/usr/share/OVMF/OVMF_VARS.ms.fd" },
		{ FIRMWARE_PLAIN, "/usr/share/OVMF/OVMF_CODE_4M.fd",
		    "/usr/share/OVMF/OVMF_VARS_4M.fd" },
		{ FIRMWARE_PLAIN, "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd" },
	};
	struct stat st;
	gboolean found = FALSE;
	*ret_fits = FALSE;
	for (gsize n = 0; n < G_N_ELEMENTS(known) && !*ret_fits; n++) {
		if (known[n].which != which || access(known[n].code, R_OK) < 0 ||
		    stat(known[n].variables, &st) < 0)
			continue;
		*ret_fits = bytes == st.st_size;
		if (found && !*ret_fits)
			continue;
		found = TRUE;
		*ret_code = known[n].code;
		*ret_variables = known[n].variables;
	}
	return found ?
	    0 :
	    error_set(err, ERROR_UNSUPPORTED,
		"The firmware for virtual machines is missing: install the package \"ovmf\"");
}

int hypervisor_check(Error **err)
{
	static const struct {
		const char *program, *package;
	} needed[] = { { "libvirtd", "libvirt-daemon" },
		{ "qemu-system-x86_64", "qemu-system-x86" }, { "qemu-img", "qemu-utils" } };
	for (gsize n = 0; n < G_N_ELEMENTS(needed); n++) {
		g_autofree char *path = find_program(needed[n].program);
		if (!path)
			return error_set(err, ERROR_UNSUPPORTED,
			    "Virtual machines need \"%s\": install the package \"%s\"",
			    needed[n].program, needed[n].package);
	}
	return 0;
}

/* libvirt takes the one that we run only where it could run one by itself. */
int hypervisor_check_tpm(Error **err)
{
	static const char *const needed[] = { "swtpm", "swtpm_setup", "swtpm_ioctl" };
	for (gsize n = 0; n < G_N_ELEMENTS(needed); n++) {
		g_autofree char *program = g_find_program_in_path(needed[n]);
		if (!program)
			return error_set(err, ERROR_UNSUPPORTED,
			    "A virtual TPM needs \"%s\": install the package \"swtpm-tools\"",
			    needed[n]);
	}
	return 0;
}

/* ---- incus-libvirt ---- */

/* The process that holds the lock, 0 when there is none. */
static pid_t find_running(const Hypervisor *h)
{
	g_autofree char *path = g_build_filename(h->folder, "lock", NULL);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[16] = "";
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK ||
	    read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	return (pid_t)atoi(text);
}

static int write_setting(const char *folder, const char *name, const char *text, Error **err)
{
	g_autofree char *path = g_build_filename(folder, "etc", name, NULL);
	return file_write_plain(path, text, 0600, err);
}

static char *host_uuid(const Hypervisor *h)
{
	g_autofree char *path = g_build_filename(h->folder, "host_uuid", NULL);
	char *uuid = NULL;
	if (g_file_get_contents(path, &uuid, NULL, NULL) &&
	    g_uuid_string_is_valid(g_strchomp(uuid)))
		return uuid;
	g_free(uuid);
	uuid = g_uuid_string_random();
	file_write_plain(path, uuid, 0600, NULL);
	return uuid;
}

/* stdio_handler: virtlogd does not run. Everything else that could reach beyond the folder is off.
 */
static int write_settings(const Hypervisor *h, Error **err)
{
	static const char *const qemu = "user = \"+0\"\n"
					"group = \"+0\"\n"
					"security_driver = \"none\"\n"
					"namespaces = []\n"
					"remember_owner = 0\n"
					"stdio_handler = \"file\"\n"
					"cgroup_controllers = []\n";
	static const char *const parts[] = { "etc", "run", "lib", "cache", "log" };
	for (gsize n = 0; n < G_N_ELEMENTS(parts); n++) {
		g_autofree char *part = g_build_filename(h->folder, parts[n], NULL);
		if (file_mkdir_all(part, 0711, err) < 0)
			return -1;
	}
	g_autofree char *uuid = host_uuid(h);
	g_autofree char *libvirtd = g_strdup_printf("auth_unix_rw = \"none\"\n"
						    "host_uuid = \"%s\"\n",
	    uuid);
	return write_setting(h->folder, "qemu.conf", qemu, err) < 0 ?
	    -1 :
	    write_setting(h->folder, "libvirtd.conf", libvirtd, err);
}

/* libvirtd does not start without it, though nothing runs as that user here. */
static int check_user(Error **err)
{
	g_autofree char *text = NULL;
	if (g_file_get_contents("/etc/passwd", &text, NULL, NULL) &&
	    (g_str_has_prefix(text, "libvirt-qemu:") || strstr(text, "\nlibvirt-qemu:")))
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
	    "Virtual machines need the system user \"libvirt-qemu\": adduser --system --group --no-create-home libvirt-qemu");
}

static int wait_ready(int fd, Error **err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[8];
	if (poll(&p, 1, READY_MS) == 1 && read(fd, text, sizeof(text)) > 0)
		return 0;
	return error_set(err, ERROR_INTERNAL, "libvirtd was not started");
}

static int launch(Hypervisor *h, Error **err)
{
	g_autofree char *spawner = spawner_program();
	g_autofree char *beside = g_path_get_dirname(spawner);
	g_autofree char *program = g_build_filename(beside, "incus-libvirt", NULL);
	g_autofree char *libvirtd = find_program("libvirtd");
	g_autofree char *above = g_path_get_dirname(h->folder);
	g_autofree char *storage = g_build_filename(above, "storage-pools", NULL);
	int ends[2];
	if (hypervisor_check(err) < 0 || check_user(err) < 0 || write_settings(h, err) < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot make a pipe");
	autofd int out = ends[0];
	autofd int in = ends[1];
	const char *const argv[] = { program, h->folder, storage, libvirtd, NULL };
	const Spawn spawn = { .argv = argv, .stdout_fd = in };
	if (spawn_start(&spawn, &h->pid, err) < 0)
		return -1;
	own_close_fd(&in);
	in = -1;
	return wait_ready(out, err);
}

static void *keep(void *data);

/* Lock held. */
static int ensure(Hypervisor *h, Error **err)
{
	if (h->pid && h->pid_fd >= 0)
		return 0;
	h->pid = find_running(h);
	if (!h->pid && launch(h, err) < 0) {
		h->pid = 0;
		return -1;
	}
	h->pid_fd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	if (h->pid_fd < 0)
		return error_errno(err, ERROR_INTERNAL, errno, "Cannot watch libvirtd");
	if (!h->keeper)
		h->keeper = g_thread_new("hypervisor", keep, h);
	else
		eventfd_write(h->wake_fd, 1);
	return 0;
}

/* It was killed: its libvirtd went with it, and virtual machines need one to see their end. */
static void ended(Hypervisor *h)
{
	g_autoptr(Error) error = NULL;
	g_mutex_lock(&h->lock);
	waitpid(h->pid, NULL, WNOHANG);
	close(h->pid_fd);
	h->pid = 0;
	h->pid_fd = -1;
	if (!g_atomic_int_get(&h->stopping) && ensure(h, &error) < 0)
		log_error("libvirtd does not start again", "err", error->message);
	g_mutex_unlock(&h->lock);
}

static void *keep(void *data)
{
	Hypervisor *h = data;
	while (!g_atomic_int_get(&h->stopping)) {
		g_mutex_lock(&h->lock);
		struct pollfd wait[] = { { .fd = h->wake_fd, .events = POLLIN },
			{ .fd = h->pid_fd, .events = POLLIN } };
		g_mutex_unlock(&h->lock);
		eventfd_t ignored;
		if (poll(wait, G_N_ELEMENTS(wait), -1) <= 0)
			continue;
		if (wait[0].revents)
			eventfd_read(h->wake_fd, &ignored);
		else
			ended(h);
	}
	return NULL;
}

/* ---- the connection ---- */

static char *private_uri(const Hypervisor *h, Error **err)
{
	g_autofree char *path = g_build_filename(h->folder, "socket", NULL);
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		error_set(err, ERROR_INVALID,
		    "Virtual machines need a shorter INCUS_DIR: the path of libvirt's socket \"%s\" is too long",
		    path);
		return NULL;
	}
	g_autofree char *escaped = g_uri_escape_string(path, "/", FALSE);
	return g_strdup_printf("qemu+unix:///system?socket=%s", escaped);
}

static void *run_events(void *data)
{
	const Libvirt *lv = data;
	while (lv->event_run() == 0)
		;
	return NULL;
}

/* A driver inside this process wants an event loop. */
static int prepare_embedded(const Libvirt *lv, const char *uri, Error **err)
{
	static gsize done = 0;
	if (!g_str_has_prefix(uri, "qemu:///embed") || !g_once_init_enter(&done))
		return 0;
	int result = lv->event_register();
	if (result == 0)
		g_thread_unref(g_thread_new("libvirt", run_events, (void *)lv));
	g_once_init_leave(&done, 1);
	return result == 0 ? 0 : libvirt_error(lv, err, "Cannot set libvirt up");
}

static void drop_link(Hypervisor *h)
{
	if (h->link.connection)
		h->link.lv->connect_close(h->link.connection);
	h->link.connection = NULL;
	g_clear_pointer(&h->uri, g_free);
}

static int open_link(Hypervisor *h, const char *uri, Error **err)
{
	g_autofree char *own = NULL;
	if (!uri || !*uri) {
		if (ensure(h, err) < 0 || !(own = private_uri(h, err)))
			return -1;
		uri = own;
	}
	if (h->link.connection && strcmp(h->uri, uri) == 0 &&
	    h->link.lv->connect_is_alive(h->link.connection) == 1)
		return 0;
	drop_link(h);
	if (libvirt_load(&h->link.lv, err) < 0 || prepare_embedded(h->link.lv, uri, err) < 0)
		return -1;
	h->link.connection = h->link.lv->connect_open(uri);
	if (!h->link.connection)
		return libvirt_error(h->link.lv, err, "Cannot connect to libvirt");
	h->uri = g_strdup(uri);
	return 0;
}

int hypervisor_connect(Daemon *d, const char *uri, HypervisorLink *ret_link, Error **err)
{
	Hypervisor *h = d->hypervisor;
	g_mutex_lock(&h->lock);
	int result = open_link(h, uri, err);
	if (result == 0) {
		h->link.lv->connect_ref(h->link.connection);
		*ret_link = h->link;
	}
	g_mutex_unlock(&h->lock);
	return result;
}

int hypervisor_connect_own(Daemon *d, const char *uri, HypervisorLink *ret_link, Error **err)
{
	Hypervisor *h = d->hypervisor;
	g_mutex_lock(&h->lock);
	int result = open_link(h, uri, err);
	g_autofree char *own = g_strdup(h->uri);
	const Libvirt *lv = h->link.lv;
	g_mutex_unlock(&h->lock);
	if (result < 0)
		return -1;
	*ret_link = (HypervisorLink){ lv, lv->connect_open(own) };
	return ret_link->connection ? 0 : libvirt_error(lv, err, "Cannot connect to libvirt");
}

static int reconnect(Daemon *d, const char *uri, HypervisorLink *link, Error **err)
{
	Hypervisor *h = d->hypervisor;
	g_mutex_lock(&h->lock);
	if (h->link.connection == link->connection)
		drop_link(h);
	g_mutex_unlock(&h->lock);
	hypervisor_disconnect(link);
	return hypervisor_connect(d, uri, link, err);
}

int hypervisor_find(Daemon *d, const char *uri, HypervisorLink *link, const char *uuid,
    virDomainPtr *ret_domain, Error **err)
{
	enum { TRIES = 3 };
	for (int n = 1;; n++) {
		*ret_domain = link->lv->domain_find(link->connection, uuid);
		virErrorPtr said = *ret_domain ? NULL : link->lv->last_error();
		if (*ret_domain || (said && said->code == VIR_ERR_NO_DOMAIN))
			return 0;
		if (n == TRIES)
			return libvirt_error(link->lv, err, "libvirt does not answer");
		if (reconnect(d, uri, link, err) < 0)
			return -1;
	}
}

int hypervisor_ensure(Daemon *d, const char *uri, Error **err)
{
	Hypervisor *h = d->hypervisor;
	if (uri && *uri)
		return 0;
	g_mutex_lock(&h->lock);
	int result = ensure(h, err);
	g_mutex_unlock(&h->lock);
	return result;
}

gboolean hypervisor_may_run(Daemon *d)
{
	Hypervisor *h = d->hypervisor;
	g_autofree char *folder = g_build_filename(h->folder, "run", "qemu", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;
	if (find_running(h))
		return TRUE;
	while (dir && (name = g_dir_read_name(dir)))
		if (g_str_has_suffix(name, ".pid"))
			return TRUE;
	return FALSE;
}

gboolean hypervisor_has_spice(const HypervisorLink *link)
{
	char *text = link->lv->connect_capabilities(
	    link->connection, NULL, NULL, "q35", hypervisor_kind(), 0);
	const char *at = text ? strstr(text, "<graphics ") : NULL;
	const char *end = at ? strstr(at, "</graphics>") : NULL;
	const char *spice = end ? strstr(at, "<value>spice</value>") : NULL;
	gboolean has = spice && spice < end;
	free(text);
	return has;
}

void hypervisor_disconnect(HypervisorLink *link)
{
	if (link->connection)
		link->lv->connect_close(link->connection);
	link->connection = NULL;
}

char *hypervisor_path(Daemon *d, const char *uri, const char *path)
{
	Hypervisor *h = d->hypervisor;
	if (uri && *uri)
		return g_strdup(path);
	g_mutex_lock(&h->lock);
	char *through = g_strdup_printf("/proc/%d/root%s", (int)h->pid, path);
	g_mutex_unlock(&h->lock);
	return through;
}

/* ---- start and stop ---- */

int hypervisor_start(Daemon *d, Error **err)
{
	Hypervisor *h = g_new0(Hypervisor, 1);
	g_mutex_init(&h->lock);
	h->folder = g_build_filename(d->dir, "libvirt", NULL);
	h->pid_fd = -1;
	h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->hypervisor = h;
	return h->wake_fd >= 0 ?
	    0 :
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot make an event descriptor");
}

/* Nobody would end it later. */
static void end_idle(Hypervisor *h)
{
	pid_t pid = find_running(h);
	if (!pid || open_link(h, NULL, NULL) < 0 ||
	    h->link.lv->connect_domains(h->link.connection) != 0)
		return;
	struct pollfd end = { .fd = h->pid_fd, .events = POLLIN };
	drop_link(h);
	kill(pid, SIGTERM);
	poll(&end, 1, END_MS);
	waitpid(pid, NULL, WNOHANG);
}

void hypervisor_stop(Daemon *d)
{
	Hypervisor *h = d->hypervisor;
	g_atomic_int_set(&h->stopping, 1);
	eventfd_write(h->wake_fd, 1);
	if (h->keeper)
		g_thread_join(g_steal_pointer(&h->keeper));
	end_idle(h);
	/* ensure() may have begun to watch it only now. */
	if (h->keeper)
		g_thread_join(h->keeper);
	drop_link(h);
	own_close_fd(&h->pid_fd);
	own_close_fd(&h->wake_fd);
	g_mutex_clear(&h->lock);
	g_free(h->folder);
	g_clear_pointer(&d->hypervisor, g_free);
}
