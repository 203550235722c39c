#include "server/sys/libvirt.h"
#include <dlfcn.h>
#include <stddef.h>

static Libvirt libvirt;

typedef struct Symbol {
	const char *name;
	size_t slot;
} Symbol;

static const Symbol symbols[] = {
	{ "virConnectOpen", offsetof(Libvirt, connect_open) },
	{ "virConnectClose", offsetof(Libvirt, connect_close) },
	{ "virConnectRef", offsetof(Libvirt, connect_ref) },
	{ "virConnectIsAlive", offsetof(Libvirt, connect_is_alive) },
	{ "virConnectNumOfDomains", offsetof(Libvirt, connect_domains) },
	{ "virDomainCreateXML", offsetof(Libvirt, domain_create) },
	{ "virDomainLookupByUUIDString", offsetof(Libvirt, domain_find) },
	{ "virDomainFree", offsetof(Libvirt, domain_free) },
	{ "virDomainShutdownFlags", offsetof(Libvirt, domain_shutdown) },
	{ "virDomainDestroyFlags", offsetof(Libvirt, domain_destroy) },
	{ "virDomainSuspend", offsetof(Libvirt, domain_suspend) },
	{ "virDomainResume", offsetof(Libvirt, domain_resume) },
	{ "virDomainGetState", offsetof(Libvirt, domain_state) },
	{ "virDomainGetXMLDesc", offsetof(Libvirt, domain_xml) },
	{ "virDomainAttachDeviceFlags", offsetof(Libvirt, domain_attach) },
	{ "virDomainDetachDeviceFlags", offsetof(Libvirt, domain_detach) },
	{ "virDomainSetVcpusFlags", offsetof(Libvirt, domain_set_vcpus) },
	{ "virDomainSetMemoryFlags", offsetof(Libvirt, domain_set_memory) },
	{ "virDomainBlockResize", offsetof(Libvirt, domain_block_resize) },
	{ "virDomainSaveFlags", offsetof(Libvirt, domain_save) },
	{ "virDomainRestoreFlags", offsetof(Libvirt, domain_restore) },
	{ "virDomainSnapshotCreateXML", offsetof(Libvirt, domain_snapshot) },
	{ "virDomainSnapshotFree", offsetof(Libvirt, snapshot_free) },
	{ "virDomainAbortJob", offsetof(Libvirt, domain_abort_job) },
	{ "virDomainGetJobInfo", offsetof(Libvirt, domain_job) },
	{ "virDomainGetUUIDString", offsetof(Libvirt, domain_uuid) },
	{ "virConnectListAllDomains", offsetof(Libvirt, connect_list) },
	{ "virConnectGetDomainCapabilities", offsetof(Libvirt, connect_capabilities) },
	{ "virDomainScreenshot", offsetof(Libvirt, domain_screenshot) },
	{ "virStreamNew", offsetof(Libvirt, stream_new) },
	{ "virStreamRecv", offsetof(Libvirt, stream_receive) },
	{ "virStreamFinish", offsetof(Libvirt, stream_finish) },
	{ "virStreamAbort", offsetof(Libvirt, stream_abort) },
	{ "virStreamFree", offsetof(Libvirt, stream_free) },
	{ "virGetLastError", offsetof(Libvirt, last_error) },
	{ "virSetErrorFunc", offsetof(Libvirt, set_error_function) },
	{ "virEventRegisterDefaultImpl", offsetof(Libvirt, event_register) },
	{ "virEventRunDefaultImpl", offsetof(Libvirt, event_run) },
	{ "virTypedParamsAddString", offsetof(Libvirt, params_add_string) },
	{ "virTypedParamsFree", offsetof(Libvirt, params_free) },
};

static const Symbol steps[] = {
	{ "virDomainMigrateBegin3Params", offsetof(Libvirt, migrate_begin) },
	{ "virDomainMigratePrepare3Params", offsetof(Libvirt, migrate_prepare) },
	{ "virDomainMigratePerform3Params", offsetof(Libvirt, migrate_perform) },
	{ "virDomainMigrateFinish3Params", offsetof(Libvirt, migrate_finish) },
	{ "virDomainMigrateConfirm3Params", offsetof(Libvirt, migrate_confirm) },
};

/* Errors are read where they happen; libvirt would print them, too. */
static void ignore(void *data, virErrorPtr error)
{
}

static gboolean find_all(void *library, const Symbol *all, size_t n)
{
	gboolean found = TRUE;
	for (size_t i = 0; i < n; i++) {
		void *symbol = dlsym(library, all[i].name);
		*(void **)((char *)&libvirt + all[i].slot) = symbol;
		found = found && symbol;
	}
	return found;
}

static gboolean load(void)
{
	void *library = dlopen("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!library || !find_all(library, symbols, G_N_ELEMENTS(symbols)))
		return FALSE;
	find_all(library, steps, G_N_ELEMENTS(steps)); /* or not */
	libvirt.set_error_function(NULL, ignore);
	return TRUE;
}

int libvirt_load(const Libvirt **ret_libvirt, Error **err)
{
	static gsize loaded = 0;
	if (g_once_init_enter(&loaded))
		g_once_init_leave(&loaded, load() ? 1 : 2);
	if (loaded != 1)
		return error_set(err, ERROR_UNSUPPORTED,
		    "Virtual machines need libvirt's library: install the package \"libvirt0\"");
	*ret_libvirt = &libvirt;
	return 0;
}

gboolean libvirt_has_steps(const Libvirt *lv)
{
	return lv->migrate_begin && lv->migrate_prepare && lv->migrate_perform &&
	    lv->migrate_finish && lv->migrate_confirm;
}

int libvirt_error(const Libvirt *lv, Error **err, const char *what)
{
	virErrorPtr said = lv->last_error();
	return error_set(err, ERROR_INTERNAL, "%s: %s", what,
	    said && said->message ? said->message : "libvirt does not say why");
}
