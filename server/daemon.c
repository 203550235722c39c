#include "server/api/upload.h"
#include "server/daemon.h"
#include "sdk/base/json_text.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/x509.h"
#include "server/db/db.h"
#include "server/event/event.h"
#include "server/helper/client.h"
#include "server/helper/hypervisor.h"
#include "server/image/image.h"
#include "server/image/tasks.h"
#include "server/instance/live.h"
#include "server/instance/backup.h"
#include "server/instance/guest_api.h"
#include "server/instance/snapshot_tasks.h"
#include "server/instance/instance.h"
#include "server/key/server.h"
#include "server/network/network.h"
#include "server/operation/schedule.h"
#include "server/operation/table.h"
#include "server/rpc/identity.h"
#include "server/rpc/listener.h"
#include "server/storage/custom_backup.h"
#include "server/storage/pool.h"
#include "server/storage/pool_folder.h"
#include "server/storage/store.h"
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

/* ---- folders ---- */

static int make_directory(const char *path, mode_t mode, Error **err)
{
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return 0;
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot make the directory \"%s\"", path);
}

static int make_directories(Daemon *daemon, Error **err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} folders[] = {
	    {"containers", 0711},
	    {"containers-snapshots", 0700},
	    {"database", 0700},
	    {"database/global", 0750},
	    {"devices", 0711},
	    {"disks", 0700},
	    {"guestapi", 0755},
	    {"networks", 0711},
	    {"security", 0700},
	    {"security/apparmor", 0700},
	    {"security/apparmor/cache", 0700},
	    {"security/apparmor/profiles", 0700},
	    {"security/seccomp", 0700},
	    {"shmounts", 0711},
	    {"storage-pools", 0711},
	    {"virtual-machines", 0711},
	    {"virtual-machines-snapshots", 0700},
	};
	if (make_directory(daemon->dir, 0711, err) < 0)
		return -1;
	for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_build_filename(daemon->dir, folders[i].name, NULL);
		if (make_directory(path, folders[i].mode, err) < 0)
			return -1;
	}
	if (make_directory(daemon->log_dir, 0700, err) < 0 ||
	    make_directory(daemon->cache_dir, 0700, err) < 0)
		return -1;
	return 0;
}

static void choose_directories(Daemon *daemon)
{
	const char *dir = g_getenv("INCUS_DIR");
	if (dir && *dir) {
		daemon->dir = g_canonicalize_filename(dir, NULL);
		daemon->log_dir = g_build_filename(daemon->dir, "logs", NULL);
		daemon->cache_dir = g_build_filename(daemon->dir, "cache", NULL);
	} else {
		daemon->dir = g_strdup("/var/lib/incus");
		daemon->log_dir = g_strdup("/var/log/incus");
		daemon->cache_dir = g_strdup("/var/cache/incus");
	}
}

/* ---- parts, in the order they start; stop runs backwards from the last that started ---- */

static int start_db(Daemon *daemon, Error **err)
{
	return db_open(daemon->dir, &daemon->db, err);
}

static void stop_db(Daemon *daemon)
{
	db_close(daemon->db);
	daemon->db = NULL;
}

/* Where the log's sink sends events; NULL before and after the hub is there. */
static EventHub *log_hub;

static void send_log_event(
    LogLevel level, const char *message, const char *const *pairs, void *data)
{
	static const char *const names[] = {"trace", "debug", "info", "warning", "error"};
	EventHub *hub = g_atomic_pointer_get(&log_hub);
	if (!hub || !event_hub_wants(hub, "logging"))
		return;
	g_autoptr(GString) json = g_string_new("{\"message\":");
	json_text_append(json, message);
	g_string_append_printf(json, ",\"level\":\"%s\",\"context\":{", names[level]);
	for (gsize i = 0; pairs && pairs[i] && pairs[i + 1]; i += 2) {
		if (i)
			g_string_append_c(json, ',');
		json_text_append(json, pairs[i]);
		g_string_append_c(json, ':');
		json_text_append(json, pairs[i + 1]);
	}
	g_string_append(json, "}}");
	event_send(hub, "logging", "", json->str);
}

static int start_work(Daemon *daemon, Error **err)
{
	daemon->events = event_hub_new();
	daemon->operations = operation_table_new();
	g_atomic_pointer_set(&log_hub, daemon->events);
	log_add_sink(send_log_event, NULL);
	return 0;
}

static void stop_work(Daemon *daemon)
{
	g_atomic_pointer_set(&log_hub, NULL);
	operation_table_free(daemon->operations);
	event_hub_free(daemon->events);
}

static void stop_config(Daemon *daemon)
{
	server_config_free(daemon->config);
	daemon->config = NULL;
}

typedef struct Part {
	const char *name;
	int (*start)(Daemon *daemon, Error **err);
	void (*stop)(Daemon *daemon);
} Part;

/* The spawner comes early: it is forked while the process has one thread. */
static const Part parts[] = {
	{ "pools' folder", pool_folder_share, pool_folder_release },
	{ "spawner", spawner_start, spawner_stop },
	{ "database", start_db, stop_db },
	{ "configuration", server_config_load, stop_config },
	{ "operations", start_work, stop_work },
	{ "identity", identity_start, identity_stop },
	{ "storage", pool_table_start, pool_table_stop },
	{ "stores", store_start, store_stop },
	{ "volume backups", custom_backup_start, NULL },
	{ "images", image_start, NULL },
	{ "networks", network_table_start, network_table_stop },
	{ "virtual machines", hypervisor_start, hypervisor_stop },
	{ "guest API", guest_api_start, guest_api_stop },
	{ "instances", instance_table_start, instance_table_stop },
	{ "guest API's socket", guest_api_listen, guest_api_hang_up },
	{ "uploads", upload_table_start, upload_table_stop },
	{ "listeners", listener_start, listener_stop },
	{ "schedule", schedule_start, schedule_stop },
	{ "image tasks", image_tasks_start, NULL },
	{ "backup tasks", instance_backup_tasks_start, NULL },
	{ "volume backup tasks", custom_backup_tasks_start, NULL },
	{ "snapshot tasks", snapshot_tasks_start, NULL },
	{ "live moves", live_tasks_start, NULL },
	{ "upload tasks", upload_tasks_start, NULL },
};

static void stop_parts(Daemon *daemon, gsize started)
{
	while (started-- > 0) {
		gint64 begin = g_get_monotonic_time();
		if (parts[started].stop)
			parts[started].stop(daemon);
		g_autofree char *ms = g_strdup_printf(
		    "%.1f", (g_get_monotonic_time() - begin) / 1000.0);
		log_debug("Stopped", "part", parts[started].name, "ms", ms);
	}
	g_free(daemon->dir);
	g_free(daemon->log_dir);
	g_free(daemon->cache_dir);
	g_free(daemon->server_name);
	g_free(daemon->server_cert_pem);
	g_free(daemon->server_cert_fingerprint);
}

/* Who waits for the daemon to be ready expects the instances that start by themselves to be up. */
static gpointer autostart(gpointer data)
{
	Daemon *daemon = data;
	instance_end_orphans(daemon);
	instance_autostart(daemon);
	g_atomic_int_set(&daemon->ready, 1);
	hypervisor_probe();
	return NULL;
}

int daemon_start(Daemon *daemon, Error **err)
{
	daemon->start_us = g_get_monotonic_time();
	choose_directories(daemon);
	if (make_directories(daemon, err) < 0) {
		stop_parts(daemon, 0);
		return -1;
	}
	for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
		gint64 begin = g_get_monotonic_time();
		if (parts[i].start(daemon, err) < 0) {
			error_prefix(err, "Cannot start %s", parts[i].name);
			stop_parts(daemon, i);
			return -1;
		}
		g_autofree char *ms = g_strdup_printf(
		    "%.1f", (g_get_monotonic_time() - begin) / 1000.0);
		log_debug("Started", "part", parts[i].name, "ms", ms);
	}
	g_autofree char *ms =
	    g_strdup_printf("%.1f", (g_get_monotonic_time() - daemon->start_us) / 1000.0);
	log_info("Daemon started", "dir", daemon->dir, "ms", ms);
	daemon->autostart = g_thread_new("autostart", autostart, daemon);
	return 0;
}

/* Operations get core.shutdown_timeout minutes to end by themselves unless forced. */
static void end_operations(Daemon *daemon, gboolean wait, gboolean force)
{
	int minutes = wait && !force ?
	    (int)server_config_int(daemon->config, "core.shutdown_timeout", 5) :
	    0;
	if (minutes > 0 && operation_table_drain(daemon->operations, minutes * 60 * 1000))
		return;
	operation_table_cancel_all(daemon->operations);
	operation_table_drain(daemon->operations, 5000);
}

void daemon_stop(Daemon *daemon, gboolean stop_instances, gboolean force)
{
	g_atomic_int_set(&daemon->shutting_down, 1);
	g_thread_join(daemon->autostart);
	end_operations(daemon, stop_instances, force);
	if (stop_instances) {
		instance_shutdown_all(daemon);
		network_table_shutdown(daemon);
	}
	g_mutex_lock(&daemon->stop_lock);
	daemon->stop_state = 2;
	g_cond_broadcast(&daemon->stop_changed);
	g_mutex_unlock(&daemon->stop_lock);
	event_hub_close(daemon->events);
	stop_parts(daemon, G_N_ELEMENTS(parts));
}

void daemon_shutdown(Daemon *daemon, gboolean force)
{
	g_mutex_lock(&daemon->stop_lock);
	if (daemon->stop_state == 0) {
		daemon->stop_state = 1;
		daemon->stop_force = force;
		kill(getpid(), SIGPWR);
	}
	while (daemon->stop_state < 2)
		g_cond_wait(&daemon->stop_changed, &daemon->stop_lock);
	g_mutex_unlock(&daemon->stop_lock);
}
