# SPDX-License-Identifier: Apache-2.0
"""Old processors and one with all features: whatever the libraries find out about them, and where
they err, both kinds of bundles can be installed."""

import pytest

from harness import disk

# Flags of /proc/cpuinfo that the model has, and that it has not.
MODELS = {
    # SSE4.2 for the CRCs, but no carry-less multiplication.
    "Nehalem": ("sse4_2 popcnt", "pclmulqdq avx"),
    # What every x86-64 has, and no more.
    "qemu64": ("sse2", "ssse3 sse4_1 popcnt pclmulqdq avx"),
    "max": ("pclmulqdq avx2", ""),
}


@pytest.mark.parametrize("model", ["Nehalem", *(
    pytest.param(model, marks=pytest.mark.long) for model in ("qemu64", "max"))])
def test_install_on(model, machine, bundle, web, system):
    machine.cpu = model
    machine.boot("X")
    flags = machine.check("grep -m 1 ^flags /proc/cpuinfo").split()
    present, absent = MODELS[model]
    assert set(present.split()) <= set(flags) and not set(absent.split()) & set(flags), flags

    for letter, source in ("Y", bundle("Y")), ("Z", web.offer(system.variant("Z").signed)):
        machine.check(f"bistable install {source} --activate=none")
        image = system.variant(letter).image.read_bytes()
        assert disk.read_partition(machine.disk, disk.SLOT["B"], len(image)) == image
        assert machine.status()["slots"]["B"]["version"] == system.variant(letter).version
    # A bundle's frames, each chunk and the hash tree once more.
    machine.check("bistable verify B")
    machine.check(f"bistable bundle verify {source}")
    machine.check("bistable mark-good")
