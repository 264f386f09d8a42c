# SPDX-License-Identifier: Apache-2.0
"""What an install refuses, its dry run refuses, in the same words and as early."""

import contextlib
import fcntl
import os
import shutil
import subprocess

import pytest

import make_bundle
from small_disk import small_disk
from tree import MIB, PARTITION_SIZE, bundle, image, load_option, uki


def no_efi(machine):
    shutil.rmtree(machine.tree.variables)


def variables_are_volatile(machine):
    """What is chosen is gone by the next start."""
    name = "RTStorageVolatile-b2ac5fc9-92b7-4acd-aeac-11e818c3130c"
    (machine.tree.variables / name).write_bytes(b"\7\0\0\0\1")


def lock_held(machine):
    folder = os.open(machine.tree.boot_file("A").parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    machine.stack.callback(os.close, folder)


def trial_runs(machine):
    """B was installed, started, and is not confirmed: A is what it can go back to."""
    machine.ok("mark-good")
    machine.ok("install", machine.path("2"))
    assert machine.tree.reboot() == "B"


def same_device(machine):
    """Slot B's partition is the one that runs."""
    b = machine.tree.partition("B")
    b.unlink()
    b.symlink_to(machine.tree.partition("A"))


def partition_held(machine):
    """By somebody who opened the block device exclusively, as a mount or dm-verity does."""
    disk = machine.tree.root / "disk.img"
    disk.write_bytes(bytes(PARTITION_SIZE))
    attach = subprocess.run(["/usr/sbin/losetup", "--find", "--show", disk], check=True,
                            capture_output=True, text=True)
    device = attach.stdout.strip()
    machine.stack.callback(subprocess.run, ["/usr/sbin/losetup", "--detach", device], check=True)
    partition = machine.tree.partition("B")
    partition.unlink()
    partition.symlink_to(device)
    machine.stack.callback(os.close, os.open(device, os.O_RDWR | os.O_EXCL))


def no_partition(machine):
    machine.tree.partition("B").unlink()


def partition_too_small(machine):
    machine.tree.partition("B").write_bytes(bytes(MIB))


def esp_full(machine):
    machine.mount_esp("size=200k")


def esp_read_only(machine):
    machine.tree.config.write_text(
        machine.tree.config.read_text().replace("[esp]\n", "[esp]\nremount=no\n"))
    machine.mount_esp("size=16m", "ro")


def boot_order_is_damaged(machine):
    machine.tree.set_variable("BootOrder", b"\1")


def entry_is_taken_by_a_dead_one(machine):
    """All that a cold boot could start is somebody else's."""
    machine.tree.boot_file("A").unlink()
    machine.tree.set_variable("Boot0000", load_option("UiApp", "/EFI/firmware/ui.efi"))


def record_is_damaged(machine):
    machine.ok("mark-good")
    machine.tree.boot_file("A").with_suffix(".state").write_text("{")


def downgrade(machine):
    machine.ok("mark-good")
    machine.version = "0.9"


def unsigned(machine):
    config = machine.tree.config
    config.write_text(config.read_text().replace("allow-unsigned=yes\n", ""))


def for_another_machine(machine):
    machine.compatible = "another"
    machine.tree.config.write_text(
        machine.tree.config.read_text().replace("[system]\n", "[system]\ncompatible=acme\n"))


def no_kernel_in_it(machine):
    machine.uki = uki("3", linux=None)


def kexec_only(machine):
    machine.options = ["--activate=kexec-only"]


# The obstacle, and whether it is met before the server hears anything.
OBSTACLES = {
    no_efi: True,
    variables_are_volatile: True,
    lock_held: True,
    trial_runs: True,
    same_device: True,
    partition_held: True,
    no_partition: True,
    partition_too_small: False,
    esp_full: False,
    esp_read_only: True,
    boot_order_is_damaged: True,
    entry_is_taken_by_a_dead_one: True,
    record_is_damaged: True,
    downgrade: False,
    unsigned: False,
    for_another_machine: False,
    no_kernel_in_it: False,
    kexec_only: True,
}


class Machine:
    """Slot A runs; an obstacle is put in the way of version 3."""

    def __init__(self, tree, on, folder, stack):
        self.tree, self.on, self.folder, self.stack = tree, on, folder, stack
        self.version, self.compatible, self.uki, self.options = "3", "acme", None, []

    def ok(self, *arguments):
        result = self.on(*arguments)
        assert result.code == 0, result

    def path(self, version):
        path = self.folder / f"{version}.zip"
        path.write_bytes(self.content(version, plain=True))
        return path

    def content(self, version, plain):
        boot, system = self.uki or uki(version), image(seed=version)
        if plain:
            return bundle(boot, system)
        return make_bundle.make(boot, system, keys={"version": version,
                                                    "compatible": self.compatible})

    def mount_esp(self, *options):
        """The same files on a file system of its own."""
        remount = self.stack.enter_context(small_disk(self.tree.esp, options[0]))
        for option in options[1:]:
            remount(option)


@pytest.fixture
def machine(tree, on, tmp_path):
    with contextlib.ExitStack() as stack:
        yield Machine(tree, on, tmp_path, stack)


def words(result):
    return [line for line in result.stderr.splitlines() if line.startswith("bistable: ")
            and not line.startswith("bistable: warning")]


# A plain bundle names neither its version nor its machine.
CASES = [pytest.param(obstacle, plain, id=f"{obstacle.__name__}-{'plain' if plain else 'chunked'}")
         for obstacle in OBSTACLES for plain in (True, False)
         if not plain or obstacle not in (downgrade, for_another_machine)]


@pytest.mark.parametrize(("obstacle", "plain"), CASES)
def test_refused_alike(machine, tree, on, web, obstacle, plain):
    obstacle(machine)
    url = web.put("/os.bundle", machine.content(machine.version, plain))
    if not plain and obstacle is not unsigned:
        tree.config.write_text(tree.config.read_text().replace("allow-unsigned=yes\n", ""))
        (tree.config.parent / "keyring.pem").write_bytes(make_bundle.KEYRING)
    before = tree.snapshot()
    rehearsed = on("install", "--dry-run", *machine.options, url)
    asked = len(web.requests)
    assert rehearsed.code not in (0, 2), rehearsed
    assert tree.snapshot() == before
    done = on("install", *machine.options, url)
    assert (done.code, words(done)) == (rehearsed.code, words(rehearsed)), (rehearsed, done)
    if OBSTACLES[obstacle]:
        assert asked == 0 and len(web.requests) == 0, web.requests
