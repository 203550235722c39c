#include "server/instance/cloud_init.h"
#include <string.h>

/* Those under user. are what images from before cloud-init.* read. */
static const char *const read_keys[] = { "cloud-init.network-config", "cloud-init.user-data",
	"cloud-init.vendor-data", "user.meta-data", "user.network-config", "user.user-data",
	"user.vendor-data" };

int cloud_init_renew(Instance *i, Error **err)
{
	g_autofree char *id = g_uuid_string_random();
	return instance_volatile_set(i, "cloud-init.instance-id", id, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What the nics are called inside; one that is not told is called the same as long as the device is
 * (char *, g_free). */
static GPtrArray *nic_names(const Devices *devices)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	GHashTableIter iter;
	void *device, *config;
	g_hash_table_iter_init(&iter, (GHashTable *)devices);
	while (g_hash_table_iter_next(&iter, &device, &config)) {
		const char *name = config_get(config, "name");
		if (g_strcmp0(config_get(config, "type"), "nic") == 0)
			g_ptr_array_add(names,
			    name ? g_strdup(name) : g_strdup_printf("/%s", (char *)device));
	}
	g_ptr_array_sort(names, compare_names);
	return names;
}

static gboolean same_nics(const Devices *a, const Devices *b)
{
	g_autoptr(GPtrArray) one = nic_names(a);
	g_autoptr(GPtrArray) other = nic_names(b);
	gboolean same = one->len == other->len;
	for (guint n = 0; same && n < one->len; n++)
		same = strcmp(one->pdata[n], other->pdata[n]) == 0;
	return same;
}

int cloud_init_note_change(
    Instance *i, const Config *old_config, const Devices *old_devices, Error **err)
{
	gboolean same = same_nics(old_devices, i->expanded_devices);
	for (size_t n = 0; n < G_N_ELEMENTS(read_keys); n++)
		same &= g_strcmp0(config_get(old_config, read_keys[n]),
			    config_get(i->expanded, read_keys[n])) == 0;
	return same ? 0 : cloud_init_renew(i, err);
}
