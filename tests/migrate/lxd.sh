# A directory as LXD leaves it, made by hand. Sourced after daemon.sh. `make_lxd SCHEMA` makes $LXD (and $LXD.sql, what its
# database was made of): a project p1, a dir pool with containers c1 (it ran), c2 with snapshot s0 and p1/c3, an image, a network,
# a certificate. SNAPSHOTS=N has the node
# make a snapshot of its database every N entries.
LXD=$TEST_DIR/lxd
RECORDED=/var/lib/lxd # what LXD's own records name
TARGET=$TEST_DIR/t
MAP='[{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000000000},{"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":1000000000}]'
BRIDGE=lm$(($$ % 100000))
SUBNET=10.$((150 + $$ % 50)).$(($$ / 50 % 250))

# What a failed test left of a daemon on $TARGET, before all of the folder goes.
lxd_cleanup() {
	local rc=$? p
	for p in $(pgrep -f "$TARGET/" || true) $(pgrep -f "$TARGET\$" || true); do [ "$p" = $$ ] || kill -9 "$p" 2>/dev/null || true; done
	remove_bridge "$BRIDGE"
	cleanup $rc
}
trap lxd_cleanup EXIT

# Our own newest schema, a statement a line: the tables and columns are those of LXD's last one (69).
newest_schema() {
	start_daemon
	incus admin sql global .schema >"$TEST_DIR/schema.sql"
	kill -PWR "$DAEMON_PID"; wait "$DAEMON_PID" || true; DAEMON_PID=
	rm -rf "$INCUS_DIR"; mkdir -m 711 "$INCUS_DIR"
}

# What LXD's newer schemas brought is taken away again. A row: the schema that brought it, a statement.
older() { # SCHEMA
	local since sql
	while IFS='|' read -r since sql; do
		[ "$since" -le "$1" ] || echo "$sql"
	done <<-'END'
		67|DROP VIEW storage_volumes_all
		67|ALTER TABLE storage_volumes DROP COLUMN creation_date
		67|ALTER TABLE storage_volumes_snapshots DROP COLUMN creation_date
		64|DROP TABLE storage_buckets_keys
		64|DROP TABLE storage_buckets_config
		64|DROP TABLE storage_buckets
		61|DROP TABLE networks_load_balancers_config
		61|DROP TABLE networks_load_balancers
		60|DROP TABLE networks_zones_records_config
		60|DROP TABLE networks_zones_records
		54|DROP TABLE nodes_cluster_groups
		54|DROP TABLE cluster_groups
		53|DROP TABLE networks_zones_config
		53|DROP TABLE networks_zones
		52|DROP TABLE networks_peers_config
		52|DROP TABLE networks_peers
		51|DROP TABLE nodes_config
		50|DROP TABLE networks_forwards_config
		50|DROP TABLE networks_forwards
		49|ALTER TABLE nodes RENAME COLUMN state TO pending
		48|DROP TABLE warnings
		47|ALTER TABLE certificates DROP COLUMN restricted
		47|DROP TABLE certificates_projects
		45|DROP TABLE networks_acls_config
		45|DROP TABLE networks_acls
		41|ALTER TABLE storage_pools_nodes DROP COLUMN state
		40|ALTER TABLE networks_nodes DROP COLUMN state
		39|DROP TABLE storage_volumes_backups
		34|CREATE TABLE networks_new (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL, description TEXT, state INTEGER NOT NULL DEFAULT 0, type INTEGER NOT NULL DEFAULT 0, UNIQUE (name))
		34|INSERT INTO networks_new (id, name, description, state) SELECT id, name, description, state FROM networks
		34|PRAGMA foreign_keys=OFF
		34|DROP TABLE networks
		34|ALTER TABLE networks_new RENAME TO networks
		33|ALTER TABLE networks DROP COLUMN type
		32|ALTER TABLE nodes DROP COLUMN failure_domain_id
		32|DROP TABLE nodes_failure_domains
		31|ALTER TABLE storage_volumes DROP COLUMN content_type
	END
}

key() { echo "INSERT INTO $1 ($2, key, value) VALUES ($3, '$4', '${5//\'/\'\'}')"; } # TABLE OWNER ID KEY VALUE

rows() { # of what is described above
	echo "INSERT INTO nodes (id, name, description, address, schema, api_extensions, arch) VALUES (1, 'none', '', '0.0.0.0', $1, 300, 2)"
	echo "INSERT INTO projects (id, name, description) VALUES (1, 'default', 'Default LXD project'), (2, 'p1', '')"
	key projects_config project_id 1 features.images true
	key projects_config project_id 1 features.profiles true
	key projects_config project_id 1 features.storage.volumes true
	key projects_config project_id 2 features.images false
	key projects_config project_id 2 features.profiles false
	echo "INSERT INTO profiles (id, name, description, project_id) VALUES (1, 'default', 'Default LXD profile', 1), (2, 'small', 'less memory', 1)"
	key profiles_config profile_id 2 limits.memory 128MiB
	echo "INSERT INTO networks (id, project_id, name, description, state, type) VALUES (1, 1, '$BRIDGE', '', 1, 0)"
	key networks_config network_id 1 ipv4.address $SUBNET.1/24
	key networks_config network_id 1 ipv4.nat false
	key networks_config network_id 1 ipv6.address none
	echo "INSERT INTO networks_nodes (network_id, node_id, state) VALUES (1, 1, 1)"
	echo "INSERT INTO storage_pools (id, name, driver, description, state) VALUES (1, 'default', 'dir', '', 1)"
	echo "INSERT INTO storage_pools_config (storage_pool_id, node_id, key, value) VALUES (1, 1, 'source', '$RECORDED/storage-pools/default')"
	echo "INSERT INTO storage_pools_nodes (storage_pool_id, node_id, state) VALUES (1, 1, 1)"
	echo "INSERT INTO storage_volumes (id, name, storage_pool_id, node_id, type, description, project_id, content_type) VALUES (1, 'c1', 1, 1, 0, '', 1, 0), (2, 'c2', 1, 1, 0, '', 1, 0), (3, 'c3', 1, 1, 0, '', 2, 0), (4, 'v1', 1, 1, 2, 'data', 1, 0)"
	echo "INSERT INTO storage_volumes_snapshots (id, storage_volume_id, name, description) VALUES (5, 2, 's0', '')"
	echo "INSERT INTO images (id, fingerprint, filename, size, architecture, upload_date, project_id) VALUES (1, '$FINGERPRINT', 'busybox.tar.gz', $(stat -c %s "$TEST_DIR/image/busybox.tar.gz"), 2, '2023-01-01 00:00:00+00:00', 1)"
	echo "INSERT INTO images_aliases (name, image_id, description, project_id) VALUES ('bb', 1, '', 1)"
	echo "INSERT INTO images_properties (image_id, type, key, value) VALUES (1, 0, 'os', 'busybox')"
	echo "INSERT INTO images_nodes (image_id, node_id) VALUES (1, 1)"
	echo "INSERT INTO images_profiles (image_id, profile_id) VALUES (1, 1)"
	echo "INSERT INTO instances (id, node_id, name, architecture, type, creation_date, description, project_id) VALUES (1, 1, 'c1', 2, 0, '2023-02-03 04:05:06.000000007+00:00', 'first', 1), (2, 1, 'c2', 2, 0, '2023-02-03 04:05:06+00:00', '', 1), (3, 1, 'c3', 2, 0, '2023-02-03 04:05:06+00:00', '', 2)"
	local id
	for id in 1 2 3; do
		key instances_config instance_id $id volatile.last_state.idmap "$MAP"
		key instances_config instance_id $id volatile.base_image "$FINGERPRINT"
		echo "INSERT INTO instances_devices (id, instance_id, name, type) VALUES ($id, $id, 'root', 2)"
		key instances_devices_config instance_device_id $id path /
		key instances_devices_config instance_device_id $id pool default
		key instances_devices_config instance_device_id $id type disk
		echo "INSERT INTO instances_profiles (instance_id, profile_id, apply_order) VALUES ($id, 1, 1)"
	done
	echo "INSERT INTO instances_profiles (instance_id, profile_id, apply_order) VALUES (1, 2, 2)"
	key instances_config instance_id 1 volatile.last_state.power RUNNING
	key instances_config instance_id 1 user.note "it's the first"
	key instances_config instance_id 2 volatile.last_state.power STOPPED
	key instances_config instance_id 2 volatile.vm.uuid 7c1e4fa4-46fe-4839-9560-dd4114ace15c
	echo "INSERT INTO instances_devices (id, instance_id, name, type) VALUES (4, 1, 'eth0', 1), (5, 1, 'data', 2)"
	key instances_devices_config instance_device_id 4 type nic
	key instances_devices_config instance_device_id 4 network "$BRIDGE"
	key instances_devices_config instance_device_id 5 type disk
	key instances_devices_config instance_device_id 5 pool default
	key instances_devices_config instance_device_id 5 source v1
	key instances_devices_config instance_device_id 5 path /data
	echo "INSERT INTO instances_snapshots (id, instance_id, name, creation_date, description) VALUES (1, 2, 's0', '2023-03-04 05:06:07+00:00', 'before')"
	key instances_snapshots_config instance_snapshot_id 1 user.note old
	key instances_snapshots_config instance_snapshot_id 1 volatile.last_state.idmap "$MAP"
	echo "INSERT INTO instances_snapshots_devices (id, instance_snapshot_id, name, type) VALUES (1, 1, 'root', 2)"
	key instances_snapshots_devices_config instance_snapshot_device_id 1 path /
	key instances_snapshots_devices_config instance_snapshot_device_id 1 pool default
	key instances_snapshots_devices_config instance_snapshot_device_id 1 type disk
	echo "INSERT INTO certificates (id, fingerprint, type, name, certificate) VALUES (1, '$(openssl x509 -in "$TEST_DIR/client.crt" -outform der | sha256sum | cut -d' ' -f1)', 1, 'friend', replace('$(tr '\n' '~' <"$TEST_DIR/client.crt")', '~', char(10)))"
}

# The database alone, of a schema and what standard input has beside the rows above.
make_database() { # SCHEMA
	rm -rf "$LXD/database"
	mkdir -p -m 700 "$LXD/database/global"
	{
		cat "$TEST_DIR/schema.sql"
		echo "CREATE TABLE IF NOT EXISTS schema (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version INTEGER NOT NULL, updated_at DATETIME NOT NULL, UNIQUE (version))"
		echo "INSERT INTO schema (version, updated_at) VALUES ($1, 0)"
		rows "$1"; older "$1"
		cat
	} >"$LXD.sql"
	"$BUILD_DIR/tests/lxd_dir" "$LXD/database/global" ${SNAPSHOTS:-} <"$LXD.sql"
	sqlite3 "$LXD/database/local.db" \
		"CREATE TABLE config (id INTEGER PRIMARY KEY, key VARCHAR(255) NOT NULL, value TEXT, UNIQUE (key));
		 CREATE TABLE raft_nodes (id INTEGER PRIMARY KEY, address TEXT NOT NULL, role INTEGER NOT NULL DEFAULT 0);
		 CREATE TABLE patches (id INTEGER PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_at DATETIME NOT NULL)"
}

make_trees() {
	local pool=$LXD/storage-pools/default c
	mkdir -p -m 711 "$LXD" "$LXD/containers" "$LXD/storage-pools" "$pool" "$pool"/{containers,containers-snapshots,custom,custom-snapshots,images,virtual-machines}
	mkdir -p -m 700 "$LXD"/{images,disks,backups,snapshots} "$LXD/logs/c1"
	cp "$TEST_DIR/image/busybox.tar.gz" "$LXD/images/$FINGERPRINT"
	for c in c1 c2 p1_c3; do
		mkdir -m 100 "$pool/containers/$c"
		tar -C "$pool/containers/$c" -xzf "$TEST_DIR/image/busybox.tar.gz"
		echo "$c" >"$pool/containers/$c/rootfs/etc/marker"
		ln "$pool/containers/$c/rootfs/etc/marker" "$pool/containers/$c/rootfs/etc/marker.hard"
		setfattr -n user.test -v "$c" "$pool/containers/$c/rootfs/etc/marker"
		find "$pool/containers/$c/rootfs" -exec chown -h 1000000:1000000 {} +
		chown 1000000:0 "$pool/containers/$c"
		printf 'container:\n  name: %s\npool:\n  config:\n    source: %s/storage-pools/default\n  name: default\n' "$c" "$RECORDED" >"$pool/containers/$c/backup.yaml"
		chmod 400 "$pool/containers/$c/backup.yaml"
		ln -s "$RECORDED/storage-pools/default/containers/$c" "$LXD/containers/$c"
	done
	mkdir -m 711 "$pool/containers-snapshots/c2"
	cp -a "$pool/containers/c2" "$pool/containers-snapshots/c2/s0"
	echo old >"$pool/containers-snapshots/c2/s0/rootfs/etc/marker"
	mkdir -m 711 "$pool/custom/default_v1"
	echo content >"$pool/custom/default_v1/file"; chown -R 1000000:1000000 "$pool/custom/default_v1"
	echo log >"$LXD/logs/c1/lxc.log"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$LXD/server.key" -out "$LXD/server.crt" -subj /CN=lxd -days 2 2>/dev/null
}

make_lxd() { # SCHEMA
	make_base
	rm -rf "$LXD"; make_trees
	make_database "$1"
}
make_base() {
	[ ! -e "$TEST_DIR/schema.sql" ] || return 0
	newest_schema
	"$LIB_DIR/make-image" "$TEST_DIR/image" >/dev/null
	FINGERPRINT=$(sha256sum "$TEST_DIR/image/busybox.tar.gz" | cut -d' ' -f1)
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$TEST_DIR/client.key" -out "$TEST_DIR/client.crt" -subj /CN=friend -days 2 2>/dev/null
}

migrate() { lxd-to-incus --source "$LXD" --target "$TARGET" --log "$TEST_DIR/migrate.log" "$@"; }
refused() { # WORDS COMMAND...: it must fail and say them
	local words=$1; shift
	if OUT=$("$@" 2>&1 </dev/null); then fail "succeeded, but should be refused: $*"; fi
	contains "$OUT" "$words"
}
# Everything of a tree that a rollback must bring back.
tree_state() { # DIR
	(cd "$1" && find . -printf '%p %m %U %G %T@ %s %n %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum && getfattr -R -P -h -d -m - . 2>/dev/null)
}
