# SPDX-License-Identifier: Apache-2.0
"""Targets that something else uses, and targets under LUKS and LVM."""

import pytest

from harness import disk, firmware, luggage
from harness.machine import Machine

MIB = 1 << 20
TARGET = "/dev/vda3"
PATHS = "/run/paths.conf"  # the configuration with slots given by path
LVM = """devices { use_devicesfile = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
global { locking_dir = "/run/lvm" }
backup { backup = 0 archive = 0 }
"""


@pytest.fixture
def prepared(machine: Machine, web):
    """Running X, with the tools, and an empty second disk."""
    second = machine.directory / "second.raw"
    with open(second, "wb") as file:
        file.truncate(160 * MIB)
    machine.more_disks.append((second, "virtio-blk-pci"))
    machine.boot("X")
    luggage.bring_programs(machine, web, ["dmsetup", "cryptsetup", "lvm"])
    luggage.bring_hold(machine, web)
    yield machine
    machine.power_cut()
    second.unlink()


def guest(machine: Machine, command: str) -> str:
    environment = f"PATH=$PATH:{luggage.FOLDER} DM_DISABLE_UDEV=1 LVM_SYSTEM_DIR=/run/lvm"
    return machine.check(f"set -e; export {environment}; {command}")


def written(machine: Machine) -> tuple:
    """All that an install could change."""
    boot_files = machine.check("ls -l --full-time /boot/EFI/*")
    target = disk.partition_hash(machine.disk, disk.SLOT["B"])
    return boot_files, target, firmware.read_variables(machine)


# What takes the target, what releases it, and what the message says.
HOLDERS = [
    (
        f"dd if=/dev/vda2 of={TARGET} bs=1M; mkdir /mnt/it; mount -o ro {TARGET} /mnt/it",
        "umount /mnt/it",
        "mounted at /mnt/it",
    ),
    (
        f"dmsetup create over --table '0 8192 linear {TARGET} 0'",
        "dmsetup remove over",
        "used by /dev/dm-1 (over)",
    ),
    (f"losetup /dev/loop0 {TARGET}", "losetup -d /dev/loop0", "used by /dev/loop0"),
    (f"mkswap {TARGET}; swapon {TARGET}", f"swapoff {TARGET}", "used as swap"),
    (
        f"hold {TARGET} >/run/held & while ! grep -q held /run/held; do usleep 10000; done",
        "kill $(pidof hold)",
        "(hold)",
    ),
]


def assert_held_targets_are_refused(machine: Machine, url: str) -> None:
    machine.check("bistable mark-good")
    for take, release, words in HOLDERS:
        guest(machine, f"{take}\nsync")
        before = written(machine)
        refused = machine.run(f"bistable install {url}")
        assert refused.status == 1, refused
        assert f"{TARGET}) is in use" in refused.err and words in refused.err, refused.err
        assert written(machine) == before
        guest(machine, release)
    # Nothing holds it any more, and a second opener is all that was wrong.
    machine.check(f"bistable install {url} --dry-run")


def assert_installed(machine: Machine, device: str, letter: str) -> None:
    image = machine.system.variant(letter).image
    digest = disk.file_hash(image)
    size = image.stat().st_size
    machine.check("echo 3 >/proc/sys/vm/drop_caches")
    assert machine.check(f"head -c {size} {device} | sha256sum").split()[0] == digest
    status = machine.status(f"--config={PATHS}")
    assert (status["running"], status["next"]) == ("A", "B")
    assert status["slots"]["B"]["complete"] is True


@pytest.mark.long
def test_held_and_stacked_targets(prepared, bundle, web, system):
    machine = prepared
    assert_held_targets_are_refused(machine, bundle("Y"))

    # LUKS, by path.
    luggage.load_modules(machine, web, ["dm-crypt", "xts", "algif_skcipher", "aesni-intel"])
    guest(
        machine,
        "mkdir -p /run/cryptsetup /run/lvm; echo -n secret >/run/key; key=--key-file=/run/key\n"
        "pbkdf='--pbkdf pbkdf2 --pbkdf-force-iterations 1000'\n"
        "cryptsetup luksFormat -q --type luks2 $pbkdf $key /dev/vdb;"
        " cryptsetup open $key /dev/vdb system-B; ln -s /dev/vda2 /dev/mapper/system-A",
    )
    by_path = "[partition.system]\\ndevice=/dev/mapper/system-%%s\\n"
    machine.check(f"printf '[system]\\nallow-unsigned=yes\\n{by_path}' >{PATHS}")
    web.offer(system.variant("Y").bundle)
    machine.check(f"bistable install --config={PATHS} {web.url('slow/Y.zip')} >/run/log 2>&1 &")
    begun = "grep -q '\"complete\": *false' /boot/EFI/metropolis/boot-b.state"
    machine.until(lambda: machine.run(begun).status == 0, "the install to begin")
    refused = machine.run(f"{luggage.FOLDER}/hold /dev/mapper/system-B")
    assert refused.status == 1 and "busy" in refused.err
    machine.check("kill -INT $(pidof bistable); while pidof bistable; do usleep 10000; done")
    machine.check(f"bistable install --config={PATHS} {bundle('Y')}")
    assert_installed(machine, "/dev/mapper/system-B", "Y")
    machine.check("ln -s vda2 /dev/below-A; ln -s vdb /dev/below-B")
    machine.check(f"sed s,mapper/system,below, {PATHS} >/run/below.conf")
    refused = machine.run(f"bistable install --config=/run/below.conf {bundle('Z')}")
    assert refused.status == 1 and "used by /dev/dm-1 (system-B)" in refused.err

    # A logical volume in it.
    guest(
        machine,
        f"echo '{LVM}' >/run/lvm/lvm.conf; pv=/dev/mapper/system-B;"
        " lvm pvcreate -ff -y $pv; lvm vgcreate vg $pv;"
        " lvm lvcreate -W n -y -n system-B -L 48M vg; ln -s /dev/vda2 /dev/vg/system-A",
    )
    refused = machine.run(f"bistable install --config={PATHS} {bundle('Z')}")
    assert refused.status == 1 and "used by /dev/dm-2 (vg-system--B)" in refused.err
    machine.check(f"sed -i s,mapper,vg, {PATHS}")
    machine.check(f"bistable install --config={PATHS} {bundle('Z')}")
    assert_installed(machine, "/dev/vg/system-B", "Z")
