# SPDX-License-Identifier: Apache-2.0
"""Signed, chunked bundles: whom a machine trusts, that it fetches only what it lacks, and that it
goes on from what a power cut or damage left."""

import hashlib
import json
import os
import random
import time
from pathlib import Path

import pytest

from harness import disk, firmware, testos
from harness.expected import CHUNK, Expected, frames, missing
from harness.machine import Machine
from harness.snapshot import wake
from harness.testos import BLOCK, TestOs, Variant
from harness.uki import bound
from harness.webserver import WebServer

POWER_SEED = int(os.environ.get("POWER_SEED", random.randrange(1 << 32)))
HEAD = 256 << 10  # bytes: what comes of a bundle beside frames, at most
TARGET = "/dev/vda3"  # slot B


def result_of(machine: Machine, command: str) -> dict:
    """What a command that must succeed says that it did."""
    lines = map(json.loads, machine.check(f"bistable --json {command}").splitlines())
    return next(line for line in lines if line["event"] == "result")


def noise(variant: Variant) -> range:
    """The blocks of /usr/share/common and /usr/share/own, which lie together: what they hold may
    be changed."""
    image, own = variant.image.read_bytes(), testos.own_content(variant.letter)
    first = image.index(testos.common_content()) // BLOCK
    return range(first, (image.index(own) + len(own)) // BLOCK)


def assert_runs(machine: Machine, slot: str, image: bytes, blocks: range) -> None:
    """The system in this slot, on trial, with what the image has in the blocks of noise()."""
    status = machine.status()
    assert status["running"] == slot and status["slots"][slot]["complete"] is True
    assert status["slots"][slot]["confirmed"] is False
    content = image[blocks.start * BLOCK : blocks.stop * BLOCK]
    said = machine.check("cat /usr/share/common /usr/share/own | sha256sum")
    assert said.split()[0] == hashlib.sha256(content).hexdigest()


def boot_chunks(made: Variant, *olds: Variant) -> list[int]:
    """Those of its boot file that have to be fetched where these lie bound to slot A."""
    return missing(made.uki.read_bytes(), *(bound(old.uki.read_bytes(), "A") for old in olds))


def ranges_of(bundle: Path, want: Expected, boot: list[int] | None) -> list[tuple[int, int]]:
    """What is asked for of the payloads."""
    of_boot, of_image = frames(bundle)
    return of_boot.ranges_of(boot or []) + of_image.ranges_of(want.fetched)


def assert_counts(result: dict, want: Expected, bundle: Path, boot: list[int] | None) -> None:
    """The counters are what images and boot files tell. `boot`: the chunks of the boot file that
    are missing; None: the slot has it."""
    of_boot, of_image = frames(bundle)
    lacks = of_boot.plain_bytes_of(boot or [])
    put_together = 0 if boot is None else of_boot.plain_size
    assert result["kept"] == want.kept + of_boot.plain_size - put_together
    assert result["copied"] == want.copied + put_together - lacks
    assert result["to_fetch"] == of_image.bytes_of(want.fetched) + of_boot.bytes_of(boot or [])
    assert result["written"] == want.written + put_together
    needed = sum(end - start for start, end in ranges_of(bundle, want, boot))
    assert needed < result["fetched"] < needed + HEAD


def assert_served(
    web: WebServer, name: str, result: dict, bundle: Path, want: Expected, boot: list[int] | None
) -> None:
    """The server tells the same: each run of frames was asked for once, and nothing else came."""
    answers = web.answers(name, result["requests"])
    assert len(answers) == result["requests"]
    # Of an answer that was broken off, more was sent than came.
    whole = [answer for answer in answers if answer.end is not None]
    assert sum(a.size for a in whole) <= result["fetched"] <= sum(a.size for a in answers)
    # Beside head, directory and the local header between boot file and image.
    data = [range(of.start, of.start + of.size) for of in frames(bundle)]
    asked = sorted((a.start, a.end) for a in whole if any(a.start in part for part in data))
    assert asked == ranges_of(bundle, want, boot)


# Trust


def written(machine: Machine) -> tuple:
    """All that an install could change."""
    files = machine.check("sync; ls -lR --full-time /boot/EFI /var")
    boot_file = disk.get_file(machine.disk, disk.BOOT_FILE["A"])
    variables = machine.check(f"sha256sum {firmware.EFIVARS}/Boot*")
    return files, boot_file, variables, disk.partition_hash(machine.disk, disk.SLOT["A"])


# Who signed a bundle of Z, what it says of itself, and why Y does not take it.
REFUSED: list[tuple[str, dict, str]] = [
    (testos.STRANGER, {}, "leads to no root of the keyring"),
    (testos.SIGNER, {"epoch": 0}, "the bundle's epoch is 0, the running system's is 1"),
    (testos.SIGNER, {"version": "1.9"}, "the bundle's version 1.9 is older than 2.0"),
    (testos.SIGNER, {"compatible": "other"}, "is for 'other', but this system is 'testos'"),
]


def assert_refusals(machine: Machine, web: WebServer, system: TestOs, folder: Path) -> None:
    """Nothing is written."""
    before = written(machine)
    for number, (signer, options, words) in enumerate(REFUSED):
        path = folder / f"refused-{number}.bundle"
        testos.make_signed(path, system.variant("Z"), system.signer(signer), **options)
        refused = machine.run(f"bistable install {web.offer(path)}")
        assert refused.status == 3 and words in refused.err, refused
        assert written(machine) == before, words


def test_signed_by_kexec(machine, web, system, tmp_path):
    """X to Y to Z, and Y refuses what it should not trust."""
    machine.boot("X")
    # Certificates are judged by this clock.
    assert abs(int(machine.check("date +%s")) - time.time()) < 60
    for letter, slot in (("Y", "B"), ("Z", "A")):
        variant = system.variant(letter)
        result = result_of(machine, f"install {web.offer(variant.signed)} --activate=kexec")
        assert (result["unsigned"], result["signer"]["subject"]) == (False, "CN=signer")
        assert (result["slot"], result["version"]) == (slot, variant.version)
        assert (result["activation"], result["fallback"]) == ("kexec", None)
        machine.restart("bistable activate --activate=kexec --now", letter)
        assert machine.booted_by_kexec() and machine.firmware_boots() == 1
        assert_runs(machine, slot, variant.image.read_bytes(), noise(variant))
        assert machine.status()["slots"][slot]["version"] == variant.version
        machine.check("bistable mark-good")
        if letter == "Y":
            assert_refusals(machine, web, system, tmp_path)


# Only what is lacking


def changed(system: TestOs, folder: Path, blocks: dict[int, bytes]) -> Variant:
    """Y with other blocks, and its bundle."""
    made = testos.change(system.variant("Y"), folder, blocks)
    testos.make_signed(made.signed, made, system.signer(), version="2.1")
    return made


def test_a_small_change(machine, web, system, tmp_path):
    """Y runs, and the other slot holds X: most is kept or copied. The rest is new in Y 2.1."""
    old, chance = system.variant("Y"), random.Random(1)
    blocks, image = noise(old), old.image.read_bytes()
    places = chance.sample(blocks, 24)
    new = {place: chance.randbytes(BLOCK) for place in places[:16]}
    new |= {place: bytes(BLOCK) for place in places[16:20]}
    new |= {place: image[:BLOCK] for place in places[20:]}  # a block of another place
    made = changed(system, tmp_path, new)
    present = system.variant("X").image.read_bytes()
    want = Expected(made.image.read_bytes(), present, image)
    assert want.kept and want.copied and len(want.fetched) >= 10

    disk.make_factory_disk(machine.disk, system, "Y")
    disk.write_partition(machine.disk, disk.SLOT["B"], present)
    machine.boot("Y")
    # Kernel and initrd are the same, the root hash in the command line is another one.
    boot = boot_chunks(made, old)
    assert len(boot) == 1
    url = web.offer(made.signed, "change.bundle")
    result = result_of(machine, f"install {url} --activate=kexec")
    assert_counts(result, want, made.signed, boot)
    assert_served(web, "change.bundle", result, made.signed, want, boot)
    machine.restart("bistable activate --activate=kexec --now", "Y")
    assert_runs(machine, "B", made.image.read_bytes(), blocks)


# Going on


def wait_until_fetched(machine: Machine, image: bytes, chunks: list[int], count: int) -> None:
    """Until the host finds so many of these chunks in slot B."""
    places = [slice(chunk * CHUNK, (chunk + 1) * CHUNK) for chunk in chunks]

    def fetched() -> bool:
        present = disk.read_partition(machine.disk, disk.SLOT["B"], len(image))
        return sum(present[place] == image[place] for place in places) >= count

    machine.until(fetched, f"{count} chunks in slot B")


def test_power_cut(machine, web, system, tmp_path):
    """While the image is fetched, at a moment drawn from POWER_SEED: what came by then is not
    fetched again."""
    print(f"POWER_SEED={POWER_SEED}")
    blocks, chance = noise(system.variant("Y")), random.Random(POWER_SEED)
    made = changed(system, tmp_path, {place: chance.randbytes(BLOCK) for place in blocks})
    image, running = made.image.read_bytes(), system.variant("X").image.read_bytes()
    whole = Expected(image, bytes(len(image)), running)
    url = web.offer(made.signed, "cut.bundle")
    wake(machine)
    machine.check(f"bistable install {url} >/run/install.log 2>&1 &")
    count = chance.randint(len(whole.fetched) // 8, len(whole.fetched) * 7 // 8)
    wait_until_fetched(machine, image, whole.fetched, count)
    machine.cold_boot("X")
    assert machine.status()["slots"]["B"]["complete"] is False

    present = disk.read_partition(machine.disk, disk.SLOT["B"], len(image))
    want = Expected(image, present, running)
    assert len(want.fetched) <= len(whole.fetched) - count
    result = result_of(machine, f"install {url} --activate=reboot")
    boot = boot_chunks(made, system.variant("X"))
    assert len(boot) <= 2
    assert_counts(result, want, made.signed, boot)
    machine.restart("reboot -f", "Y")
    assert_runs(machine, "B", image, blocks)


@pytest.mark.long
def test_damage_is_repaired(machine, web, system):
    """verify tells which blocks are damaged; repair brings just these."""
    variant = system.variant("Y")
    image, running = (system.variant(letter).image.read_bytes() for letter in "YX")
    wake(machine)
    machine.check(f"bistable install {web.offer(variant.signed)} --activate=none")
    # In what X has as well, and in what only Y has: first block and number of blocks.
    common, own = noise(variant).start + 5, noise(variant).stop - 20
    damage = [(common, 1), (own, 2), (own + 9, 1)]
    for start, count in damage:
        machine.check(f"dd if=/dev/urandom of={TARGET} bs={BLOCK} seek={start} count={count}; sync")
    present = disk.read_partition(machine.disk, disk.SLOT["B"], len(image))
    want = Expected(image, present, running)
    assert want.copied and want.fetched

    found = machine.run("bistable verify B --json")
    assert found.status == 1, found
    assert json.loads(found.out)["damage"] == [
        {"slot": "B", "start": start * BLOCK, "end": (start + count) * BLOCK}
        for start, count in damage
    ]
    result = result_of(machine, f"repair {web.offer(variant.signed, 'repair.bundle')}")
    assert_counts(result, want, variant.signed, None)
    assert_served(web, "repair.bundle", result, variant.signed, want, None)
    machine.check("bistable verify B")
    machine.restart("bistable rollback --activate=kexec --now", "Y")
    assert_runs(machine, "B", image, noise(variant))
