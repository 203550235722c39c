# What the lab machine is, for build-image and run: sourced by bash, sets variables and functions only.
# The image's key covers this file, for a saved machine state opens only on the machine that it was saved on.
LAB=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
REPOSITORY=$(dirname "$(dirname "$LAB")")
CACHE=${INCUS_LAB_DIR:-$HOME/.cache/incus-lab}
export LC_ALL=C.UTF-8

lab_die() { echo "tests/lab: $*" >&2; exit 1; }

# Emulation unless the processor can virtualise; INCUS_LAB_ACCEL=kvm|tcg overrides.
lab_accel() {
	if [ -n "${INCUS_LAB_ACCEL-}" ]; then
		echo "$INCUS_LAB_ACCEL"
	elif [ -w /dev/kvm ] && grep -qEw 'vmx|svm' /proc/cpuinfo; then
		echo kvm
	else
		echo tcg
	fi
}

lab_needs() { # the host's programs, with the reason of a skip
	local missing=() pair
	for pair in qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils debootstrap:debootstrap mke2fs:e2fsprogs \
		zstd:zstd unshare:util-linux; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
	done
	[ "$(id -u)" = 0 ] || { echo "SKIPPED: the lab needs root"; exit 77; }
	[ ${#missing[@]} = 0 ] || { echo "SKIPPED: install ${missing[*]}"; exit 77; }
}

lab_key() { # changes with everything that the image is made from
	{
		cat "$LAB/machine.sh" "$LAB/build-image" "$LAB"/guest/*
		"$REPOSITORY/quickstart" packages
		qemu-system-x86_64 --version
		lab_accel
		echo "${INCUS_LAB_MEMORY-}"
	} | sha256sum | cut -c1-12
}

# Runs a program in a session of its own, without the caller's lock.
lab_detached() {
	[ -z "${lock-}" ] || exec {lock}>&-
	exec setsid "$@"
}

# Starts the machine in the background and sets QEMU to its process id: lab_start IMAGE FOLDER DISK [QEMU arguments].
# FOLDER gets console.log, the pipes of the agent (job) and of QEMU (monitor), qemu.log, and out/, which the guest may write.
lab_start() {
	local image=$1 folder=$2 disk=$3 accel cpu=Westmere
	shift 3
	accel=$(lab_accel)
	[ "$accel" = kvm ] && cpu=host
	[ "$accel" = tcg ] && accel=tcg,thread=multi
	rm -f "$folder"/{job,monitor}.{in,out} "$folder"/scratch?
	mkfifo "$folder"/{job,monitor}.{in,out}
	mkdir -p "$folder/out"
	truncate -s 8G "$folder/scratch1" "$folder/scratch2"
	local blank=(-drive "if=virtio,format=raw,cache=unsafe,discard=unmap,file=$folder/scratch")
	lab_detached qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-machine pc -accel "$accel" -cpu "$cpu" -smp 2 -m "${INCUS_LAB_MEMORY:-2048}" -device virtio-rng-pci \
		-drive "if=virtio,format=qcow2,cache=unsafe,discard=unmap,file=$disk" \
		"${blank[0]}" "${blank[1]}1" "${blank[0]}" "${blank[1]}2" \
		-chardev "file,id=console,path=$folder/console.log" -serial chardev:console \
		-device virtio-serial-pci -chardev "pipe,id=job,path=$folder/job" -device virtserialport,chardev=job,name=lab \
		-fsdev "local,id=source,path=$REPOSITORY,security_model=none,readonly=on" -device virtio-9p-pci,fsdev=source,mount_tag=source \
		-fsdev "local,id=out,path=$folder/out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out \
		-chardev "pipe,id=monitor,path=$folder/monitor" -mon chardev=monitor,mode=readline \
		-kernel "$image/vmlinuz" -initrd "$image/initrd" \
		-append "root=/dev/vda rw console=ttyS0 loglevel=4 fsck.mode=skip mitigations=off net.ifnames=0 panic=-1 \
systemd.show_status=auto" \
		"$@" </dev/null >"$folder/qemu.log" 2>&1 &
	QEMU=$!
	echo "$QEMU" >"$folder/pid"
}

# Runs one request of the guest's agent (guest/lab-agent): prints what it says and returns its status; 124: no answer
# in time, 125: the machine ended. lab_request FOLDER SECONDS ID VERB ARGUMENT...; an ID is a word never used before.
lab_id() { echo "$$-$RANDOM$RANDOM"; }
lab_request() {
	local folder=$1 end=$((SECONDS + $2)) id=$3 mark=$'\036' line kept= begun= newline rc= jobs
	shift 3
	exec {jobs}<>"$folder/job.out"
	echo "$1 $id ${*:2}" >"$folder/job.in"
	while [ -z "$rc" ]; do
		newline=$'\n'
		IFS= read -r -t 1 line <&"$jobs" || newline=
		line=$kept$line kept=
		case $newline$line in
		$'\n'"$mark"begin" $id") begun=yes ;;
		$'\n'*"$mark"end" $id "*) printf %s "${line%%"$mark"*}"; rc=${line##* } ;;
		*"$mark"*) [ -n "$newline" ] || kept=$line ;;
		*) [ -z "$begun" ] || printf %s "$line$newline" ;;
		esac
		[ -z "$rc" ] || break
		[ $SECONDS -lt $end ] || rc=124
		kill -0 "$(cat "$folder/pid")" 2>/dev/null || rc=125
	done
	exec {jobs}>&-
	return "$rc"
}
