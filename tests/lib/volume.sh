# Data of volumes behind the server's back, whatever the driver: sourced by bash after daemon.sh. A volume is named as its
# folder is: containers/c1, containers-snapshots/c1/s0, custom/default_v1.
pool_setting() { incus query "/1.0/storage-pools/$1" | jq -r "$2"; }

# POOL VOLUME: sets DEVICE to the logical volume's device, or to the ZFS dataset or snapshot; "" for drivers of folders.
find_volume() {
	local folder=${2%%/*} name=${2#*/} snapshot=
	case $folder in *-snapshots) folder=${folder%-snapshots} snapshot=${name#*/} name=${name%%/*} ;; esac
	case $(pool_setting "$1" .driver) in
	zfs) DEVICE=$(pool_setting "$1" '.config["zfs.pool_name"]')/$folder/$name${snapshot:+@snapshot-$snapshot} ;;
	lvm) DEVICE=/dev/$(pool_setting "$1" '.config["lvm.vg_name"]')/${folder}_${name//-/--}${snapshot:+-${snapshot//-/--}} ;;
	*) DEVICE= ;;
	esac
}
has_volume() { # POOL VOLUME
	find_volume "$@"
	case $DEVICE in
	"") [ -d "$INCUS_DIR/storage-pools/$1/$2" ] ;;
	/*) lvs "${DEVICE#/dev/}" >/dev/null 2>&1 ;;
	*) zfs list -t all "$DEVICE" >/dev/null 2>&1 ;;
	esac
}
# POOL NAME: what there is of volumes of that name in any place, a line each.
volumes_named() {
	find_volume "$1" containers/x
	case $DEVICE in
	"") find "$INCUS_DIR/storage-pools/$1" -name "$2" ;;
	/*) lvs --noheadings -o lv_name "$(basename "$(dirname "$DEVICE")")" | grep -E "_${2//-/--}(-|\$|\.)" || true ;;
	*) zfs list -H -o name -r "${DEVICE%/containers/x}" | grep "/$2\$" || true ;;
	esac
}
# POOL VOLUME COMMAND...: runs it in the volume's tree, mounted for that if it is not, of a volume to be written to.
in_volume() {
	local access=rw
	case $2 in *-snapshots/*) access=ro ;; esac
	local tree=$INCUS_DIR/storage-pools/$1/$2 own=$TEST_DIR/tree.$BASHPID rc=0
	find_volume "$1" "$2"
	if [ -n "$DEVICE" ] && ! mountpoint -q "$tree"; then
		tree=$own
		mkdir -p "$tree"
		case $DEVICE in
		/*) lvchange -qq -y -ay -K "${DEVICE#/dev/}"; mount -o $access "$DEVICE" "$tree" ;;
		*) mount -t zfs -o $access "$DEVICE" "$tree" ;;
		esac
	fi
	(cd "$tree" && "${@:3}") || rc=$?
	if [ "$tree" = "$own" ]; then umount "$tree"; rmdir "$tree"; fi
	return $rc
}
drop_volume() { # POOL VOLUME: as somebody might who knows no better
	find_volume "$@"
	case $DEVICE in
	"") btrfs -q subvolume delete "$INCUS_DIR/storage-pools/$1/$2" >/dev/null 2>&1 || rm -rf "${INCUS_DIR:?}/storage-pools/$1/$2" ;;
	/*) lvremove -qq -f -y "${DEVICE#/dev/}" ;;
	*) zfs destroy "$DEVICE" ;;
	esac
}
# POOL VOLUME: sets DISK to the file or device of a virtual machine's disk, or of a snapshot's, there to be read.
find_disk() {
	find_volume "$1" "$2"
	case $DEVICE in
	"") DISK=$INCUS_DIR/storage-pools/$1/$2/root.img ;;
	/*) DISK=$DEVICE.block; lvchange -qq -y -ay -K "${DISK#/dev/}" ;;
	*@*) zfs set snapdev=visible "${DEVICE%@*}.block"; DISK=/dev/zvol/${DEVICE%@*}.block@${DEVICE#*@} ;;
	*) DISK=/dev/zvol/$DEVICE.block ;;
	esac
	[ -e "$DISK" ] || udevadm settle --timeout=20 2>/dev/null || true
}
