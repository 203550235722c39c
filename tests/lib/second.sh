# A second daemon beside the test's own, both reached over TLS: the second is remote "two" of the first's client, `in_second
# COMMAND` talks to it as its root. Sourced after basic_setup; end_second belongs at the end of the script.
port=$((20000 + RANDOM % 5000)) first=$INCUS_DIR second=$TEST_DIR/d2
in_second() { INCUS_DIR=$second "$@"; }
start_second() {
	INCUS_DIR=$second incusd --logfile "$TEST_DIR/incusd2.log" --debug >"$TEST_DIR/incusd2.out" 2>&1 </dev/null &
	second_pid=$!
	in_second incus admin waitready --timeout=$((60 * PATIENCE))
}
begin_second() { # [DRIVER] of its pool "default", which others than dir have on a loop file; its kernel's name is "second"
	local pool=("${1:-dir}")
	case ${pool[0]} in
	zfs) pool+=(size=1GiB zfs.pool_name=second) ;;
	lvm) pool+=(size=1GiB lvm.vg_name=second) ;;
	dir) ;;
	*) pool+=(size=1GiB) ;;
	esac
	incus config set core.https_address "127.0.0.1:$((port + 5000))"
	mkdir -m 711 "$second"
	start_second
	in_second incus storage create default "${pool[@]}"
	in_second incus profile device add default root disk path=/ pool=default
	in_second incus config set core.https_address "127.0.0.1:$port"
	incus remote add two "https://127.0.0.1:$port" --accept-certificate --token "$(in_second incus config trust add here -q)"
}
end_second() { # it has no instances
	disown $second_pid
	kill -TERM $second_pid
	wait_until 60 bash -c "! kill -0 $second_pid"
}
