# The real Incus 6.0 beside the daemon of a test, sourced after daemon.sh. PEERS names a folder with its client (bin/incus) and a
# Debian root that has its daemon (root/usr/libexec/incus/incusd), which runs in a mount namespace of its own. Defines: start_theirs
# DRIVER (one pool, "default", in its default profile) and stop_theirs; go, its client, unmodified; at_theirs, the same at its daemon.
[ -n "${PEERS:-}" ] || skip "PEERS names no folder with another Incus"
[ -x "$PEERS/bin/incus" ] && [ -x "$PEERS/root/usr/libexec/incus/incusd" ] || skip "\$PEERS has no Incus: bin/incus, root/usr/libexec/incus/incusd"
[ "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)" != "" ] || skip "no cgroups"
theirs=$TEST_DIR/theirs
mkdir -p -m 711 "$theirs" "$TEST_DIR/go"
start_theirs() {
	mkdir -p "$PEERS/root/oldroot"
	ROOT=$PEERS/root SHARED=$TEST_DIR unshare -m bash -ec '
		mount --make-rprivate /; mount --bind "$ROOT" "$ROOT"; mount --rbind /dev "$ROOT/dev"; mount -t proc proc "$ROOT/proc"
		mount --rbind /sys "$ROOT/sys"; mount -t tmpfs tmpfs "$ROOT/run"; mkdir -p "$ROOT/run/lock"; mount --bind "$SHARED" "$ROOT/mnt"
		cd "$ROOT"; pivot_root . oldroot; umount -l /oldroot
		export INCUS_DIR=/mnt/theirs PATH=/usr/sbin:/usr/bin:/sbin:/bin; unset LD_PRELOAD ASAN_OPTIONS
		exec /usr/libexec/incus/incusd --group root --logfile /mnt/incusd-theirs.log' >"$TEST_DIR/incusd-theirs.out" 2>&1 </dev/null &
	theirs_pid=$!
	wait_until 60 test -S "$theirs/unix.socket"
	wait_until 60 at_theirs query /1.0
	local size=(); [ "$1" = dir ] || size=(size=1GiB)
	at_theirs storage create default "$1" "${size[@]}" >/dev/null
	at_theirs profile device add default root disk path=/ pool=default >/dev/null
}
stop_theirs() { kill -TERM "$theirs_pid" 2>/dev/null || true; wait "$theirs_pid" 2>/dev/null || true; theirs_pid=; }
go() { INCUS_CONF=$TEST_DIR/go HOME=$TEST_DIR "$PEERS/bin/incus" "$@" 2>"$TEST_DIR/stderr" </dev/null || { local rc=$?; cat "$TEST_DIR/stderr" >&2; return $rc; }; }
at_theirs() { INCUS_DIR=$theirs go "$@"; }
trap 'rc=$?; [ -z "${theirs_pid:-}" ] || { set +eE; trap - ERR; stop_theirs; }; cleanup $rc' EXIT

