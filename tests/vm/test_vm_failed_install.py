# SPDX-License-Identifier: Apache-2.0
"""Installations that fail: the old system stays, and a half-written target is never started."""

import struct
import time
import zipfile
from pathlib import Path

import pytest

from harness import cache, disk, testos
from harness.snapshot import wake


def damage_crc(source: Path, target: Path, name: str) -> None:
    """Copies a bundle with a wrong CRC for one entry, in both of its headers."""
    data = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        local = archive.getinfo(name).header_offset
        crc = struct.pack("<I", archive.getinfo(name).CRC)
        central = data.index(crc, archive.start_dir)
    for position in (local + 14, central):
        assert data[position : position + 4] == crc
        data[position] ^= 0xFF
    target.write_bytes(data)


def assert_refused(machine, url: str) -> None:
    """The install fails before it writes anything."""
    slot = machine.status()["slots"]["B"]
    partition = disk.partition_hash(machine.disk, disk.SLOT["B"])
    result = machine.run(f"bistable install {url}")
    assert result.status == 1, result
    assert result.err.strip(), "a failure without a word about it"
    assert machine.status()["slots"]["B"] == slot
    machine.check("sync")
    assert disk.partition_hash(machine.disk, disk.SLOT["B"]) == partition


def assert_unfinished(status: dict) -> None:
    assert status["running"] == "A"
    assert status["next"] == "A"
    assert status["slots"]["B"]["complete"] is False
    assert status["slots"]["B"]["entry_active"] is False


@pytest.mark.long
def test_bundles_that_cannot_work(machine, web, system, tmp_path):
    """An image larger than the partition, and a boot file without a kernel."""
    variant, large = system.variant("Y"), tmp_path / "large.zip"
    testos.make_bundle(large, variant.uki.read_bytes(), bytes(disk.SLOT["B"].size + 4096))
    uki, without = tmp_path / "without.efi", tmp_path / "without-linux.zip"
    cache.tool("objcopy", "--remove-section", ".linux", variant.uki, uki)
    testos.make_bundle(without, uki.read_bytes(), variant.image)
    wake(machine)
    for path in (large, without):
        assert_refused(machine, web.offer(path))
    machine.cold_boot("X")


def test_wrong_checksum_at_the_end(machine, web, system, tmp_path):
    path = tmp_path / "crc.zip"
    damage_crc(system.variant("Y").bundle, path, testos.IMAGE_IN_BUNDLE)
    wake(machine)
    result = machine.run(f"bistable install {web.offer(path)}")
    assert result.status == 1, result
    assert_unfinished(machine.status())
    machine.cold_boot("X")
    assert_unfinished(machine.status())


@pytest.mark.long
def test_power_cut_in_the_middle_of_the_download(machine, web, bundle, system):
    wake(machine)
    web.offer(system.variant("Y").bundle)
    machine.check(f"bistable install {web.url('slow/Y.zip')} >/run/install.log 2>&1 &")
    # The record of the slot is written just before the first byte of the partition.
    record = "test -e /boot/EFI/metropolis/boot-b.state"
    machine.until(lambda: machine.run(record).status == 0, "the first byte to be written")
    time.sleep(1)
    assert machine.run("pidof bistable").status == 0, "the install was over before the power cut"
    machine.cold_boot("X")
    assert_unfinished(machine.status())
    machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
    assert machine.status()["slots"]["B"]["complete"] is True
