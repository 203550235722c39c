/* What is taken and what is left. */
#include "migrate/rows.h"

#define CONFIG(table, keys)                                                                        \
	{                                                                                          \
		.name = table, .keyed = TRUE, .scope = keys                                        \
	}
#define OF_REFUSED(table, keys, schema)                                                            \
	{                                                                                          \
		.name = table, .keyed = TRUE, .scope = keys, .refused = TRUE, .since = schema      \
	}

/* What is refused is what the server has no calls for yet: with them, its rows lose the word. */

const RowTable rows_tables[] = {
	{ .name = "config", .keyed = TRUE, .scope = KEY_SERVER, .local = TRUE },
	{ .name = "projects", .what = "projects" },
	CONFIG("projects_config", KEY_PROJECT),
	{ .name = "certificates", .what = "certificates" },
	{ .name = "certificates_projects", .since = 47 },
	{ .name = "profiles", .what = "profiles" },
	CONFIG("profiles_config", KEY_INSTANCE),
	{ .name = "profiles_devices" },
	CONFIG("profiles_devices_config", KEY_DEVICE),
	{ .name = "networks", .what = "networks" },
	CONFIG("networks_config", KEY_NETWORK),
	{ .name = "networks_nodes" },
	{ .name = "networks_acls",
	    .refused = TRUE,
	    .since = 45,
	    .what = "network ACLs",
	    .each =
		"SELECT 'network ACL', j.name || '/' || r.name, 'network acl delete ' || r.name || ' --project ' || j.name"
		" FROM networks_acls r JOIN projects j ON j.id = r.project_id" },
	OF_REFUSED("networks_acls_config", KEY_ACL, 45),
	{ .name = "networks_forwards",
	    .refused = TRUE,
	    .since = 50,
	    .what = "network forwards",
	    .each =
		"SELECT 'network forward', j.name || '/' || n.name || ' ' || r.listen_address, 'network forward delete ' || n.name || ' ' || r.listen_address || ' --project ' || j.name"
		" FROM networks_forwards r JOIN networks n ON n.id = r.network_id JOIN projects j ON j.id = n.project_id" },
	OF_REFUSED("networks_forwards_config", KEY_FORWARD, 50),
	{ .name = "networks_peers",
	    .refused = TRUE,
	    .since = 52,
	    .what = "network peers",
	    .each =
		"SELECT 'network peer', j.name || '/' || n.name || ' ' || r.name, 'network peer delete ' || n.name || ' ' || r.name || ' --project ' || j.name"
		" FROM networks_peers r JOIN networks n ON n.id = r.network_id JOIN projects j ON j.id = n.project_id" },
	OF_REFUSED("networks_peers_config", KEY_PEER, 52),
	{ .name = "networks_zones",
	    .refused = TRUE,
	    .since = 53,
	    .what = "network zones",
	    .each =
		"SELECT 'network zone', j.name || '/' || r.name, 'network zone delete ' || r.name || ' --project ' || j.name"
		" FROM networks_zones r JOIN projects j ON j.id = r.project_id" },
	OF_REFUSED("networks_zones_config", KEY_ZONE, 53),
	{ .name = "networks_zones_records", .refused = TRUE, .since = 60 },
	OF_REFUSED("networks_zones_records_config", KEY_ZONE_RECORD, 60),
	{ .name = "networks_load_balancers",
	    .refused = TRUE,
	    .since = 61,
	    .what = "network load balancers",
	    .each =
		"SELECT 'network load balancer', j.name || '/' || n.name || ' ' || r.listen_address, 'network load-balancer delete ' || n.name || ' ' || r.listen_address || ' --project ' || j.name"
		" FROM networks_load_balancers r JOIN networks n ON n.id = r.network_id JOIN projects j ON j.id = n.project_id" },
	OF_REFUSED("networks_load_balancers_config", KEY_LOAD_BALANCER, 61),
	{ .name = "storage_pools", .what = "storage pools" },
	CONFIG("storage_pools_config", KEY_POOL),
	{ .name = "storage_pools_nodes" },
	{ .name = "storage_volumes", .what = "storage volumes" },
	CONFIG("storage_volumes_config", KEY_VOLUME),
	{ .name = "storage_volumes_snapshots", .what = "volume snapshots" },
	CONFIG("storage_volumes_snapshots_config", KEY_VOLUME),
	{ .name = "storage_volumes_backups", .since = 39, .what = "volume backups" },
	{ .name = "storage_buckets",
	    .since = 64,
	    .refused = TRUE,
	    .what = "storage buckets",
	    .each =
		"SELECT 'storage bucket', j.name || '/' || p.name || '/' || r.name, 'storage bucket delete ' || p.name || ' ' || r.name || ' --project ' || j.name"
		" FROM storage_buckets r JOIN storage_pools p ON p.id = r.storage_pool_id JOIN projects j ON j.id = r.project_id" },
	OF_REFUSED("storage_buckets_config", KEY_BUCKET, 64),
	{ .name = "storage_buckets_keys", .refused = TRUE, .since = 64 },
	{ .name = "images", .what = "images" },
	{ .name = "images_aliases", .what = "image aliases" },
	{ .name = "images_nodes" },
	{ .name = "images_profiles" },
	{ .name = "images_properties" },
	{ .name = "images_source" },
	{ .name = "instances", .what = "instances" },
	CONFIG("instances_config", KEY_INSTANCE),
	{ .name = "instances_devices" },
	CONFIG("instances_devices_config", KEY_DEVICE),
	{ .name = "instances_profiles" },
	{ .name = "instances_backups", .what = "instance backups" },
	{ .name = "instances_snapshots", .what = "instance snapshots" },
	CONFIG("instances_snapshots_config", KEY_INSTANCE),
	{ .name = "instances_snapshots_devices" },
	CONFIG("instances_snapshots_devices_config", KEY_DEVICE),
	{ 0 },
};

const RowLeft rows_left[] = {
	{ "schema", "the schema's own history" },
	{ "sqlite_sequence", "SQLite's own" },
	{ "nodes", "this server, which has its own row" },
	{ "nodes_cluster_groups", "members' groups" },
	{ "nodes_config", "members' configuration" },
	{ "nodes_failure_domains", "members' failure domains" },
	{ "nodes_roles", "members' roles" },
	{ "cluster_groups", "members' groups" },
	{ "operations", "work that was running" },
	{ "warnings", "they are made anew" },
	{ 0 },
};
