# Blank disks for pools on devices: sourced by bash after daemon.sh. LAB_DISKS names at least two that may be overwritten
# (tests/lab has some); without them the test is skipped.
read -ra DISKS <<<"${LAB_DISKS-}"
[ "${#DISKS[@]}" -ge 2 ] || skip "LAB_DISKS names no two blank disks that may be overwritten"

# What an earlier test left on them goes.
blank_disks() {
	local disk group pool part
	for disk in "${DISKS[@]}"; do
		for group in $(pvs --noheadings -o vg_name "$disk" 2>/dev/null || true); do vgremove -qq -ff -y "$group" >/dev/null 2>&1 || true; done
		for pool in $({ zpool list -vHPL 2>/dev/null || true; } | awk -v d="$disk" '/^[^\t]/ {p = $1} index($2, d) == 1 {print p}'); do
			zpool destroy -f "$pool"
		done
		for part in "$disk"?* "$disk"; do [ ! -b "$part" ] || wipefs -qaf "$part"; done
		blockdev --rereadpt "$disk" 2>/dev/null || true
	done
	udevadm settle
}
