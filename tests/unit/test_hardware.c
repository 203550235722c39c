/* Which of a host's devices a configuration means, and how these go into an instance and out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sdk/base/file.h"
#include "server/device/device_private.h"
#include "server/device/hardware.h"
#include "server/device/pass.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* "type=usb vendorid=1d6b" */
static Config *config_of(const char *text)
{
	Config *config = config_new();
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	for (char **word = words; *word; word++) {
		g_auto(GStrv) pair = g_strsplit(*word, "=", 2);
		if (pair[0] && pair[1])
			config_set(config, pair[0], pair[1]);
	}
	return config;
}

static void assert_units(const GPtrArray *units, const char *expected)
{
	g_autoptr(GString) text = g_string_new(NULL);
	for (guint n = 0; n < units->len; n++)
		g_string_append_printf(text, "%s%s", n ? "," : "", (char *)units->pdata[n]);
	assert_string_equal(text->str, expected);
}

static Pb__ResourcesUSBDevice usb_device(
    unsigned bus, unsigned number, const char *vendor, const char *product, const char *serial)
{
	Pb__ResourcesUSBDevice device = PB__RESOURCES_USBDEVICE__INIT;
	device.bus_address = bus;
	device.device_address = number;
	device.vendor_id = (char *)vendor;
	device.product_id = (char *)product;
	device.serial = (char *)serial;
	return device;
}

static void test_usb(void **state)
{
	static const struct {
		const char *config;
		gboolean machine;
		const char *units;
	} rows[] = {
		{ "", TRUE, "usb 1 2,usb 1 3,usb 2 2" },
		{ "vendorid=0951", TRUE, "usb 1 2,usb 1 3" },
		{ "vendorid=0951 serial=B", TRUE, "usb 1 3" },
		{ "vendorid=ABCD productid=00ff", TRUE, "usb 2 2" },
		{ "busnum=1 devnum=2", TRUE, "usb 1 2" },
		{ "devnum=2", TRUE, "usb 1 2,usb 2 2" },
		{ "vendorid=0000", TRUE, "" },
		{ "busnum=2", FALSE, "node 189 129 /dev/bus/usb/002/002" },
		{ "busnum=1 devnum=3", FALSE, "node 189 2 /dev/bus/usb/001/003" },
	};
	Pb__ResourcesUSBDevice devices[] = { usb_device(1, 2, "0951", "1666", "A"),
		usb_device(1, 3, "0951", "1666", "B"), usb_device(2, 2, "abcd", "00ff", ""),
		usb_device(0, 0, "0951", "1666", "") /* it is on its way out */ };
	Pb__ResourcesUSBDevice *list[] = { &devices[0], &devices[1], &devices[2], &devices[3] };
	Pb__ResourcesUSB all = PB__RESOURCES_USB__INIT;
	all.devices = list;
	all.n_devices = G_N_ELEMENTS(list);
	for (size_t n = 0; n < G_N_ELEMENTS(rows); n++) {
		g_autoptr(GHashTable) config = config_of(rows[n].config);
		g_autoptr(GPtrArray) units = hardware_usb(&all, config, rows[n].machine);
		assert_units(units, rows[n].units);
	}
}

static Pb__ResourcesPCIDevice pci_device(const char *address, const char *driver, unsigned group)
{
	Pb__ResourcesPCIDevice device = PB__RESOURCES_PCIDEVICE__INIT;
	device.pci_address = (char *)address;
	device.driver = (char *)driver;
	device.iommu_group = group;
	return device;
}

static void test_pci(void **state)
{
	static const struct {
		const char *address;
		gboolean iommu;
		const char *says; /* NULL: it may go */
	} rows[] = {
		{ "0000:01:00.0", TRUE, NULL }, /* its sound goes with it, a bridge is harmless */
		{ "0000:02:00.0", TRUE, "\"0000:03:00.0\"" }, /* the host uses that one */
		{ "0000:04:00.0", TRUE, NULL },
		{ "0000:04:00.0", FALSE, "IOMMU" },
		{ "0000:05:00.0", TRUE, "no PCI device" },
	};
	Pb__ResourcesPCIDevice devices[] = { pci_device("0000:00:01.0", "pcieport", 1),
		pci_device("0000:01:00.0", "amdgpu", 1), pci_device("0000:01:00.1", "snd", 1),
		pci_device("0000:02:00.0", "", 2), pci_device("0000:03:00.0", "nvme", 2),
		pci_device("0000:04:00.0", "vfio-pci", 3) };
	Pb__ResourcesPCIDevice *list[G_N_ELEMENTS(devices)];
	Pb__ResourcesPCI all = PB__RESOURCES_PCI__INIT;
	for (size_t n = 0; n < G_N_ELEMENTS(devices); n++)
		list[n] = &devices[n];
	all.devices = list;
	all.n_devices = G_N_ELEMENTS(list);
	for (size_t n = 0; n < G_N_ELEMENTS(rows); n++) {
		g_autoptr(Error) err = NULL;
		int result = hardware_pci_check(&all, rows[n].address, rows[n].iommu, &err);
		assert_int_equal(result, rows[n].says ? -1 : 0);
		if (rows[n].says)
			assert_non_null(strstr(err->message, rows[n].says));
	}
	g_autofree char *address = hardware_pci_address("3B:00.0");
	assert_string_equal(address, "0000:3b:00.0");
}

static void test_gpu(void **state)
{
	Pb__ResourcesGPUCard cards[] = { PB__RESOURCES_GPUCARD__INIT, PB__RESOURCES_GPUCARD__INIT };
	Pb__ResourcesGPUCardDRM drm[] = { PB__RESOURCES_GPUCARD_DRM__INIT,
		PB__RESOURCES_GPUCARD_DRM__INIT };
	Pb__ResourcesGPUCard *list[] = { &cards[0], &cards[1] };
	Pb__ResourcesPCIDevice devices[] = { pci_device("0000:01:00.0", "", 1),
		pci_device("0000:01:00.1", "", 1), pci_device("0000:02:00.0", "", 2) };
	Pb__ResourcesPCIDevice *functions[] = { &devices[0], &devices[1], &devices[2] };
	Pb__ResourcesPCI pci = PB__RESOURCES_PCI__INIT;
	Pb__ResourcesGPU all = PB__RESOURCES_GPU__INIT;
	pci.devices = functions;
	pci.n_devices = G_N_ELEMENTS(functions);
	all.cards = list;
	all.n_cards = G_N_ELEMENTS(list);
	for (unsigned n = 0; n < 2; n++) {
		drm[n].id = n;
		cards[n].drm = &drm[n];
		cards[n].vendor_id = (char *)"1002";
	}
	cards[0].pci_address = (char *)"0000:01:00.0";
	cards[1].pci_address = (char *)"0000:02:00.0";
	drm[0].card_name = (char *)"card0", drm[0].card_device = (char *)"226:0";
	drm[0].render_name = (char *)"renderD128", drm[0].render_device = (char *)"226:128";
	drm[1].card_name = (char *)"card1", drm[1].card_device = (char *)"226:1";

	g_autoptr(GHashTable) second = config_of("id=1"), first = config_of("pci=01:00.0"),
				     both = config_of("vendorid=1002");
	g_autoptr(GPtrArray) nodes = hardware_gpu_nodes(&all, first), one = NULL, none = NULL;
	assert_units(nodes, "node 226 0 /dev/dri/card0,node 226 128 /dev/dri/renderD128");
	assert_int_equal(hardware_gpu_functions(&all, &pci, first, &one, NULL), 0);
	assert_units(one, "pci 0000:01:00.0,pci 0000:01:00.1");
	g_clear_pointer(&one, g_ptr_array_unref);
	assert_int_equal(hardware_gpu_functions(&all, &pci, second, &one, NULL), 0);
	assert_units(one, "pci 0000:02:00.0");
	g_autoptr(Error) err = NULL;
	assert_int_equal(hardware_gpu_functions(&all, &pci, both, &none, &err), -1);
	assert_non_null(strstr(err->message, "Several"));
}

/* ---- into an instance and out ---- */

static struct {
	const char *meant;   /* units, with commas between them */
	const char *refused; /* one that does not go in */
	GString *done;
} world;

static int find(const DeviceHost *host, const char *name, const Config *config,
    GPtrArray **ret_units, Error **err)
{
	g_auto(GStrv) units = g_strsplit(world.meant, ",", -1);
	*ret_units = g_ptr_array_new_with_free_func(g_free);
	for (char **unit = units; *unit; unit++)
		g_ptr_array_add(*ret_units, g_strdup(*unit));
	return 0;
}

static int note(const char *what, const char *which, Error **err)
{
	if (*what == '+' && g_strcmp0(world.refused, which) == 0)
		return error_set(err, ERROR_INTERNAL, "refused");
	g_string_append_printf(world.done, "%s%s ", what, which);
	return 0;
}

static int mount_add(const DeviceHost *host, const DeviceMount *mount, Error **err)
{
	struct stat st;
	assert_int_equal(stat(mount->source, &st), 0);
	assert_true(S_ISCHR(st.st_mode) && st.st_uid == 7 && (st.st_mode & 0777) == 0640);
	return note("+", mount->target, err);
}

static int mount_remove(const DeviceHost *host, const char *target, Error **err)
{
	return note("-", target, err);
}

static int device_rule(const DeviceHost *host, const char *rule, gboolean allow, Error **err)
{
	return 0;
}

static int part_add(const DeviceHost *host, const DevicePart *part, Error **err)
{
	return note("+", part->source, err);
}

static int part_remove(const DeviceHost *host, const DevicePart *part, Error **err)
{
	return note("-", part->source, err);
}

static void assert_done(const char *expected)
{
	assert_string_equal(world.done->str, expected);
	g_string_truncate(world.done, 0);
}

static void test_pass(void **state)
{
	char folder[] = "/var/tmp/test-pass-XXXXXX";
	Daemon d = { .dir = mkdtemp(folder) };
	DeviceHost host = { .daemon = &d, .project = "default", .instance = "c1",
		.type = "container", .mount_add = mount_add, .mount_remove = mount_remove,
		.device_rule = device_rule, .part_add = part_add, .part_remove = part_remove };
	g_autoptr(GHashTable) config = config_of("type=usb uid=7 mode=0640");
	g_autofree char *left = g_build_filename(folder, "devices", "c1", NULL);
	if (geteuid() != 0)
		skip();
	assert_non_null(d.dir);
	world.done = g_string_new(NULL);

	world.meant = "node 1 5 /dev/a,usb 1 4";
	assert_int_equal(pass_update(&host, "s", config, find, NULL), 0);
	assert_done("+/dev/a +usb 1 4 ");
	assert_int_equal(pass_update(&host, "s", config, find, NULL), 0);
	assert_done(""); /* nothing is new */

	world.meant = "usb 1 4,node 1 7 /dev/b,usb 1 9";
	world.refused = "usb 1 9"; /* what came before it goes again, what was there stays */
	assert_int_equal(pass_update(&host, "s", config, find, NULL), -1);
	assert_done("-/dev/a +/dev/b -/dev/b ");
	world.refused = NULL;
	assert_int_equal(pass_update(&host, "s", config, find, NULL), 0);
	assert_done("+/dev/b +usb 1 9 ");

	assert_int_equal(pass_detach(&host, "s", config, NULL), 0);
	assert_done("-usb 1 4 -/dev/b -usb 1 9 ");
	assert_int_equal(access(left, F_OK), -1);

	g_autoptr(GPtrArray) mounts = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)device_mount_free);
	g_autoptr(GPtrArray) rules = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(
	    (GDestroyNotify)device_part_free);
	DeviceStart start = { .mounts = mounts, .device_rules = rules, .parts = parts };
	assert_int_equal(pass_start(&host, "s", config, find, &start, NULL), 0);
	assert_int_equal(mounts->len, 1);
	assert_string_equal(rules->pdata[0], "c 1:7 rwm");
	assert_int_equal(parts->len, 2);
	pass_stop(&host, "s");
	assert_int_equal(access(left, F_OK), -1);
	g_string_free(world.done, TRUE);
	assert_int_equal(file_remove_all(AT_FDCWD, folder, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_usb), cmocka_unit_test(test_pci),
		cmocka_unit_test(test_gpu), cmocka_unit_test(test_pass) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
