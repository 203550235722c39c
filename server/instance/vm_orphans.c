/* Virtual machines that libvirt runs and that no instance does: a server that was killed while it
 * started one did not see it come up, or it was deleted since. Two must never write to one disk. */
#include "server/instance/vm.h"
#include <stdlib.h>
#include <string.h>

/* A new reference, or NULL. */
static Instance *find_owner(Daemon *d, const char *uuid)
{
	g_autoptr(GPtrArray) all = instance_list(d, NULL);
	for (guint n = 0; n < all->len; n++) {
		Instance *i = all->pdata[n];
		g_autofree char *own = instance_volatile_get(i, "uuid");
		if (instance_type(i) == INSTANCE_MACHINE && g_strcmp0(own, uuid) == 0)
			return instance_ref(i);
	}
	return NULL;
}

static void end(const Libvirt *lv, virDomainPtr domain, const char *uuid)
{
	g_autoptr(Error) error = NULL;
	if (lv->domain_destroy(domain, 0) == 0) {
		log_info("A virtual machine that is no instance's was ended", "uuid", uuid);
		return;
	}
	libvirt_error(lv, &error, "libvirt");
	log_warn("A virtual machine that is no instance's does not end", "uuid", uuid, "err",
	    error->message);
}

static void look_at(Daemon *d, const Libvirt *lv, virDomainPtr domain)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	if (lv->domain_uuid(domain, uuid) < 0)
		return;
	g_autoptr(Instance) owner = find_owner(d, uuid);
	if (!owner) {
		end(lv, domain, uuid);
		return;
	}
	/* One that somebody is starting just now runs by the time that this is ours. */
	if (instance_lock(owner, NULL) < 0)
		return;
	if (!instance_running(owner))
		end(lv, domain, uuid);
	instance_unlock(owner);
}

void instance_end_orphans(Daemon *d)
{
	g_auto(HypervisorLink) link = { 0 };
	g_autoptr(Error) error = NULL;
	virDomainPtr *domains = NULL;
	g_autofree char *uri = vm_uri(d);
	/* Another libvirt may run others' machines. */
	if ((uri && *uri) || !hypervisor_may_run(d))
		return;
	int n = hypervisor_connect(d, uri, &link, &error) < 0 ?
	    -1 :
	    link.lv->connect_list(link.connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (n < 0)
		log_warn("Which virtual machines run is not known", "err",
		    error ? error->message : "libvirt does not say");
	for (int k = 0; k < n; k++) {
		look_at(d, link.lv, domains[k]);
		link.lv->domain_free(domains[k]);
	}
	free(domains);
}
