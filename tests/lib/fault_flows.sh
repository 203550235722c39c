# The flows that fail.test and kill.test take apart: creation from an image (kept, new to the pool, asked for again), empty,
# with devices; start, stop, rename, rebuild, delete.
devices() { # of all kinds that this version has
	mkdir -p "$TEST_DIR/share"
	printf 'devices:\n  share: {type: disk, source: %s, path: /mnt/share}\n  vol: {type: disk, pool: default, source: v1, path: /mnt/vol}\n' "$TEST_DIR/share"
	printf '  p2p: {type: nic, nictype: p2p, host_name: v1%s}\n' "$NAME"
	printf '  eth0: {type: nic, network: %s, host_name: v2%s, security.mac_filtering: "true"}\n' "$BRIDGE" "$NAME"
}
faults_setup() {
	start_daemon; basic_setup; need_faults
	BRIDGE=it$((RANDOM % 10000))
	incus network create "$BRIDGE" ipv6.address=none -q
	incus storage volume create default v1 -q
	devices >"$TEST_DIR/devices"
	incus launch bb "$NAME" -q <"$TEST_DIR/devices"
	incus delete -f "$NAME" -q
	use_image
	note_world
}
faults_teardown() {
	incus network delete "$BRIDGE"
}

new_image() { # the pool knows nothing of it
	incus image delete bb; incus image import "$TEST_DIR/image/busybox.tar.gz" --alias bb -q
}
use_image() { # once: the second time the pool keeps it
	incus create bb "$NAME" -q; incus delete "$NAME" -q
}
created() { # after a creation: all of it or nothing
	if there; then
		[ $RC = 0 ] || [ -e "$INCUS_FAULT.hit" ] || fail "creation failed, and the instance is there"
		works; gone
	else
		[ $RC != 0 ] || fail "creation succeeded, and there is no instance"
		same_world
	fi
}
create_image() { incus create bb "$NAME"; }
create_image_after() { created; }
create_first_ready() { new_image; }
create_first() { incus create bb "$NAME"; }
create_first_after() { created; }
create_second_ready() { new_image; use_image; }
create_second() { incus create bb "$NAME"; }
create_second_after() { created; }
create_empty() { incus create --empty "$NAME"; }
create_empty_after() {
	if there; then gone; else same_world; fi
}
create_devices() { incus create bb "$NAME" <"$TEST_DIR/devices"; }
create_devices_after() { created; }

make_stopped() { there || incus create bb "$NAME" -q <"$TEST_DIR/devices"; }
start_ready() { make_stopped; }
start() { incus start "$NAME"; }
start_after() { works; incus stop -f "$NAME"; gone; }

stop_ready() { make_stopped; [ "$(state_of "$NAME")" = RUNNING ] || incus start "$NAME"; }
stop() { incus stop -f "$NAME"; }
stop_after() { works; incus stop -f "$NAME"; gone; }

rename_ready() { make_stopped; }
rename() { incus rename "$NAME" "${NAME}b"; }
rename_after() {
	if ! there; then incus rename "${NAME}b" "$NAME"; fi
	works; gone
}

rebuild_ready() { make_stopped; }
rebuild() { incus rebuild bb "$NAME"; }
rebuild_after() { works; incus stop -f "$NAME"; gone; }

delete_ready() { make_stopped; }
delete() { incus delete "$NAME"; }
delete_after() {
	# what could not be removed is in deleted/ until the next start
	if [ -n "$(ls "$INCUS_DIR/storage-pools/default/deleted/containers")" ]; then stop_daemon; start_daemon; fi
	if there; then works; gone; else same_world; fi
}
FLOWS="create_image create_first create_second create_empty create_devices start stop rename rebuild delete"
