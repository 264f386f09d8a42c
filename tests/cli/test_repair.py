# SPDX-License-Identifier: Apache-2.0
"""verify tells what of a slot is not as it was installed, and where; repair puts it right."""

import calendar
import io
import json
import shutil
import zipfile

import pytest

from bad_chunked import cms_by
from make_bundle import BLOCK, CHUNK, SIGNER, Bundle, Payload, make
from tree import MIB, noise, uki

SIZE = 256 << 10
BOOT, SYSTEM = uki("3", linux_size=16384), noise(SIZE, "three")


@pytest.fixture
def url(web):
    return web.put("/os.bundle", make(BOOT, SYSTEM))


@pytest.fixture
def repaired(signed, on, url):
    """`signed` with version 3 in slot B, from a web server."""
    assert on("install", "-q", url).code == 0
    return signed


@pytest.fixture
def running(repaired, on):
    """Version 3 runs in slot B; slot A holds another image, with a receipt of its own."""
    assert repaired.reboot() == "B" and on("mark-good").code == 0
    return repaired


@pytest.fixture
def verify(on):
    """verify(slots...) -> the document; the exit code fits it."""
    def verify(*slots):
        result = on("verify", "--json", *slots)
        document = result.document
        assert result.code == (1 if document["worst"] == "problem" else 0), result
        return document
    return verify


def damage(path, *places):
    """Flips a bit at each place."""
    with open(path, "r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0x10]))


def level(document, slot, name):
    return next(check["level"] for check in document["checks"]
                if (check["group"], check["name"]) == (f"Slot {slot}", name))


# verify


def test_whole(repaired, on, verify):
    before = repaired.snapshot()
    document = verify("B")
    assert document["worst"] == "ok" and document["damage"] == []
    assert [check["name"] for check in document["checks"]] == ["signature", "boot-file", "image"]
    assert all(check["group"] == "Slot B" for check in document["checks"])
    assert repaired.snapshot() == before
    said = on("verify", "b")
    assert said.code == 0 and f"Signed by CN={SIGNER}." in said.stdout
    assert "3 ok, 0 warnings, 0 problems" in said.stdout


def test_both(repaired, verify):
    """Nothing is known of what the factory put into slot A."""
    document = verify()
    assert {check["group"] for check in document["checks"]} == {"Slot A", "Slot B"}
    assert document["worst"] == "warning" and level(document, "A", "image") == "warning"


def test_damage(repaired, on, verify):
    """By blocks, and neighbours together."""
    damage(repaired.partition("B"), 5, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK, SIZE - 1)
    document = verify("B")
    assert level(document, "B", "image") == "problem"
    assert document["damage"] == [
        {"slot": "B", "start": start, "end": end}
        for start, end in [(0, BLOCK), (2 * BLOCK, 4 * BLOCK), (SIZE - BLOCK, SIZE)]]
    said = on("verify", "B")
    assert said.code == 1 and "16.0 KiB of the 256.0 KiB" in said.stdout
    assert "in 3 places" in said.stdout
    assert f"slot B, bytes {2 * BLOCK} to {4 * BLOCK - 1}" in said.stdout


def test_behind_the_image(repaired, verify):
    damage(repaired.partition("B"), SIZE, MIB - 1)
    assert verify("B")["worst"] == "ok"


def test_without_the_chunk_map(repaired, verify):
    (repaired.root / "var/lib/bistable/slot-b.system.chunks").unlink()
    assert verify("B")["worst"] == "ok"
    damage(repaired.partition("B"), 70_000)
    assert verify("B")["damage"] == [{"slot": "B", "start": 0, "end": SIZE}]


@pytest.mark.parametrize("change", ["other", "missing", "cut"])
def test_boot_file(repaired, verify, change):
    path = repaired.boot_file("B")
    if change == "other":
        damage(path, 3000)
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    document = verify("B")
    assert level(document, "B", "boot-file") == "problem" and document["damage"] == []


@pytest.mark.parametrize("content, says", [
    (lambda old: old.replace(b'"version": "3"', b'"version": "4"'), "CRC-32"),
    (lambda old: b"", "missing"), (lambda old: old[:300], "cut off"),
], ids=["changed", "empty", "cut off"])
def test_bad_receipt(repaired, on, verify, content, says):
    path = repaired.boot_file("B").with_suffix(".receipt")
    path.write_bytes(content(path.read_bytes()))
    document = verify("B")
    assert level(document, "B", "signature") == "problem"
    assert says in document["checks"][0]["what"], document
    # The record tells of image and boot file all the same.
    assert level(document, "B", "image") == level(document, "B", "boot-file") == "ok"
    assert on("repair", "-q").code == 0 and verify("B")["worst"] == "ok"


def test_signature_of_the_receipt(repaired, verify):
    """Who may write to the ESP is not who signs."""
    path = repaired.boot_file("B").with_suffix(".receipt")
    old = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("manifest.json", old.read("manifest.json").replace(b'"3"', b'"4"'))
        new.writestr("manifest.p7s", old.read("manifest.p7s"))
    document = verify("B")
    assert "does not fit" in document["checks"][0]["what"], document


def test_keyring_gone(repaired, verify):
    (repaired.config.parent / "keyring.pem").unlink()
    document = verify("B")
    assert level(document, "B", "signature") == "warning" and document["worst"] == "warning"


def test_plain(settled, verify):
    """By the record's digest, as a whole."""
    assert verify("B")["worst"] == "ok"
    damage(settled.partition("B"), 70_000)
    document = verify("B")
    assert document["damage"] == [{"slot": "B", "start": 0, "end": SIZE}]


def test_unreadable_record(repaired, on, verify):
    """Why is said, and the receipt tells of the rest."""
    repaired.boot_file("B").with_suffix(".state").write_text('{"format": 9}')
    document = verify("B")
    assert level(document, "B", "state") == "problem"
    assert "format" in document["checks"][0]["what"], document
    assert level(document, "B", "signature") == level(document, "B", "image") == "ok"
    damage(repaired.partition("B"), 5)
    assert level(verify("B"), "B", "image") == "problem" and verify("B")["damage"]


def test_incomplete(signed, on, verify):
    assert on("install", "-q", "-", input=make(BOOT, SYSTEM)[:-60_000]).code == 1
    document = verify("B")
    assert document["worst"] == "warning" and "no complete system" in document["checks"][0]["what"]


# repair


def repair(on, *arguments):
    result = on("repair", "--json", *arguments)
    return result, (result.event("result") or [None])[0]


def test_nothing_to_repair(running, on, web, status):
    """Slot A, which does not run, holds nothing that is known: a factory's system is left alone."""
    before = running.snapshot()
    web.requests.clear()
    result = on("repair")
    assert result.code == 0 and "nothing to repair" in result.stdout, result
    assert web.requests == []
    assert running.snapshot() == before


@pytest.mark.parametrize("source", ["where it came from", "named"])
def test_repair(repaired, on, verify, status, web, tmp_path, source):
    partition = repaired.partition("B")
    good = partition.read_bytes()
    before = status()
    damage(partition, 40_000, 200_000)
    web.requests.clear()
    arguments = []
    if source == "named":
        arguments = [tmp_path / "os.bundle"]
        arguments[0].write_bytes(make(BOOT, SYSTEM))
    result, counts = repair(on, *arguments)
    assert result.code == 0, result
    assert partition.read_bytes() == good and verify("B")["worst"] == "ok"
    assert counts["to_fetch"] > 0 and counts["kept"] == SIZE - 2 * CHUNK + len(BOOT)
    # Whole chunks are fetched; a block that is right is not written again.
    assert counts["written"] == 2 * 4096 + 4096
    assert (web.requests == []) == (source == "named")
    after = status()
    # What is next to start is not chosen by a repair.
    for key in ("running", "default"):
        assert after[key] == before[key]
    assert after["slots"]["B"]["complete"] is True and after["slots"]["B"]["entry_active"] is True
    assert on("activate").code == 0 and repaired.reboot() == "B"


def test_repair_of_the_boot_file(repaired, on, verify):
    good = repaired.boot_file("B").read_bytes()
    damage(repaired.boot_file("B"), 3000)
    assert repair(on)[0].code == 0
    assert repaired.boot_file("B").read_bytes() == good and verify("B")["worst"] == "ok"


def test_repair_from_the_running_slot(running, on, verify, web):
    """Slot A gets the same image: what is damaged there is copied."""
    url = web.put("/os.bundle", make(BOOT, SYSTEM))
    assert on("install", "-q", "--activate=none", url).code == 0
    damage(running.partition("A"), 40_000)
    result, counts = repair(on)
    assert result.code == 0, result
    assert counts["copied"] == CHUNK and counts["to_fetch"] == 0
    assert verify()["worst"] == "ok"


def test_another_bundle(repaired, on, tmp_path):
    damage(repaired.partition("B"), 40_000)
    before = repaired.snapshot()
    (tmp_path / "other.bundle").write_bytes(make(BOOT, noise(SIZE, "other")))
    result, _ = repair(on, tmp_path / "other.bundle")
    assert result.code == 3 and "is not the one" in result.stderr, result
    assert repaired.snapshot() == before


def test_the_running_slot_is_told_of(running, on, verify):
    damage(running.partition("B"), 40_000)
    before = running.snapshot()
    result, _ = repair(on)
    assert result.code == 1 and "cannot be repaired while it runs" in result.stderr, result
    assert running.snapshot() == before


def test_source_gone(repaired, on, web, status):
    damage(repaired.partition("B"), 40_000)
    web.resources.clear()
    before = repaired.snapshot()
    result, _ = repair(on)
    assert result.code == 1 and "HTTP 404" in result.stderr, result
    assert repaired.snapshot() == before


def test_standard_input_is_no_place_to_go_back_to(signed, on):
    assert on("install", "-q", "-", input=make(BOOT, SYSTEM)).code == 0
    damage(signed.partition("B"), 40_000)
    result, _ = repair(on)
    assert result.code == 2 and "name the bundle" in result.stderr, result
    result = on("repair", "-q", "-", input=make(BOOT, SYSTEM))
    assert result.code == 0 and on("verify", "B").code == 0


def test_plain_bundles_are_installed_anew(settled, on):
    damage(settled.partition("B"), 40_000)
    before = settled.snapshot()
    result, _ = repair(on)
    assert result.code == 3 and "says too little" in result.stderr, result
    assert settled.snapshot() == before


def test_broken_off_install_does_not_open_the_door(running, on, web, status, verify):
    """Nothing is known of slot A but that it is incomplete: a repair is an install then, and takes
    nothing that is older than what runs, or has expired."""
    four = make(uki("4", linux_size=16384), noise(SIZE, "four"), keys={"version": "4"})
    assert on("install", "-q", "-", input=four[:-60_000]).code == 1
    assert status()["slots"]["A"]["complete"] is False
    before = running.snapshot()
    for keys, says in (({"version": "2"}, "older"),
                       ({"version": "9", "not_after": "2020-01-01T00:00:00Z",
                         "created": "2019-01-01T00:00:00Z"}, "not to be installed")):
        url = web.put("/bad.bundle", make(uki(keys["version"]), noise(SIZE, "four"), keys=keys))
        result, _ = repair(on, url)
        assert result.code == 3 and says in result.stderr, result
        assert running.snapshot() == before
    assert repair(on, web.put("/four.bundle", four))[0].code == 0
    assert verify("A")["worst"] == "ok"


def test_boot_file_built_for_its_slot(signed, on, verify, web):
    """It has the slot's text from the start: nothing was put in, and nothing is to be taken out."""
    boot = uki("3", linux_size=16384, cmdline=b"root=PARTLABEL=METROPOLIS-SYSTEM-B ro quiet")
    assert on("install", "-q", web.put("/own.bundle", make(boot, SYSTEM))).code == 0
    assert verify("B")["worst"] == "ok"
    damage(signed.boot_file("B"), 3000)
    assert level(verify("B"), "B", "boot-file") == "problem"
    assert repair(on)[0].code == 0 and verify("B")["worst"] == "ok"


def change_record(tree, slot, **keys):
    path = tree.boot_file(slot).with_suffix(".state")
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_not_to_be_installed_any_more(running, on, verify, web):
    """The clock cannot be earlier than the running system: by that, not_after has passed."""
    def bundle(version, created, **more):
        keys = {"version": version, "created": f"{created}-01-01T00:00:00Z",
                "not_after": f"{created + 5}-01-01T00:00:00Z"}
        return web.put(f"/{version}", make(uki(version, linux_size=16384), SYSTEM, keys=keys,
                                           **more))

    for slot, url in (("A", bundle("5", 2025)), ("B", bundle("6", 2095, signature=b""))):
        assert on("install", "-q", "--allow-unsigned", url).code == 0
        assert running.reboot() == slot and on("mark-good").code == 0
    refused = on("install", "-q", "--allow-unsigned", bundle("7", 2026, signature=b""))
    assert refused.code == 3 and "not to be installed" in refused.stderr, refused
    damage(running.partition("A"), 40_000)
    assert repair(on)[0].code == 0 and verify("A")["worst"] == "ok"


def test_certificate_expired_since(signed, on, verify, web):
    """What was signed when it was installed stays so; nothing new is taken by that."""
    keyring = signed.config.parent / "keyring.pem"
    trusted = keyring.read_bytes()
    keys = {"created": "2026-01-01T00:00:00Z"}
    manifest = Bundle([Payload("boot", "kernel_efi.efi", BOOT),
                       Payload("system", "verity_rootfs.img", SYSTEM)], keys=keys).make_manifest()
    url = web.put("/old.bundle", make(BOOT, SYSTEM, manifest=manifest,
                                      signature=cms_by(manifest, end="20260201000000Z")))
    refused = on("install", "-q", "--activate=none", url)
    assert refused.code == 3 and "expired" in refused.stderr, refused
    # There is no clock to turn back: the machine takes it unverified, and forgets when that was.
    keyring.unlink()
    assert on("install", "-q", "--activate=none", "--allow-unsigned", url).code == 0
    keyring.write_bytes(trusted)
    assert level(verify("B"), "B", "signature") == "problem"
    change_record(signed, "B", installed=calendar.timegm((2026, 1, 15, 0, 0, 0)))
    assert verify("B")["worst"] == "ok"
    damage(signed.partition("B"), 40_000)
    assert repair(on)[0].code == 0


def test_older_bundle_of_the_same_payloads(repaired, on, verify, web, status):
    """Who serves it takes no epoch back."""
    url = web.put("/seven.bundle", make(BOOT, SYSTEM, keys={"epoch": 7}))
    assert on("install", "-q", url).code == 0
    for damaged in (True, False):
        if damaged:
            damage(repaired.partition("B"), 40_000)
        else:
            repaired.boot_file("B").with_suffix(".receipt").unlink()
        before = repaired.snapshot()
        for keys, says in (({"epoch": 3}, "epoch 3"),
                           ({"epoch": 7, "version": "2"}, "version 2")):
            result, _ = repair(on, web.put("/three.bundle", make(BOOT, SYSTEM, keys=keys)))
            assert result.code == 3 and says in result.stderr, result
            assert repaired.snapshot() == before
        assert repair(on, url)[0].code == 0 and verify("B")["worst"] == "ok"


def test_boot_file_without_its_slot(repaired, on, verify):
    """Copied there by hand from the bundle: it names no slot, and would find no system."""
    repaired.boot_file("B").write_bytes(BOOT)
    assert level(verify("B"), "B", "boot-file") == "problem"
    assert repair(on)[0].code == 0 and verify("B")["worst"] == "ok"


def test_no_boot_entry(running, on, status):
    """The firmware lost the entry of a slot that is as it should be."""
    gone, = running.entries("A")
    running.variable_path(f"Boot{gone:04X}").unlink()
    running.set_boot_order([n for n in running.boot_order() if n != gone])
    result = on("repair")
    assert result.code == 0 and "no boot entry" in result.stderr, result
    assert on("mark-good").code == 0 and status()["slots"]["A"]["entry_active"] is True


def test_both_are_damaged(running, on, verify, web):
    """The one that can be is put right, and that is said."""
    url = web.put("/os.bundle", make(BOOT, SYSTEM))
    assert on("install", "-q", "--activate=none", url).code == 0
    damage(running.partition("A"), 40_000)
    damage(running.partition("B"), 80_000)
    result = on("repair")
    assert result.code == 1 and "cannot be repaired while it runs" in result.stderr, result
    assert "Slot A is as it was installed again" in result.stderr, result
    assert level(verify(), "A", "image") == "ok"


def test_removable_path_is_spared(running, on, verify):
    """It may have the last good copy of a boot file."""
    good = running.boot_file("B").read_bytes()
    assert running.removable.read_bytes() == good
    damage(running.boot_file("B"), 3000)
    marked = on("mark-good")
    assert marked.code == 0 and "was copied to /EFI/metropolis/boot-b.efi" in marked.stderr, marked
    assert running.boot_file("B").read_bytes() == running.removable.read_bytes() == good
    # Both are damaged: neither replaces the other.
    damage(running.boot_file("B"), 3000)
    damage(running.removable, 4000)
    before = running.snapshot()
    marked = on("mark-good")
    assert marked.code == 3 and "is not the file that was installed" in marked.stderr, marked
    assert running.snapshot() == before


def test_removable_path_after_a_forced_install(running, on):
    """It is still known as ours when the slot that it is of was installed into."""
    other = make(uki("4", linux_size=16384), noise(SIZE, "four"), keys={"version": "4"})
    assert on("install", "-q", "--activate=reboot", "-", input=other).code == 0
    assert running.reboot() == "A"
    five = make(uki("5", linux_size=16384), noise(SIZE, "five"), keys={"version": "5"})
    assert on("install", "-q", "--force", "--activate=none", "-", input=five).code == 0
    marked = on("mark-good")
    assert marked.code == 0 and "somebody else" not in marked.stderr, marked
    assert running.removable.read_bytes() == running.boot_file("A").read_bytes()


# Where it came from


SECRETS = ["?token=opensesame", "?X-Amz-Expires=600&X-Amz-Signature=opensesame", "#opensesame",
           "?opensesame=%2F..%2f&a=%00", "user"]


def secret_url(url, secret):
    return (url.replace("//", "//somebody:opensesame@") if secret == "user" else url + secret)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_source_with_a_secret(signed, on, url, web, verify, status, secret):
    """The whole is kept for repair, where only root can read it."""
    given = secret_url(url, secret)
    assert on("install", "-q", given).code == 0
    asked = web.requests[-1]["path"], web.requests[-1]["headers"].get("authorization")
    kept = signed.root / "var/lib/bistable/slot-b.source"
    assert kept.read_text() == given and kept.stat().st_mode & 0o777 == 0o600
    assert b"opensesame" not in signed.boot_file("B").with_suffix(".state").read_bytes()
    assert "/os.bundle" in status()["slots"]["B"]["source"]
    for command in ("status", "status --json", "doctor", "verify"):
        assert "opensesame" not in on(*command.split()).stdout
    damage(signed.partition("B"), 40_000)
    web.requests.clear()
    result = on("repair", "-v")
    assert result.code == 0 and verify("B")["worst"] == "ok", result
    assert "opensesame" not in result.stdout + result.stderr
    for request in web.requests:
        assert (request["path"], request["headers"].get("authorization")) == asked
    # The next install into the slot leaves nothing of it behind.
    url = web.put("/next.bundle", make(uki("4"), noise(SIZE, "four"), keys={"version": "4"}))
    assert on("install", "-q", url).code == 0
    assert not kept.exists()


def test_a_secret_that_is_gone(signed, on, url):
    assert on("install", "-q", url + "?token=opensesame").code == 0
    kept = signed.root / "var/lib/bistable/slot-b.source"
    other = kept.read_text().replace("os.bundle", "another.bundle")
    damage(signed.partition("B"), 40_000)
    for content in (None, other, "", "\0"):
        kept.unlink(missing_ok=True)
        if content is not None:
            kept.write_text(content)
        result = on("repair")
        assert result.code == 2 and "name the bundle" in result.stderr, result
        assert "slot-b.source" in result.stderr and "opensesame" not in result.stderr
    assert on("repair", url).code == 0


def test_a_secret_that_cannot_be_kept(signed, on, url):
    """The install does not fail by it."""
    shutil.rmtree(signed.root / "var/lib/bistable")
    (signed.root / "var/lib/bistable").write_text("no folder")
    result = on("install", url + "?token=opensesame")
    assert result.code == 0 and "address is not kept" in result.stderr, result
    assert "opensesame" not in result.stdout + result.stderr


def test_a_path_is_where_it_was(signed, on, verify, status, tmp_path):
    """Given from one folder, repaired from another."""
    (tmp_path / "os.bundle").write_bytes(make(BOOT, SYSTEM))
    assert on("install", "-q", "./os.bundle", cwd=tmp_path).code == 0
    assert status()["slots"]["B"]["source"] == f"{tmp_path}/./os.bundle"
    damage(signed.partition("B"), 40_000)
    assert on("repair", cwd="/").code == 0 and verify("B")["worst"] == "ok"


def test_repair_of_nothing_in_json(running, on, web):
    """Real values of what is there, and nothing that was done."""
    result, counts = repair(on)
    assert result.code == 0 and counts["slot"] == "A" and counts["version"] is None
    assert counts["unsigned"] is False and counts["signer"] is None
    assert counts["boot_size"] is counts["system_size"] is None
    url = web.put("/next.bundle", make(uki("4"), noise(SIZE, "four"), keys={"version": "4"}))
    assert on("install", "-q", "--activate=none", url).code == 0
    result, counts = repair(on)
    assert result.code == 0
    assert (counts["slot"], counts["version"], counts["unsigned"]) == ("A", "4", False)
    assert counts["signer"]["subject"] == f"CN={SIGNER}" and len(counts["signer"]["sha256"]) == 64
    assert (counts["boot_size"], counts["system_size"]) == (len(uki("4")), SIZE)
    assert counts["kept"] == len(uki("4")) + SIZE
    assert [counts[key] for key in ("written", "to_fetch", "copied", "requests")] == [0] * 4


def test_the_way_that_is_advised(running, on, web, verify):
    """The running slot is damaged: what repair says leads to the end."""
    url = web.put("/os.bundle", make(BOOT, SYSTEM))
    assert on("install", "-q", "--activate=none", url).code == 0
    damage(running.partition("B"), 40_000)
    result = on("repair")
    assert result.code == 1 and "bistable rollback" in result.stderr, result
    assert on("rollback", "-q", "--activate=reboot").code == 0
    assert running.reboot() == "A"
    result = on("repair")
    if result.code == 3:  # a slot that nobody has ever confirmed
        assert "mark-good" in result.stderr, result
        assert on("mark-good").code == 0
        result = on("repair")
    assert result.code == 0 and level(verify(), "B", "image") == "ok", result


def test_from_a_slot_that_was_confirmed_before(running, on, web, verify):
    """Gone back to on purpose: the attempt is open, and yet it is no trial of something new."""
    assert on("install", "-q", web.put("/os.bundle", make(BOOT, SYSTEM))).code == 0
    assert running.reboot() == "A" and on("mark-good").code == 0
    assert on("rollback", "-q", "--activate=reboot").code == 0 and running.reboot() == "B"
    damage(running.partition("A"), 40_000)
    result = on("repair")
    assert result.code == 0 and level(verify(), "A", "image") == "ok", result
