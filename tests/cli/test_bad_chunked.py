# SPDX-License-Identifier: Apache-2.0
"""Every bad bundle of format 1, by every way it can come: refused with a clear sentence, before
anything is written wherever that can be; and the old slot starts. Odd but good ones are taken."""

import pytest

import make_bundle
from bad_chunked import BAD, ODD
from old_slot import OldSlot, assert_one_error
from tree import image, uki

BOOT, SYSTEM = uki("3", linux_size=16384), image(256 << 10, "three")
DELIVERIES = ["path", "range", "plain", "stdin"]
RANDOM_ACCESS = ("path", "range")

def deliver(on, web, folder, content, delivery, *options):
    """Installs it by one of the ways."""
    if delivery == "stdin":
        return on("install", "-q", *options, "-", input=content)
    if delivery == "path":
        source = folder / "os.bundle"
        source.write_bytes(content)
    else:
        source = web.put("/os.bundle", content, ranges=delivery == "range")
    return on("install", "-q", *options, source)


@pytest.mark.parametrize("name", BAD)
def test_bad(signed, signed_template, status, on, web, tmp_path, name):
    bad = BAD[name]
    content = bad.make(BOOT, SYSTEM)
    old = OldSlot(signed, status)
    for delivery in DELIVERIES:
        result = deliver(on, web, tmp_path, content, delivery)
        assert_one_error(result, bad.code, bad.says)
        if ("r" if delivery in RANDOM_ACCESS else "s") in bad.begun:
            old.assert_intact(may_begin=True)
            signed.become(signed_template)
            old = OldSlot(signed, status)
        else:
            old.assert_untouched()
    old.assert_intact()


@pytest.mark.parametrize("name", ODD)
def test_odd(signed, signed_template, on, web, tmp_path, name):
    content = ODD[name].make(BOOT, SYSTEM)
    for delivery in DELIVERIES:
        result = deliver(on, web, tmp_path, content, delivery)
        assert result.code == 0, (delivery, result)
        assert signed.partition("B").read_bytes()[:len(SYSTEM)] == SYSTEM
        assert signed.reboot() == "B"
        signed.become(signed_template)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_good_one_afterwards(signed, status, on, web, tmp_path, delivery):
    """What a failed install leaves is put right by the next one."""
    broken = BAD["frame that is none"].make(BOOT, SYSTEM)
    assert deliver(on, web, tmp_path, broken, delivery).code == 1
    assert status()["slots"]["B"]["complete"] is False
    good = make_bundle.make(BOOT, SYSTEM)
    result = deliver(on, web, tmp_path, good, delivery)
    assert result.code == 0, result
    assert status()["slots"]["B"]["version"] == "3" and signed.reboot() == "B"
    assert on("verify", "B").code == 0
