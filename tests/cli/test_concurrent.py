# SPDX-License-Identifier: Apache-2.0
"""Several at once on one machine: who is refused, who waits, and what holds afterwards.

SIGNAL_SEED=n draws other commands, SIGNAL_RUNS=n makes more rounds (make test-long).
"""

import os
import random
import threading

import pytest

from conftest import TIMEOUT, wait_until
from life import Life
from tree import MIB

SEED = int(os.environ.get("SIGNAL_SEED", "20261123"))
ROUNDS = int(os.environ.get("SIGNAL_RUNS", "16"))
AT_ONCE = 5


@pytest.fixture(params=["plain", "chunked"])
def life(request, tree, on, status, tmp_path):
    return Life(tree, on, status, tmp_path, request.param == "chunked")


def test_an_install_and_everything_else(start, on, life, web, tmp_path):
    """One install is held in the midst of writing; what else comes is told, or waits."""
    life.next_system()
    life.converge()  # so that there is something to roll back to, and to mark bad
    content = life.next_system()
    go_on = threading.Event()
    url = web.put("/os.zip", content, ranges=False, faults=[{"stall": 3 * MIB // 2,
                                                             "until": go_on, "seconds": TIMEOUT}])
    first = start("--root", life.tree.root, "install", url)
    assert web.stalled.wait(TIMEOUT)
    wait_until(lambda: not life.status()["slots"][life.other]["complete"])
    assert first.poll() is None
    waiting = start("--root", life.tree.root, "mark-good")
    for arguments in [("install", life.path), ("rollback",), ("activate",), ("mark-bad",)]:
        result = on(*arguments)
        assert result.code == 4, result
        assert f"'bistable install' (PID {first.pid}) is at work" in result.stderr, result
    for command in ["status", "doctor"]:
        result = on(command, "--json")
        assert result.code == 0 and result.document, result
    assert life.status()["slots"][life.other]["complete"] is False
    assert waiting.poll() is None and first.poll() is None
    go_on.set()
    assert first.wait(TIMEOUT) == 0, first.stderr.read()
    assert waiting.wait(TIMEOUT) == 0, waiting.stderr.read()
    life.assert_holds(life.other)
    document = life.assert_entries_right()
    assert document["default"] == life.running and document["next"] == life.other
    life.start()
    life.confirm()


def one_round(start, life, bundles, chance):
    """Random commands, started together. Their exit codes, by command."""
    choices = [("install", chance.choice(bundles)), ("install", chance.choice(bundles)),
               ("mark-good",), ("rollback",), ("activate",), ("mark-bad",),
               ("status", "--json"), ("doctor", "--json")]
    commands = chance.choices(choices, k=AT_ONCE)
    processes = [start("--root", life.tree.root, *command) for command in commands]
    outcomes = []
    for command, process in zip(commands, processes):
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        said = stderr.decode() + stdout.decode()
        assert "Sanitizer" not in said
        print(command[0], process.returncode)
        outcomes.append((command[0], process.returncode, said))
    return outcomes


# 1: a doctor finds a problem in passing. 3: bad, or on trial. 4: busy. 5: nothing to go back to.
ALLOWED = {"install": {0, 3, 4}, "mark-good": {0}, "rollback": {0, 3, 4, 5}, "activate": {0, 3, 4},
           "mark-bad": {0, 4}, "status": {0}, "doctor": {0, 1}}


def test_random_commands(start, life, tmp_path):
    chance = random.Random(SEED)
    print(f"SIGNAL_SEED={SEED} SIGNAL_RUNS={ROUNDS}")
    bundles = []
    for i in range(2):
        life.next_system()
        bundles.append(life.path.rename(tmp_path / f"{i}.zip"))
    seen = set()
    for _ in range(ROUNDS):
        for command, code, said in one_round(start, life, bundles, chance):
            assert code in ALLOWED[command], (command, code, said)
            seen.add((command, code))
        life.assert_lock_is_free()
        document = life.assert_entries_right()
        life.assert_no_leftovers()
        due = document["next"]
        assert document["slots"][due]["complete"] is True
        if due != life.running and chance.random() < 0.5:
            life.start()
            life.confirm()
    assert {("install", 0), ("mark-good", 0), ("status", 0)} <= seen, seen
    life.ok("mark-good")
    life.next_system()
    life.converge()
