# SPDX-License-Identifier: Apache-2.0
"""Chunked bundles: what is kept, copied and fetched, by every way a bundle can come, counted
against what the images tell; what is said of it; and installs that go on where others broke off."""

import io
import json
import random
import signal
import subprocess
import zipfile

import pytest

import make_bundle
from chunks import IMAGE, RUN, Expected, asked, blocks_of, place, runs_of
from conftest import TIMEOUT, wait_until
from make_bundle import BLOCK, CHUNK, make
from tree import MIB, Tree, bundle, noise, uki

SIZE = 4 * MIB
CHUNKS = SIZE // CHUNK
LANES = 4  # connections at once, beside the first
DELIVERIES = ["path", "range", "plain", "stdin"]


def derive(content, seed):
    """Another version: blocks moved, blocks of zeroes, and new bytes here and there."""
    chance, blocks = random.Random(seed), blocks_of(content)
    start = len(blocks) // 8
    blocks[start:start + 64] = chance.sample(blocks[start:start + 64], 64)
    blocks[2 * start:2 * start + 20] = [bytes(BLOCK)] * 20
    for i in chance.sample(range(3 * start, 8 * start), 40):
        blocks[i] = chance.randbytes(BLOCK)
    return b"".join(blocks)


OLD, FIRST = noise(SIZE, "old"), noise(SIZE, "first")
NEXT = derive(FIRST, "next")
# What the target holds when NEXT comes: of the system before the running one.
PRESENT = FIRST[:SIZE // 2] + OLD[SIZE // 2:]
BOOT = uki("3", linux_size=16384)  # one chunk, and another one than all that are there
CREATED = 1790812800  # tests/fixtures/make_bundle.py's, in seconds since 1970


@pytest.fixture(scope="session")
def template(binary, tmp_path_factory):
    """FIRST runs in slot B, confirmed; slot A holds PRESENT."""
    folder = tmp_path_factory.mktemp("converge")
    template = Tree(folder / "root", partition_size=SIZE + MIB)
    archive = folder / "first.bundle"
    archive.write_bytes(make(uki("2"), FIRST, method=make_bundle.STORED, keys={"version": "2"}))

    def run(*arguments):
        subprocess.run([binary, "--root", template.root, *arguments], check=True, timeout=TIMEOUT,
                       stdout=subprocess.DEVNULL)
    run("install", "-q", archive)
    assert template.reboot() == "B"
    run("mark-good")
    with open(template.partition("A"), "r+b") as partition:
        partition.write(PRESENT)
    return template


@pytest.fixture
def machine(template, tree):
    tree.become(template)
    return tree


@pytest.fixture
def install(on, web, tmp_path):
    """install(content, delivery, *options) -> Result"""
    def install(content, delivery="path", *options):
        if delivery == "stdin":
            return on("install", "--json", *options, "-", input=content)
        if delivery == "path":
            source = tmp_path / "os.bundle"
            source.write_bytes(content)
        else:
            source = web.put("/os.bundle", content, ranges=delivery == "range")
        return on("install", "--json", *options, source)
    return install


def result_of(installed):
    assert installed.code == 0, installed
    return installed.event("result")[0]


def holds(machine, slot, image):
    return machine.partition(slot).read_bytes()[:len(image)] == image


# Counts


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("scanned", [False, True], ids=["known", "scanned"])
def test_counts(machine, install, web, delivery, scanned):
    """With the running slot's chunk map, and by scanning it."""
    known = machine.root / "var/lib/bistable/slot-b.system.chunks"
    if scanned:
        known.unlink()
    content = make(BOOT, NEXT, method=make_bundle.STORED)
    expected = Expected(NEXT, PRESENT, FIRST)
    assert expected.kept and expected.copied and expected.fetched
    installed = install(content, delivery)
    result = result_of(installed)
    assert holds(machine, "A", NEXT) and machine.reboot() == "A"
    assert result["kept"] == expected.kept
    assert result["copied"] == expected.copied
    assert result["to_fetch"] == len(expected.fetched) * CHUNK + len(BOOT)
    assert result["written"] == expected.written + len(BOOT)
    if delivery in ("range", "plain"):
        assert result["requests"] == len(web.requests)
        # What had been sent when nobody wanted it any more does not count.
        assert result["fetched"] <= web.sent
    else:
        assert result["requests"] == 0
    if delivery in ("plain", "stdin"):
        assert result["fetched"] == len(content)
    if delivery == "plain":
        assert len(web.requests) == 1
    phases = {event["phase"] for event in installed.event("progress")}
    assert ("scan" in phases) == scanned
    last = installed.event("progress")[-1]
    assert (last["kept"], last["copied"]) == (result["kept"], result["copied"])
    assert last["fetched"] == result["fetched"] and last["requests"] == result["requests"]


@pytest.mark.parametrize("pattern", ["neighbours", "every other", "far apart", "all"])
def test_requests(machine, install, web, pattern):
    """Neighbours come in one request of at most 2 MiB, and each frame comes once."""
    wanted = {"neighbours": [*range(40, 50), *range(80, 82)], "every other": range(0, CHUNKS, 2),
              "far apart": range(0, CHUNKS, 16), "all": range(CHUNKS)}[pattern]
    image = bytearray(FIRST)
    for chunk in wanted:
        image[chunk * CHUNK:(chunk + 1) * CHUNK] = noise(CHUNK, f"new {chunk}")
    content = make(BOOT, bytes(image), method=make_bundle.STORED)
    expected = Expected(bytes(image), PRESENT, FIRST)
    assert expected.fetched == list(wanted)
    result_of(install(content, "range"))
    data = place(content, IMAGE)
    image_asked = asked(web, data, len(content))
    assert image_asked == [(data + first * CHUNK, data + (last + 1) * CHUNK - 1)
                           for first, last in runs_of(expected.fetched)]
    # Head, boot file and directory beside them, over few connections that are kept.
    assert len(web.requests) <= len(image_asked) + 4
    assert len({request["port"] for request in web.requests}) <= LANES + 1


def test_small_frames(machine, install, web):
    """What compresses well is fetched along with what lies between: fewer requests."""
    image = bytearray(FIRST)
    for i in range(0, CHUNKS, 2):
        image[i * CHUNK:(i + 1) * CHUNK] = f"{i:8}".encode() * (CHUNK // 8)
        image[(i + 1) * CHUNK:(i + 2) * CHUNK] = bytes(CHUNK)
    result = result_of(install(make(BOOT, bytes(image), method=make_bundle.ZSTD), "range"))
    assert result["copied"] == SIZE // 2 and result["requests"] <= 5


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_nothing_changed(machine, install, on, web, delivery, tmp_path):
    content = make(BOOT, NEXT, method=make_bundle.STORED)
    result_of(install(content, delivery))
    before = machine.snapshot()
    web.requests.clear()
    web.sent = 0
    result = result_of(install(content, delivery))
    assert result["to_fetch"] == result["written"] == 0
    assert result["kept"] == SIZE + len(BOOT)
    if delivery == "range":
        assert web.sent < 200_000  # head and directory
    after = machine.snapshot()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert all("efivars" in path or path.endswith(".state") for path in changed), changed
    assert machine.reboot() == "A"


def test_already_there_in_words(machine, on, tmp_path):
    source = tmp_path / "os.bundle"
    source.write_bytes(make(BOOT, NEXT))
    assert "Installed 3 into slot A (" in on("install", source).stdout
    said = on("install", source).stdout
    assert f"Slot A already holds 3 ({(SIZE + len(BOOT)) / MIB:.1f} MiB kept, 0 B copied" in said


def test_summary(machine, on, web):
    expected = Expected(NEXT, PRESENT, FIRST)
    url = web.put("/os.bundle", make(BOOT, NEXT, method=make_bundle.STORED))
    said = on("install", url).stdout
    assert f"({expected.kept / MIB:.1f} MiB kept, {expected.copied / MIB:.1f} MiB copied, " in said
    assert f" fetched in {len(web.requests)} requests, " in said


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_dry_run(machine, install, delivery):
    """It tells what an install would do, which then does it."""
    content = make(BOOT, NEXT, method=make_bundle.STORED)
    before = machine.snapshot()
    plan = result_of(install(content, delivery, "--dry-run"))
    assert machine.snapshot() == before
    assert plan["dry_run"] is True and plan["written"] == 0
    result = result_of(install(content, delivery))
    for key in ("kept", "copied", "to_fetch", "version", "signer", "unsigned", "slot"):
        assert plan[key] == result[key], key


def test_what_the_slot_had_may_be_wrong(machine, install):
    """The running slot's map is believed for a start, and its blocks are looked at."""
    with open(machine.partition("B"), "r+b") as partition:
        partition.write(noise(SIZE, "damaged"))
    result = result_of(install(make(BOOT, NEXT, method=make_bundle.STORED)))
    assert holds(machine, "A", NEXT)
    zeroes = Expected(NEXT, PRESENT, b"")
    assert result["copied"] == zeroes.copied
    assert result["to_fetch"] == len(zeroes.fetched) * CHUNK + len(BOOT)


# Receipts


def test_receipt(machine, install):
    content = make(BOOT, NEXT)
    result_of(install(content))
    archive = zipfile.ZipFile(io.BytesIO(content))
    path = machine.boot_file("A").with_suffix(".receipt")
    with zipfile.ZipFile(path) as receipt:
        assert receipt.namelist() == ["manifest.json", "manifest.p7s"]
        assert receipt.testzip() is None
        for name in receipt.namelist():
            assert receipt.read(name) == archive.read(name)
    kept = machine.root / "var/lib/bistable/slot-a.system.chunks"
    assert kept.read_bytes() == archive.read("verity_rootfs.img.chunks")
    record = json.loads(machine.boot_file("A").with_suffix(".state").read_text())
    assert record["epoch"] == 1 and record["created"] == CREATED
    # A plain bundle has none.
    result_of(install(bundle(BOOT, FIRST)))
    assert not path.exists() and not kept.exists()


def test_state_dir(machine, install):
    machine.config.write_text(machine.config.read_text().replace(
        "[system]\n", "[system]\nstate-dir=/srv/updates\n"))
    result_of(install(make(BOOT, NEXT)))
    assert (machine.root / "srv/updates/slot-a.system.chunks").is_file()


def test_state_dir_that_cannot_be_written(machine, on, tmp_path):
    """It costs speed, later; not this install."""
    machine.config.write_text(machine.config.read_text().replace(
        "[system]\n", "[system]\nstate-dir=/etc/bistable/bistable.conf\n"))
    (tmp_path / "os.bundle").write_bytes(make(BOOT, NEXT))
    result = on("install", "-v", tmp_path / "os.bundle")
    assert result.code == 0 and "its chunk map is not kept" in result.stderr, result
    assert holds(machine, "A", NEXT) and machine.reboot() == "A"


# Going on


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_broken_off(machine, install, start, status, web, number):
    """What had been written is kept: it is not fetched again."""
    image = noise(SIZE, "all new")
    content = make(BOOT, image, method=make_bundle.STORED)
    # The image comes in two runs. One of them is held: the other one is written meanwhile.
    url = web.put("/os.bundle", content, faults=[None] * 4 + [{"stall": RUN // 2}])
    process = start("--root", machine.root, "install", "--json", url)
    assert web.stalled.wait(TIMEOUT)

    def written():
        present = machine.partition("A").read_bytes()[:SIZE]
        return sum(len(a) for a, b in zip(blocks_of(image), blocks_of(present)) if a == b)

    wait_until(lambda: written() >= RUN - BLOCK)
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == (-number if number == signal.SIGKILL else 1)
    assert status()["next"] == "B" and status()["slots"]["A"]["complete"] is False
    present = machine.partition("A").read_bytes()[:SIZE]
    expected = Expected(image, present, FIRST)
    result = result_of(install(content, "range"))
    assert result["kept"] == expected.kept >= RUN - CHUNK
    assert result["to_fetch"] - len(BOOT) == len(expected.fetched) * CHUNK <= SIZE - RUN + CHUNK
    assert holds(machine, "A", image) and machine.reboot() == "A"
