# SPDX-License-Identifier: Apache-2.0
"""`make demo` shows what it promises."""

import re
import subprocess
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "tools/demo"


@pytest.mark.long
def test_demo_ends_with_both_downtimes(system):
    done = subprocess.run([DEMO], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    by_kexec = re.search(r"^  X to Y +kexec +([0-9.]+) s$", done.stdout, re.M)
    by_reboot = re.search(r"^  Y to Z +reboot +([0-9.]+) s$", done.stdout, re.M)
    assert by_kexec and by_reboot, done.stdout
    assert float(by_kexec[1]) > 0 and float(by_reboot[1]) > 0
    for letter in "YZ":
        assert f"{letter} is up after a cold boot" in done.stdout
