# Trees with all that a tree may have, and what must be the same in a copy of one. Sourced.

# FOLDER: every kind of file below FOLDER/all.
fill_tree() {
	local all=$1/all
	mkdir -p "$all/deep/er"; chmod 1777 "$all"
	echo text >"$all/file"; chown 1234:4321 "$all/file"; chmod 6750 "$all/file"
	ln "$all/file" "$all/deep/hard"; ln -s ../nowhere "$all/symlink"; chown -h 7:8 "$all/symlink"
	mkfifo -m 640 "$all/fifo"; mknod -m 666 "$all/null" c 1 3
	truncate -s 20M "$all/sparse"; printf x | dd of="$all/sparse" bs=1 seek=10000000 conv=notrunc status=none
	truncate -s 5M "$all/hole"; printf 'start' | dd of="$all/hole" conv=notrunc status=none
	touch "$all/empty" "$all/"$'line\nbreak' "$all/ünï" "$all/"$'latin\xe9' "$all/$(printf 'n%.0s' {1..200})"
	setfattr -n user.note -v value "$all/file"; setfattr -n user.dir -v 0x00ff01 "$all/deep"
	setfacl -m u:1500:rwx,g:77:r,m::rx "$all/file"; setfacl -d -m u:9:r "$all/deep"
	setcap cap_net_raw+ep "$all/empty"
	touch -d '2001-02-03 04:05:06.123456789' "$all/file" "$all/deep"; touch -h -d '2002-01-01' "$all/symlink"
	head -c 1000000 /dev/urandom >"$all/random"
}

# FOLDER: what a backup must keep, one line each; times in whole seconds, sizes of folders left out.
everything() {
	(cd "$1" || exit 1
		find . -printf '%P|%y|%m|%U|%G|%s|%l|%n|%Ts\n' | sed 's/|d|\([0-9]*\)|\([0-9]*\)|\([0-9]*\)|[0-9]*|\(.*\)|[0-9]*|\([0-9]*\)$/|d|\1|\2|\3|\4|\5/' | sort
		find . -type f -print0 | sort -z | xargs -0r md5sum
		getfattr -R -h -d -m - -e hex . 2>/dev/null | sort
		find . -not -type l -print0 | sort -z | xargs -0r getfacl -n -p 2>/dev/null
		find . -type f -links +1 -printf '%i %P\n' | sort -k2 | awk '{ if (!($1 in s)) s[$1] = ++n; print s[$1], $2 }'
		find . \( -type c -o -type b \) -print0 | sort -z | xargs -0r stat -c '%n %t:%T')
}
same_tree() { # FOLDER1 FOLDER2
	everything "$1" >"$TEST_DIR/tree1"; everything "$2" >"$TEST_DIR/tree2"
	diff "$TEST_DIR/tree1" "$TEST_DIR/tree2" || fail "$2 is not as $1"
}
