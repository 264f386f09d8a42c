# SPDX-License-Identifier: Apache-2.0
"""A factory machine that was started once for all: tests go on from there instead of booting."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from . import cache, disk, machine as machines, progress
from .machine import OVMF, Machine
from .system import System

MEMORY = "memory"
FILES = ("disk.raw", "vars.fd", "console.log")


def wake(machine: Machine) -> None:
    """Lets a factory machine, still off, run X as if it had just booted."""
    saved = _get_saved(machine.system)
    for name in FILES:
        copy = machine.directory / name
        cache.tool("cp", "--sparse=always", "--reflink=auto", saved / name, copy)
    machine.resume(saved / MEMORY)
    # Its clock stood still meanwhile.
    machine.check(f"date -s @{time.time():.0f}")


def _get_saved(system: System) -> Path:
    modules = [__file__, disk.__file__, machines.__file__, progress.__file__]
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu is not None
    parts = [Path(name) for name in (*modules, qemu, OVMF / "OVMF_CODE_4M.fd")]
    with cache.locked("running"):
        key = cache.digest(system.name, *parts)
        return cache.built(f"running-{system.kind}", key, lambda work: _build(work, system))


def _build(work: Path, system: System) -> None:
    made = machines.factory_machine(work, system)
    try:
        made.boot("X")
        made.check("sync")
        made.save(work / MEMORY)
    finally:
        made.power_cut()
