# SPDX-License-Identifier: Apache-2.0
"""Signals at random moments: the old slot or the complete new one starts, and the next try works.

SIGNAL_SEED=n draws other moments, SIGNAL_RUNS=n more of them (make test-long).
"""

import os
import random
import signal
import subprocess
import time

import pytest

from conftest import TIMEOUT
from life import Life

SEED = int(os.environ.get("SIGNAL_SEED", "20261123"))
RUNS = int(os.environ.get("SIGNAL_RUNS", "16"))  # of each test
ORDERLY = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SIGNALS = [*ORDERLY, signal.SIGKILL]
SAID = "interrupted; the old slot is intact, installing again is safe"


@pytest.fixture(params=["plain", "chunked"])
def life(request, tree, on, status, tmp_path):
    print(f"SIGNAL_SEED={SEED} SIGNAL_RUNS={RUNS}")
    return Life(tree, on, status, tmp_path, request.param == "chunked")


@pytest.fixture
def chance():
    return random.Random(SEED)


def finish(process):
    """Exit code and stderr of a process that got a signal."""
    _, stderr = process.communicate(timeout=TIMEOUT)
    stderr = stderr.decode()
    assert "Sanitizer" not in stderr, stderr
    return process.returncode, stderr


def check_broken_off(life, number, code, stderr):
    """An install that had begun, and did not reach its end."""
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 1 and SAID in stderr, (code, stderr)
        life.assert_no_leftovers()
    life.assert_lock_is_free()
    life.assert_not_started()


@pytest.mark.parametrize("numbers", [SIGNALS, [(number, number) for number in ORDERLY]],
                         ids=["once", "twice"])
def test_install_over_http(start, life, web, chance, numbers):
    """The server holds still at a random byte; the signal comes then or a little later."""
    for run in range(RUNS):
        content = life.next_system()
        held, number = chance.randrange(len(content)), numbers[run % len(numbers)]
        print(f"run {run}: {number} at byte {held} of {len(content)}")
        url = web.put("/os.zip", content, ranges=False, faults=[{"stall": held}])
        web.stalled.clear()
        process = start("--root", life.tree.root, "install", url)
        assert web.stalled.wait(TIMEOUT)
        time.sleep(chance.choice([0, 0, 0.01, 0.05]))
        if isinstance(number, tuple):
            for n in number:
                process.send_signal(n)
            code, stderr = finish(process)
            # The second one kills, if it is not quicker to stop at the first.
            number = signal.SIGKILL if code < 0 else number[0]
            code = -signal.SIGKILL if code < 0 else code
        else:
            process.send_signal(number)
            code, stderr = finish(process)
        check_broken_off(life, number, code, stderr)
        life.converge()


def measure(start, *arguments):
    began = time.monotonic()
    process = start(*arguments)
    assert process.wait(TIMEOUT) == 0
    return time.monotonic() - began


def signal_later(start, chance, longest, number, *arguments):
    """Runs the program and sends it a signal at a random moment. Exit code and stderr."""
    process = start(*arguments)
    delay = chance.uniform(0, longest)
    print(f"{number!r} after {delay:.3f} s")
    time.sleep(delay)
    process.send_signal(number)
    return finish(process)


def check_code(code, stderr, number, before, tree):
    """Done, interrupted, killed, or hit before the program was listening. Whether it was done."""
    if code == -number and number != signal.SIGKILL:
        assert tree.snapshot() == before
    elif code == 1:
        assert number != signal.SIGKILL and "interrupted" in stderr, stderr
    else:
        assert code in (0, -number), (code, stderr)
    return code == 0


def test_install_from_a_file(start, life, chance):
    life.next_system()
    install = ("--root", life.tree.root, "install", life.path)
    longest = measure(start, *install) * 1.2
    life.start()
    life.confirm()
    for run in range(RUNS):
        life.next_system()
        number, before = SIGNALS[run % len(SIGNALS)], life.tree.snapshot()
        code, stderr = signal_later(start, chance, longest, number, *install)
        done = check_code(code, stderr, number, before, life.tree)
        life.assert_lock_is_free()
        document = life.assert_entries_right()
        if done or life.tree.boot_next() is not None:
            # Chosen last of all: by then it is complete.
            life.assert_holds(life.other)
            assert document["slots"][life.other]["complete"] is True
            assert document["next"] == life.other
        else:
            life.assert_not_started()
        if code == 1:
            assert SAID in stderr, stderr
            life.assert_no_leftovers()
        life.converge()


def test_mark_good(start, life, chance):
    mark_good = ("--root", life.tree.root, "mark-good")
    life.next_system()
    life.ok("install", life.path)
    life.start()
    longest = measure(start, *mark_good) * 1.2
    for run in range(RUNS):
        life.next_system()
        life.ok("install", life.path)
        life.start()
        number, before = SIGNALS[run % len(SIGNALS)], life.tree.snapshot()
        code, stderr = signal_later(start, chance, longest, number, *mark_good)
        done = check_code(code, stderr, number, before, life.tree)
        life.assert_lock_is_free()
        document = life.assert_entries_right()
        assert not done or document["default"] == life.running
        life.confirm()


def test_rollback(start, life, chance):
    life.next_system()
    life.converge()
    rollback = ("--root", life.tree.root, "rollback")
    longest = measure(start, *rollback) * 1.2
    life.start()
    life.confirm()
    for run in range(RUNS):
        number, before = SIGNALS[run % len(SIGNALS)], life.tree.snapshot()
        code, stderr = signal_later(start, chance, longest, number, *rollback)
        done = check_code(code, stderr, number, before, life.tree)
        life.assert_lock_is_free()
        document = life.assert_entries_right()
        assert document["next"] == life.other if done else document["next"] in "AB"
        life.ok("rollback")
        life.start()
        life.confirm()


def test_what_was_switched_off_stays_off(start, life, web):
    """As under nohup: the install goes on, over a connection that breaks off meanwhile."""
    content = life.next_system()
    url = web.put("/os.zip", content, faults=[{"stall": 1000, "seconds": 0.5}])
    process = start("--root", life.tree.root, "install", url,
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert web.stalled.wait(TIMEOUT)
    process.send_signal(signal.SIGHUP)
    assert finish(process)[0] == 0
    life.assert_holds("B")


@pytest.mark.parametrize("command", ["install", "mark-good", "status"])
def test_nobody_reads(start, life, command):
    """A closed pipe is no signal: what changes something is done to its end."""
    life.next_system()
    reader, writer = os.pipe()
    arguments = [life.path] if command == "install" else []
    process = start("--root", life.tree.root, command, "--json", *arguments, stdout=writer,
                    stderr=subprocess.PIPE)
    os.close(writer)
    os.close(reader)
    code, stderr = finish(process)
    assert code == (1 if command == "status" else 0), stderr
    assert "cannot write to standard output" in stderr
    life.assert_lock_is_free()
    if command == "install":
        life.assert_holds("B")
        life.start()
    life.confirm()
