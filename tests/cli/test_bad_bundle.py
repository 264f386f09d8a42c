# SPDX-License-Identifier: Apache-2.0
"""Every bad bundle, by every way it can come: a clear error, and the old slot starts."""

import pytest

from bad_bundles import BAD_BUNDLES, PARTITION
from old_slot import OldSlot, assert_one_error
from tree import MIB, PARTITION_SIZE, bundle, image, noise, uki

BOOT, SYSTEM = uki("3", linux_size=16384), image(256 << 10, "three")
PLACES = ("kernel_efi.efi", "verity_rootfs.img", "PARTLABEL=METROPOLIS-SYSTEM-B")
DELIVERIES = ["path", "range", "plain", "stdin"]
RANDOM_ACCESS = ("path", "range")

assert PARTITION == MIB


@pytest.fixture
def install(on, tmp_path, web):
    """install(content, delivery, *options) -> Result"""

    def install(content, delivery, *options):
        if delivery == "stdin":
            return on("install", "-q", *options, "-", input=content)
        if delivery == "path":
            source = tmp_path / "os.zip"
            source.write_bytes(content)
        else:
            source = web.put("/os.zip", content, ranges=delivery == "range")
        return on("install", "-q", *options, source)

    return install


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_bad_bundle(settled, settled_template, settled_status, status, install, name):
    bad = BAD_BUNDLES[name]
    content = bad.make(BOOT, SYSTEM)
    old = OldSlot(settled, status, settled_status)
    for delivery in DELIVERIES:
        letter = "r" if delivery in RANDOM_ACCESS else "s"
        result = install(content, delivery)
        if letter in bad.good:
            assert result.code == 0, (delivery, result)
            assert settled.partition("B").read_bytes()[:len(SYSTEM)] == SYSTEM
        else:
            says = bad.says if letter == "r" or bad.streamed is None else bad.streamed
            assert_one_error(result, 1, says)
            source = "standard input" if delivery == "stdin" else "os.zip"
            assert any(where in result.stderr for where in (source, *PLACES)), result
        if letter in bad.good + bad.begun:
            if letter in bad.begun:
                old.assert_intact(may_begin=True)
            settled.become(settled_template)
            old = OldSlot(settled, status, settled_status)
        else:
            old.assert_untouched()
    old.assert_intact()


@pytest.mark.parametrize("delivery", ["path", "stdin"])
def test_a_good_one_afterwards(tree, status, install, delivery):
    """What a failed install leaves is repaired by the next one."""
    system = noise(PARTITION_SIZE, "large")
    broken = BAD_BUNDLES["compressed image damaged"].make(BOOT, system)
    assert install(bundle(), delivery, "--activate=none").code == 0
    old = OldSlot(tree, status)
    assert_one_error(install(broken, delivery), 1, "damaged at byte")
    assert old.assert_intact(may_begin=True)
    result = install(bundle(BOOT, system), delivery)
    assert result.code == 0, result
    assert status()["slots"]["B"]["complete"] and tree.reboot() == "B"
