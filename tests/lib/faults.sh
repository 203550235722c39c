# A flow that fails, or dies, at each of its steps in turn. Sourced after daemon.sh; see sdk/base/fault.h.
# A script defines for each flow functions FLOW_ready (optional), FLOW (the command) and FLOW_after (checks; $RC is the
# command's status, its words are in $ERROR) and calls `sweep FLOW...`, of which ONLY="FLOW..." takes some, and
# VERBS="kill fail" what happens at their steps.
export INCUS_FAULT=$TEST_DIR/fault
NAME=f$$ # of the instance; what is left on the machine carries it

# Everything that an instance has: rows, files, mounts, links, firewall rules, cgroups, processes. Unpacked images are a cache.
world() {
	local table query=
	for table in instances instances_config instances_devices instances_devices_config instances_profiles instances_snapshots \
		storage_volumes_snapshots; do
		query+=", (SELECT count(*) FROM $table) AS $table"
	done
	query+=", (SELECT count(*) FROM storage_volumes WHERE type <> 1) AS storage_volumes"
	query+=", (SELECT count(*) FROM storage_volumes_config c JOIN storage_volumes v ON v.id = c.storage_volume_id WHERE v.type <> 1) AS configs"
	incus admin sql global "SELECT ${query#, }"
	(cd "$INCUS_DIR" && find . \( -path ./database -o -path ./logs -o -regex './storage-pools/[^/]*/images' \) -prune -o -print 2>/dev/null || true) | sed 's|/qemu/ram/[0-9]*-|/qemu/ram/ID-|' | sort # libvirt's number of a run
	awk -v d="$TEST_DIR/" 'index($2, d) == 1 {print $2}' "/proc/$DAEMON_PID/mounts" | sort
	ip -o link | grep -o "v[0-9]*$NAME[^:@]*" | sort || true
	nft list ruleset | grep -o "v[0-9]*$NAME[^\"]*" | sort -u || true
	{ find /sys/fs/cgroup -type d -name "*lxc*$NAME*" 2>/dev/null || true; } | sort
	pgrep -f -c "lxc monitor.*$INCUS_DIR" || true
}
same_world() { # what is there now is what was there before
	world >"$TEST_DIR/now"
	diff "$TEST_DIR/before" "$TEST_DIR/now" >"$TEST_DIR/difference" || fail "something was left, or is missing: $(cat "$TEST_DIR/difference")"
}
note_world() { world >"$TEST_DIR/before"; }
there() { [ -n "$(state_of "$NAME")" ]; }
works() { # the instance is whole: it runs, or starts
	[ "$(state_of "$NAME")" = RUNNING ] || incus start "$NAME" -q
	eq "$(incus exec "$NAME" -- echo ok)" ok "a command in it"
}
gone() { # ... is deleted, and nothing of it is left
	incus delete -f "$NAME" -q
	same_world
}

has_faults() { # whether this build has fault points
	echo "fail 0" >"$INCUS_FAULT"
	incus profile create probe -q >/dev/null 2>&1 || true
	[ -e "$INCUS_FAULT" ] || return 0
	rm "$INCUS_FAULT"; incus profile delete probe -q
	return 1
}
need_faults() { has_faults || skip "this build has no fault points (release)"; }

each_step() {
	local verb=$1 flow=$2 n hit end=
	for ((n = 0; ; n++)); do
		[ $n -lt 200 ] || fail "$flow never comes to its end"
		if declare -F "${flow}_ready" >/dev/null; then "${flow}_ready"; fi
		rm -f "$INCUS_FAULT.hit"
		echo "$verb $n" >"$INCUS_FAULT"
		RC=0; ERROR=$("$flow" 2>&1 >/dev/null </dev/null) || RC=$?
		if [ -e "$INCUS_FAULT" ]; then # there were fewer steps
			rm "$INCUS_FAULT"; end=1
		else
			hit=$(cat "$INCUS_FAULT.hit")
			step "$flow, $verb at step $n ($hit), status $RC"
			if [ "$verb" = kill ]; then wait "$DAEMON_PID" 2>/dev/null || true; start_daemon; fi
		fi
		"${flow}_after"
		[ -z "$end" ] || break
	done
	[ $RC = 0 ] || fail "$flow fails when nothing is in its way: $ERROR"
	[ $n -ge 3 ] || fail "$flow has only $n steps"
}

sweep() {
	local verb flow
	for verb in ${VERBS:-fail kill}; do
		for flow in ${ONLY:-$@}; do each_step "$verb" "$flow"; done
	done
}
