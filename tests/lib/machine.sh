# Virtual machines for a test script, after daemon.sh: `machine_setup` imports the test image as "vm", or
# skips the script with the reason; MACHINE_AGENT is the incus-agent that runs in it, or "drive": that of the host's drive.
# Machines are slow here without KVM: everything waits for what the guest says on its console, and where the firmware
# is not what is tested, `incus init vm v1 --vm "${DIRECT[@]}"` boots the image's kernel without it.
MACHINE_PATIENCE=${INCUS_TEST_MACHINE_PATIENCE:-150}

machine_setup() { # [devices]: needs a pool "default"; this script finds disks that are no files, too
	local program out
	case ${1-},${INCUS_TEST_DRIVER-} in ,lvm | ,zfs) skip "this script looks for disks in folders: cli/vm_root is for $INCUS_TEST_DRIVER" ;; esac
	for program in libvirtd qemu-system-x86_64 qemu-img; do
		command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || skip "virtual machines need $program"
	done
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || skip "virtual machines need the package ovmf"
	getent passwd libvirt-qemu >/dev/null || skip "virtual machines need the system user libvirt-qemu"
	local agent=(${MACHINE_AGENT:+--agent "$MACHINE_AGENT"})
	[ "${MACHINE_AGENT:-}" != drive ] || agent=(--agent-drive)
	if [ -n "${LAB_MACHINE-}" ] && [ ${#agent[@]} = 0 ]; then
		cp -r "$LAB_MACHINE" "$TEST_DIR/machine"
		out="$TEST_DIR/machine/vm.meta.tar.gz $TEST_DIR/machine/vm.qcow2"
	else
		out=$("$LIB_DIR/make-vm-image" "${agent[@]}" "$TEST_DIR/machine") || skip "$out"
	fi
	DIRECT=(-c security.secureboot=false -c
		"raw.qemu=-kernel $TEST_DIR/machine/kernel -initrd $TEST_DIR/machine/initrd -append '$(cat "$TEST_DIR/machine/cmdline")'")
	# shellcheck disable=SC2086 # two files
	incus image import $out --alias vm >/dev/null
}

# machine_says NAME TEXT: has its console shown it?
machine_says() { incus console "$1" --show-log 2>/dev/null | grep -qF -- "$2"; }
machine_ready() { # NAME [BOOT]
	wait_until "$MACHINE_PATIENCE" machine_says "$1" "vm-test: ready, boot ${2:-1}"
}
pid_of() { incus query "/1.0/instances/$1/state" | jq .pid; }
helper_pid() { cat "$INCUS_DIR/libvirt/lock"; }
