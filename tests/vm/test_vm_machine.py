# SPDX-License-Identifier: Apache-2.0
"""What bistable finds on a real machine: its root, its ESP, in whatever state that is mounted."""

import pytest


@pytest.mark.long
def test_finding_root_and_esp(machine, bundle):
    machine.boot("X")
    # The command line tells nothing: the partition under the root, through dm-verity, does.
    machine.check(
        "printf '[system]\\nallow-unsigned=yes\\n[slots]\\ncmdline-match=NOTHING-%%s\\n'"
        " >/tmp/root.conf"
    )
    assert machine.status("--config=/tmp/root.conf")["running"] == "A"

    # Mounted read-only: writable for the write, and read-only again afterwards.
    machine.check("mount -o remount,ro /boot")
    machine.check("bistable mark-good")
    machine.check("grep -q ' /boot vfat ro,' /proc/mounts")
    assert machine.status()["slots"]["A"]["confirmed"] is True
    machine.check("test -s /boot/EFI/metropolis/boot-a.state")

    # Not mounted at all: mounted privately, and nobody else sees it.
    machine.check("umount /boot")
    status = machine.status()
    assert status["running"] == "A" and status["esp"]["free"] > 0
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    machine.check("umount /boot && bistable mark-good && ! grep -q vfat /proc/mounts")
    machine.cold_boot("Y")
    assert machine.status()["slots"]["B"]["cold_boot_proven"] is False
    machine.check("bistable mark-good")
    assert machine.status()["slots"]["B"]["cold_boot_proven"] is True

    refused = machine.run(f"bistable install {bundle('Z')} --slot=B")
    assert refused.status == 3 and "running" in refused.err
