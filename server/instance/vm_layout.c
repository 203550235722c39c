#include "server/instance/vm_layout.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY "vm.layout"

enum { CPUS_MOST = 4096 };

static gboolean is_machine(const char *text)
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	return g_str_has_prefix(text, "pc-q35-") && strspn(text, signs) == strlen(text);
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
	    text[used] || !is_machine(layout.machine) || layout.cpus_max == 0 ||
	    layout.cpus_max > CPUS_MOST)
		return FALSE;
	layout.screen = strcmp(screen, "screen") == 0;
	*ret_layout = layout;
	return TRUE;
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

static char *layout_of(const char *xml)
{
	g_autofree char *machine = part_of(xml, " machine='", '\'');
	const char *cpus = strstr(xml, "<vcpu");
	g_autofree char *most = cpus ? part_of(cpus, ">", '<') : NULL;
	return machine && most && is_machine(machine) ?
	    g_strdup_printf("%s %s %s %s", machine, most, hypervisor_kind(),
		strstr(xml, "<graphics ") ? "screen" : "none") :
	    NULL;
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
