# SPDX-License-Identifier: Apache-2.0
"""Every pitfall of PE images and UKIs: refused before the slot is touched, or installed whole."""

import pytest

from bad_ukis import BAD_UKIS, ODD_UKIS, UNFIT
from old_slot import OldSlot, assert_one_error
from tree import bundle, image, noise

SYSTEM = image(256 << 10, "three")
IMAGE_FIRST = ("verity_rootfs.img", "kernel_efi.efi")


@pytest.mark.parametrize("name", BAD_UKIS)
def test_bad_uki(settled, settled_status, status, on, tmp_path, name):
    content, says = BAD_UKIS[name]
    old = OldSlot(settled, status, settled_status)
    path = tmp_path / "os.zip"
    path.write_bytes(bundle(content, SYSTEM, names=IMAGE_FIRST))
    for options in (["--dry-run"], []):
        result = on("install", "-q", *options, path)
        assert_one_error(result, 1, "kernel_efi.efi in the bundle: ", says)
        old.assert_untouched()
    old.assert_intact()


def test_bad_uki_behind_the_image(settled, settled_status, status, on):
    """In a stream the image may be written by the time that the boot file is seen."""
    content, says = BAD_UKIS["kernel without its magic"]
    system = noise(1 << 20, "large")
    old = OldSlot(settled, status, settled_status)
    result = on("install", "-q", "-", input=bundle(content, system, names=IMAGE_FIRST))
    assert_one_error(result, 1, "kernel_efi.efi in the bundle: ", says)
    assert old.assert_intact(may_begin=True)


@pytest.mark.parametrize("name", ODD_UKIS)
def test_odd_uki(settled, status, on, tmp_path, name):
    content, warning = ODD_UKIS[name]
    path = tmp_path / "os.zip"
    path.write_bytes(bundle(content, SYSTEM))
    result = on("install", path)
    assert result.code == 0, result
    assert (warning or "") in result.stderr and bool(warning) == ("the UKI" in result.stderr)
    # Only the placeholders are changed, and only to the slot's own name.
    bound = content.replace(b"METROPOLIS-SYSTEM-X", b"METROPOLIS-SYSTEM-B")
    assert settled.boot_file("B").read_bytes() == (
        content if warning == UNFIT else bound)
    assert status()["slots"]["B"]["complete"] and settled.reboot() == "B"
