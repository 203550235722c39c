# A private daemon for one test script: `. tests/lib/daemon.sh; start_daemon; ...`. Sourced by bash.
# BIN_DIR names the programs (ctest sets it). Everything lives in one short folder that is removed at the end, whatever
# happens; containers, bridges and mounts that the test made go with it. Failures print the daemon's log.
set -eEuo pipefail
export LC_ALL=C.UTF-8 TZ=UTC
: "${BIN_DIR:?BIN_DIR: the folder with incus and incusd}"
LIB_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
PATH=$BIN_DIR:$PATH
TEST_DIR=$(mktemp -d /var/tmp/it.XXXXXX)
export INCUS_DIR=$TEST_DIR/d INCUS_CONF=$TEST_DIR/c
mkdir -p "$INCUS_DIR" "$INCUS_CONF"; chmod 711 "$TEST_DIR" "$INCUS_DIR"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:exitcode=99:log_path=$TEST_DIR/asan}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:log_path=$TEST_DIR/ubsan}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$LIB_DIR/tsan.supp:exitcode=99:log_path=$TEST_DIR/tsan}
export G_SLICE=always-malloc # sanitizers see each allocation of GLib's
PATIENCE=${INCUS_TEST_PATIENCE:-1} # how much slower this machine may be than a common one
DAEMON_PID=
TEST_STEP="start"

step() { TEST_STEP="$*"; echo "-- $* (at $SECONDS s)"; }
fail() { echo "FAILED at \"$TEST_STEP\": $*" >&2; exit 1; }
skip() { echo "SKIPPED: $*"; exit 77; }

start_daemon() { # arguments go to incusd
	incusd --logfile "$TEST_DIR/incusd.log" --debug "$@" >"$TEST_DIR/incusd.out" 2>&1 </dev/null &
	DAEMON_PID=$!
	incus admin waitready --timeout=$((60 * PATIENCE)) || fail "incusd does not get ready"
}

stop_daemon() { # leaves instances running
	[ -n "$DAEMON_PID" ] || return 0
	kill -TERM "$DAEMON_PID" 2>/dev/null || true
	wait "$DAEMON_PID" 2>/dev/null || { local rc=$?; [ $rc = 143 ] || echo "incusd ended with status $rc" >&2; }
	DAEMON_PID=
}

kill_daemon() { # -9
	kill -9 "$DAEMON_PID"; wait "$DAEMON_PID" 2>/dev/null || true
	DAEMON_PID=
}

# A pool "default" and the profile's root disk; the busybox image as alias "bb". INCUS_TEST_DRIVER names the pool's
# driver (dir); others than dir get a loop file.
basic_setup() {
	case ${INCUS_TEST_DRIVER:-dir} in
	dir) incus storage create default dir ;;
	*) incus storage create default "$INCUS_TEST_DRIVER" size=2GiB ;;
	esac
	incus profile device add default root disk path=/ pool=default
	import_image
}
import_image() {
	"$LIB_DIR/make-image" "$TEST_DIR/image" >/dev/null
	incus image import "$TEST_DIR/image/busybox.tar.gz" --alias bb
}

# eq ACTUAL EXPECTED [WHAT]; contains TEXT PART; fails COMMAND... (its own status is not 0);
# refuses COMMAND... (it must fail and say "Error:"), its text is in $ERROR
eq() { [ "$1" = "$2" ] || fail "${3:-value}: got \"$1\", expected \"$2\""; }
contains() { case $1 in *"$2"*) ;; *) fail "\"$1\" does not contain \"$2\"" ;; esac; }
fails() { if "$@" >/dev/null 2>&1 </dev/null; then fail "succeeded, but should fail: $*"; fi; }
refuses() {
	if ERROR=$("$@" 2>&1 >/dev/null </dev/null); then fail "succeeded, but should be refused: $*"; fi
	case $ERROR in *Error:*) ;; *) fail "no \"Error:\" from: $* (got \"$ERROR\")" ;; esac
}
rest() { # METHOD PATH [curl arguments]: the body
	local verb=$1 path=$2; shift 2
	curl -s --unix-socket "$INCUS_DIR/unix.socket" -X "$verb" "http://incus$path" "$@"
}
state_of() { incus list -f csv -c s "^$1\$"; }
wait_until() { # SECONDS COMMAND...: for what has no event to wait for; on a busy host it takes what it takes
	local end=$((SECONDS + ($1 < 30 ? 30 : $1) * PATIENCE)); shift
	until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || fail "did not come true: $*"; sleep 0.05; done
}

remove_bridge() { # with its firewall's chains, which outlive the daemon
	ip link delete "$1" 2>/dev/null || true
	nft list chains 2>/dev/null | awk -v end=".$1" '$1 == "table" {table = $2 " " $3}
		$1 == "chain" && substr($2, length($2) - length(end) + 1) == end {print "delete chain", table, $2}' | nft -f - || true
}

# What lvm and zfs pools on files of this folder leave in the kernel after a failure.
remove_pools() {
	local loop group pool
	for loop in $(losetup -n -O NAME,BACK-FILE 2>/dev/null | awk -v d="$TEST_DIR/" 'index($2, d) == 1 {print $1}'); do
		for group in $(pvs --noheadings -o vg_name "$loop" 2>/dev/null); do vgremove -qq -ff -y "$group" >/dev/null 2>&1; done
		losetup -d "$loop"
	done
	for pool in $(zpool list -vHPL 2>/dev/null | awk -v d="$TEST_DIR/" '/^[^\t]/ {p = $1} index($2, d) == 1 {print p}'); do
		zpool destroy -f "$pool"
	done
}

cleanup() {
	local rc=$1 left log
	trap - EXIT ERR INT TERM
	set +eE
	if [ "$rc" != 0 ] && [ "$rc" != 77 ]; then
		for log in "$TEST_DIR"/incusd*.out "$TEST_DIR"/incusd*.log; do
			echo "---- ${log##*/}"; tail -60 "$log" 2>/dev/null
		done
	fi
	if [ -n "$DAEMON_PID" ] && kill -0 "$DAEMON_PID" 2>/dev/null; then
		kill -PWR "$DAEMON_PID"
		for _ in $(seq 300); do kill -0 "$DAEMON_PID" 2>/dev/null || break; sleep 0.1; done
		kill -9 "$DAEMON_PID" 2>/dev/null
		wait "$DAEMON_PID" 2>/dev/null
	fi
	# what a failed test left: processes with this folder in their command line or environment roots, then mounts
	for p in $(pgrep -f "$TEST_DIR/"); do [ "$p" = $$ ] || kill -9 "$p" 2>/dev/null; done
	for n in "$INCUS_DIR"/networks/*/; do [ -d "$n" ] && remove_bridge "$(basename "$n")"; done
	awk -v d="$TEST_DIR/" 'index($2, d) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r m; do umount -l "$m"; done
	remove_pools
	left=$(cat "$TEST_DIR"/asan.* "$TEST_DIR"/ubsan.* "$TEST_DIR"/tsan.* 2>/dev/null)
	if [ -n "$left" ]; then echo "$left" | head -150; echo "FAILED: the sanitizers reported errors"; rc=99; fi
	rm -rf --one-file-system "$TEST_DIR"
	[ "$rc" = 0 ] && echo "PASSED"
	exit "$rc"
}
trap 'cleanup $?' EXIT
trap 'echo "FAILED at \"$TEST_STEP\": line $LINENO: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM
