/* Handlers of ServerService: GET, PUT and PATCH /1.0, versions, the reference of keys, hardware. */
#include "incus/v1/handlers.h"
#include "sdk/base/json.h"
#include "server/api/extensions.h"
#include "server/daemon.h"
#include "server/event/event.h"
#include "server/instance/criu.h"
#include "server/key/key.h"
#include "server/key/server.h"
#include "server/operation/schedule.h"
#include "server/rpc/listener.h"
#include "server/helper/hypervisor.h"
#include "server/storage/driver.h"
#include "server/storage/pool.h"
#include "server/sys/host.h"
#include "server/sys/resources.h"

#include <lxc/version.h>
#include <string.h>
#include <unistd.h>

int api_get_api_versions(
    Request *rq, const Pb__GetApiVersionsRequest *in, Pb__ApiVersions *out, Error **err)
{
	static char version[] = "/1.0";
	static char *versions[] = {version};
	out->versions = versions;
	out->n_versions = G_N_ELEMENTS(versions);
	return 0;
}

static char **arena_strings(Arena *arena, const char *const *list, size_t *ret_n)
{
	size_t n = list ? g_strv_length((char **)(uintptr_t)list) : 0;
	char **copy = arena_alloc(arena, (n + 1) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		copy[i] = arena_strdup(arena, list[i]);
	*ret_n = n;
	return copy;
}

/* Text that lives as long as the process may stand in a reply as it is. */
static char *constant(const char *text)
{
	return (char *)(uintptr_t)text;
}

static char **constant_list(const char *const *list)
{
	return (char **)(uintptr_t)list;
}

/* The same for as long as the process lives: made once. */
static Pb__ServerEnvironment *make_features(void)
{
	/* What liblxc 5 and later all have; older ones are refused by the build. */
	static const char *const lxc[] = { "cgroup2", "core_scheduling", "devpts_fd",
		"idmapped_mounts_v2", "mount_injection_file", "network_gateway_device_route",
		"network_ipvlan", "network_l2proxy", "network_phys_macvlan_mtu",
		"network_veth_router", "pidfd", "seccomp_allow_deny_syntax", "seccomp_notify",
		"seccomp_proxy_send_notify_fd" };
	static Arena *arena; /* kept: what points into it is shared by all replies */
	arena = arena_new();
	Pb__ServerEnvironment *env = arena_message(
	    arena, Pb__ServerEnvironment, pb__server_environment);
	g_autoptr(Config) kernel = config_new(), driver = config_new();
	for (const HostFeature *feature = host_facts()->features; feature->name; feature++)
		config_set(kernel, feature->name, feature->present ? "true" : "false");
	for (size_t i = 0; i < G_N_ELEMENTS(lxc); i++)
		config_set(driver, lxc[i], "true");
	config_to_map(kernel, arena, &pb__server_environment__kernel_features_entry__descriptor,
	    &env->n_kernel_features, &env->kernel_features);
	config_to_map(driver, arena, &pb__server_environment__lxc_features_entry__descriptor,
	    &env->n_lxc_features, &env->lxc_features);
	json_keep(env, "kernel_features");
	json_keep(env, "lxc_features");
	return env;
}

static void fill_features(Pb__ServerEnvironment *env)
{
	static const Pb__ServerEnvironment *made;
	if (g_once_init_enter(&made))
		g_once_init_leave(&made, make_features());
	env->n_kernel_features = made->n_kernel_features;
	env->kernel_features = made->kernel_features;
	env->n_lxc_features = made->n_lxc_features;
	env->lxc_features = made->lxc_features;
}

static void fill_storage(Request *rq, Pb__ServerEnvironment *env)
{
	const DriverVersion *drivers = driver_available();
	size_t n = 0;
	while (drivers[n].driver)
		n++;
	env->storage_supported_drivers = arena_alloc(
	    rq->arena, (n + 1) * sizeof(*env->storage_supported_drivers));
	g_autoptr(GPtrArray) pools = pool_list(rq->daemon);
	g_autoptr(GString) used = g_string_new(NULL), versions = g_string_new(NULL);
	for (size_t i = 0; i < n; i++) {
		Pb__ServerStorageDriverInfo *info = arena_message(
		    rq->arena, Pb__ServerStorageDriverInfo, pb__server_storage_driver_info);
		info->name = constant(drivers[i].driver->name);
		info->version = constant(drivers[i].version);
		info->remote = drivers[i].driver->remote;
		env->storage_supported_drivers[i] = info;
		gboolean in_use = FALSE;
		for (guint j = 0; j < pools->len; j++)
			in_use = in_use ||
			    strcmp(pool_driver(g_ptr_array_index(pools, j)),
				drivers[i].driver->name) == 0;
		if (!in_use)
			continue;
		g_string_append_printf(
		    used, "%s%s", used->len ? " | " : "", drivers[i].driver->name);
		g_string_append_printf(
		    versions, "%s%s", versions->len ? " | " : "", drivers[i].version);
	}
	env->n_storage_supported_drivers = n;
	env->storage = arena_strdup(rq->arena, used->str);
	env->storage_version = arena_strdup(rq->arena, versions->str);
}

static void fill_drivers(Request *rq, Pb__ServerEnvironment *env)
{
	const HypervisorFacts *machines = hypervisor_facts();
	env->driver = constant("lxc");
	env->driver_version = constant(LXC_VERSION);
	if (machines && machines->missing)
		env->virtual_machines = constant(machines->missing);
	if (!machines || machines->missing)
		return;
	gboolean kvm = strcmp(hypervisor_kind(), "kvm") == 0;
	env->virtual_machines = constant(kvm ? "KVM" : "emulation");
	env->driver = constant("lxc | qemu");
	env->driver_version = arena_printf(rq->arena, "%s | %s", LXC_VERSION, machines->version);
}

static Pb__ServerEnvironment *environment(Request *rq)
{
	Daemon *daemon = rq->daemon;
	const HostFacts *host = host_facts();
	Pb__ServerEnvironment *env = arena_message(
	    rq->arena, Pb__ServerEnvironment, pb__server_environment);
	g_auto(GStrv) addresses = listener_https_addresses(daemon);
	env->addresses = arena_strings(
	    rq->arena, (const char *const *)addresses, &env->n_addresses);
	env->architectures = arena_strings(rq->arena, host->architectures, &env->n_architectures);
	env->certificate = arena_strdup(
	    rq->arena, daemon->server_cert_pem ? daemon->server_cert_pem : "");
	env->certificate_fingerprint = arena_strdup(
	    rq->arena, daemon->server_cert_fingerprint ? daemon->server_cert_fingerprint : "");
	fill_drivers(rq, env);
	g_autofree char *criu = criu_describe(daemon);
	env->criu = arena_strdup(rq->arena, criu);
	env->firewall = constant("nftables");
	env->kernel = constant(host->kernel);
	env->kernel_architecture = constant(host->architecture);
	env->kernel_version = constant(host->kernel_version);
	env->os_name = constant(host->os_name);
	env->os_version = constant(host->os_version);
	env->project = arena_strdup(rq->arena, rq->project);
	env->server = constant("incus");
	env->server_event_mode = constant("full-mesh");
	env->server_name = arena_strdup(
	    rq->arena, daemon->server_name ? daemon->server_name : host->host_name);
	env->server_pid = getpid();
	env->server_version = constant(INCUS_VERSION);
	fill_features(env);
	fill_storage(rq, env);
	return env;
}

static void fill_extensions(Pb__Server *out)
{
	static gsize kept;
	out->api_extensions = constant_list(api_extensions);
	out->n_api_extensions = n_api_extensions;
	if (g_once_init_enter(&kept)) {
		json_keep(out, "api_extensions");
		g_once_init_leave(&kept, 1);
	}
}

static void fill_config(Request *rq, Pb__Server *out)
{
	g_autoptr(Config) config = server_config_all(rq->daemon->config);
	config_to_map(
	    config, rq->arena, &pb__server__config_entry__descriptor, &out->n_config, &out->config);
}

int api_get_server(Request *rq, const Pb__GetServerRequest *in, Pb__Server *out, Error **err)
{
	static const char *const auth_methods[] = {"tls", "oidc"};
	g_autofree char *issuer = server_config_get(rq->daemon->config, "oidc.issuer");
	fill_extensions(out);
	out->api_status = constant("stable");
	out->api_version = constant("1.0");
	out->auth_methods = constant_list(auth_methods);
	out->n_auth_methods = issuer && *issuer ? 2 : 1;
	out->auth = constant("untrusted");
	if (rq->caller->kind == CALLER_UNTRUSTED)
		return 0;
	out->auth = constant("trusted");
	out->auth_user_name = arena_strdup(rq->arena, rq->caller->username);
	out->auth_user_method = constant(caller_protocol(rq->caller));
	out->environment = environment(rq);
	if (rq->caller->admin)
		fill_config(rq, out);
	return 0;
}

static int change(Request *rq, const Pb__ServerPut *body, gboolean patch, Error **err)
{
	static GMutex lock; /* from the ETag to the change */
	g_autoptr(Config) changes = body ? config_from_map(body->n_config, body->config) :
					   config_new();
	g_auto(GStrv) changed = NULL;
	Pb__Server *object = arena_message(rq->arena, Pb__Server, pb__server);
	g_mutex_lock(&lock);
	fill_config(rq, object);
	int failed = request_check_etag(rq, object, err);
	if (!failed)
		failed = server_config_set(rq->daemon, changes, patch, &changed, err);
	g_mutex_unlock(&lock);
	if (!failed && *changed) {
		event_lifecycle(rq->daemon->events, "", "config-updated", "/1.0", NULL, rq->caller);
		schedule_changed(rq->daemon);
	}
	return failed;
}

int api_update_server(
    Request *rq, const Pb__UpdateServerRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	return change(rq, in->server, FALSE, err);
}

int api_patch_server(
    Request *rq, const Pb__PatchServerRequest *in, Google__Protobuf__Empty *out, Error **err)
{
	return change(rq, in->server, TRUE, err);
}

int api_get_metadata_configuration(Request *rq, const Pb__GetMetadataConfigurationRequest *in,
    Pb__MetadataConfiguration *out, Error **err)
{
	out->configuration = constant(key_reference_json());
	return 0;
}

int api_get_server_resources(
    Request *rq, const Pb__GetServerResourcesRequest *in, Pb__Resources *out, Error **err)
{
	return resources_read(rq->arena, out, err);
}
