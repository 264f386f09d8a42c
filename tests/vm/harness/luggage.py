# SPDX-License-Identifier: Apache-2.0
"""What a single test brings into a guest: programs of the host, kernel modules."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from . import cache
from .kernel import normal
from .machine import Machine
from .testos import TESTOS
from .webserver import WebServer

FOLDER = "/run/luggage"


def bring_programs(machine: Machine, web: WebServer, names: list[str]) -> None:
    """Afterwards each can be called by its name: with the libraries of the host."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "lib").mkdir()
        (work / "real").mkdir()
        for name in names:
            program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
            assert program is not None, f"{name} is not installed"
            shutil.copy(program, work / "real")
            for library in re.findall(r"(/\S+) \(0x", cache.tool("ldd", program)):
                shutil.copy(library, work / "lib")
            script = f'#!/bin/sh\nLD_LIBRARY_PATH={FOLDER}/lib exec {FOLDER}/real/{name} "$@"\n'
            (work / name).write_text(script)
            (work / name).chmod(0o755)
        _bring(machine, web, work, "-".join(names))


def bring_hold(machine: Machine, web: WebServer) -> None:
    """The program hold of testos/hold.c."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "hold"
        cache.tool("cc", "-std=gnu17", "-O2", "-static", "-s", "-o", program, TESTOS / "hold.c")
        _bring(machine, web, Path(directory), "hold")


def load_modules(machine: Machine, web: WebServer, names: list[str]) -> None:
    """Loads kernel modules, and what they depend on, that the initrd does not have."""
    loaded = {line.split()[0] for line in machine.check("cat /proc/modules").splitlines()}
    for path in machine.system.kernel.with_dependencies(names):
        if normal(path.stem) not in loaded:
            machine.check(f"wget -q -O /run/module {web.offer(path)} && insmod /run/module")


def _bring(machine: Machine, web: WebServer, work: Path, name: str) -> None:
    archive = web.files / f"{name}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(work, ".")
    machine.check(f"mkdir -p {FOLDER} && wget -q -O - {web.url(archive.name)} | tar -x -C {FOLDER}")
    archive.unlink()
