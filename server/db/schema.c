#include "server/db/schema.h"

/* Everything with a "key, value" pair below an owner looks the same. */
#define KEY_VALUE_TABLE(table, owner, owner_table)                                                      \
	"CREATE TABLE " table " (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, " owner                 \
	" INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,"                                             \
	" UNIQUE (" owner ", key),"                                                                     \
	" FOREIGN KEY (" owner ") REFERENCES " owner_table " (id) ON DELETE CASCADE);\n"

/* A key may have one value for everybody (node_id NULL) or one for each member. */
#define MEMBER_KEY_VALUE_TABLE(table, owner, owner_table)                                               \
	"CREATE TABLE " table " (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, " owner                 \
	" INTEGER NOT NULL, node_id INTEGER, key TEXT NOT NULL, value TEXT,"                            \
	" UNIQUE (" owner ", node_id, key),"                                                            \
	" FOREIGN KEY (" owner ") REFERENCES " owner_table " (id) ON DELETE CASCADE,"                   \
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"

#define DEVICES_TABLES(prefix, owner, device, owner_table)                                              \
	"CREATE TABLE " prefix "_devices (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, " owner        \
	" INTEGER NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL DEFAULT 0,"                       \
	" UNIQUE (" owner ", name),"                                                                    \
	" FOREIGN KEY (" owner ") REFERENCES " owner_table " (id) ON DELETE CASCADE);\n"                \
	KEY_VALUE_TABLE(prefix "_devices_config", device, prefix "_devices")

static const char cluster_tables[] =
	"CREATE TABLE nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" description TEXT DEFAULT '', address TEXT NOT NULL, schema INTEGER NOT NULL,"
	" api_extensions INTEGER NOT NULL, heartbeat DATETIME DEFAULT CURRENT_TIMESTAMP,"
	" state INTEGER NOT NULL DEFAULT 0, arch INTEGER NOT NULL DEFAULT 0 CHECK (arch > 0),"
	" failure_domain_id INTEGER DEFAULT NULL REFERENCES nodes_failure_domains (id) ON DELETE SET NULL,"
	" UNIQUE (name), UNIQUE (address));\n"
	"CREATE TABLE nodes_failure_domains (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" name TEXT NOT NULL, UNIQUE (name));\n"
	"CREATE TABLE nodes_roles (node_id INTEGER NOT NULL, role INTEGER NOT NULL,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE, UNIQUE (node_id, role));\n"
	KEY_VALUE_TABLE("nodes_config", "node_id", "nodes")
	"CREATE TABLE cluster_groups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" name TEXT NOT NULL, description TEXT NOT NULL, UNIQUE (name));\n"
	"CREATE TABLE nodes_cluster_groups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" node_id INTEGER NOT NULL, group_id INTEGER NOT NULL,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (group_id) REFERENCES cluster_groups (id) ON DELETE CASCADE,"
	" UNIQUE (node_id, group_id));\n"
	"CREATE TABLE config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, key TEXT NOT NULL,"
	" value TEXT, UNIQUE (key));\n"
	"CREATE TABLE certificates (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" fingerprint TEXT NOT NULL, type INTEGER NOT NULL, name TEXT NOT NULL,"
	" certificate TEXT NOT NULL, restricted INTEGER NOT NULL DEFAULT 0, UNIQUE (fingerprint));\n"
	"CREATE TABLE certificates_projects (certificate_id INTEGER NOT NULL, project_id INTEGER NOT NULL,"
	" FOREIGN KEY (certificate_id) REFERENCES certificates (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,"
	" UNIQUE (certificate_id, project_id));\n"
	"CREATE TABLE operations (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, uuid TEXT NOT NULL,"
	" node_id INTEGER NOT NULL, type INTEGER NOT NULL DEFAULT 0, project_id INTEGER,"
	" UNIQUE (uuid), FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE TABLE warnings (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, node_id INTEGER,"
	" project_id INTEGER, entity_type_code INTEGER, entity_id INTEGER, uuid TEXT NOT NULL,"
	" type_code INTEGER NOT NULL, status INTEGER NOT NULL, first_seen_date DATETIME NOT NULL,"
	" last_seen_date DATETIME NOT NULL, updated_date DATETIME, last_message TEXT NOT NULL,"
	" count INTEGER NOT NULL, UNIQUE (uuid),"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE UNIQUE INDEX warnings_unique_node_id_project_id_entity_type_code_entity_id_type_code"
	" ON warnings (IFNULL(node_id, -1), IFNULL(project_id, -1), entity_type_code, entity_id, type_code);\n";

static const char project_tables[] =
	"CREATE TABLE projects (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" description TEXT NOT NULL, UNIQUE (name));\n"
	KEY_VALUE_TABLE("projects_config", "project_id", "projects")
	"CREATE TABLE profiles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" description TEXT NOT NULL, project_id INTEGER NOT NULL, UNIQUE (project_id, name),"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("profiles_config", "profile_id", "profiles")
	DEVICES_TABLES("profiles", "profile_id", "profile_device_id", "profiles");

static const char instance_tables[] =
	"CREATE TABLE instances (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, node_id INTEGER NOT NULL,"
	" name TEXT NOT NULL, architecture INTEGER NOT NULL, type INTEGER NOT NULL,"
	" ephemeral INTEGER NOT NULL DEFAULT 0, creation_date DATETIME NOT NULL DEFAULT 0,"
	" stateful INTEGER NOT NULL DEFAULT 0, last_use_date DATETIME, description TEXT NOT NULL,"
	" project_id INTEGER NOT NULL, expiry_date DATETIME, UNIQUE (project_id, name),"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE INDEX instances_node_id_idx ON instances (node_id);\n"
	"CREATE INDEX instances_project_id_and_node_id_and_name_idx ON instances (project_id, node_id, name);\n"
	KEY_VALUE_TABLE("instances_config", "instance_id", "instances")
	DEVICES_TABLES("instances", "instance_id", "instance_device_id", "instances")
	"CREATE TABLE instances_profiles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" instance_id INTEGER NOT NULL, profile_id INTEGER NOT NULL, apply_order INTEGER NOT NULL DEFAULT 0,"
	" UNIQUE (instance_id, profile_id),"
	" FOREIGN KEY (instance_id) REFERENCES instances (id) ON DELETE CASCADE,"
	" FOREIGN KEY (profile_id) REFERENCES profiles (id) ON DELETE CASCADE);\n"
	"CREATE INDEX instances_profiles_profile_id_idx ON instances_profiles (profile_id);\n"
	"CREATE TABLE instances_backups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" instance_id INTEGER NOT NULL, name TEXT NOT NULL, creation_date DATETIME, expiry_date DATETIME,"
	" container_only INTEGER NOT NULL DEFAULT 0, optimized_storage INTEGER NOT NULL DEFAULT 0,"
	" UNIQUE (instance_id, name), FOREIGN KEY (instance_id) REFERENCES instances (id) ON DELETE CASCADE);\n"
	"CREATE TABLE instances_snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" instance_id INTEGER NOT NULL, name TEXT NOT NULL, creation_date DATETIME NOT NULL DEFAULT 0,"
	" stateful INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL, expiry_date DATETIME,"
	" UNIQUE (instance_id, name), FOREIGN KEY (instance_id) REFERENCES instances (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("instances_snapshots_config", "instance_snapshot_id", "instances_snapshots")
	DEVICES_TABLES("instances_snapshots", "instance_snapshot_id", "instance_snapshot_device_id",
	    "instances_snapshots");

static const char image_tables[] =
	"CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, fingerprint TEXT NOT NULL,"
	" filename TEXT NOT NULL, size INTEGER NOT NULL, public INTEGER NOT NULL DEFAULT 0,"
	" architecture INTEGER NOT NULL, creation_date DATETIME, expiry_date DATETIME,"
	" upload_date DATETIME NOT NULL, cached INTEGER NOT NULL DEFAULT 0, last_use_date DATETIME,"
	" auto_update INTEGER NOT NULL DEFAULT 0, project_id INTEGER NOT NULL,"
	" type INTEGER NOT NULL DEFAULT 0, UNIQUE (project_id, fingerprint),"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE INDEX images_fingerprint_idx ON images (fingerprint);\n"
	"CREATE TABLE images_aliases (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" image_id INTEGER NOT NULL, description TEXT, project_id INTEGER NOT NULL, UNIQUE (project_id, name),"
	" FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE INDEX images_aliases_image_id_idx ON images_aliases (image_id);\n"
	"CREATE TABLE images_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, image_id INTEGER NOT NULL,"
	" node_id INTEGER NOT NULL, UNIQUE (image_id, node_id),"
	" FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"
	"CREATE TABLE images_profiles (image_id INTEGER NOT NULL, profile_id INTEGER NOT NULL,"
	" FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE,"
	" FOREIGN KEY (profile_id) REFERENCES profiles (id) ON DELETE CASCADE,"
	" UNIQUE (image_id, profile_id));\n"
	"CREATE TABLE images_properties (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" image_id INTEGER NOT NULL, type INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,"
	" FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE);\n"
	"CREATE INDEX images_properties_image_id_idx ON images_properties (image_id);\n"
	"CREATE TABLE images_source (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, image_id INTEGER NOT NULL,"
	" server TEXT NOT NULL, protocol INTEGER NOT NULL, certificate TEXT NOT NULL, alias TEXT NOT NULL,"
	" FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE);\n";

static const char network_tables[] =
	"CREATE TABLE networks (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, project_id INTEGER NOT NULL,"
	" name TEXT NOT NULL, description TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
	" type INTEGER NOT NULL DEFAULT 0, UNIQUE (project_id, name),"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	MEMBER_KEY_VALUE_TABLE("networks_config", "network_id", "networks")
	"CREATE TABLE networks_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" network_id INTEGER NOT NULL, node_id INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
	" UNIQUE (network_id, node_id),"
	" FOREIGN KEY (network_id) REFERENCES networks (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"
	"CREATE UNIQUE INDEX networks_unique_network_id_node_id_key"
	" ON networks_config (network_id, IFNULL(node_id, -1), key);\n"
	"CREATE TABLE networks_acls (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" project_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
	" ingress TEXT NOT NULL, egress TEXT NOT NULL, UNIQUE (project_id, name),"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_acls_config", "network_acl_id", "networks_acls")
	"CREATE TABLE networks_forwards (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" network_id INTEGER NOT NULL, node_id INTEGER, listen_address TEXT NOT NULL,"
	" description TEXT NOT NULL, ports TEXT NOT NULL, UNIQUE (network_id, node_id, listen_address),"
	" FOREIGN KEY (network_id) REFERENCES networks (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_forwards_config", "network_forward_id", "networks_forwards")
	"CREATE TABLE networks_load_balancers (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" network_id INTEGER NOT NULL, node_id INTEGER, listen_address TEXT NOT NULL,"
	" description TEXT NOT NULL, backends TEXT NOT NULL, ports TEXT NOT NULL,"
	" UNIQUE (network_id, node_id, listen_address),"
	" FOREIGN KEY (network_id) REFERENCES networks (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_load_balancers_config", "network_load_balancer_id", "networks_load_balancers")
	"CREATE TABLE networks_peers (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" network_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
	" target_network_project TEXT, target_network_name TEXT, target_network_id INTEGER,"
	" UNIQUE (network_id, name), UNIQUE (network_id, target_network_project, target_network_name),"
	" UNIQUE (network_id, target_network_id),"
	" FOREIGN KEY (network_id) REFERENCES networks (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_peers_config", "network_peer_id", "networks_peers")
	"CREATE TABLE networks_zones (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" project_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, UNIQUE (name),"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_zones_config", "network_zone_id", "networks_zones")
	"CREATE TABLE networks_zones_records (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" network_zone_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
	" entries TEXT NOT NULL, UNIQUE (network_zone_id, name),"
	" FOREIGN KEY (network_zone_id) REFERENCES networks_zones (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("networks_zones_records_config", "network_zone_record_id", "networks_zones_records");

static const char storage_tables[] =
	"CREATE TABLE storage_pools (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" driver TEXT NOT NULL, description TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, UNIQUE (name));\n"
	MEMBER_KEY_VALUE_TABLE("storage_pools_config", "storage_pool_id", "storage_pools")
	"CREATE UNIQUE INDEX storage_pools_unique_storage_pool_id_node_id_key"
	" ON storage_pools_config (storage_pool_id, IFNULL(node_id, -1), key);\n"
	"CREATE TABLE storage_pools_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" storage_pool_id INTEGER NOT NULL, node_id INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
	" UNIQUE (storage_pool_id, node_id),"
	" FOREIGN KEY (storage_pool_id) REFERENCES storage_pools (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE);\n"
	"CREATE TABLE storage_volumes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" storage_pool_id INTEGER NOT NULL, node_id INTEGER, type INTEGER NOT NULL,"
	" description TEXT NOT NULL, project_id INTEGER NOT NULL, content_type INTEGER NOT NULL DEFAULT 0,"
	" creation_date DATETIME NOT NULL DEFAULT '0001-01-01T00:00:00Z',"
	" UNIQUE (storage_pool_id, node_id, project_id, name, type),"
	" FOREIGN KEY (storage_pool_id) REFERENCES storage_pools (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	"CREATE UNIQUE INDEX storage_volumes_unique_storage_pool_id_node_id_project_id_name_type"
	" ON storage_volumes (storage_pool_id, IFNULL(node_id, -1), project_id, name, type);\n"
	KEY_VALUE_TABLE("storage_volumes_config", "storage_volume_id", "storage_volumes")
	"CREATE TABLE storage_volumes_snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" storage_volume_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
	" expiry_date DATETIME, creation_date DATETIME NOT NULL DEFAULT '0001-01-01T00:00:00Z',"
	" UNIQUE (storage_volume_id, name),"
	" FOREIGN KEY (storage_volume_id) REFERENCES storage_volumes (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("storage_volumes_snapshots_config", "storage_volume_snapshot_id", "storage_volumes_snapshots")
	"CREATE TABLE storage_volumes_backups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" storage_volume_id INTEGER NOT NULL, name TEXT NOT NULL, creation_date DATETIME,"
	" expiry_date DATETIME, volume_only INTEGER NOT NULL DEFAULT 0,"
	" optimized_storage INTEGER NOT NULL DEFAULT 0, UNIQUE (storage_volume_id, name),"
	" FOREIGN KEY (storage_volume_id) REFERENCES storage_volumes (id) ON DELETE CASCADE);\n"
	/* Volumes and their snapshots share one space of ids. */
	"CREATE TRIGGER storage_volumes_check_id BEFORE INSERT ON storage_volumes"
	" WHEN NEW.id IN (SELECT id FROM storage_volumes_snapshots)"
	" BEGIN SELECT RAISE(FAIL, 'id is that of a snapshot'); END;\n"
	"CREATE TRIGGER storage_volumes_snapshots_check_id BEFORE INSERT ON storage_volumes_snapshots"
	" WHEN NEW.id IN (SELECT id FROM storage_volumes)"
	" BEGIN SELECT RAISE(FAIL, 'id is that of a volume'); END;\n"
	"CREATE TABLE storage_buckets (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" storage_pool_id INTEGER NOT NULL, node_id INTEGER, description TEXT NOT NULL,"
	" project_id INTEGER NOT NULL, UNIQUE (node_id, name),"
	" FOREIGN KEY (storage_pool_id) REFERENCES storage_pools (id) ON DELETE CASCADE,"
	" FOREIGN KEY (node_id) REFERENCES nodes (id) ON DELETE CASCADE,"
	" FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE);\n"
	KEY_VALUE_TABLE("storage_buckets_config", "storage_bucket_id", "storage_buckets")
	"CREATE TABLE storage_buckets_keys (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
	" storage_bucket_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,"
	" access_key TEXT NOT NULL, secret_key TEXT NOT NULL, role TEXT NOT NULL,"
	" UNIQUE (storage_bucket_id, name),"
	" FOREIGN KEY (storage_bucket_id) REFERENCES storage_buckets (id) ON DELETE CASCADE);\n";

static const char views[] =
	"CREATE VIEW storage_volumes_all (id, name, storage_pool_id, node_id, type, description, project_id,"
	" content_type, creation_date) AS"
	" SELECT id, name, storage_pool_id, node_id, type, description, project_id, content_type, creation_date"
	" FROM storage_volumes UNION"
	" SELECT s.id, v.name || '/' || s.name, v.storage_pool_id, v.node_id, v.type, s.description,"
	" v.project_id, v.content_type, s.creation_date"
	" FROM storage_volumes_snapshots AS s JOIN storage_volumes AS v ON v.id = s.storage_volume_id;\n"
	"CREATE VIEW projects_config_ref (name, key, value) AS SELECT p.name, c.key, c.value"
	" FROM projects_config AS c JOIN projects AS p ON p.id = c.project_id;\n"
	"CREATE VIEW profiles_config_ref (project, name, key, value) AS SELECT p.name, f.name, c.key, c.value"
	" FROM profiles_config AS c JOIN profiles AS f ON f.id = c.profile_id"
	" JOIN projects AS p ON p.id = f.project_id;\n"
	"CREATE VIEW profiles_devices_ref (project, name, device, type, key, value) AS"
	" SELECT p.name, f.name, d.name, d.type, COALESCE(c.key, ''), COALESCE(c.value, '')"
	" FROM profiles_devices AS d LEFT JOIN profiles_devices_config AS c ON c.profile_device_id = d.id"
	" JOIN profiles AS f ON f.id = d.profile_id JOIN projects AS p ON p.id = f.project_id;\n"
	"CREATE VIEW instances_config_ref (project, node, name, key, value) AS"
	" SELECT p.name, n.name, i.name, c.key, c.value FROM instances_config AS c"
	" JOIN instances AS i ON i.id = c.instance_id JOIN projects AS p ON p.id = i.project_id"
	" JOIN nodes AS n ON n.id = i.node_id;\n"
	"CREATE VIEW instances_devices_ref (project, node, name, device, type, key, value) AS"
	" SELECT p.name, n.name, i.name, d.name, d.type, COALESCE(c.key, ''), COALESCE(c.value, '')"
	" FROM instances_devices AS d LEFT JOIN instances_devices_config AS c ON c.instance_device_id = d.id"
	" JOIN instances AS i ON i.id = d.instance_id JOIN projects AS p ON p.id = i.project_id"
	" JOIN nodes AS n ON n.id = i.node_id;\n"
	"CREATE VIEW instances_profiles_ref (project, node, name, value) AS"
	" SELECT p.name, n.name, i.name, f.name FROM instances_profiles AS ip"
	" JOIN instances AS i ON i.id = ip.instance_id JOIN profiles AS f ON f.id = ip.profile_id"
	" JOIN projects AS p ON p.id = i.project_id JOIN nodes AS n ON n.id = i.node_id"
	" ORDER BY ip.apply_order;\n";

/* Numbers of architectures in rows. */
#if defined(__aarch64__)
#define HOST_ARCH "4"
#elif defined(__riscv)
#define HOST_ARCH "12"
#else
#define HOST_ARCH "2"
#endif

/* What every installation starts with. The key features.networks is not on for new projects, but for
 * "default" all are: what a feature does not separate is looked up there. */
static const char defaults[] =
	"INSERT INTO nodes (id, name, description, address, schema, api_extensions, arch)"
	" VALUES (1, 'none', '', '0.0.0.0', 69, 359, " HOST_ARCH ");\n"
	"INSERT INTO projects (id, name, description) VALUES (1, 'default', 'Default Incus project');\n"
	"INSERT INTO projects_config (project_id, key, value) VALUES (1, 'features.images', 'true'),"
	" (1, 'features.profiles', 'true'), (1, 'features.storage.volumes', 'true'),"
	" (1, 'features.storage.buckets', 'true'), (1, 'features.networks', 'true'),"
	" (1, 'features.networks.zones', 'true');\n"
	"INSERT INTO profiles (id, name, description, project_id)"
	" VALUES (1, 'default', 'Default Incus profile', 1);\n"
	"INSERT INTO cluster_groups (id, name, description) VALUES (1, 'default', 'Default cluster group');\n"
	"INSERT INTO nodes_cluster_groups (node_id, group_id) VALUES (1, 1);\n";

static const char *const global_69[] = {cluster_tables, project_tables, instance_tables, image_tables,
	network_tables, storage_tables, views, defaults, 0};

/* One-time changes of data that Incus has made up to this schema: new data needs none of them. */
static const char local_patches[] =
	"INSERT INTO patches (name, applied_at) VALUES"
	" ('storage_lvm_skipactivation', CURRENT_TIMESTAMP),"
	" ('clustering_drop_database_role', CURRENT_TIMESTAMP),"
	" ('network_clear_bridge_volatile_hwaddr', CURRENT_TIMESTAMP),"
	" ('move_backups_instances', CURRENT_TIMESTAMP),"
	" ('network_ovn_enable_nat', CURRENT_TIMESTAMP),"
	" ('network_ovn_remove_routes', CURRENT_TIMESTAMP),"
	" ('thinpool_typo_fix', CURRENT_TIMESTAMP),"
	" ('vm_rename_uuid_key', CURRENT_TIMESTAMP),"
	" ('db_nodes_autoinc', CURRENT_TIMESTAMP),"
	" ('network_acl_remove_defaults', CURRENT_TIMESTAMP),"
	" ('clustering_server_cert_trust', CURRENT_TIMESTAMP),"
	" ('warnings_remove_empty_node', CURRENT_TIMESTAMP),"
	" ('dnsmasq_entries_include_device_name', CURRENT_TIMESTAMP),"
	" ('storage_missing_snapshot_records', CURRENT_TIMESTAMP),"
	" ('storage_delete_old_snapshot_records', CURRENT_TIMESTAMP),"
	" ('storage_zfs_drop_block_volume_filesystem_extension', CURRENT_TIMESTAMP),"
	" ('storage_prefix_bucket_names_with_project', CURRENT_TIMESTAMP),"
	" ('storage_move_custom_iso_block_volumes', CURRENT_TIMESTAMP),"
	" ('zfs_set_content_type_user_property', CURRENT_TIMESTAMP),"
	" ('snapshots_rename', CURRENT_TIMESTAMP),"
	" ('storage_zfs_unset_invalid_block_settings', CURRENT_TIMESTAMP);\n";

static const char *const local_43[] = {
	"CREATE TABLE config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, key TEXT NOT NULL,"
	" value TEXT, UNIQUE (key));\n"
	"CREATE TABLE patches (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,"
	" applied_at DATETIME NOT NULL, UNIQUE (name));\n"
	"CREATE TABLE raft_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, address TEXT NOT NULL,"
	" role INTEGER NOT NULL DEFAULT 0, name TEXT NOT NULL DEFAULT '', UNIQUE (address));\n"
	"CREATE TABLE certificates (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, fingerprint TEXT NOT NULL,"
	" type INTEGER NOT NULL, name TEXT NOT NULL, certificate TEXT NOT NULL, UNIQUE (fingerprint));\n",
	local_patches, 0};

const Migration schema_global[] = {{69, global_69}, {0}};
const Migration schema_local[] = {{43, local_43}, {0}};
