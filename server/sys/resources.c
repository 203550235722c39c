#include "server/sys/resources_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int resources_read(Arena *arena, struct Pb__Resources *out, Error **err)
{
	out->cpu = resources_cpu(arena);
	out->memory = resources_memory(arena);
	out->gpu = resources_gpu(arena);
	out->network = resources_network(arena);
	out->storage = resources_storage(arena);
	out->usb = resources_usb(arena);
	out->pci = resources_pci(arena);
	out->system = resources_system(arena);
	return 0;
}

/* Files of /sys are at most a page. Invalid UTF-8 (firmware tells anything) is made valid. */
static char *read_small(const char *path)
{
	char buffer[4097];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	ssize_t n = read(fd, buffer, sizeof(buffer) - 1);
	close(fd);
	if (n < 0)
		return NULL;
	buffer[n] = 0;
	return g_utf8_make_valid(g_strstrip(buffer), -1);
}

char *sys_text(Arena *arena, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = g_strdup_vprintf(format, args);
	va_end(args);
	g_autofree char *text = read_small(path);
	return arena_strdup(arena, text ? text : "");
}

uint64_t sys_number(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = g_strdup_vprintf(format, args);
	va_end(args);
	g_autofree char *text = read_small(path);
	return text && *text != '-' ? strtoull(text, NULL, g_str_has_prefix(text, "0x") ? 16 : 10) :
				      0;
}

gboolean sys_exists(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = g_strdup_vprintf(format, args);
	va_end(args);
	return access(path, F_OK) == 0;
}

char *sys_link_name(Arena *arena, const char *format, ...)
{
	char target[4097];
	va_list args;
	va_start(args, format);
	g_autofree char *path = g_strdup_vprintf(format, args);
	va_end(args);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return arena_strdup(arena, "");
	target[n] = 0;
	const char *slash = strrchr(target, '/');
	return arena_strdup(arena, slash ? slash + 1 : target);
}

static int compare_names(const void *a, const void *b)
{
	return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

char **sys_list(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *path = g_strdup_vprintf(format, args);
	va_end(args);
	GPtrArray *names = g_ptr_array_new();
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			g_ptr_array_add(names, g_strdup(entry->d_name));
	if (dir)
		closedir(dir);
	g_ptr_array_sort(names, compare_names);
	g_ptr_array_add(names, NULL);
	return (char **)g_ptr_array_free(names, FALSE);
}

void *arena_append(Arena *arena, size_t *n, void *array, void *item)
{
	void **items = array;
	if ((*n & (*n - 1)) == 0) { /* capacity is the next power of two */
		void **larger = arena_alloc(arena, (*n ? *n * 2 : 1) * sizeof(void *));
		if (*n)
			memcpy(larger, items, *n * sizeof(void *));
		items = larger;
	}
	items[(*n)++] = item;
	return items;
}

/* The function is the last part of the device's real path that looks like an address. */
char *sys_pci_address(Arena *arena, const char *device_path)
{
	char *rest = NULL, *real = realpath(device_path, NULL);
	char *found = arena_strdup(arena, "");
	for (char *part = real ? strtok_r(real, "/", &rest) : NULL; part;
	     part = strtok_r(NULL, "/", &rest))
		if (strlen(part) == 12 && part[4] == ':' && part[7] == ':' && part[10] == '.')
			found = arena_strdup(arena, part);
	free(real);
	return found;
}

uint64_t sys_numa_node(const char *device_path)
{
	return sys_number("%s/numa_node", device_path);
}

Pb__ResourcesMemory *resources_memory(Arena *arena)
{
	Pb__ResourcesMemory *out = arena_message(arena, Pb__ResourcesMemory, pb__resources_memory);
	g_autofree char *text = NULL;
	uint64_t total = 0, available = 0, huge_total = 0, huge_free = 0, huge_size = 0;
	g_file_get_contents("/proc/meminfo", &text, NULL, NULL);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	const struct {
		const char *name;
		uint64_t *value;
	} wanted[] = { { "MemTotal:", &total }, { "MemAvailable:", &available },
		{ "HugePages_Total:", &huge_total }, { "HugePages_Free:", &huge_free },
		{ "Hugepagesize:", &huge_size } };
	for (char **line = lines; *line; line++)
		for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
			if (g_str_has_prefix(*line, wanted[i].name))
				*wanted[i].value = strtoull(
				    *line + strlen(wanted[i].name), NULL, 10);
	out->total = total * 1024;
	out->used = (total - MIN(available, total)) * 1024;
	out->hugepages_size = huge_size * 1024;
	out->hugepages_total = huge_total * huge_size * 1024;
	out->hugepages_used = (huge_total - MIN(huge_free, huge_total)) * huge_size * 1024;
	return out;
}

static gboolean product_is(const char *vendor, const char *product, const char *word)
{
	return strstr(vendor, word) || strstr(product, word);
}

/* Machines are known by the names that hypervisors give themselves in DMI. */
static const char *system_type(const Pb__ResourcesSystem *system)
{
	static const char *const words[] = { "QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Bochs",
		"Microsoft", "Amazon", "Google", "innotek", "Parallels", "OpenStack" };
	if (sys_exists("/run/.containerenv") || sys_exists("/.dockerenv") ||
	    sys_exists("/run/systemd/container"))
		return "container";
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (product_is(system->vendor, system->product, words[i]))
			return "virtual-machine";
	return *system->vendor || *system->product ? "physical" : "unknown";
}

Pb__ResourcesSystem *resources_system(Arena *arena)
{
	static const char dmi[] = "/sys/class/dmi/id";
	Pb__ResourcesSystem *out = arena_message(arena, Pb__ResourcesSystem, pb__resources_system);
	out->uuid = sys_text(arena, "%s/product_uuid", dmi);
	out->vendor = sys_text(arena, "%s/sys_vendor", dmi);
	out->product = sys_text(arena, "%s/product_name", dmi);
	out->family = sys_text(arena, "%s/product_family", dmi);
	out->version = sys_text(arena, "%s/product_version", dmi);
	out->sku = sys_text(arena, "%s/product_sku", dmi);
	out->serial = sys_text(arena, "%s/product_serial", dmi);
	out->type = arena_strdup(arena, system_type(out));
	out->firmware = arena_message(
	    arena, Pb__ResourcesSystemFirmware, pb__resources_system_firmware);
	out->firmware->vendor = sys_text(arena, "%s/bios_vendor", dmi);
	out->firmware->date = sys_text(arena, "%s/bios_date", dmi);
	out->firmware->version = sys_text(arena, "%s/bios_version", dmi);
	out->chassis = arena_message(
	    arena, Pb__ResourcesSystemChassis, pb__resources_system_chassis);
	out->chassis->vendor = sys_text(arena, "%s/chassis_vendor", dmi);
	out->chassis->type = sys_text(arena, "%s/chassis_type", dmi);
	out->chassis->serial = sys_text(arena, "%s/chassis_serial", dmi);
	out->chassis->version = sys_text(arena, "%s/chassis_version", dmi);
	out->motherboard = arena_message(
	    arena, Pb__ResourcesSystemMotherboard, pb__resources_system_motherboard);
	out->motherboard->vendor = sys_text(arena, "%s/board_vendor", dmi);
	out->motherboard->product = sys_text(arena, "%s/board_name", dmi);
	out->motherboard->serial = sys_text(arena, "%s/board_serial", dmi);
	out->motherboard->version = sys_text(arena, "%s/board_version", dmi);
	return out;
}
