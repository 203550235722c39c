/* key_reference_json: the reference of all keys, from their rows. */
#include "server/key/key.h"

#include <jansson.h>
#include <string.h>

static const char *const type_names[] = {
	[KEY_STRING] = "string", [KEY_BOOL] = "bool", [KEY_INT] = "integer", [KEY_BLOB] = "blob", [KEY_SIZE] = "string",
	[KEY_BITRATE] = "string"};

typedef struct Chapter {
	KeyScope scope;
	const char *kind;   /* NULL: rows of all kinds */
	const char *entity;
} Chapter;

static const Chapter chapters[] = {
	{KEY_SERVER, NULL, "server"}, {KEY_INSTANCE, NULL, "instance"}, {KEY_PROJECT, NULL, "project"},
	{KEY_MEMBER, NULL, "cluster"},
	{KEY_POOL, "dir", "storage-dir"}, {KEY_POOL, "btrfs", "storage-btrfs"}, {KEY_POOL, "lvm", "storage-lvm"},
	{KEY_POOL, "zfs", "storage-zfs"}, {KEY_POOL, "ceph", "storage-ceph"}, {KEY_POOL, "cephfs", "storage-cephfs"},
	{KEY_POOL, "cephobject", "storage-cephobject"},
	{KEY_VOLUME, "dir", "storage-volume-dir"}, {KEY_VOLUME, "btrfs", "storage-volume-btrfs"},
	{KEY_VOLUME, "lvm", "storage-volume-lvm"}, {KEY_VOLUME, "zfs", "storage-volume-zfs"},
	{KEY_VOLUME, "ceph", "storage-volume-ceph"}, {KEY_VOLUME, "cephfs", "storage-volume-cephfs"},
	{KEY_NETWORK, "bridge", "network-bridge"}, {KEY_NETWORK, "macvlan", "network-macvlan"},
	{KEY_NETWORK, "ovn", "network-ovn"}, {KEY_NETWORK, "physical", "network-physical"},
	{KEY_NETWORK, "sriov", "network-sriov"},
	{KEY_ACL, NULL, "network-acl"}, {KEY_FORWARD, NULL, "network-forward"},
	{KEY_LOAD_BALANCER, NULL, "network-load-balancer"}, {KEY_PEER, NULL, "network-peer"},
	{KEY_ZONE, NULL, "network-zone"}, {KEY_ZONE_RECORD, NULL, "network-zone-record"},
	{KEY_DEVICE, "none", "device-none"}, {KEY_DEVICE, "disk", "device-disk"},
	{KEY_DEVICE, "nic-bridged", "device-nic-bridged"}, {KEY_DEVICE, "nic-p2p", "device-nic-p2p"},
	{KEY_DEVICE, "nic-macvlan", "device-nic-macvlan"}, {KEY_DEVICE, "nic-physical", "device-nic-physical"},
	{KEY_DEVICE, "nic-routed", "device-nic-routed"}, {KEY_DEVICE, "nic-ipvlan", "device-nic-ipvlan"},
	{KEY_DEVICE, "nic-sriov", "device-nic-sriov"}, {KEY_DEVICE, "nic-ovn", "device-nic-ovn"},
	{KEY_DEVICE, "proxy", "device-proxy"}, {KEY_DEVICE, "gpu-physical", "device-gpu-physical"},
	{KEY_DEVICE, "gpu-mdev", "device-gpu-mdev"}, {KEY_DEVICE, "gpu-mig", "device-gpu-mig"},
	{KEY_DEVICE, "gpu-sriov", "device-gpu-sriov"}, {KEY_DEVICE, "infiniband", "device-infiniband"},
	{KEY_DEVICE, "pci", "device-pci"}, {KEY_DEVICE, "tpm", "device-tpm"}, {KEY_DEVICE, "usb", "device-usb"},
	{KEY_DEVICE, "unix-block", "device-unix-block"}, {KEY_DEVICE, "unix-char", "device-unix-char"},
	{KEY_DEVICE, "unix-hotplug", "device-unix-hotplug"},
};

static json_t *row_json(const Chapter *chapter, const Key *row)
{
	json_t *about = json_object();
	json_object_set_new(about, "type", json_string(type_names[row->type]));
	json_object_set_new(about, "shortdesc", json_string(row->help));
	json_object_set_new(about, "longdesc", json_string(""));
	if (row->initial)
		json_object_set_new(about, "defaultdesc", json_string(row->initial));
	if (chapter->scope == KEY_INSTANCE || chapter->scope == KEY_SERVER)
		json_object_set_new(about, "liveupdate", json_string(row->flags & KEY_LIVE ? "yes" : "no"));
	if (row->flags & (KEY_CONTAINER | KEY_MACHINE))
		json_object_set_new(about, "condition", json_string(row->flags & KEY_CONTAINER ? "container" : "virtual machine"));
	if (chapter->scope == KEY_SERVER)
		json_object_set_new(about, "scope", json_string(row->flags & KEY_LOCAL ? "local" : "global"));
	if (row->flags & KEY_REQUIRED)
		json_object_set_new(about, "required", json_string("yes"));
	if (row->choices)
		json_object_set_new(about, "choices", json_string(row->choices));
	return json_pack("{s:o}", row->name, about);
}

/* Keys are grouped by their first word: "boot", "limits", ...; those without a dot are "common". */
static void add_row(json_t *groups, const Chapter *chapter, const Key *row)
{
	const char *dot = strchr(row->name, '.');
	g_autofree char *name = dot ? g_strndup(row->name, (gsize)(dot - row->name)) : g_strdup("common");
	json_t *group = json_object_get(groups, name);
	if (!group) {
		group = json_pack("{s:[]}", "keys");
		json_object_set_new(groups, name, group);
	}
	json_array_append_new(json_object_get(group, "keys"), row_json(chapter, row));
}

static char *make_reference(void)
{
	json_t *configs = json_object();
	for (size_t i = 0; i < G_N_ELEMENTS(chapters); i++) {
		json_t *groups = json_object();
		for (const Key *row = key_table(chapters[i].scope); row->name; row++)
			if (!(row->flags & KEY_HIDDEN) &&
			    key_find(chapters[i].scope, chapters[i].kind, row->name) == row)
				add_row(groups, &chapters[i], row);
		json_object_set_new(configs, chapters[i].entity, groups);
	}
	json_t *whole = json_pack("{s:o}", "configs", configs);
	char *text = json_dumps(whole, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(whole);
	return text;
}

const char *key_reference_json(void)
{
	static char *text;
	if (g_once_init_enter(&text))
		g_once_init_leave(&text, make_reference());
	return text;
}
