# A counter inside an instance: a line "NUMBER SECONDS" (of its clock since boot, which CRIU lets go on where it stood) some 50 times a second, in
# /root/counts. Sourced after daemon.sh; instances are named with their remotes.
counter_start() { # INSTANCE
	incus exec "$1" -- sh -c 'cat >/root/counter' <<'END'
exec 3>>/root/counts
i=0
while sleep 0.02; do i=$((i + 1)); read -r now rest </proc/uptime; echo $i $now >&3; done
END
	incus exec "$1" -- sh -c 'setsid sh /root/counter </dev/null >/dev/null 2>&1 &'
	wait_until 10 incus exec "$1" -- test -s /root/counts
}
counter_last() { incus exec "$1" -- sh -c 'tail -n 1 /root/counts | cut -d " " -f 1'; }
counter_goes_on() { # ... and each number was there once, in order
	local n
	n=$(counter_last "$1")
	wait_until 10 sh -c "[ \$(incus exec $1 -- sh -c 'tail -n 1 /root/counts | cut -d \" \" -f 1') -gt $n ]"
	incus exec "$1" -- awk '$1 != NR || $2 < last {print NR ": " $0; bad = 1; exit} {last = $2} END {exit bad}' /root/counts || fail "the counter's numbers"
}
counter_pause() { # the longest time between two numbers, as it saw it
	incus exec "$1" -- awk 'NR > 1 && $2 - last > most {most = $2 - last} {last = $2} END {print most}' /root/counts
}
