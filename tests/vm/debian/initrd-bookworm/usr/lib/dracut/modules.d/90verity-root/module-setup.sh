#!/bin/bash
# systemd-veritysetup 252 has no hash-offset=, which a hash tree behind the file system needs.

depends() {
	echo dm systemd
}

installkernel() {
	instmods dm_verity
}

install() {
	inst_multiple veritysetup udevadm
	inst_script "$moddir/verity-root.sh" /usr/lib/verity-root
	inst_simple "$moddir/verity-root.service" "$systemdsystemunitdir/verity-root.service"
	$SYSTEMCTL -q --root "$initdir" add-wants initrd-root-device.target verity-root.service
}
