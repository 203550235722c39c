#!/bin/sh
# Installs the agent from the drive that this script is on into the running guest, and starts it.
# Needs nothing but a shell; run it as root: sh /mnt/install.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "install.sh: only root can do that" >&2; exit 1; }
[ -e "$here/incus-agent" ] || { echo "install.sh: no incus-agent beside $0" >&2; exit 1; }

put() { # SOURCE TARGET MODE: whole or not at all, also while the old one runs
	mkdir -p "$(dirname "$2")"
	cp "$here/$1" "$2.new"
	chmod "$3" "$2.new"
	mv "$2.new" "$2"
}

put incus-agent /usr/local/sbin/incus-agent 0755
put incus-agent-setup /usr/local/sbin/incus-agent-setup 0755 # the agent is the host's at each boot
if [ -d /run/systemd/system ]; then
	put incus-agent.service /etc/systemd/system/incus-agent.service 0644
	put 99-incus-agent.rules /etc/udev/rules.d/99-incus-agent.rules 0644
	systemctl daemon-reload
	systemctl enable incus-agent.service
	systemctl restart incus-agent.service
else
	put incus-agent.init /etc/init.d/incus-agent 0755
	if command -v update-rc.d >/dev/null; then
		update-rc.d incus-agent defaults
	elif command -v rc-update >/dev/null; then
		rc-update add incus-agent default
	else
		echo "install.sh: let the guest's init run \"/etc/init.d/incus-agent start\""
	fi
	/etc/init.d/incus-agent restart
fi
echo "incus-agent is installed"
