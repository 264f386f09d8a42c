# SPDX-License-Identifier: Apache-2.0
"""The boot file is put together from those on the EFI System Partition: what is fetched of it is
what lies in none of them at any 512-byte place, by the server's log."""

import signal
import subprocess

import pytest

import make_bundle
from chunks import BOOT_FILE, asked, bytes_of, missing_chunks, place, runs_of
from conftest import TIMEOUT
from make_bundle import BLOCK, CHUNK, make
from make_uki import build_uki, fake_bzimage
from tree import MIB, Tree, noise

DELIVERIES = ["path", "range", "plain", "stdin"]
IMAGE = noise(512 << 10, "image")
KERNEL, INITRD, STUB = fake_bzimage(300 << 10), noise(MIB + 700, "initrd"), noise(9000, "stub")
BOUND = b"root=PARTLABEL=METROPOLIS-SYSTEM-X ro"  # every boot file of the slot has other bytes


def boot_file(version, more=0, cmdline=None, kernel=KERNEL, initrd=INITRD, turned=False):
    """Its root hash is the version's; `more` bytes of .osrel move what lies behind it."""
    cmdline = cmdline or b"root=/dev/dm-0 roothash=" + version.encode() * 64
    large = [(".linux", kernel), (".initrd", initrd)]
    return build_uki([
        (".text", STUB), (".osrel", f"IMAGE_VERSION={version}\n".encode().ljust(100 + more, b"#")),
        (".cmdline", cmdline), *(reversed(large) if turned else large)])


def bound(content, slot):
    return content.replace(b"METROPOLIS-SYSTEM-X", b"METROPOLIS-SYSTEM-" + slot.encode())


def damaged(content, places):
    content = bytearray(content)
    for at in places:
        content[at] ^= 1
    return bytes(content)


OLD = boot_file("1")


@pytest.fixture(scope="session")
def template(binary, tmp_path_factory):
    """Slot B runs with OLD, confirmed; slot A has the same image and no boot file."""
    folder = tmp_path_factory.mktemp("boot")
    template = Tree(folder / "root", partition_size=MIB)
    archive = folder / "old.bundle"
    archive.write_bytes(make(OLD, IMAGE, method=make_bundle.STORED, keys={"version": "1"}))

    def run(*arguments):
        subprocess.run([binary, "--root", template.root, *arguments], check=True, timeout=TIMEOUT,
                       stdout=subprocess.DEVNULL)
    run("install", "-q", archive)
    assert template.reboot() == "B"
    run("mark-good")
    with open(template.partition("A"), "r+b") as partition:
        partition.write(IMAGE)
    template.boot_file("A").unlink()
    return template


@pytest.fixture
def machine(template, tree):
    tree.become(template)
    return tree


@pytest.fixture
def install(on, web, tmp_path):
    """install(content, delivery, *options) -> the result's event"""
    def install(content, delivery="range", *options):
        if delivery == "stdin":
            done = on("install", "--json", *options, "-", input=content)
        else:
            source = tmp_path / "os.bundle"
            source.write_bytes(content)
            if delivery != "path":
                source = web.put("/os.bundle", content, ranges=delivery == "range")
            done = on("install", "--json", *options, source)
        assert done.code == 0, done
        return done.event("result")[0]
    return install


def bundle_of(boot):
    return make(boot, IMAGE, method=make_bundle.STORED)


def check(machine, install, web, boot, *olds, delivery="range"):
    """Installs it: counters, requests and file are as the old files make them. Missing chunks."""
    content, chunks = bundle_of(boot), missing_chunks(boot, *olds)
    web.requests.clear()
    result = install(content, delivery)
    lacks = bytes_of(chunks, boot)
    assert result["to_fetch"] == lacks
    assert result["copied"] == len(boot) - lacks and result["kept"] == len(IMAGE)
    assert machine.boot_file("A").read_bytes() == bound(boot, "A")
    assert machine.reboot() == "A"
    if delivery == "range":
        begin = place(content, BOOT_FILE)
        assert asked(web, begin, begin + len(boot)) == [
            (begin + first * CHUNK, begin + min((last + 1) * CHUNK, len(boot)) - 1)
            for first, last in runs_of(chunks)]
        # One for the head, one for the directory; nothing of the image.
        assert len(web.requests) <= len(runs_of(chunks)) + 3
    return chunks


# Old and new, and how many chunks may be missing

MOVES = {
    "nothing moves": (boot_file("3"), 1),
    "by 512 bytes": (boot_file("3", more=500), 2),
    "by 1024 bytes": (boot_file("3", more=1000), 2),
    "by 1536 bytes": (boot_file("3", more=1500), 2),
    "by a block": (boot_file("3", more=4096), 2),
    "by a chunk and 512 bytes": (boot_file("3", more=CHUNK + 500), 3),
    "sections in another order": (boot_file("3", turned=True), 4),
    "another kernel": (boot_file("3", kernel=fake_bzimage(280 << 10, seed=2)), 11),
    "a longer initrd": (boot_file("3", initrd=INITRD + noise(CHUNK, "more")), 4),
    "a shorter initrd": (boot_file("3", initrd=INITRD[:-5000]), 2),
    "all else": (boot_file("3", kernel=fake_bzimage(64 << 10, seed=3), initrd=noise(99999, 3)), 6),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(machine, install, web, name):
    boot, most = MOVES[name]
    assert 1 <= len(check(machine, install, web, boot, OLD)) <= most


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_deliveries(machine, install, web, delivery):
    boot = boot_file("3", more=1500)
    check(machine, install, web, boot, OLD, delivery=delivery)


def test_a_dry_run_tells_it(machine, install, web):
    """And fetches just what it needs to check the boot file."""
    content = bundle_of(boot_file("3", more=1500))
    before = machine.snapshot()
    plan = install(content, "range", "--dry-run")
    assert machine.snapshot() == before
    assert plan["fetched"] < len(content) // 4
    result = install(content)
    for key in ("kept", "copied", "to_fetch", "boot_size"):
        assert plan[key] == result[key], key


# What lies on the EFI System Partition

def test_both_slots_have_parts_of_it(machine, install, web):
    """The kernel in the running slot's, the initrd in the one that is replaced."""
    initrd = noise(200_000, "another")
    target = boot_file("2", more=7000, kernel=fake_bzimage(64 << 10, seed=2), initrd=initrd)
    machine.boot_file("A").write_bytes(target)
    boot = boot_file("3", more=500, initrd=initrd)
    assert len(missing_chunks(boot, OLD)) > 6 and len(missing_chunks(boot, target)) > 6
    assert len(check(machine, install, web, boot, OLD, target)) <= 4


def test_a_rotten_one(machine, install, web):
    """What it lacks is fetched, unless the other slot has it."""
    initrd = noise(200_000, "another")
    target = boot_file("2", kernel=fake_bzimage(64 << 10, seed=2), initrd=initrd)
    rotten = damaged(target, [target.index(initrd) + at for at in (40_000, 120_000)])
    machine.boot_file("A").write_bytes(rotten)
    boot = boot_file("3", more=500, initrd=initrd)
    chunks = check(machine, install, web, boot, OLD, rotten)
    assert len(missing_chunks(boot, OLD, target)) < len(chunks) <= 6
    machine.start("B")
    machine.boot_file("A").write_bytes(damaged(OLD, [100_000, 500_000, 900_000]))
    assert len(check(machine, install, web, boot_file("3", more=500), OLD)) <= 2


def test_only_the_removable_path_has_one(machine, install, web):
    machine.boot_file("B").unlink()
    assert machine.removable.read_bytes() == OLD
    assert len(check(machine, install, web, boot_file("3", more=512), OLD)) <= 2


USELESS = pytest.mark.parametrize(
    "content", [None, b"x", bytes(5000), OLD[:300_000]],
    ids=["nothing", "a byte", "zeroes", "the half of it"])


@USELESS
def test_nothing_useful(machine, install, web, content):
    """In the slot that is replaced, for a boot file of which the other has nothing either."""
    if content:
        machine.boot_file("A").write_bytes(content)
    boot = boot_file("3", kernel=fake_bzimage(64 << 10, seed=3), initrd=noise(99999, 3))
    check(machine, install, web, boot, OLD, content or b"")


@USELESS
def test_the_running_one_is_nowhere(machine, on, tmp_path, content):
    """A power cycle would start nothing, or the trial: refused, with what to do."""
    machine.boot_file("B").unlink()
    machine.removable.unlink()
    if content:
        machine.boot_file("B").write_bytes(content)
    (tmp_path / "os.bundle").write_bytes(bundle_of(boot_file("3")))
    before = machine.snapshot()
    result = on("install", tmp_path / "os.bundle")
    assert result.code == 3 and "Copy the UKI that runs to" in result.stderr, result
    assert machine.snapshot() == before


def test_a_folder_in_its_place(machine, install, web):
    machine.boot_file("A").mkdir()
    chunks = missing_chunks(boot_file("3"), OLD)
    plan = install(bundle_of(boot_file("3")), "range", "--dry-run")
    assert plan["to_fetch"] == bytes_of(chunks, boot_file("3"))


def test_bound_to_its_slot(machine, install, web):
    """The chunk with the command line is fetched, since it has the slot's name."""
    running = bound(boot_file("2", cmdline=BOUND), "B")
    machine.boot_file("B").write_bytes(running)
    boot = boot_file("2", cmdline=BOUND, initrd=INITRD[:-3 * BLOCK])
    assert len(check(machine, install, web, boot, running)) <= 2


def test_the_slot_is_brought_back(machine, install, on, web, tmp_path):
    """A repair fetches what is wrong with the boot file and lies nowhere else."""
    boot = boot_file("3", more=500)
    check(machine, install, web, boot, OLD)
    machine.start("B")
    machine.boot_file("A").write_bytes(damaged(boot, [boot.index(b"roothash=3"), 400_000]))
    web.requests.clear()
    done = on("repair", "--json", web.url("/os.bundle"))
    assert done.code == 0, done
    assert done.event("result")[0]["to_fetch"] == CHUNK
    assert machine.boot_file("A").read_bytes() == boot


# Going on

def test_broken_off(machine, install, start, status, web):
    """What had come of the boot file is fetched again; nothing was touched."""
    boot = boot_file("3", kernel=fake_bzimage(300 << 10, seed=3))
    content = bundle_of(boot)
    url = web.put("/os.bundle", content, faults=[None] * 2 + [{"stall": 70_000}])
    process = start("--root", machine.root, "install", "--json", url)
    assert web.stalled.wait(TIMEOUT)
    before = machine.snapshot()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1 and machine.snapshot() == before
    assert status()["next"] == "B"
    check(machine, install, web, boot, OLD)


def test_a_chunk_that_is_wrong(machine, on, tmp_path):
    """Nothing is taken from it, nor written."""
    boot = boot_file("3")
    content = bundle_of(boot)
    before = machine.snapshot()
    (tmp_path / "os.bundle").write_bytes(damaged(content, [place(content, BOOT_FILE) + 9]))
    result = on("install", "--dry-run", tmp_path / "os.bundle")
    assert result.code == 1 and f"chunk 0 of {BOOT_FILE}" in result.stderr, result
    assert machine.snapshot() == before
