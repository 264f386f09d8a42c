# SPDX-License-Identifier: Apache-2.0
"""The house itself: the include lint rejects what goes against the layers, and install installs."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def lint(folder: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([TOP / "tools/lint-includes", folder], capture_output=True, text=True)


def test_the_sources_follow_the_layers():
    done = lint(TOP / "src")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "place, line, says",
    [
        ("format/pe.c", '#include "machine/machine.h"', "layer 'format' must not see 'machine'"),
        ("base/text.c", '#include "format/pe.h"', "layer 'base' must not see 'format'"),
        ("machine/kexec.c", '#include "source/source.h"', "layer 'machine' must not see 'source'"),
        ("source/http.c", '  # include "engine/config.h"', "layer 'source' must not see 'engine'"),
        ("maker/pack.c", '#include "machine/machine.h"', "layer 'maker' must not see 'machine'"),
        ("source/http.c", '#include "maker/maker.h"', "layer 'source' must not see 'maker'"),
        ("cli/main.c", '#include "engine/install.h"', "layer 'cli' must not see 'engine'"),
        ("boot/firmware.c", '#include "../engine/config.h"', "write it from the include root"),
        ("engine/install.c", '#include "config.h"', "write it from the include root"),
        ("gadgets/x.c", "", "'gadgets' is not a layer"),
    ],
)
def test_upward_includes_are_rejected(tmp_path, place, line, says):
    shutil.copytree(TOP / "src", tmp_path / "src")
    target = tmp_path / "src" / place
    target.parent.mkdir(exist_ok=True)
    before = target.read_text() if target.exists() else ""
    target.write_text(line + "\n" + before)
    done = lint(tmp_path / "src")
    assert done.returncode == 1
    assert says in done.stderr and place in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_install_puts_program_man_pages_and_unit_in_place(tmp_path):
    build = os.environ.get("BUILD", TOP / "build")
    subprocess.run(
        ["meson", "install", "-C", build, "--no-rebuild", "--destdir", tmp_path],
        check=True, capture_output=True,
    )
    program = tmp_path / "usr/local/bin/bistable"
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("bistable ")
    assert (tmp_path / "usr/local/share/man/man1/bistable.1").stat().st_size > 1000
    assert (tmp_path / "usr/local/share/man/man5/bistable.conf.5").stat().st_size > 1000
    unit = tmp_path / "usr/local/lib/systemd/system/bistable-mark-good.service"
    assert "ExecStart=/usr/local/bin/bistable mark-good" in unit.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_setup_without_root_prints_the_one_command(tmp_path):
    """A machine on which nothing is installed, and a user who may not change that."""
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\nexit 1\n")
    for path in (query, tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    script = (TOP / "tools/setup").read_text()  # the checkout may be closed to others
    done = subprocess.run(
        ["sh", "-s", "test"], input=script, capture_output=True, text=True, cwd="/",
        user=65534, group=65534, extra_groups=[],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.returncode == 1, done
    command = [line for line in done.stderr.splitlines() if "apt-get install" in line]
    assert len(command) == 1 and command[0].strip().startswith("sudo apt-get install"), done
    for package in ("gcc", "meson", "qemu-system-x86", "ovmf"):
        assert f" {package}" in command[0]


def test_the_table_of_quirks_is_that_of_the_simulated_machine():
    rows = (TOP / "tests/sim/sim_quirks.c").read_text()
    simulated = set(re.findall(r'\{ SIM_QUIRK_\w+,\s*"([^"]+)",\s*"([^"]+)"', rows))
    table = (TOP / "docs/firmware.md").read_text()
    documented = set(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", table, re.M)) - {("quirk", "seen")}
    assert len(simulated) > 20 and simulated == documented
