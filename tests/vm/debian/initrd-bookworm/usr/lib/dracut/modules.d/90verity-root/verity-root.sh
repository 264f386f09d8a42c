#!/bin/sh
# Opens /dev/mapper/root from what the kernel's command line says.
set -eu
for word in $(cat /proc/cmdline); do
	case $word in
	image.data=PARTLABEL=*) device=/dev/disk/by-partlabel/${word#*PARTLABEL=} ;;
	image.hash-offset=*) offset=${word#*=} ;;
	roothash=*) root_hash=${word#*=} ;;
	esac
done
udevadm wait --timeout=60 "$device"
exec veritysetup open --panic-on-corruption --hash-offset="$offset" \
	"$device" root "$device" "$root_hash"
