# SPDX-License-Identifier: Apache-2.0
"""`install`: where bundles come from, what is written, what is refused, what it says."""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from conftest import TIMEOUT, wait_until
from terminal import on_terminal
from pki import tls_server
from tree import (MIB, PARTITION_SIZE, build_uki, bundle, damage, fake_bzimage, image,
                  load_option, noise, uki)

BOUND_B = b"root=PARTLABEL=METROPOLIS-SYSTEM-B ro quiet"
ORDERS = [["kernel_efi.efi", "verity_rootfs.img"], ["verity_rootfs.img", "kernel_efi.efi"]]
UNBOUND = b"root=PARTLABEL=METROPOLIS-SYSTEM-X ro quiet"


def assert_holds(tree, slot, version="2", system=None):
    """The slot holds the bundle's bytes, bound to it."""
    system = image() if system is None else system
    assert tree.partition(slot).read_bytes()[:len(system)] == system
    assert tree.partition(slot).stat().st_size == PARTITION_SIZE
    bound = UNBOUND.replace(b"SYSTEM-X", f"SYSTEM-{slot}".encode())
    assert tree.boot_file(slot).read_bytes() == uki(version).replace(UNBOUND, bound)


def signed(cmdline):
    """A UKI with a (meaningless) certificate table."""
    sections = [(".cmdline", cmdline), (".linux", fake_bzimage(32768))]
    return build_uki(sections, certificate=b"\xce" * 64)


def assert_untouched(tree, before):
    after = tree.snapshot()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    # The lock is taken on the folder; what counts are files.
    assert not changed, changed


def test_from_a_path(installed):
    assert_holds(installed, "B")
    (number, active), = installed.entries("B").items()
    assert active and installed.boot_next() == number
    assert BOUND_B in installed.boot_file("B").read_bytes()
    assert b"SYSTEM-X" not in installed.boot_file("B").read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("names", ORDERS)
def test_any_order_and_method(on, tree, tmp_path, method, names):
    path = tmp_path / "bundle.zip"
    path.write_bytes(bundle(method=method, names=names))
    assert on("install", path).code == 0
    assert_holds(tree, "B")


@pytest.mark.parametrize("ranges", [True, False])
def test_over_http(on, tree, web, ranges):
    result = on("install", web.put("/os.zip", bundle(), ranges=ranges))
    assert result.code == 0, result
    assert_holds(tree, "B")


def test_over_https(on, tree, pki):
    """Verified: a server that the configured CA did not sign is refused, and nothing is touched."""
    before = tree.snapshot()
    for name, ca, code in (("here", "other-ca", 1), ("elsewhere", "ca", 1), ("here", "ca", 0)):
        with tls_server(pki, name) as server:
            config = tree.config.read_text() + f"[download]\nca-file={pki}/{ca}.pem\n"
            (tree.root / "tls.conf").write_text(config)
            url = server.put("/os.zip", bundle())
            result = on("install", "--config=/tls.conf", url)
            assert result.code == code, result
        (tree.root / "tls.conf").unlink()
        if code:
            assert "certificate" in result.stderr and tree.snapshot() == before, result
    assert_holds(tree, "B")


def test_http_headers_are_sent(on, web):
    url = web.put("/os.zip", bundle())
    assert on("install", url, "--header", "X-One: 1", "--header", "X-Two: 2", "--dry-run").code == 0
    assert web.requests
    for request in web.requests:
        assert request["headers"].get("x-one") == "1"
        assert request["headers"].get("x-two") == "2"


def test_missing_over_http(on, tree, web):
    url = web.put("/os.zip", b"").replace("os.zip", "other.zip")
    before = tree.snapshot()
    result = on("install", url)
    assert result.code == 1 and "404" in result.stderr and url in result.stderr, result
    assert_untouched(tree, before)


def test_nobody_listens(on, tree):
    before = tree.snapshot()
    (tree.root / "etc/bistable/bistable.conf").write_text(
        tree.config.read_text() + "[download]\ntotal-timeout=1\nconnect-timeout=1\n")
    before = tree.snapshot()
    result = on("install", "http://127.0.0.1:1/os.zip")
    assert result.code == 1 and "127.0.0.1:1" in result.stderr, result
    assert_untouched(tree, before)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("names", ORDERS)
def test_from_standard_input(on, tree, method, names):
    result = on("install", "-", input=bundle(method=method, names=names))
    assert result.code == 0, result
    assert_holds(tree, "B")


def test_there_and_back(installed, on, bundle_file, status):
    assert installed.reboot() == "B"
    assert on("mark-good").code == 0
    bundle_file.write_bytes(bundle(uki("3"), image(seed="three")))
    result = on("install", bundle_file)
    assert result.code == 0 and "into slot A" in result.stdout, result
    assert_holds(installed, "A", "3", image(seed="three"))
    assert installed.reboot() == "A"
    assert status()["slots"]["A"]["version"] == "3"


def test_what_it_says(on, bundle_file):
    result = on("install", bundle_file)
    assert "Installed 2 into slot B" in result.stdout
    assert "fetched" in result.stdout and "written" in result.stdout
    assert "unsigned" in result.stdout
    assert "next reboot" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def test_quiet_says_nothing(on, bundle_file):
    result = on("install", "-q", bundle_file)
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


def test_progress_on_a_terminal_is_one_line(start, tree, bundle_file):
    output = on_terminal(start, "--root", tree.root, "install", bundle_file)
    live = [line for line in output.split("\n") if "\x1b[K" in line]
    for phase in ("boot", "system", "verify"):
        assert sum(f"{phase} " in line and "100 %" in line for line in live) == 1, output
    # A line for each phase, and one for each note that came in between.
    assert len(live) <= 3 + output.count("Boot0"), output
    assert "Installed 2 into slot B" in output


def test_a_dry_run_of_a_stream_reads_it_all(on, tree):
    """There is no other way to look into it; nothing is written, and damage is found."""
    before = tree.snapshot()
    result = on("install", "--dry-run", "-", input=bundle())
    assert result.code == 0 and "Would install 2 into slot B" in result.stdout, result
    content = damage(bundle(), "verity_rootfs.img")
    for wrong, says in ((b"PK\3\4" + b"x" * 100, ""), (content, "verity_rootfs.img"),
                        (bundle(system=image(PARTITION_SIZE + 4096)), "has only")):
        result = on("install", "--dry-run", "-", input=wrong)
        assert result.code == 1 and says in result.stderr, result
    assert_untouched(tree, before)


def test_a_uki_that_fits_no_slot_is_warned_of(on, tree):
    for cmdline, warned in ((b"root=/dev/vda2 ro", True), (b"root=PARTLABEL=METROPOLIS-SYSTEM-X",
                            False), (b"roothash=" + b"12" * 32, False)):
        (tree.root / "fit.zip").write_bytes(bundle(boot=uki(cmdline=cmdline)))
        result = on("install", "--dry-run", tree.root / "fit.zip")
        assert result.code == 0, result
        assert ("neither the placeholder" in result.stderr) is warned, result


def test_the_esp_is_placed_before_anything_is_written(on, tree, bundle_file):
    """What boot entries will need is asked for at once, in a dry run too."""
    tree.config.write_text("[system]\nallow-unsigned=yes\n")
    before = tree.snapshot()
    for options in ([], ["--dry-run"]):
        result = on("install", *options, bundle_file)
        assert result.code == 1 and "[esp] partition-number" in result.stderr, result
        assert "run as root" not in result.stderr or os.geteuid() != 0
    assert_untouched(tree, before)


def test_same_again_writes_nothing(on, tree, bundle_file):
    assert on("install", bundle_file, "--activate=none").code == 0
    before = tree.snapshot()
    result = on("install", bundle_file, "--activate=none")
    assert result.code == 0 and "already holds" in result.stdout, result
    assert_untouched(tree, before)


def test_only_what_differs_is_written(on, tree, bundle_file, status):
    assert on("install", bundle_file).code == 0
    system = bytearray(image())
    system[MIB:MIB + 4096] = noise(4096, "patch")
    bundle_file.write_bytes(bundle(system=bytes(system)))
    result = on("install", "--json", bundle_file)
    assert result.code == 0, result
    assert 4096 <= result.event("result")[0]["written"] < 2 * MIB
    assert_holds(tree, "B", system=bytes(system))


@pytest.mark.parametrize("options", [[], ["--activate=none"], ["--activate=kexec"]])
def test_dry_run_writes_nothing(on, tree, bundle_file, options):
    before = tree.snapshot()
    result = on("install", "--dry-run", *options, bundle_file)
    assert result.code == 0 and "Would install 2 into slot B" in result.stdout, result
    assert "Nothing was changed" in result.stdout
    assert_untouched(tree, before)


def test_dry_run_from_standard_input(on, tree):
    before = tree.snapshot()
    result = on("install", "--dry-run", "-", input=bundle())
    assert result.code == 0 and "slot B" in result.stdout, result
    assert_untouched(tree, before)


def test_dry_run_json(on, bundle_file):
    result, = on("install", "--dry-run", "--json", bundle_file).event("result")
    assert result["dry_run"] is True and result["written"] == 0
    assert result["boot_size"] == len(uki()) and result["system_size"] == len(image())


# Policy


def test_unsigned_needs_permission(on, tree, bundle_file):
    config = tree.config.read_text()
    tree.config.write_text(config.replace("allow-unsigned=yes", "allow-unsigned=no"))
    before = tree.snapshot()
    result = on("install", bundle_file)
    assert result.code == 3, result
    assert "unsigned" in result.stderr and "--allow-unsigned" in result.stderr
    assert result.stdout == ""
    assert_untouched(tree, before)
    assert on("install", "--allow-unsigned", bundle_file).code == 0
    assert_holds(tree, "B")


def test_a_second_install_is_refused_at_once(on, tree, bundle_file):
    folder = os.open(tree.esp / "EFI/metropolis", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = tree.snapshot()
        result = on("install", bundle_file)
        assert result.code == 4 and f"(PID {os.getpid()}) is at work" in result.stderr, result
        assert_untouched(tree, before)
        assert on("status").code == 0  # takes no lock
        fcntl.flock(folder, fcntl.LOCK_UN)
        assert on("install", bundle_file).code == 0
    finally:
        os.close(folder)


def catches(process, number):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\t(\w+)", status)[1], 16) >> (number - 1) & 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_nothing_comes(start, tree, number):
    process = start("--root", tree.root, "install", "-", stdin=subprocess.PIPE)
    wait_until(lambda: catches(process, number))
    process.send_signal(number)
    assert process.wait(TIMEOUT) == 1
    assert b"interrupted" in process.stderr.read()


def test_secure_boot_and_a_signed_uki_that_would_have_to_change(on, tree, tmp_path):
    tree.set_variable("SecureBoot", b"\1")
    path = tmp_path / "bundle.zip"
    path.write_bytes(bundle(signed(b"root=PARTLABEL=METROPOLIS-SYSTEM-X")))
    before = tree.snapshot()
    result = on("install", path)
    assert result.code == 3 and "Secure Boot" in result.stderr, result
    assert_untouched(tree, before)


def test_secure_boot_and_a_signed_uki_that_fits_both_slots(on, tree, tmp_path):
    tree.set_variable("SecureBoot", b"\1")
    boot = signed(b"root=/dev/dm-0 quiet")
    path = tmp_path / "bundle.zip"
    path.write_bytes(bundle(boot))
    assert on("install", path).code == 0
    assert tree.boot_file("B").read_bytes() == boot


def test_a_trial_must_be_confirmed_first(installed, on, bundle_file):
    assert installed.reboot() == "B"
    before = installed.snapshot()
    result = on("install", bundle_file)
    assert result.code == 3 and "--force" in result.stderr, result
    assert_untouched(installed, before)
    assert on("install", "--force", bundle_file).code == 0


def test_never_into_the_running_slot(on, tree, bundle_file):
    before = tree.snapshot()
    result = on("install", "--slot=A", bundle_file)
    assert result.code == 3 and "running" in result.stderr, result
    assert_untouched(tree, before)


def test_installer_media(on, tree, bundle_file):
    """Nothing of ours runs: --slot names the target, without it nothing can be told."""
    (tree.root / "proc/cmdline").write_text("root=/dev/sr0\n")
    before = tree.snapshot()
    result = on("install", bundle_file)
    assert result.code == 1 and "which slot is running" in result.stderr, result
    assert_untouched(tree, before)
    result = on("install", "--slot=A", bundle_file)
    assert result.code == 0, result
    assert_holds(tree, "A")


# kexec is never carried out under --root


def test_kexec_falls_back_to_reboot_and_says_so(on, tree, bundle_file):
    result = on("install", "--activate=kexec", bundle_file)
    assert result.code == 0, result
    assert "Not by kexec: " in result.stdout and "next reboot" in result.stdout
    assert tree.boot_next() in tree.entries("B")


def test_kexec_only_fails(on, tree, bundle_file, status):
    result = on("install", "--activate=kexec-only", bundle_file)
    assert result.code == 1 and "kexec" in result.stderr, result
    assert tree.boot_next() is None
    assert (status()["next"], status()["slots"]["B"]["attempts"]) == ("A", [])


def test_activate_none(on, tree, bundle_file, status):
    result = on("install", "--activate=none", bundle_file)
    assert result.code == 0 and "'bistable activate'" in result.stdout, result
    assert tree.boot_next() is None
    assert status()["slots"]["B"]["complete"] is True
    assert status()["next"] == "A"


def test_activation_from_the_configuration(on, tree, bundle_file):
    tree.config.write_text(tree.config.read_text() + "[activate]\ndefault=none\n")
    assert on("install", bundle_file).code == 0
    assert tree.boot_next() is None
    assert on("install", "--activate=reboot", bundle_file).code == 0
    assert tree.boot_next() in tree.entries("B")


def test_now_never_restarts_under_a_root(on, tree, bundle_file, status):
    result = on("install", "--now", bundle_file)
    assert result.code == 0 and "never carried out under --root" in result.stdout, result
    assert "Restarting" not in result.stdout
    assert_holds(tree, "B")
    assert status()["next"] == "B"


def test_a_warning_is_said_once(on, tree, bundle_file):
    result = on("install", bundle_file)
    assert len([line for line in result.stderr.splitlines() if "Boot0009" in line]) == 1, result


# JSON


def test_events(on, bundle_file):
    result = on("install", "--json", bundle_file)
    assert result.code == 0, result
    events = result.events
    assert all(event["event"] in ("note", "warning", "progress", "result") for event in events)
    said = result.event("note") + result.event("warning")
    assert all(isinstance(event["text"], str) for event in said)
    last = events[-1]
    assert last["event"] == "result" and last["schema"] == 1
    assert {"slot": "B", "version": "2", "unsigned": True, "dry_run": False, "activation": "reboot",
            "fallback": None, "restarting": False}.items() <= last.items()
    assert last["boot_size"] == len(uki()) and last["system_size"] == len(image())
    assert 0 < last["fetched"] <= bundle_file.stat().st_size
    assert last["written"] >= len(image()) and last["seconds"] >= 0


def test_progress_events(on, bundle_file):
    progress = on("install", "--json", bundle_file).event("progress")
    phases = list(dict.fromkeys(event["phase"] for event in progress))
    assert set(phases) <= {"boot", "system", "verify"} and "system" in phases
    for phase in phases:
        points = [event for event in progress if event["phase"] == phase]
        done = [point["done"] for point in points]
        assert done == sorted(done)
        assert all(point["total"] in (None, points[-1]["done"]) for point in points)
    system = [event for event in progress if event["phase"] == "system"]
    assert system[-1]["done"] == len(image())
    for key in ("fetched", "written"):
        values = [event[key] for event in progress]
        assert values == sorted(values) and values[-1] > 0


def test_progress_is_limited(start, tree):
    begin = time.monotonic()
    process = start("--root", tree.root, "install", "--json", "-", stdin=subprocess.PIPE)
    content = bundle()
    for at in range(0, len(content), 16384):  # about 70 pieces in some 2 seconds
        process.stdin.write(content[at:at + 16384])
        process.stdin.flush()
        time.sleep(0.02)
    stdout, _ = process.communicate()
    seconds = time.monotonic() - begin
    events = [json.loads(line) for line in stdout.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    phases = len({event["phase"] for event in progress})
    assert len(progress) <= 5 * seconds + 3 * phases + 1
    assert len(progress) > 2 * phases


def test_quiet_json_is_the_result(on, bundle_file):
    events = on("install", "--json", "-q", bundle_file).events
    assert [event["event"] for event in events] == ["result"]


def test_error_event(on, tmp_path):
    missing = tmp_path / "missing.zip"
    result = on("install", "--json", missing)
    assert result.code == 1
    last = result.events[-1]
    assert last["event"] == "error" and last["code"] == 1 and last["errno"] == 2
    assert str(missing) in last["text"]
    assert result.stderr == f"bistable: {last['text']}\n"


def test_fallback_in_json(on, bundle_file):
    result, = on("install", "--json", "--activate=kexec", bundle_file).event("result")
    assert result["activation"] == "reboot" and result["fallback"]


def test_a_reader_that_leaves_does_not_stop_the_install(start, tree, bundle_file, status):
    reader, writer = os.pipe()
    process = start("--root", tree.root, "install", "--json", bundle_file, stdout=writer)
    os.close(writer)
    os.close(reader)
    process.communicate()
    assert process.returncode == 0
    assert_holds(tree, "B")


# Boot entries, removable path


def test_foreign_entries_stay(installed):
    for name, data in installed.FOREIGN.items():
        assert installed.variable(name) == data, name
    order = installed.boot_order()
    assert [number for number in order if number in (0, 7)] == [0, 7]
    (b, _), = installed.entries("B").items()
    assert order.index(1) < order.index(b)


def test_the_running_slots_entry_is_made_again(on, tree, bundle_file):
    tree.variable_path("Boot0001").unlink()
    result = on("install", bundle_file)
    assert result.code == 0 and "Metropolis Slot A" in result.stderr, result
    (a, active), = tree.entries("A").items()
    (b, _), = tree.entries("B").items()
    assert active and tree.boot_order().index(a) < tree.boot_order().index(b)


def test_entry_as_the_firmware_writes_it(on, tree, bundle_file):
    """Another case, data at the end: still ours, and the data stays."""
    option = load_option("Something", "/efi/METROPOLIS/boot-b.EFI", tail=b"tail")
    tree.set_variable("Boot0003", option)
    tree.set_boot_order([0, 3, 1, 7])
    assert on("install", bundle_file).code == 0
    assert tree.entries("B") == {3: True} and tree.variable("Boot0003") == option
    order = tree.boot_order()
    assert order.index(1) < order.index(3) and set(order) == {0, 1, 3, 7}


# Bundles that cannot be installed: before anything is written


@pytest.mark.parametrize("content, said", [
    (b"", "bundle.zip"),
    (b"<!DOCTYPE html><html><body>Please log in</body></html>", "HTML"),
    (noise(10000, "junk"), "ZIP"),
    (bundle(names=["kernel_efi.efi"]), "verity_rootfs.img"),
    (bundle(names=["verity_rootfs.img"]), "kernel_efi.efi"),
    (bundle()[:-3000], "ZIP"),
    (bundle(build_uki([(".osrel", b"ID=x\n"), (".cmdline", UNBOUND)])), ".linux"),
    (bundle(noise(5000, "not a UKI")), "kernel_efi.efi"),
    (bundle(uki(linux=noise(65536, "not a kernel"))), "kernel_efi.efi"),
    (bundle(system=image(5 * MIB)), "PARTLABEL=METROPOLIS-SYSTEM-B"),
    (damage(bundle(), "kernel_efi.efi"), "kernel_efi.efi"),
], ids=["empty", "html", "junk", "no image", "no uki", "cut", "no .linux", "no PE", "no kernel",
        "too large", "crc of uki"])
def test_refused_before_anything_is_written(on, tree, tmp_path, content, said):
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    before = tree.snapshot()
    result = on("install", "-q", path)
    assert result.code == 1 and said in result.stderr, result
    assert len(result.stderr.splitlines()) <= 2
    assert_untouched(tree, before)


def test_no_room_on_the_partition_streamed(on, tree, status):
    """Told only while it streams, when nobody knows the size beforehand."""
    result = on("install", "-", input=bundle(system=image(5 * MIB)))
    assert result.code == 1 and "METROPOLIS-SYSTEM-B" in result.stderr, result
    assert status()["next"] == "A" and tree.boot_next() is None
    assert not any(tree.entries("B").values())


def assert_broken_off(tree, status):
    """The target was touched and is not started."""
    document = status()
    b = document["slots"]["B"]
    assert b["complete"] is False
    assert b["entry_active"] is False
    assert (document["running"], document["default"], document["next"]) == ("A", "A", "A")
    assert tree.boot_next() is None and tree.entries("A") == {1: True}


def test_wrong_crc_of_the_image(on, tree, tmp_path, status):
    path = tmp_path / "bundle.zip"
    path.write_bytes(damage(bundle(), "verity_rootfs.img"))
    result = on("install", path)
    assert result.code == 1, result
    assert "verity_rootfs.img" in result.stderr and "CRC" in result.stderr
    assert_broken_off(tree, status)
    rollback = on("rollback")
    assert rollback.code == 5, rollback
    assert on("activate").code == 3
    path.write_bytes(bundle())
    assert on("install", path).code == 0
    assert_holds(tree, "B")


def test_a_broken_pipe(on, tree, status):
    tree.partition("B").write_bytes(b"\xaa" * PARTITION_SIZE)
    content = bundle(system=image(PARTITION_SIZE))  # the first half of it does not compress
    result = on("install", "-", input=content[:3 * MIB // 2])
    assert result.code == 1, result
    assert_broken_off(tree, status)
    first = tree.partition("B").read_bytes()[:4096]
    assert first == bytes(4096)  # whatever would mount begins here


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_interrupted(start, on, tree, web, status, number, options):
    url = web.put("/os.zip", bundle(method=zipfile.ZIP_STORED), ranges=False,
                  faults=[{"stall": 3 * MIB // 2, "seconds": 2 * TIMEOUT}])
    process = start("--root", tree.root, "install", *options, url)
    empty = bytes(PARTITION_SIZE - 4096)
    wait_until(lambda: tree.partition("B").read_bytes()[4096:] != empty)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    said = stdout if options else stderr
    assert b"interrupted; the old slot is intact, installing again is safe" in said
    assert_broken_off(tree, status)
    assert on("install", url).code == 0
    assert_holds(tree, "B")


def test_a_large_boot_file_behind_the_image(on, tree, web):
    """It comes first nevertheless; by then the download reads ahead, and has to go back."""
    boot = uki(linux_size=4 * MIB)
    names = ("verity_rootfs.img", "kernel_efi.efi")
    url = web.put("/os.zip", bundle(boot, method=zipfile.ZIP_STORED, names=names))
    assert on("install", url).code == 0
    assert tree.partition("B").read_bytes()[:len(image())] == image()
    assert tree.boot_file("B").read_bytes() == boot.replace(b"SYSTEM-X", b"SYSTEM-B")
    starts = [int(value.split("=")[1].split("-")[0]) for value in web.ranges() if value]
    assert starts[-1] < starts[-2], starts
