#include "server/instance/vm_layout.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY "vm.layout"

enum { CPUS_MOST = 4096, BUS_MOST = 255 };

static gboolean is_machine(const char *text)
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	return g_str_has_prefix(text, "pc-q35-") && strspn(text, signs) == strlen(text);
}

void vm_layout_clear(VmLayout *layout)
{
	g_clear_pointer(&layout->buses, g_free);
}

gboolean vm_layout_get(Instance *i, VmLayout *ret_layout)
{
	g_autofree char *text = instance_volatile_get(i, KEY);
	VmLayout layout = { 0 };
	char screen[8];
	int used = 0;
	if (!text ||
	    sscanf(text, "%31s %u %7s %7s%n", layout.machine, &layout.cpus_max, layout.kind, screen,
		&used) != 4 ||
	    !is_machine(layout.machine) || layout.cpus_max == 0 || layout.cpus_max > CPUS_MOST)
		return FALSE;
	layout.screen = strcmp(screen, "screen") == 0;
	layout.buses = g_strdup(text + used);
	*ret_layout = layout;
	return TRUE;
}

guint vm_layout_bus(const VmLayout *layout, const char *device)
{
	g_autofree char *mark = g_strdup_printf(" %s=", device);
	const char *at = layout ? strstr(layout->buses, mark) : NULL;
	guint64 bus = at ? g_ascii_strtoull(at + strlen(mark), NULL, 10) : 0;
	return bus <= BUS_MOST ? (guint)bus : 0;
}

int vm_layout_check(const VmLayout *layout, Error **err)
{
	if (strcmp(layout->kind, hypervisor_kind()) == 0)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
	    "The machine's memory is of a processor that \"%s\" gave it, and this host runs machines by \"%s\": start it without its state",
	    layout->kind, hypervisor_kind());
}

/* The text from behind `mark` to the next `end`; NULL: there is none. */
static char *part_of(const char *xml, const char *mark, char end)
{
	const char *at = strstr(xml, mark), *last = at ? strchr(at + strlen(mark), end) : NULL;
	return last ? g_strndup(at + strlen(mark), (gsize)(last - at) - strlen(mark)) : NULL;
}

/* What libvirt calls the devices that are not on the root bus. */
static const struct {
	const char *element, *name;
} named[] = {
	{ "<controller type='scsi'", "scsi" },
	{ "<controller type='virtio-serial'", "serial" },
	{ "<input type='keyboard'", "keyboard" },
	{ "<input type='tablet'", "tablet" },
	{ "<video>", "video" },
	{ "<memballoon", "balloon" },
	{ "<rng", "rng" },
};

/* Of the device that begins there (g_free); NULL: its place is the same everywhere. */
static char *name_of(const char *element)
{
	if (g_str_has_prefix(element, "<interface"))
		return part_of(element, "<mac address='", '\'');
	for (gsize n = 0; n < G_N_ELEMENTS(named); n++)
		if (g_str_has_prefix(element, named[n].element))
			return g_strdup(named[n].name);
	return NULL;
}

/* A device begins a line, four blanks in; what is below it stands further in. */
static void add_buses(GString *out, const char *xml)
{
	static const char mark[] = "<address type='pci' domain='0x0000' bus='0x";
	static const char begin[] = "\n    <";
	for (const char *at = xml; (at = strstr(at, mark)); at += strlen(mark)) {
		guint64 bus = g_ascii_strtoull(at + strlen(mark), NULL, 16);
		const char *element = g_strrstr_len(xml, at - xml, begin);
		g_autofree char *name = bus && element ? name_of(element + strlen(begin) - 1) :
							 NULL;
		if (name)
			g_string_append_printf(out, " %s=%u", name, (guint)bus);
	}
}

static char *layout_of(const char *xml)
{
	g_autofree char *machine = part_of(xml, " machine='", '\'');
	const char *cpus = strstr(xml, "<vcpu");
	g_autofree char *most = cpus ? part_of(cpus, ">", '<') : NULL;
	if (!machine || !most || !is_machine(machine))
		return NULL;
	GString *out = g_string_new(NULL);
	g_string_printf(out, "%s %s %s %s", machine, most, hypervisor_kind(),
	    strstr(xml, "<graphics ") ? "screen" : "none");
	add_buses(out, xml);
	return g_string_free(out, FALSE);
}

int vm_layout_note(Instance *i, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	if (vm_open(i, &vm, err) < 0)
		return -1;
	char *xml = vm.link.lv->domain_xml(vm.domain, 0);
	g_autofree char *layout = xml ? layout_of(xml) : NULL;
	free(xml);
	return instance_volatile_set(i, KEY, layout, err);
}
